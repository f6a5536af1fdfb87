//! What the targets have in common. Properties stand in the crate `fuzzing`; here they only meet libFuzzer.

use std::panic;
use std::sync::{Mutex, Once, PoisonError};

static HOOK: Once = Once::new();
static LAST: Mutex<String> = Mutex::new(String::new());

/// Runs a property. Panics that the code under test catches itself are no findings; one that comes out of the property is
/// printed and ends the process, as libFuzzer wants it.
pub fn run(name: &str, data: &[u8]) {
    HOOK.call_once(|| {
        panic::set_hook(Box::new(|info| {
            let trace = std::backtrace::Backtrace::force_capture();
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = format!("{info}\n{trace}");
        }));
    });
    if panic::catch_unwind(|| fuzzing::run(name, data)).is_err() {
        eprintln!("{}", LAST.lock().unwrap_or_else(PoisonError::into_inner));
        std::process::abort();
    }
}

/// The entry point of a target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::run($name, data));
    };
}
