//! What priority and fairness counts, under upstream's names.

use flow::System;
use std::time::Duration;
use telemetry::metrics::{
    self, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry,
};

/// Upper bounds of waiting and executing times, in seconds, as upstream's.
const TIMES_S: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];
/// Upper bounds of seats.
const SEATS: &[f64] = &[1.0, 2.0, 4.0, 10.0];
/// Upper bounds of numbers of watchers.
const WATCHERS: &[f64] = &[0.0, 1.0, 10.0, 100.0, 1000.0, 10_000.0];
const LEVEL: &[&str] = &["priority_level"];
const LEVEL_SCHEMA: &[&str] = &["priority_level", "flow_schema"];

#[derive(Debug)]
pub(super) struct Metrics {
    dispatched: IntCounterVec,
    rejected: IntCounterVec,
    waits: HistogramVec,
    executions: HistogramVec,
    estimates: HistogramVec,
    watchers: HistogramVec,
    waiting: IntGaugeVec,
    executing: IntGaugeVec,
    seats: IntGaugeVec,
    seats_waiting: IntGaugeVec,
    levels: Levels,
}

/// Gauges that are set when somebody looks.
#[derive(Debug)]
struct Levels {
    nominal: IntGaugeVec,
    lower: IntGaugeVec,
    upper: IntGaugeVec,
    current: IntGaugeVec,
    old_limit: IntGaugeVec,
    target: GaugeVec,
    high: GaugeVec,
    average: GaugeVec,
    deviation: GaugeVec,
    smoothed: GaugeVec,
    r: GaugeVec,
    fair: Gauge,
}

/// The metrics of one schema, found once.
#[derive(Debug, Clone)]
pub(super) struct SchemaMetrics {
    pub(super) dispatched: IntCounter,
    pub(super) waited: Histogram,
    pub(super) refused_waits: Histogram,
    pub(super) executed: Histogram,
    pub(super) watched: Histogram,
    pub(super) estimated: Histogram,
    pub(super) watchers: Histogram,
    pub(super) waiting: metrics::IntGauge,
    pub(super) executing: metrics::IntGauge,
    pub(super) seats: metrics::IntGauge,
    pub(super) seats_waiting: metrics::IntGauge,
}

fn float_gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, metrics::Error> {
    let gauge = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

impl Metrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let gauge = |name, help, labels| metrics::gauge(registry, name, help, labels);
        let counter = |name, help, labels| metrics::counter(registry, name, help, labels);
        let histogram = |name, help, labels, buckets| metrics::histogram(registry, name, help, labels, buckets);
        Ok(Self {
            dispatched: counter("apiserver_flowcontrol_dispatched_requests_total", "Requests executed.", LEVEL_SCHEMA)?,
            rejected: counter(
                "apiserver_flowcontrol_rejected_requests_total",
                "Requests refused.",
                &["priority_level", "flow_schema", "reason"],
            )?,
            waits: histogram(
                "apiserver_flowcontrol_request_wait_duration_seconds",
                "Time in a queue.",
                &["priority_level", "flow_schema", "execute"],
                TIMES_S,
            )?,
            executions: histogram(
                "apiserver_flowcontrol_request_execution_seconds",
                "Time of execution; of a watch, that of its start.",
                &["priority_level", "flow_schema", "type"],
                TIMES_S,
            )?,
            estimates: histogram(
                "apiserver_flowcontrol_work_estimated_seats",
                "Seats that requests were estimated to need.",
                LEVEL_SCHEMA,
                SEATS,
            )?,
            watchers: histogram(
                "apiserver_flowcontrol_watch_count_samples",
                "Watchers that a change was to be told to.",
                LEVEL_SCHEMA,
                WATCHERS,
            )?,
            waiting: gauge("apiserver_flowcontrol_current_inqueue_requests", "Requests in queues.", LEVEL_SCHEMA)?,
            executing: gauge("apiserver_flowcontrol_current_executing_requests", "Requests executed.", LEVEL_SCHEMA)?,
            seats: gauge("apiserver_flowcontrol_current_executing_seats", "Seats taken.", LEVEL_SCHEMA)?,
            seats_waiting: gauge(
                "apiserver_flowcontrol_current_inqueue_seats",
                "Seats wanted in queues.",
                LEVEL_SCHEMA,
            )?,
            levels: Levels::new(registry)?,
        })
    }

    /// The metrics of a schema.
    pub(super) fn of(&self, level: &str, schema: &str) -> SchemaMetrics {
        let labels = [level, schema];
        SchemaMetrics {
            dispatched: self.dispatched.with_label_values(&labels),
            waited: self.waits.with_label_values(&[level, schema, "true"]),
            refused_waits: self.waits.with_label_values(&[level, schema, "false"]),
            executed: self.executions.with_label_values(&[level, schema, "regular"]),
            watched: self.executions.with_label_values(&[level, schema, "watch"]),
            estimated: self.estimates.with_label_values(&labels),
            watchers: self.watchers.with_label_values(&labels),
            waiting: self.waiting.with_label_values(&labels),
            executing: self.executing.with_label_values(&labels),
            seats: self.seats.with_label_values(&labels),
            seats_waiting: self.seats_waiting.with_label_values(&labels),
        }
    }

    pub(super) fn rejected(&self, level: &str, schema: &str, reason: &str) {
        self.rejected.with_label_values(&[level, schema, reason]).inc();
    }

    /// Sets the gauges of the levels as they are.
    pub(super) fn levels(&self, system: &System) {
        let to = |gauge: &IntGaugeVec, level: &str, value: u32| gauge.with_label_values(&[level]).set(i64::from(value));
        let levels = &self.levels;
        for level in system.levels() {
            let name = level.name.as_str();
            for (gauge, value) in [
                (&levels.nominal, level.nominal),
                (&levels.old_limit, level.nominal),
                (&levels.lower, level.lower),
                (&levels.upper, level.upper),
                (&levels.current, level.current),
            ] {
                to(gauge, name, value);
            }
            for (gauge, value) in [
                (&levels.target, level.target),
                (&levels.high, level.period.high),
                (&levels.average, level.period.mean),
                (&levels.deviation, level.period.deviation),
                (&levels.smoothed, level.smoothed),
                (&levels.r, level.r),
            ] {
                gauge.with_label_values(&[name]).set(value);
            }
        }
        levels.fair.set(system.fair_fraction());
    }
}

