//! Watches, queues, retries, expectations, adoption, leader election for controllers.
