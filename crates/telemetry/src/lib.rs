//! Logs and metrics, set up once per process. Knows no component.

#![forbid(unsafe_code)]

pub mod logs;
pub mod metrics;
pub mod process;
