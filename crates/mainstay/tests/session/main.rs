//! A session of a user with the real `kubectl`, against a cluster of `mainstay up`.
//!
//! One cluster serves all steps. Steps run beside each other, each in a namespace of its own; those that disturb the
//! whole cluster run after the others, one by one. `MAINSTAY_SESSION_STEPS=logs,exec` runs only the steps named.

#![forbid(unsafe_code)]

mod edit;
mod lifecycle;
mod network;
mod objects;
mod place;
mod pods;
mod probes;
mod rollout;
mod streams;
mod terminal;
mod volumes;

use place::Place;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use testbed::Cluster;

/// Steps that run at the same time.
const PARALLEL: usize = 4;

/// What a user does, and what must come of it.
type Step = (&'static str, fn(&Place));

#[test]
fn a_session_with_kubectl() {
    let began = Instant::now();
    let mut cluster = Cluster::up(env!("CARGO_BIN_EXE_mainstay"), &[]).expect("the cluster starts");
    eprintln!("up after {:.1} s", began.elapsed().as_secs_f64());
    let wanted = std::env::var("MAINSTAY_SESSION_STEPS").ok();
    let chosen = |steps: &[Step]| -> Vec<Step> {
        let named = |name: &str| wanted.as_ref().is_none_or(|list| list.split(',').any(|part| name.contains(part)));
        steps.iter().copied().filter(|(name, _)| named(name)).collect()
    };
    let beside: Vec<Step> = [
        objects::STEPS,
        edit::STEPS,
        rollout::STEPS,
        streams::STEPS,
        pods::STEPS,
        probes::STEPS,
        volumes::STEPS,
        network::STEPS,
        lifecycle::STEPS,
    ]
    .concat();
    let mut failed = run(&cluster, &chosen(&beside), PARALLEL);
    failed.extend(run(&cluster, &chosen(lifecycle::DISTURBING), 1));
    if !failed.is_empty() {
        eprintln!("{}", cluster.diagnosis());
    }
    let down = cluster.down();
    assert!(failed.is_empty(), "steps that failed:\n{}", failed.join("\n"));
    down.expect("the cluster goes down");
}

/// Runs `steps`, so many at a time; returns what those that failed said.
fn run(cluster: &Cluster, steps: &[Step], parallel: usize) -> Vec<String> {
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..parallel.min(steps.len()) {
            scope.spawn(|| {
                while let Some((name, step)) = steps.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(said) = attempt(cluster, name, *step) {
                        failed.lock().expect("no step panics while it holds this").push(format!("{name}: {said}"));
                    }
                }
            });
        }
    });
    failed.into_inner().expect("no step panics while it holds this")
}

fn attempt(cluster: &Cluster, name: &str, step: fn(&Place)) -> Result<(), String> {
    let began = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| {
        let place = Place::new(cluster, name);
        step(&place);
    }));
    let took = began.elapsed().as_secs_f64();
    match result {
        Ok(()) => {
            eprintln!("ok      {name} ({took:.1} s)");
            Ok(())
        }
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let said = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
            eprintln!("FAILED  {name} ({took:.1} s)");
            Err(said)
        }
    }
}
