//! `mainstay bench` against a small server: that it measures what it is asked to, and leaves nothing behind. How fast that is
//! is not of interest here.

use serde_json::Value;
use std::process::{Command, Output};
use testbed::{ApiServer, ServerOptions};

const BINARY: &str = env!("CARGO_BIN_EXE_mainstay");

fn bench(server: &ApiServer, ops: &str) -> Output {
    let sizes = "--objects 30 --changes 20 --watchers 5 --clients 4 --greedy 3 --lists 2 --label small";
    Command::new(BINARY)
        .args(["bench", "api", "--ops", ops, "--kubeconfig"])
        .arg(server.kubeconfig())
        .args(sizes.split(' '))
        .output()
        .expect("the binary")
}

#[test]
fn each_measurement_counts_what_it_has_done() {
    let server = ApiServer::start(BINARY, ServerOptions::default()).expect("a server");
    let output = bench(&server, "create,get,list,table,patch,watch,catch-up,fairness");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("text");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let told: Vec<_> =
        lines.iter().map(|line| (line["op"].as_str().unwrap_or_default(), line["count"].as_u64())).collect();
    let wanted = [
        ("create", 30),
        ("get", 30),
        ("list", 2),
        ("list-cached", 2),
        ("table", 2),
        ("patch", 30),
        // 20 changes, seen by 5.
        ("watch", 100),
        ("catch-up", 100),
        ("fairness-quiet", 20),
        ("fairness-loaded", 20),
        ("delete", 30),
    ];
    assert_eq!(told, wanted.map(|(op, count)| (op, Some(count))));
    for line in &lines {
        assert_eq!((line["errors"].as_u64(), line["label"].as_str()), (Some(0), Some("small")), "{line}");
        assert!(line["per_second"].as_f64() > Some(0.0), "{line}");
    }
    let left = server.kubectl().expect("kubectl").ok("get namespaces --field-selector status.phase=Active -o name");
    assert!(!left.contains("bench-"), "{left}");
}

#[test]
fn what_cannot_be_measured_is_told_before_anything_is_made() {
    let server = ApiServer::start(BINARY, ServerOptions::default()).expect("a server");
    let output = bench(&server, "create,gets");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), output.stdout.is_empty()), (Some(1), true), "{told}");
    assert!(told.contains("there is no measurement \"gets\"; there are create, get,"), "{told}");
    let left = server.kubectl().expect("kubectl").ok("get namespaces -o name");
    assert!(!left.contains("bench-"), "{left}");
}
