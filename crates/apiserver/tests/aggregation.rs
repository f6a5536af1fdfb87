//! Aggregation with an extension server behind a service: requests that go there, who is told of, what comes when it
//! does not answer, and what the API services say of it.

mod support;

#[path = "aggregation/availability.rs"]
mod availability;
#[path = "aggregation/conformance.rs"]
mod conformance;
#[path = "aggregation/documents.rs"]
mod documents;
#[path = "aggregation/passing.rs"]
mod passing;
#[path = "aggregation/requests.rs"]
mod requests;
#[path = "aggregation/world.rs"]
mod world;
