//! Tracing set-up, the metrics registry and its naming. Knows no component.
