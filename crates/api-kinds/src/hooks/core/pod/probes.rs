//! Rules of probes and lifecycle hooks.

use crate::hooks::check::{Node, POSITIVE};
use api_core::field::Errors;
use api_core::names;

/// `lifecycle` and the three probes of a container that runs on.
pub(super) fn all(container: &Node<'_, '_>, grace_period_s: i64, e: &mut Errors) {
    let lifecycle = container.at("lifecycle");
    for hook in ["postStart", "preStop"] {
        let hook = lifecycle.at(hook);
        if hook.present() {
            handler(&hook, grace_period_s, e);
        }
    }
    for field in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.at(field);
        if !probe.present() {
            continue;
        }
        validate(&probe, grace_period_s, e);
        let (threshold, grace) = (probe.at("successThreshold"), probe.at("terminationGracePeriodSeconds"));
        if field == "readinessProbe" {
            if grace.present() {
                grace.invalid("must not be set for readinessProbes", e);
            }
        } else if threshold.int_or_zero() != 1 {
            threshold.invalid("must be 1", e);
        }
    }
}

fn validate(probe: &Node<'_, '_>, grace_period_s: i64, e: &mut Errors) {
    handler(probe, grace_period_s, e);
    for field in ["initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"] {
        probe.at(field).non_negative(e);
    }
    let grace = probe.at("terminationGracePeriodSeconds");
    if grace.int().is_some_and(|s| s <= 0) {
        grace.invalid(POSITIVE, e);
    }
}

/// What is run or asked: exactly one of the kinds.
fn handler(node: &Node<'_, '_>, grace_period_s: i64, e: &mut Errors) {
    let mut handlers = 0;
    for field in ["exec", "httpGet", "tcpSocket", "grpc", "sleep"] {
        let at = node.at(field);
        if !at.present() {
            continue;
        }
        handlers += 1;
        if handlers > 1 {
            at.forbidden("may not specify more than 1 handler type", e);
            continue;
        }
        match field {
            "exec" => {
                at.at("command").required(e);
            }
            "httpGet" => http_get(&at, e),
            "sleep" => sleep(&at, grace_period_s, e),
            "grpc" => at.at("port").port_number(e),
            _ => at.at("port").port(e),
        }
    }
    if handlers == 0 {
        node.path_required("must specify a handler type", e);
    }
}

fn http_get(http: &Node<'_, '_>, e: &mut Errors) {
    http.at("path").required(e);
    http.at("port").port(e);
    http.at("scheme").one_of(&["HTTP", "HTTPS"], e);
    let headers = http.at("httpHeaders");
    for header in headers.items() {
        for why in names::is_http_header_name(header.text("name")) {
            e.invalid(&headers.path, header.text("name"), &why);
        }
    }
}

fn sleep(sleep: &Node<'_, '_>, grace_period_s: i64, e: &mut Errors) {
    let seconds = sleep.at("seconds").int_or_zero();
    if seconds <= 0 || seconds > grace_period_s {
        let why = format!("must be greater than 0 and less than terminationGracePeriodSeconds ({grace_period_s})");
        e.invalid(&sleep.path, seconds, &why);
    }
}
