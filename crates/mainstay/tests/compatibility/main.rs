//! Replays what a real v1.30 API server was recorded to answer, against our own API server.
//!
//! A scenario passes if status codes, reasons and causes agree, and for successes the whole answer, after volatile
//! values are blanked. The floor in `floor.txt` only rises. `MAINSTAY_REPLAY=all` replays every scenario and prints a
//! line for each group; without it a fifth of them is replayed, which is what fits into a run of all tests.

mod compare;

use compare::Verdict;
use flate2::read::GzDecoder;
use http::Request;
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde::Deserialize;
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead as _, BufReader};
use testbed::{ApiServer, ServerOptions};

const RECORDED: &[u8] = include_bytes!("../data/recorded.jsonl.gz");
/// Of so many scenarios one is replayed, unless all are.
const SAMPLE: usize = 5;
/// Scenarios of one resource share objects and go one after the other; so many resources go at once.
const WORKERS: usize = 4;

#[derive(Debug, Deserialize)]
struct Scenario {
    name: String,
    steps: Vec<Step>,
}

#[derive(Debug, Deserialize)]
struct Step {
    method: String,
    path: String,
    #[serde(default)]
    body: Option<Value>,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default, rename = "as")]
    acting_as: Option<String>,
    #[serde(default)]
    ignore: bool,
    #[serde(default)]
    code: u16,
    #[serde(default)]
    answer: Value,
    #[serde(default)]
    warnings: Vec<String>,
}

fn scenarios(all: bool) -> Vec<Scenario> {
    let lines = BufReader::new(GzDecoder::new(RECORDED)).lines();
    lines
        .enumerate()
        .filter(|(i, _)| all || i % SAMPLE == 0)
        .map(|(_, line)| serde_json::from_str(&line.expect("readable")).expect("a scenario"))
        .collect()
}

/// The resource that a scenario is about: the second part of its name.
fn resource(name: &str) -> &str {
    name.split('/').nth(1).unwrap_or(name)
}

async fn replay(client: &kube::Client, scenario: &Scenario) -> Verdict {
    let mut worst = Verdict::Same;
    for step in &scenario.steps {
        let (code, answer, warnings) = send(client, step).await;
        if step.ignore {
            continue;
        }
        let mut verdict =
            compare::verdict(step.code, &compare::blank(step.answer.clone()), code, &compare::blank(answer));
        if verdict == Verdict::Same && warnings != step.warnings {
            verdict = Verdict::Differs(format!("warnings {warnings:?}, not {:?}", step.warnings));
        }
        match verdict {
            Verdict::Differs(why) => return Verdict::Differs(format!("{} {}: {why}", step.method, step.path)),
            Verdict::Words => worst = Verdict::Words,
            Verdict::Same => {}
        }
    }
    worst
}

async fn send(client: &kube::Client, step: &Step) -> (u16, Value, Vec<String>) {
    let body = match &step.body {
        None => Vec::new(),
        Some(Value::String(text)) => text.clone().into_bytes(),
        Some(value) => serde_json::to_vec(value).expect("JSON"),
    };
    let mut request = Request::builder().method(step.method.as_str()).uri(&step.path);
    for (name, default) in [("Content-Type", "application/json"), ("Accept", "application/json")] {
        request = request.header(name, step.headers.get(name).map_or(default, String::as_str));
    }
    for (name, value) in step.headers.iter().filter(|(name, _)| !["Content-Type", "Accept"].contains(&name.as_str())) {
        request = request.header(name, value);
    }
    if let Some(user) = &step.acting_as {
        request = request.header("Impersonate-User", user);
    }
    let request = request.body(Body::from(body)).expect("a request");
    let answer = client.send(request).await.expect("the server answers");
    let (head, body) = answer.into_parts();
    let bytes = body.collect().await.expect("the answer is whole").to_bytes();
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    let value = serde_json::from_slice(&bytes).unwrap_or_else(|_| text());
    let warnings = head.headers.get_all("warning").iter().filter_map(|w| Some(w.to_str().ok()?.to_owned()));
    (head.status.as_u16(), value, warnings.collect())
}

#[derive(Debug, Default, Clone, Copy)]
struct Score {
    good: usize,
    exact: usize,
    total: usize,
}

#[test]
fn answers_are_those_of_a_real_server() {
    let all = std::env::var("MAINSTAY_REPLAY").is_ok_and(|v| v == "all");
    let floor: f64 = include_str!("floor.txt").trim().parse().expect("a percentage");
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("no other provider");
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), ServerOptions::default()).expect("a server");
    let mut lanes: Vec<Vec<Scenario>> = (0..WORKERS).map(|_| Vec::new()).collect();
    let mut lane_of: HashMap<String, usize> = HashMap::new();
    for scenario in scenarios(all) {
        let next = lane_of.len() % WORKERS;
        let lane = *lane_of.entry(resource(&scenario.name).to_owned()).or_insert(next);
        lanes[lane].push(scenario);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let (groups, failures) = runtime.block_on(run(&server, lanes));
    let sum = groups.values().fold(Score::default(), |a, b| Score {
        good: a.good + b.good,
        exact: a.exact + b.exact,
        total: a.total + b.total,
    });
    if all {
        for (group, score) in &groups {
            println!("{:5} of {:5}  {group}", score.good, score.total);
        }
        println!("{}", failures.join("\n"));
    }
    let percent = 100.0 * sum.good as f64 / sum.total as f64;
    println!(
        "{} of {} scenarios answer as recorded ({} word for word): {percent:.1} %",
        sum.good, sum.total, sum.exact
    );
    assert!(
        percent >= floor,
        "{percent:.1} % is under the floor of {floor} %; first: {:#?}",
        &failures[..failures.len().min(20)]
    );
}

async fn run(server: &ApiServer, lanes: Vec<Vec<Scenario>>) -> (BTreeMap<String, Score>, Vec<String>) {
    let mut tasks = Vec::new();
    for lane in lanes {
        let client = client::from_kubeconfig(&server.kubeconfig()).await.expect("a client");
        tasks.push(tokio::spawn(async move {
            let mut done = Vec::new();
            for scenario in lane {
                done.push((scenario.name.clone(), replay(&client, &scenario).await));
            }
            done
        }));
    }
    let mut groups: BTreeMap<String, Score> = BTreeMap::new();
    let mut failures = Vec::new();
    for task in tasks {
        for (name, verdict) in task.await.expect("no panic") {
            let group = name.split('/').take(2).collect::<Vec<_>>().join("/");
            let score = groups.entry(group).or_default();
            score.total += 1;
            match verdict {
                Verdict::Same => (score.good, score.exact) = (score.good + 1, score.exact + 1),
                Verdict::Words => score.good += 1,
                Verdict::Differs(why) => failures.push(format!("{name}: {why}")),
            }
        }
    }
    (groups, failures)
}