impl Levels {
    fn new(registry: &Registry) -> Result<Self, metrics::Error> {
        let gauge = |name, help| metrics::gauge(registry, name, help, LEVEL);
        let float = |name, help| float_gauge(registry, name, help, LEVEL);
        let fair = Gauge::new("apiserver_flowcontrol_seat_fair_frac", "Seats given for each seat wanted.")?;
        registry.register(Box::new(fair.clone()))?;
        Ok(Self {
            nominal: gauge("apiserver_flowcontrol_nominal_limit_seats", "Seats by its shares.")?,
            lower: gauge("apiserver_flowcontrol_lower_limit_seats", "Seats that it does not lend.")?,
            upper: gauge("apiserver_flowcontrol_upper_limit_seats", "Seats with all that it may borrow.")?,
            current: gauge("apiserver_flowcontrol_current_limit_seats", "Seats that it has now.")?,
            old_limit: gauge("apiserver_flowcontrol_request_concurrency_limit", "Seats by its shares.")?,
            target: float("apiserver_flowcontrol_target_seats", "Seats that it would have liked.")?,
            high: float("apiserver_flowcontrol_demand_seats_high_watermark", "Most seats wanted in the last period.")?,
            average: float("apiserver_flowcontrol_demand_seats_average", "Seats wanted in the last period.")?,
            deviation: float("apiserver_flowcontrol_demand_seats_stdev", "Deviation of the seats wanted.")?,
            smoothed: float("apiserver_flowcontrol_demand_seats_smoothed", "Seats wanted, smoothed over periods.")?,
            r: float("apiserver_flowcontrol_current_r", "Virtual time, in seat-seconds.")?,
            fair,
        })
    }
}

impl SchemaMetrics {
    /// A request of `seats` waits (`by` is 1) or waits no longer (-1).
    pub(super) fn note_waiting(&self, by: i64, seats: u32) {
        self.waiting.add(by);
        self.seats_waiting.add(by * i64::from(seats));
    }

    /// A request of `seats` runs (`by` is 1) or runs no longer (-1).
    pub(super) fn note_running(&self, by: i64, seats: u32) {
        self.executing.add(by);
        self.seats.add(by * i64::from(seats));
    }

    pub(super) fn note_started(&self, waited: Duration) {
        self.dispatched.inc();
        self.waited.observe(waited.as_secs_f64());
    }
}

#[cfg(test)]
impl SchemaMetrics {
    pub(super) fn unregistered() -> Self {
        Metrics::new(&Registry::new()).expect("metrics").of("level", "schema")
    }
}
