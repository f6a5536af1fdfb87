//! Which conformance behaviours a test names: `docs/conformance.md`, written from `data/conformance.txt` (upstream's names)
//! and the sources of the tests, and a check that it is true. What no test names may only become less.
//!
//! Looks at names alone: what a test does is its own business.

use anyhow::{Context, Result, bail};
use regex::Regex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

const DOCUMENT: &str = "docs/conformance.md";
const NAMES: &str = "crates/xtask/data/conformance.txt";
/// Starts the list of what has no test.
const GAPS: &str = "## Without a test that names it";

const INTRODUCTION: &str = "# Conformance behaviours and their tests

The behaviours of upstream's conformance suite, by upstream's names, and the test that shows each of them here. A name
stands in the test's doc comment, or in the scripts of `mainstay/tests/clients` in its decorator. Tests of
`controllers/tests/behaviours` run the real API server, controllers and scheduler with nodes that only pretend to run
pods, so that what they show of workloads is all but the containers.

This file is written by `cargo run -p xtask -- conformance --update` and checked by `cargo test -p xtask`. The list of
what has no test may only shrink.
";

/// Checks the document; with `update`, writes it anew.
///
/// # Errors
/// If it is not what the sources say, if a test names what upstream does not, or if the list of gaps has grown.
pub fn run(root: &Path, update: bool) -> Result<()> {
    let path = root.join(DOCUMENT);
    let names = fs::read_to_string(root.join(NAMES)).context("cannot read the names")?;
    let names: BTreeSet<&str> = names.lines().collect();
    let tests = tests(root)?;
    let unknown: Vec<&str> = tests.keys().map(String::as_str).filter(|n| !names.contains(n)).collect();
    if !unknown.is_empty() {
        bail!("upstream has no behaviours of these names:\n{}", unknown.join("\n"));
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let new = document(&names, &tests);
    let grown: Vec<&str> = gaps(&new).into_iter().filter(|gap| !old.is_empty() && !gaps(&old).contains(gap)).collect();
    if !grown.is_empty() {
        bail!("no test names these behaviours any more:\n{}", grown.join("\n"));
    }
    if update {
        return fs::write(&path, new).context("cannot write the document");
    }
    if old != new {
        bail!("{DOCUMENT} is not what the tests say: cargo run -p xtask -- conformance --update");
    }
    Ok(())
}

/// Behaviours with the places of the tests that name them.
type Tests = BTreeMap<String, BTreeSet<String>>;

fn tests(root: &Path) -> Result<Tests> {
    let mut found = Tests::new();
    for file in sources(&root.join("crates"))? {
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let place = file.strip_prefix(root.join("crates")).unwrap_or(&file).display().to_string();
        for (name, test) in named(&text) {
            let place = if test.is_empty() { place.clone() } else { format!("{place}::{test}") };
            found.entry(name).or_default().insert(place);
        }
    }
    Ok(found)
}

/// Behaviours that a source names, each with the function that shows it, if that follows.
fn named(text: &str) -> Vec<(String, String)> {
    let doc = Regex::new(r"^\s*/// (\[sig-.+?)\s*$").expect("a pattern");
    let script = Regex::new(r#"^@?(?:behaviour|life)\("(\[sig-[^"]+)""#).expect("a pattern");
    let function = Regex::new(r"^\s*(?:pub )?(?:async )?(?:fn|def) (\w+)").expect("a pattern");
    let (mut named, mut waiting) = (Vec::new(), Vec::new());
    for line in text.lines() {
        if let Some(found) = doc.captures(line).or_else(|| script.captures(line).filter(|_| line.starts_with('@'))) {
            waiting.push(found[1].to_owned());
        } else if let Some(found) = script.captures(line) {
            named.push((found[1].to_owned(), String::new()));
        } else if let Some(found) = function.captures(line) {
            named.extend(waiting.drain(..).map(|name| (name, found[1].to_owned())));
        }
    }
    named
}

/// Tests and scripts of all crates.
fn sources(crates: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut pending = vec![crates.to_owned()];
    while let Some(dir) = pending.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))? {
            let path = entry?.path();
            let is_source = path.extension().is_some_and(|e| e == "rs" || e == "py");
            if path.is_dir() {
                pending.push(path);
            } else if is_source && path.components().any(|c| c.as_os_str() == "tests") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

fn document(names: &BTreeSet<&str>, tests: &Tests) -> String {
    let (with, without): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| tests.contains_key(**name));
    let mut text = format!("{INTRODUCTION}\n{} of {} behaviours are named by a test.\n\n", with.len(), names.len());
    text.push_str("## With a test\n\n| behaviour | test |\n|---|---|\n");
    for name in with {
        let places: Vec<String> = tests[name].iter().map(|place| format!("`{place}`")).collect();
        // Writing to a string cannot fail.
        writeln!(text, "| {name} | {} |", places.join(", ")).unwrap_or_default();
    }
    write!(text, "\n{GAPS}\n\n").unwrap_or_default();
    for name in without {
        writeln!(text, "- {name}").unwrap_or_default();
    }
    text
}

/// The list of gaps of a document.
fn gaps(document: &str) -> Vec<&str> {
    let list = document.split_once(GAPS).map_or("", |(_, list)| list);
    list.lines().filter_map(|line| line.strip_prefix("- ")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_says_what_the_tests_say() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the workspace");
        if let Err(e) = run(&root, false) {
            panic!("{e:#}");
        }
    }

    #[test]
    fn names_are_found_where_tests_are() {
        let rust =
            "/// [sig-a] A does\n/// [sig-a] B does\n#[test]\nfn both() {}\n\n/// Something else.\nfn other() {}\n";
        let wanted = [("[sig-a] A does", "both"), ("[sig-a] B does", "both")];
        assert_eq!(named(rust), wanted.map(|(n, t)| (n.to_owned(), t.to_owned())));
        let script =
            "@behaviour(\"[sig-a] C does\")\ndef c(api, ns):\n    pass\n\nlife(\"[sig-a] D lives\",\n     1)\n";
        let wanted = [("[sig-a] C does", "c"), ("[sig-a] D lives", "")];
        assert_eq!(named(script), wanted.map(|(n, t)| (n.to_owned(), t.to_owned())));
    }

    #[test]
    fn gaps_are_what_stands_under_their_heading() {
        let document =
            document(&["[sig-a] x", "[sig-a] y"].into(), &[("[sig-a] x".into(), ["t".into()].into())].into());
        assert_eq!(gaps(&document), ["[sig-a] y"]);
        assert!(document.contains("1 of 2 behaviours") && document.contains("| [sig-a] x | `t` |"));
    }
}
