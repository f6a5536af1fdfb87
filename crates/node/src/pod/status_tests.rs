//! Runtime states in, phases and container states out.

use super::*;
use crate::pod::view::Sandbox;

const HEALTHY: Health = Health { started: true, ready: true, startup_failed: false, liveness_failed: false };

fn pod(policy: &str, init: &[&str], regular: &[&str]) -> Pod {
    let list = |names: &[&str]| -> Vec<serde_json::Value> {
        names.iter().map(|n| serde_json::json!({"name": n, "image": "i"})).collect()
    };
    serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": list(init), "containers": list(regular)}}))
    .unwrap()
}

fn view(text: &str) -> PodView {
    let containers = text
        .split_whitespace()
        .map(|word| {
            let (name, state) = word.split_once(':').unwrap();
            let state = match state.strip_prefix("exit") {
                Some(code) => State::Exited {
                    code: code.parse().unwrap(),
                    finished_ns: 2_000_000_000,
                    reason: String::new(),
                    message: String::new(),
                },
                None => State::Running,
            };
            view::Container {
                id: format!("id-{name}"),
                name: name.into(),
                sandbox: "s".into(),
                state,
                attempt: 0,
                hash: String::new(),
                created_ns: 0,
                started_ns: 1_000_000_000,
                image: "i".into(),
                image_ref: "sha256:1".into(),
                log_path: String::new(),
                annotations: BTreeMap::new(),
                termination_log: None,
            }
        })
        .collect();
    PodView {
        sandboxes: vec![Sandbox { id: "s".into(), ready: true, ips: vec!["10.0.0.1".into()], ..Sandbox::default() }],
        containers,
    }
}

fn status(pod: &Pod, view: &PodView, health: Health, ended: bool, waiting: &[&str]) -> PodStatus {
    let waiting = waiting
        .iter()
        .map(|n| ((*n).to_owned(), Waiting { reason: "CrashLoopBackOff".into(), message: String::new() }))
        .collect();
    let now = DateTime::from_timestamp(10, 0).unwrap();
    generate(&Inputs {
        pod,
        view,
        health: &|_| health,
        waiting: &waiting,
        old: &PodStatus::default(),
        host_ip: "1.2.3.4",
        start_time: now,
        ended,
        failed: None,
        runtime_name: "containerd",
        now,
    })
}

fn condition(s: &PodStatus, type_: &str) -> String {
    let c = s.conditions.iter().flatten().find(|c| c.type_ == type_).unwrap();
    format!("{} {} {}", c.status, c.reason.as_deref().unwrap_or("-"), c.message.as_deref().unwrap_or("-"))
}

#[test]
fn phases() {
    for (policy, init, regular, state, waiting, ended, want) in [
        ("Always", &[][..], &["a"][..], "", &[][..], false, "Pending"),
        ("Always", &[], &["a", "b"], "a:running", &[], false, "Pending"),
        ("Always", &[], &["a"], "a:running", &[], false, "Running"),
        ("Always", &[], &["a"], "a:exit1", &["a"], false, "Running"),
        ("Always", &[], &["a"], "a:exit0", &[], true, "Succeeded"),
        ("Always", &[], &["a"], "a:exit137", &[], true, "Failed"),
        ("Never", &[], &["a"], "a:exit1", &[], false, "Failed"),
        ("Never", &[], &["a", "b"], "a:exit0 b:exit0", &[], false, "Succeeded"),
        ("OnFailure", &[], &["a"], "a:exit1", &["a"], false, "Running"),
        ("Never", &["i"], &["a"], "i:exit1", &[], false, "Failed"),
        ("Always", &["i"], &["a"], "i:exit1", &["i"], false, "Pending"),
        ("Always", &["i"], &["a"], "i:exit0 a:running", &[], false, "Running"),
    ] {
        let pod = pod(policy, init, regular);
        let got = status(&pod, &view(state), HEALTHY, ended, waiting);
        assert_eq!(got.phase.as_deref(), Some(want), "{policy} {init:?} {regular:?} [{state}]");
    }
}

#[test]
fn conditions_name_who_is_to_blame() {
    let p = pod("Always", &[], &["a", "b"]);
    let s = status(&p, &view("a:running b:running"), Health { ready: false, ..HEALTHY }, false, &[]);
    assert_eq!(condition(&s, "Ready"), "False ContainersNotReady containers with unready status: [a b]");
    assert_eq!(condition(&s, "Initialized"), "True - -");
    let s = status(&p, &view("a:running b:running"), HEALTHY, false, &[]);
    assert_eq!(condition(&s, "Ready"), "True - -");
    assert_eq!(s.pod_ip.as_deref(), Some("10.0.0.1"));
    let p = pod("Always", &["i"], &["a"]);
    let s = status(&p, &view("i:running"), HEALTHY, false, &[]);
    assert_eq!(condition(&s, "Initialized"), "False ContainersNotInitialized containers with incomplete status: [i]");
    let waiting = s.container_statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
}

#[test]
fn a_crash_loop_shows_the_last_exit() {
    let p = pod("Always", &[], &["a"]);
    let s = status(&p, &view("a:exit3"), HEALTHY, false, &["a"]);
    let c = &s.container_statuses.unwrap()[0];
    assert_eq!(c.state.as_ref().unwrap().waiting.as_ref().unwrap().reason.as_deref(), Some("CrashLoopBackOff"));
    assert_eq!(c.last_state.as_ref().unwrap().terminated.as_ref().unwrap().exit_code, 3);
    assert_eq!(c.container_id.as_deref(), Some("containerd://id-a"));
}
