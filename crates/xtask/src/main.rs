//! Code checks and generators: `cargo run -p xtask -- COMMAND`.
//!
//! `generate` turns what a real API server answers into the project's own compact tables, so that another Kubernetes
//! version is another run. Must never run as part of a build.

#![forbid(unsafe_code)]

mod conformance;
mod generate;
mod tidy;

use anyhow::{Result, bail};
use std::path::{Path, PathBuf};

const USAGE: &str = "usage: xtask tidy [--update]         check the house rules, or shrink the ratchet
       xtask conformance [--update]  check docs/conformance.md, or write it anew
       xtask generate --facts DIR   write the tables of crates/api-kinds from the facts of an API server";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["tidy"] => tidy::run(&root()?, false),
        ["tidy", "--update"] => tidy::run(&root()?, true),
        ["conformance"] => conformance::run(&root()?, false),
        ["conformance", "--update"] => conformance::run(&root()?, true),
        ["generate", "--facts", dir] => generate::run(Path::new(dir), &root()?.join("crates/api-kinds/data")),
        _ => bail!(USAGE),
    }
}

/// The root of the workspace.
fn root() -> Result<PathBuf> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?)
}
