//! A cluster on this machine: `up`, `down`, `status`, `kubeconfig`.
//!
//! `up` starts `mainstay server` as a process of its own and leaves; everything it needs to find it again lies in
//! `ROOT/run/mainstay`. Nothing here knows how a component works.

mod cleanup;
mod demo;
mod down;
mod preflight;
mod process;
mod progress;
mod state;
mod status;
mod up;

pub use demo::IMAGE as DEMO_IMAGE;
pub use down::down;
pub use state::{cgroup_root, print_kubeconfig};
pub use status::status;
pub use up::up;
