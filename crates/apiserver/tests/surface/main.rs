//! The whole surface: every verb of every kind and subresource, walked from discovery, has an authorization case, a
//! not-found case and a dry-run case, or stands in `gaps.txt`, which may only shrink.
//!
//! The cases are data: what discovery lists, and a sample object of each kind. Must name no rule that the server could
//! have got wrong together with the test: expected words are put together here.

mod cases;
mod operation;
mod samples;
mod world;

use operation::{Case, Operation};
use std::collections::BTreeSet;
use world::World;

const GAPS: &str = include_str!("gaps.txt");

/// What came of one case of one operation.
enum Outcome {
    /// It has no such case, by what the operation is.
    None,
    /// It ran; what is wrong, if anything.
    Ran(Result<(), String>),
    /// Nobody has written what it needs.
    Uncovered,
}

async fn walk(case: Case) {
    let world = World::start().await;
    let (mut failures, mut uncovered, mut ran) = (Vec::new(), BTreeSet::new(), 0);
    for operation in world.operations().await {
        let outcome = match case {
            Case::Authorization => cases::authorization(&world, &operation).await,
            Case::NotFound => cases::not_found(&world, &operation).await,
            Case::DryRun => cases::dry_run(&world, &operation).await,
        };
        match outcome {
            Outcome::None => {}
            Outcome::Ran(Ok(())) => ran += 1,
            Outcome::Ran(Err(why)) => failures.push(format!("{case:?} {operation}: {why}")),
            Outcome::Uncovered => drop(uncovered.insert(format!("{case:?} {operation}"))),
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), failures.len() + ran, failures.join("\n"));
    let prefix = format!("{case:?} ");
    let allowed: BTreeSet<String> = GAPS.lines().filter(|l| l.starts_with(&prefix)).map(str::to_owned).collect();
    assert_eq!(uncovered, allowed, "gaps.txt must list exactly what has no {case:?} case");
    assert!(ran > 100, "only {ran} cases ran");
}

#[tokio::test]
async fn nobody_may_do_anything_that_was_not_granted() {
    walk(Case::Authorization).await;
}

#[tokio::test]
async fn what_is_absent_is_said_to_be_so() {
    walk(Case::NotFound).await;
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    walk(Case::DryRun).await;
}

/// The list itself, so that a change of the surface is seen in review.
#[tokio::test]
async fn the_surface_is_as_it_was() {
    let world = World::start().await;
    let operations: Vec<Operation> = world.operations().await;
    let mut lines: Vec<String> = Vec::new();
    for operation in &operations {
        let (verb, what) = (operation.verb.as_str(), operation.what());
        match lines.last_mut() {
            Some(line) if line.split(' ').next() == Some(&what) => {
                line.push(' ');
                line.push_str(verb);
            }
            _ => lines.push(format!("{what} {verb}")),
        }
    }
    expect_test::expect_file!["surface.txt"].assert_eq(&(lines.join("\n") + "\n"));
}
