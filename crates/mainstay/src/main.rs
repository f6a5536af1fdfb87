//! The `mainstay` binary: parse the command line, run the command, and say in one sentence what went wrong.

#![forbid(unsafe_code)]

mod bench;
mod cli;
mod config;
mod local;
mod serve;

use clap::Parser as _;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mainstay: {e:#}");
            ExitCode::FAILURE
        }
    }
}
