//! The request pipeline as one tower service. Knows neither sockets nor controllers.
