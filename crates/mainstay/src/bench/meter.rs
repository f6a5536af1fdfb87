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
    cpu_ticks: u64,
}

impl Meter {
    /// Starts the clock; `pids` are the server's processes.
    pub fn start(pids: &[i32]) -> Self {
        Self { pids: pids.to_vec(), started: Instant::now(), cpu_ticks: cpu_ticks(pids) }
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
        if !self.pids.is_empty() {
            let cpu_s = (cpu_ticks(&self.pids) - self.cpu_ticks) as f64 / TICKS_PER_S;
            line.insert("server_cpu_s".into(), rounded(cpu_s));
            line.insert("server_cpu_ms_per_op".into(), json!((cpu_s * 1e6 / operations.max(1) as f64).round() / 1e3));
            line.insert("server_rss_mb".into(), rounded(rss_bytes(&self.pids) as f64 / 1e6));
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

fn cpu_ticks(pids: &[i32]) -> u64 {
    pids.iter().filter_map(|pid| parse_cpu(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).sum()
}

/// User and system time in ticks of `/proc/PID/stat`: fields 14 and 15.
fn parse_cpu(stat: &str) -> Option<u64> {
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut fields = rest.split(' ').skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

fn rss_bytes(pids: &[i32]) -> u64 {
    let rss = |pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|l| l.starts_with("VmRSS:"))?;
        line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    pids.iter().filter_map(rss).sum()
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
    fn cpu_time_is_user_and_system() {
        let stat = "12 (a b) S 1 12 12 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0 987654 1000 2000";
        assert_eq!(parse_cpu(stat), Some(560));
    }
}
