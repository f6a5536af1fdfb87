//! The corpus, and changes of it, with every run of the tests: no fuzzer is needed here. The changes are the same in every
//! run. Whoever looks for more runs `make fuzz`.
//!
//! It runs on a thread with the stack that a worker of the server has, so that a parser that recurses too deeply is found.

use fuzzing::{TARGETS, Target};
use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// Stack of a thread that serves requests.
const STACK_BYTES: usize = 2 << 20;
/// Longest that one input of the corpus may take, in a build without optimization on a busy machine.
const INPUT_MAX: Duration = Duration::from_secs(20);
/// Bytes of an input that is changed.
const CHANGED_BYTES_MAX: usize = 4096;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let dir = root().join("corpus").join(target.name);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("an entry").path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.clone(), fs::read(&file).expect("a file"))).collect()
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("64 bits") % end
    }

    /// An input with some changes: bytes replaced, taken, put in, doubled, or joined from another input.
    fn change(&mut self, inputs: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].1.clone();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len() + 1);
            let end = at + self.below((bytes.len() - at).min(16) + 1);
            match self.below(6) {
                0 if at < bytes.len() => bytes[at] = u8::try_from(self.below(256)).expect("a byte"),
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, b"{}[]()\",:.\\=-+0919e \n\0*/$%~|&!?@"[self.below(32)]),
                3 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                4 => {
                    let other = &inputs[self.below(inputs.len())].1;
                    let from = self.below(other.len() + 1);
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[from..]);
                }
                _ if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                _ => {}
            }
        }
        bytes.truncate(CHANGED_BYTES_MAX);
        bytes
    }
}

/// Runs one input; what it says if it fails.
fn run(target: Target, place: &str, data: &[u8]) -> Option<String> {
    let data = data.to_vec();
    let started = Instant::now();
    let shown = String::from_utf8_lossy(&data[..data.len().min(2000)]).into_owned();
    let failed = catch_unwind(|| (target.run)(&data)).is_err();
    if failed {
        return Some(format!("{}: {place} fails: {shown:?}", target.name));
    }
    (started.elapsed() > INPUT_MAX).then(|| format!("{}: {place} takes {:?}", target.name, started.elapsed()))
}

fn replay(target: Target) -> Vec<String> {
    let inputs = corpus(&target);
    assert!(!inputs.is_empty(), "{} has no corpus", target.name);
    let mut failures: Vec<String> =
        inputs.iter().filter_map(|(file, data)| run(target, &file.display().to_string(), data)).collect();
    // The fuzzer's first input.
    failures.extend(run(target, "nothing", b""));
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for change in 0..target.changes {
        failures.extend(run(target, &format!("change {change}"), &dice.change(&inputs)));
        if failures.len() >= 5 {
            break;
        }
    }
    failures
}

/// All targets whose place in the list leaves this rest, so that they run on several threads.
fn replay_every(rest: usize, of: usize) {
    let only = std::env::var("FUZZ_TARGET").ok();
    let mut failures = Vec::new();
    for (_, target) in TARGETS.iter().enumerate().filter(|(place, _)| place % of == rest) {
        if only.as_ref().is_some_and(|only| only != target.name) {
            continue;
        }
        let target = *target;
        let thread = thread::Builder::new().name(target.name.into()).stack_size(STACK_BYTES);
        failures.extend(thread.spawn(move || replay(target)).expect("a thread").join().expect("a result"));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_corpus_and_its_changes_hold_0() {
    replay_every(0, 2);
}

#[test]
fn the_corpus_and_its_changes_hold_1() {
    replay_every(1, 2);
}

#[test]
fn each_target_is_one_of_the_fuzzer_and_the_other_way_round() {
    let names: BTreeSet<String> = TARGETS.iter().map(|t| t.name.to_owned()).collect();
    let files = |dir: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(root().join(dir)).expect("a directory");
        entries
            .map(|e| e.expect("an entry").path().file_stem().expect("a name").to_string_lossy().into_owned())
            .collect()
    };
    assert_eq!(files("fuzz_targets"), names, "files of targets");
    assert_eq!(files("corpus"), names, "directories of corpora");
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no binary of fuzz/Cargo.toml");
        let file = fs::read_to_string(root().join(format!("fuzz_targets/{name}.rs"))).expect("a target");
        assert!(file.contains(&format!("target!(\"{name}\")")), "{name} runs another target");
    }
}
