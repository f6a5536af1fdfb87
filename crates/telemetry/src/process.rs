//! What the kernel knows of this process, under the names that every Prometheus client gives it.
//!
//! Knows Linux' `/proc` alone. Tests are below.

use crate::metrics::{Error, Gauge, Opts, Registry};
use prometheus::Counter;
use std::fs;

/// Ticks are 10 ms on every Linux that this runs on.
const TICKS_PER_S: f64 = 100.0;

/// Handles of the metrics.
#[derive(Debug)]
pub struct Process {
    cpu_seconds: Counter,
    start_time_s: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    virtual_max_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
}

impl Process {
    /// Registers them.
    ///
    /// # Errors
    /// If the registry has metrics of these names.
    pub fn new(registry: &Registry) -> Result<Self, Error> {
        let gauge = |name: &str, help: &str| {
            let gauge = Gauge::with_opts(Opts::new(name, help))?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, Error>(gauge)
        };
        let cpu_seconds = Counter::with_opts(Opts::new("process_cpu_seconds_total", "CPU time of this process."))?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        Ok(Self {
            cpu_seconds,
            start_time_s: gauge("process_start_time_seconds", "When this process started, since the epoch.")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Memory of this process that is in RAM.")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Address space of this process.")?,
            virtual_max_bytes: gauge("process_virtual_memory_max_bytes", "Most address space it may have.")?,
            open_fds: gauge("process_open_fds", "Open file descriptors of this process.")?,
            max_fds: gauge("process_max_fds", "Most file descriptors it may open.")?,
        })
    }

    /// Brings them up to date. What cannot be read stays as it was.
    pub fn gather(&self) {
        let Ok(stat) = fs::read_to_string("/proc/self/stat") else { return };
        // The name before may hold anything, but ends with the last bracket.
        let fields: Vec<&str> = stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
        let field = |i: usize| fields.get(i).and_then(|f| f.trim().parse::<f64>().ok());
        if let (Some(user), Some(system)) = (field(11), field(12)) {
            self.cpu_seconds.inc_by(((user + system) / TICKS_PER_S - self.cpu_seconds.get()).max(0.0));
        }
        if let (Some(start), Some(booted)) = (field(19), booted_s()) {
            self.start_time_s.set(booted + start / TICKS_PER_S);
        }
        if let Some(bytes) = field(20) {
            self.virtual_bytes.set(bytes);
        }
        if let Some(bytes) = resident_bytes() {
            self.resident_bytes.set(bytes);
        }
        if let Ok(fds) = fs::read_dir("/proc/self/fd") {
            // One of them is this directory.
            self.open_fds.set(fds.count().saturating_sub(1) as f64);
        }
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        for (name, gauge) in [("Max open files", &self.max_fds), ("Max address space", &self.virtual_max_bytes)] {
            if let Some(most) =
                limits.lines().find_map(|l| l.strip_prefix(name)).and_then(|l| l.split_whitespace().next())
            {
                gauge.set(most.parse().unwrap_or(f64::INFINITY));
            }
        }
    }
}

fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024.0)
}

fn booted_s() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|l| l.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_itself() {
        let registry = Registry::new();
        let process = Process::new(&registry).expect("registered");
        process.gather();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("later").as_secs_f64();
        let age = now - process.start_time_s.get();
        assert!((-2.0..3600.0).contains(&age), "{age}");
        assert!(process.resident_bytes.get() > 1e5 && process.virtual_bytes.get() >= process.resident_bytes.get());
        let open = process.open_fds.get();
        assert!(open >= 3.0 && process.max_fds.get() >= open, "{open}");
        let file = fs::File::open("/proc/self/stat").expect("a file");
        let more: Vec<fs::File> = (0..20).map(|_| file.try_clone().expect("a copy")).collect();
        process.gather();
        assert!(process.open_fds.get() >= open + 20.0 - 10.0);
        drop(more);
    }
}
