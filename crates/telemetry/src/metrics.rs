//! The metrics of a process, in Prometheus' classic text format.
//!
//! A component makes its metrics once, against the [`Registry`] it is given, and keeps the handles. Names are
//! upstream's where upstream has the metric, else they start with `mainstay_`.

pub use prometheus::{
    Error, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, exponential_buckets, linear_buckets, proto,
};

/// Media type of [`encode`]'s text.
pub const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything in `registry` as text, sorted by name.
///
/// # Errors
/// If a metric is inconsistent, which the library finds only now.
pub fn encode(registry: &Registry) -> Result<String, Error> {
    prometheus::TextEncoder::new().encode_to_string(&registry.gather())
}

/// Registers a counter with labels.
///
/// # Errors
/// If the name is taken or not valid.
pub fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Registers a gauge of whole numbers with labels.
///
/// # Errors
/// If the name is taken or not valid.
pub fn gauge(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

/// Registers a histogram with labels and upper bounds `buckets`, in the metric's unit.
///
/// # Errors
/// If the name is taken or not valid.
pub fn histogram(
    registry: &Registry,
    name: &str,
    help: &str,
    labels: &[&str],
    buckets: &[f64],
) -> Result<HistogramVec, Error> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_has_type_help_and_labels() {
        let registry = Registry::new();
        let requests = counter(&registry, "apiserver_request_total", "Requests.", &["verb"]).expect("registered");
        requests.with_label_values(&["GET"]).inc_by(2);
        let text = encode(&registry).expect("text");
        assert!(text.contains("# TYPE apiserver_request_total counter\n"), "{text}");
        assert!(text.contains("apiserver_request_total{verb=\"GET\"} 2\n"), "{text}");
        assert!(counter(&registry, "apiserver_request_total", "Again.", &["verb"]).is_err());
    }
}
