//! Admission webhooks played by a TLS server of the test, behind a service, and policies: each test is requests and what must
//! come of them. Names of conformance behaviours stand with the tests that show them.

mod audit;
mod behaviours;
mod conditions;
mod policies;
mod reviews;
#[path = "../support/mod.rs"]
mod support;
mod versions;
mod world;
