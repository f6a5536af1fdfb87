//! Python scripts, in a virtual environment of the build's own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use testbed::{ApiServer, ServerOptions, run};

/// What is installed beside Python's own library. A change of it makes a new environment.
const PACKAGES: &str = "kubernetes==31.0.0";

/// The interpreter of an environment that has [`PACKAGES`]; made if it is not there.
fn interpreter() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{PACKAGES}"));
        let python = dir.join("bin/python");
        let done = dir.join("complete");
        if !done.exists() {
            must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&dir));
            must(Command::new(&python).args(["-m", "pip", "install", "--quiet", PACKAGES]));
            std::fs::write(&done, PACKAGES).expect("a note that it is complete");
        }
        python
    })
}

fn must(command: &mut Command) {
    let ended = run(command, "").expect("it runs");
    assert!(ended.code == 0, "{command:?}: exit code {}: {}{}", ended.code, ended.stdout, ended.stderr);
}

/// Runs a script against a server of its own.
fn script(name: &str) {
    let python = interpreter();
    let options = ServerOptions { roles: "api,controllers".into(), ..ServerOptions::default() };
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), options).expect("a server");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    let mut command = Command::new(python);
    command.arg("-B").arg(dir.join(name)).env("KUBECONFIG", server.kubeconfig()).env("HOME", server.root());
    let ended = run(&mut command, "").expect("Python runs");
    println!("{}", ended.stdout);
    assert!(ended.code == 0, "{name}: {}{}\n{}", ended.stdout, ended.stderr, tail(&server.log()));
}

fn tail(log: &str) -> &str {
    let start = log.char_indices().rev().nth(4000).map_or(0, |(at, _)| at);
    &log[start..]
}

#[test]
fn behaviours_of_api_machinery_hold() {
    script("machinery.py");
}

#[test]
fn behaviours_of_resources_hold() {
    script("resources.py");
}

#[test]
fn the_python_client_works() {
    script("library.py");
}
