//! The `mainstay` binary: parse the command line, run the command, and say in one sentence what went wrong.

#![deny(unsafe_code)]

mod allocator;
mod bench;
mod cli;
mod config;
mod local;
mod serve;
mod tls;

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    allocator::give_back_soon();
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("mainstay: {}", sentence(&e));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes as one sentence on one line, each said once.
fn sentence(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain() {
        // What the API answered is in its message; the rest of that error repeats it.
        let (text, last) = match cause.downcast_ref() {
            Some(kube::Error::Api(status)) => (status.message.clone(), true),
            _ => (cause.to_string(), false),
        };
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !said.contains(&text) {
            let joint = if said.is_empty() { "" } else { ": " };
            said = format!("{said}{joint}{text}");
        }
        if last {
            break;
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::anyhow;

    #[test]
    fn an_error_is_one_line_that_says_nothing_twice() {
        let error = anyhow!("no space\n  left").context("cannot write x: no space left").context("cannot start");
        assert_eq!(sentence(&error), "cannot start: cannot write x: no space left");
    }
}
