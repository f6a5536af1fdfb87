//! Latencies, CPU time and memory of a measurement, and the line that reports them.

use serde_json::{Map, Value, json};
use std::fs;
use std::time::{Duration, Instant};

/// Clock ticks a second that `/proc/PID/stat` counts in; fixed by the kernel's user interface.
const TICKS_PER_S: f64 = 100.0;

/// A running measurement.
pub struct Meter {
    pids: Vec<i32>,
    started: Instant,
    /// Of each process so far; `None` if it is not there.
    cpu_ticks: Vec<Option<u64>>,
    /// Of this process so far, if it is told.
    client: Option<u64>,
}

impl Meter {
    /// Starts the clock; `pids` are the server's processes.
    pub fn start(pids: &[i32]) -> Self {
        let cpu_ticks = pids.iter().map(|pid| cpu_ticks(*pid)).collect();
        Self { pids: pids.to_vec(), started: Instant::now(), cpu_ticks, client: None }
    }

    /// Tells the CPU time of this process too, which does nothing but what is measured.
    pub fn with_client(self) -> Self {
        Self { client: own_cpu_ticks(), ..self }
    }

    /// Ends it: a line for `operations` operations that took `latencies`, of which `errors` failed.
    pub fn line(&self, op: &str, operations: usize, latencies: &mut [Duration], errors: usize) -> Map<String, Value> {
        let seconds = self.started.elapsed().as_secs_f64();
        let mut line = Map::new();
        line.insert("op".into(), op.into());
        line.insert("count".into(), operations.into());
        line.insert("errors".into(), errors.into());
        line.insert("seconds".into(), rounded(seconds));
        line.insert("per_second".into(), rounded(ratio(operations, seconds)));
        latencies.sort_unstable();
        for (name, quantile) in [("p50_ms", 0.5), ("p90_ms", 0.9), ("p99_ms", 0.99), ("max_ms", 1.0)] {
            if let Some(latency) = at(latencies, quantile) {
                line.insert(name.into(), rounded(latency.as_secs_f64() * 1000.0));
            }
        }
        let each_op = |ticks: u64| json!((ticks as f64 * 1e6 / TICKS_PER_S / operations.max(1) as f64).round() / 1e3);
        if let Some((before, now)) = self.client.zip(own_cpu_ticks()) {
            line.insert("client_cpu_ms_per_op".into(), each_op(now.saturating_sub(before)));
        }
        let spent = |(pid, before): (&i32, &Option<u64>)| Some(cpu_ticks(*pid)?.saturating_sub((*before)?));
        let spent: Vec<Option<u64>> = self.pids.iter().zip(&self.cpu_ticks).map(spent).collect();
        let rss_mb: Vec<Option<f64>> = self.pids.iter().map(|pid| Some(rss_bytes(*pid)? as f64 / 1e6)).collect();
        // Of a process that is gone nothing is known, nor of all of them.
        if let Some(whole) = spent.iter().copied().sum::<Option<u64>>().filter(|_| !spent.is_empty()) {
            line.insert("server_cpu_s".into(), rounded(whole as f64 / TICKS_PER_S));
            line.insert("server_cpu_ms_per_op".into(), each_op(whole));
        }
        if let Some(whole) = rss_mb.iter().copied().sum::<Option<f64>>().filter(|_| !rss_mb.is_empty()) {
            line.insert("server_rss_mb".into(), rounded(whole));
        }
        if self.pids.len() > 1 {
            line.insert("each_cpu_ms_per_op".into(), spent.into_iter().map(|ticks| ticks.map(each_op)).collect());
            line.insert("each_rss_mb".into(), rss_mb.into_iter().map(|mb| mb.map(rounded)).collect());
        }
        line
    }
}

fn ratio(operations: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { operations as f64 / seconds } else { 0.0 }
}

/// Two decimals.
fn rounded(x: f64) -> Value {
    json!((x * 100.0).round() / 100.0)
}

/// The latency at `quantile` of sorted `latencies`.
fn at(latencies: &[Duration], quantile: f64) -> Option<Duration> {
    let last = latencies.len().checked_sub(1)?;
    latencies.get((last as f64 * quantile).round() as usize).copied()
}

/// Of a process so far; `None` if it is gone.
fn cpu_ticks(pid: i32) -> Option<u64> {
    parse_cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn own_cpu_ticks() -> Option<u64> {
    cpu_ticks(i32::try_from(std::process::id()).ok()?)
}

/// User and system time in ticks of `/proc/PID/stat`: fields 14 and 15.
fn parse_cpu(stat: &str) -> Option<u64> {
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// Resident memory of a process; `None` if it is gone.
fn rss_bytes(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_from_the_sorted_latencies() {
        let mut latencies: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let line = Meter::start(&[]).line("get", 100, &mut latencies, 2);
        assert_eq!((line["p50_ms"].clone(), line["p99_ms"].clone()), (json!(51.0), json!(99.0)));
        assert_eq!(line["max_ms"], json!(100.0));
        assert_eq!(line["errors"], json!(2));
    }

    #[test]
    fn several_processes_are_told_together_and_apart() {
        let own = i32::try_from(std::process::id()).expect("a process");
        let line = |pids: &[i32]| Meter::start(pids).line("get", 1, &mut [], 0);
        let (one, two) = (line(&[own]), line(&[own, own]));
        assert!(one["server_rss_mb"].as_f64() > Some(1.0) && !one.contains_key("each_rss_mb"));
        assert_eq!(two["each_cpu_ms_per_op"].as_array().map(Vec::len), Some(2));
        let each: f64 = two["each_rss_mb"].as_array().into_iter().flatten().filter_map(Value::as_f64).sum();
        assert!((two["server_rss_mb"].as_f64().expect("a number") - each).abs() < 0.02, "{two:?}");
        // Nobody has this number.
        let gone = line(&[own, i32::MAX]);
        assert_eq!((gone["each_rss_mb"][1].clone(), gone.get("server_rss_mb")), (Value::Null, None));
        let client = Meter::start(&[]).with_client().line("get", 1, &mut [], 0);
        assert!(client["client_cpu_ms_per_op"].is_number() && !one.contains_key("client_cpu_ms_per_op"));
    }

    #[test]
    fn cpu_time_is_user_and_system() {
        let stat = "12 (a b) S 1 12 12 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0 987654 1000 2000";
        assert_eq!(parse_cpu(stat), Some(560));
    }
}
