//! What every controller needs and none should write again: the work queue, the driver, declared inputs and outputs,
//! writes, expectations, ownership, events and leader election.
//!
//! A controller is a module with a [`Row`] (what it reads and writes), a pure planning function, and a thin
//! [`Controller`] that carries plans out. This crate knows the API only as a client does, and no kind of controller.

#![forbid(unsafe_code)]

pub mod conditions;
mod context;
mod driver;
mod error;
pub mod events;
mod expectations;
pub mod leader;
pub mod owner;
pub mod placement;
mod queue;
mod writer;

pub use client::Key;
pub use client::informer::{Cached, Handle, Informers, Nudge, Store};
pub use context::{Clock, Context, Row, graph};
pub use driver::{Controller, Next, Observer, Outcome, Report, Runner};
pub use error::Error;
pub use events::Recorder;
pub use expectations::{EXPECTATION_TIMEOUT, Expectations};
pub use queue::Queue;
pub use writer::{Object, Remove, Writer};
