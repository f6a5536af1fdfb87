//! Pods and runtime states in, plans out, one line each.

use super::*;
use crate::pod::view::Sandbox;

const HEALTHY: Health = Health { started: true, ready: true, startup_failed: false, liveness_failed: false };

/// `a:running b:exit1` as containers of a ready sandbox; `-` first means that there is no sandbox, `!` a dead one.
fn view(text: &str, pod: &Pod) -> PodView {
    let mut view = PodView::default();
    for word in text.split_whitespace() {
        match word {
            "-" => continue,
            "!" => view.sandboxes.push(Sandbox { id: "s".into(), ready: false, ..Sandbox::default() }),
            _ => {
                let (name, state) = word.split_once(':').unwrap();
                let state = match state {
                    "running" => State::Running,
                    "created" => State::Created,
                    "unknown" => State::Unknown,
                    exit => State::Exited {
                        code: exit[4..].parse().unwrap(),
                        finished_ns: 1_000_000_000,
                        reason: String::new(),
                        message: String::new(),
                    },
                };
                let hash = spec::find_container(pod, name).map(|(_, c)| spec::container_hash(&c)).unwrap_or_default();
                view.containers.push(view::Container {
                    id: format!("id-{name}"),
                    name: name.into(),
                    sandbox: "s".into(),
                    state,
                    attempt: 0,
                    hash,
                    created_ns: 0,
                    started_ns: 0,
                    image: String::new(),
                    image_ref: String::new(),
                    log_path: String::new(),
                    annotations: BTreeMap::new(),
                    termination_log: None,
                });
            }
        }
    }
    if !text.starts_with(['-', '!']) {
        view.sandboxes.push(Sandbox {
            id: "s".into(),
            ready: true,
            ips: vec!["10.0.0.1".into()],
            ..Sandbox::default()
        });
    }
    view
}

fn pod(policy: &str, init: &str, regular: &str) -> Pod {
    let list = |names: &str| -> Vec<serde_json::Value> {
        names
            .split_whitespace()
            .map(|n| match n.strip_suffix('+') {
                Some(name) => serde_json::json!({"name": name, "image": "i", "restartPolicy": "Always"}),
                None => serde_json::json!({"name": n, "image": "i"}),
            })
            .collect()
    };
    serde_json::from_value(serde_json::json!({"metadata": {"name": "p", "uid": "u"},
        "spec": {"restartPolicy": policy, "initContainers": list(init), "containers": list(regular)}}))
    .unwrap()
}

fn render(plan: &Plan) -> String {
    let mut words: Vec<String> = Vec::new();
    words.extend(plan.finish.then(|| "finish".into()));
    words.extend(plan.replace_sandbox.then(|| "replace".into()));
    words.extend(plan.create_sandbox.map(|n| format!("sandbox{n}")));
    words.extend(plan.kill.iter().map(|k| format!("kill:{}", k.name)));
    words.extend(plan.start.iter().map(|s| format!("start:{}#{}", s.name, s.attempt)));
    words.extend(plan.waiting.keys().map(|n| format!("wait:{n}")));
    words.join(" ")
}

#[test]
fn plans() {
    let sick = Health { liveness_failed: true, ..HEALTHY };
    let starting = Health { started: false, ready: false, ..HEALTHY };
    for (policy, init, regular, state, health, want) in [
        ("Always", "", "a", "-", HEALTHY, "sandbox0"),
        ("Always", "", "a", "", HEALTHY, "start:a#0"),
        ("Always", "", "a b", "a:running", HEALTHY, "start:b#0"),
        ("Always", "", "a", "a:running", HEALTHY, ""),
        ("Always", "", "a", "a:exit0", HEALTHY, "start:a#1"),
        ("OnFailure", "", "a", "a:exit0", HEALTHY, "finish"),
        ("OnFailure", "", "a b", "a:exit0 b:running", HEALTHY, ""),
        ("OnFailure", "", "a", "a:exit1", HEALTHY, "start:a#1"),
        ("Never", "", "a", "a:exit1", HEALTHY, "finish"),
        ("Never", "", "a", "a:created", HEALTHY, "start:a#1"),
        ("Always", "", "a", "! a:exit0", HEALTHY, "replace sandbox1"),
        ("Never", "", "a", "! a:running", HEALTHY, "finish"),
        ("Never", "", "a", "!", HEALTHY, "replace sandbox1"),
        ("OnFailure", "", "a", "! a:exit0", HEALTHY, "finish"),
        // Probes.
        ("Always", "", "a", "a:running", sick, "kill:a start:a#1"),
        ("Never", "", "a", "a:running", sick, "kill:a"),
        ("Always", "", "a", "a:running", starting, ""),
        // Init containers and sidecars.
        ("Always", "i j", "a", "", HEALTHY, "start:i#0"),
        ("Always", "i j", "a", "i:running", HEALTHY, ""),
        ("Always", "i j", "a", "i:exit0", HEALTHY, "start:j#0"),
        ("Always", "i j", "a", "i:exit0 j:exit0", HEALTHY, "start:a#0"),
        ("Always", "i", "a", "i:exit1", HEALTHY, "start:i#1"),
        ("Never", "i", "a", "i:exit1", HEALTHY, "finish"),
        ("Always", "i", "a", "a:running", HEALTHY, ""),
        ("Always", "s+ i", "a", "", HEALTHY, "start:s#0"),
        ("Always", "s+ i", "a", "s:running", starting, ""),
        ("Always", "s+ i", "a", "s:running", HEALTHY, "start:i#0"),
        ("Never", "s+", "a", "s:exit1 a:running", HEALTHY, "start:s#1"),
        ("Never", "s+", "a", "s:running a:exit0", HEALTHY, "finish"),
    ] {
        let pod = pod(policy, init, regular);
        let view = view(state, &pod);
        let backoff = Backoff::default();
        let inputs = Inputs {
            pod: &pod,
            view: &view,
            health: &|_| health,
            backoff: &backoff,
            now: DateTime::from_timestamp(2, 0).unwrap(),
        };
        assert_eq!(render(&plan(&inputs)), want, "{policy} init[{init}] containers[{regular}] in state [{state}]");
    }
}

#[test]
fn a_crashing_container_waits() {
    let pod = pod("Always", "", "a");
    let view = view("a:exit1", &pod);
    let mut backoff = Backoff::default();
    let at = |s| DateTime::from_timestamp(s, 0).unwrap();
    backoff.next(&backoff_key(&pod, &spec::containers(&pod)[0]), at(1), at(1));
    let inputs = |now| Inputs { pod: &pod, view: &view, health: &|_| HEALTHY, backoff: &backoff, now };
    let waits = plan(&inputs(at(5)));
    assert_eq!((render(&waits).as_str(), waits.wake_at), ("wait:a", Some(at(11))));
    assert_eq!(waits.waiting["a"].message, "back-off 10s restarting failed container=a pod=p_default(u)");
    assert_eq!(render(&plan(&inputs(at(11)))), "start:a#1");
}

#[test]
fn a_changed_image_restarts() {
    let pod = pod("Never", "", "a");
    let mut view = view("a:running", &pod);
    view.containers[0].hash = "old".into();
    let backoff = Backoff::default();
    let inputs = Inputs {
        pod: &pod,
        view: &view,
        health: &|_| HEALTHY,
        backoff: &backoff,
        now: DateTime::from_timestamp(2, 0).unwrap(),
    };
    assert_eq!(render(&plan(&inputs)), "kill:a start:a#1");
}
