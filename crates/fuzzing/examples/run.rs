//! Runs files through one target, and says how long each takes: `cargo run -p fuzzing --example run -- TARGET FILE...`.
//! The thread's stack is that of a thread that serves requests.

use std::time::Instant;

const STACK_BYTES: usize = 2 << 20;

fn main() {
    let mut arguments = std::env::args().skip(1).collect::<Vec<_>>().into_iter();
    let Some(target) = arguments.next() else {
        return eprintln!("run TARGET FILE...");
    };
    let run = move || {
        for file in arguments {
            match std::fs::read(&file) {
                Ok(data) => {
                    eprint!("{file}: ");
                    let started = Instant::now();
                    fuzzing::run(&target, &data);
                    eprintln!("{:?}", started.elapsed());
                }
                Err(error) => eprintln!("{file}: {error}"),
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES).spawn(run).expect("a thread");
    if thread.join().is_err() {
        std::process::exit(1);
    }
}
