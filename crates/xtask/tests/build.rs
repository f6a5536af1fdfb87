//! `scripts/build.sh` with a compiler and a Cargo that say what they are asked for.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// One at a time: a program that is being written when another process starts would be busy for that.
static ONE: Mutex<()> = Mutex::new(());

const CARGO: &str = r#"#!/bin/sh
printf 'argument %s\n' "$@"
printf 'target %s\n' "$CARGO_TARGET_DIR"
printf 'flags %s' "$CARGO_ENCODED_RUSTFLAGS" | tr '\037' '|'
"#;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository")
}

/// What the script does where that compiler is, with these variables of the environment.
fn build(name: &str, compiler: &str, env: &[(&str, &str)]) -> Output {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let programs = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&programs).expect("a directory");
    for (program, text) in [("cargo", CARGO.to_owned()), ("rustc", format!("#!/bin/sh\necho 'rustc {compiler} (x)'\n"))]
    {
        let path = programs.join(program);
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("one that can be run");
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let mut script = Command::new(repository().join("scripts/build.sh"));
    script.arg("--quiet").env("PATH", path).env("CARGO_TARGET_DIR", "elsewhere");
    script.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    script.envs(env.iter().copied()).output().expect("the script runs")
}

/// The compiler that a profile is there for.
fn profiled() -> (String, String) {
    let mut profiles = fs::read_dir(repository().join("profile")).expect("profiles");
    let file =
        profiles.find_map(|file| file.ok()?.file_name().into_string().ok().filter(|name| name.ends_with(".profdata")));
    let file = file.expect("a profile");
    let version = file.trim_start_matches("rustc-").trim_end_matches(".profdata").to_owned();
    (version, repository().join("profile").join(file).display().to_string())
}

#[test]
fn a_profile_is_used_with_the_flags_of_the_user() {
    let (compiler, profile) = profiled();
    let ours = format!("-Cprofile-use={profile}|-Cllvm-args=-no-pgo-warn-mismatch");
    for (name, env, flags) in [
        ("flags", ("RUSTFLAGS", " -C target-cpu=native  -g"), format!("-C|target-cpu=native|-g|{ours}")),
        ("none", ("RUSTFLAGS", ""), ours.clone()),
        ("encoded", ("CARGO_ENCODED_RUSTFLAGS", "-C\u{1f}link-arg=a b"), format!("-C|link-arg=a b|{ours}")),
        ("empty", ("CARGO_ENCODED_RUSTFLAGS", ""), ours.clone()),
    ] {
        let output = String::from_utf8(build(name, &compiler, &[env]).stdout).expect("text");
        assert!(output.ends_with(&format!("flags {flags}")), "{env:?}: {output}");
        assert!(!output.contains("--config") && output.contains("\nargument --quiet\ntarget target\n"), "{output}");
    }
    let output = String::from_utf8(build("config", &compiler, &[]).stdout).expect("text");
    let config = format!(
        "argument --config\nargument target.'cfg(all())'.rustflags = [\"-Cprofile-use={profile}\", \"-Cllvm-args=-no-pgo-warn-mismatch\", ]\n"
    );
    assert!(output.contains(&config) && output.ends_with("flags "), "{output}");
}

#[test]
fn without_a_profile_it_is_built_all_the_same() {
    let output = build("other", "0.0.1", &[("RUSTFLAGS", "-g")]);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "mainstay: no rustc-0.0.1.profdata in profile/: the binary will take some more memory and time (docs/performance.md)\n"
    );
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(said.starts_with("argument build\nargument --release\n") && !said.contains("--config"), "{said}");
}
