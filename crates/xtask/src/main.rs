//! Code checks and generators: `cargo run -p xtask -- COMMAND`.

#![forbid(unsafe_code)]

mod tidy;

use anyhow::{Result, bail};
use std::path::Path;

const USAGE: &str = "usage: xtask tidy [--update]   check the house rules, or shrink the ratchet";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    match words[..] {
        ["tidy"] => tidy::run(&root, false),
        ["tidy", "--update"] => tidy::run(&root, true),
        _ => bail!(USAGE),
    }
}
