//! Rules of jobs and cron jobs.

use super::{schedule, success};
use crate::hooks::check::{IMMUTABLE, Node};
use crate::hooks::core::pod;
use crate::hooks::{labels, meta, workload};
use api_core::field::{BadValue, ErrorKind, Errors};
use api_core::names;
use api_schema::row::WriteContext;
use serde_json::Value;
use std::collections::HashSet;

/// Indexes of a job whose failures are counted one by one: more than this and other limits hold.
const INDEXES_COUNTED_MAX: i64 = 100_000;
const PARALLELISM_COUNTED_MAX: i64 = 10_000;
const RULES_MAX: usize = 20;
const EXIT_CODES_MAX: usize = 255;
const CONDITIONS_MAX: usize = 20;
const MANAGED_BY_BYTES_MAX: usize = 63;

pub(super) fn job(object: &Value, e: &mut Errors) {
    whole_job(object, true, e);
}

/// A job; one that has its labels with the group's name must keep them (`needs_prefixed`).
fn whole_job(object: &Value, needs_prefixed: bool, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    generated_selector(&root, &spec, needs_prefixed, e);
    job_spec(&spec, e);
    let completions = spec.at("completions").int_or_zero();
    let metadata = root.at("metadata");
    if spec.text("completionMode") == "Indexed" && completions > 0 {
        let name = metadata.at("name");
        let hostname = format!("{}-{}", name.str(), completions - 1);
        if !names::is_dns1123_label(&hostname).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {hostname}");
            e.invalid(&name.path, name.str(), &why);
        }
    }
}

/// A selector that the server generated selects by the job's uid, and the template carries the labels for it.
fn generated_selector(root: &Node<'_, '_>, spec: &Node<'_, '_>, needs_prefixed: bool, e: &mut Errors) {
    if spec.at("manualSelector").is_true() || !spec.has("selector") {
        return;
    }
    let metadata = root.at("metadata");
    let (uid, name) = (metadata.text("uid"), metadata.text("name"));
    if uid.is_empty() {
        metadata.at("uid").path_required("", e);
    }
    let (template, selector) = (spec.at("template"), spec.at("selector"));
    let own = template.at("metadata");
    let labels = own.at("labels");
    let prefixed = |key: &str| key.contains('/');
    let mut expected = super::own_labels(uid, name).to_vec();
    expected.retain(|(key, _)| !prefixed(key) || needs_prefixed);
    // The labels of old come first.
    expected.sort_by_key(|(key, _)| prefixed(key));
    for (key, value) in &expected {
        if labels.text(key) != *value {
            let (path, why) = (labels.path.key(key), format!("must be '{value}'"));
            if labels.has(key) {
                e.invalid(&path, workload::go_map(&labels), &why);
            } else {
                e.required(&path, &why);
            }
        }
    }
    let expected: Value = expected.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
    if labels::is_valid_selector(&selector) && !labels::matches(&selector, &Node::root(&expected)) {
        selector.invalid("`selector` not auto-generated", e);
    }
}

fn job_spec(spec: &Node<'_, '_>, e: &mut Errors) {
    job_template_spec(spec, e);
    let (selector, template) = (spec.at("selector"), spec.at("template"));
    if selector.present() {
        labels::selector(&selector, e);
    } else {
        selector.path_required("", e);
    }
    workload::template_matches(&selector, &template, e);
}

fn job_template_spec(spec: &Node<'_, '_>, e: &mut Errors) {
    for field in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        spec.at(field).non_negative(e);
    }
    let per_index = spec.at("backoffLimitPerIndex");
    if spec.at("maxFailedIndexes").present() && !per_index.present() {
        per_index.path_required("when maxFailedIndexes is specified", e);
    }
    managed_by(&spec.at("managedBy"), e);
    completion_mode(spec, e);
    let policy = spec.at("podFailurePolicy");
    if policy.present() {
        failure_policy(spec, &policy, e);
    }
    success::validate(spec, e);
    let replacement = spec.at("podReplacementPolicy");
    if policy.present() {
        replacement.one_of_if_any(&["Failed"], e);
    } else {
        replacement.one_of_if_any(&["Failed", "TerminatingOrFailed"], e);
    }
    template(spec, &policy, e);
}

fn completion_mode(spec: &Node<'_, '_>, e: &mut Errors) {
    let mode = spec.at("completionMode");
    mode.one_of_if_any(&["NonIndexed", "Indexed"], e);
    let (per_index, most_failed) = (spec.at("backoffLimitPerIndex"), spec.at("maxFailedIndexes"));
    let (completions, parallelism) = (spec.at("completions"), spec.at("parallelism"));
    if mode.str() == "Indexed" {
        if !completions.present() {
            completions.path_required("when completion mode is Indexed", e);
        }
        if parallelism.int_or_zero() > INDEXES_COUNTED_MAX {
            parallelism.invalid("must be less than or equal to 100000 when completion mode is Indexed", e);
        }
        if most_failed.int().zip(completions.int()).is_some_and(|(failed, all)| failed > all) {
            most_failed.invalid("must be less than or equal to completions", e);
        }
        if most_failed.int_or_zero() > INDEXES_COUNTED_MAX {
            most_failed.invalid("must be less than or equal to 100000", e);
        }
        if per_index.present() && completions.int_or_zero() > INDEXES_COUNTED_MAX {
            many_indexes(&parallelism, &most_failed, e);
        }
    } else if !mode.present() || mode.str() == "NonIndexed" {
        for at in [&per_index, &most_failed] {
            if at.present() {
                at.invalid("requires indexed completion mode", e);
            }
        }
    }
}

fn many_indexes(parallelism: &Node<'_, '_>, most_failed: &Node<'_, '_>, e: &mut Errors) {
    let why =
        "must be less than or equal to 10000 when completions are above 100000 and used with backoff limit per index";
    if !most_failed.present() {
        most_failed.path_required("must be specified when completions is above 100000", e);
    }
    for at in [parallelism, most_failed] {
        if at.int_or_zero() > PARALLELISM_COUNTED_MAX {
            at.invalid(why, e);
        }
    }
}

/// Who works on the job if not the job controller.
fn managed_by(who: &Node<'_, '_>, e: &mut Errors) {
    if !who.present() {
        return;
    }
    let (domain, rest) = who.str().split_once('/').unwrap_or((who.str(), ""));
    if who.is_empty() {
        e.required(&who.path, "");
    } else if domain.is_empty() || rest.is_empty() {
        who.invalid("must be a domain-prefixed path (such as \"acme.io/foo\")", e);
    } else {
        who_is_it(who, domain, rest, e);
    }
    if who.str().len() > MANAGED_BY_BYTES_MAX {
        who.too_long(MANAGED_BY_BYTES_MAX, e);
    }
}

fn who_is_it(who: &Node<'_, '_>, domain: &str, rest: &str, e: &mut Errors) {
    for why in names::is_dns1123_subdomain(domain) {
        e.invalid(&who.path, domain, &why);
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"/%-._~!$&'()*+,;=:".contains(&b);
    if !rest.bytes().all(allowed) {
        e.invalid(&who.path, rest, "Invalid path (regex used for validation is '[A-Za-z0-9/\\-._~%!$&'()*+,;=:]+')");
    }
}

fn template(spec: &Node<'_, '_>, policy: &Node<'_, '_>, e: &mut Errors) {
    let template = spec.at("template");
    pod::validate_template(&template, e);
    let pod_spec = template.at("spec");
    let restart = pod_spec.at("restartPolicy");
    match restart.str() {
        "" | "Always" => e.required(&restart.path, "valid values: \"OnFailure\", \"Never\""),
        "OnFailure" if policy.present() => {
            restart.invalid("only \"Never\" is supported when podFailurePolicy is specified", e);
        }
        _ => restart.one_of(&["OnFailure", "Never"], e),
    }
}

fn failure_policy(spec: &Node<'_, '_>, policy: &Node<'_, '_>, e: &mut Errors) {
    let rules = policy.at("rules");
    if rules.len() > RULES_MAX {
        e.too_many(&rules.path, rules.len(), RULES_MAX);
    }
    let template = spec.at("template");
    let pod_spec = template.at("spec");
    let known: Vec<&str> =
        ["containers", "initContainers"].iter().flat_map(|list| names_of(pod_spec.get(list))).collect();
    for rule in rules.items() {
        let action = rule.at("action");
        if action.required_because("valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]", e) {
            if action.str() == "FailIndex" && !spec.has("backoffLimitPerIndex") {
                action.invalid("requires the backoffLimitPerIndex to be set", e);
            }
            action.one_of(&["Count", "FailIndex", "FailJob", "Ignore"], e);
        }
        let (codes, conditions) = (rule.at("onExitCodes"), rule.at("onPodConditions"));
        if codes.present() {
            exit_codes(&codes, &known, e);
        }
        pod_conditions(&conditions, e);
        match (codes.present(), !conditions.is_empty()) {
            (true, true) => refuse(&rule, "specifying both OnExitCodes and OnPodConditions is not supported", e),
            (false, false) => refuse(&rule, "specifying one of OnExitCodes and OnPodConditions is required", e),
            _ => {}
        }
    }
}

/// A rule that makes no sense; upstream does not print it.
fn refuse(rule: &Node<'_, '_>, why: &str, e: &mut Errors) {
    e.push(ErrorKind::Invalid, &rule.path, None, why);
}

fn names_of(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().filter_map(|c| c["name"].as_str()).collect()
}

fn exit_codes(codes: &Node<'_, '_>, containers: &[&str], e: &mut Errors) {
    let operator = codes.at("operator");
    if operator.required_because("valid values: [\"In\" \"NotIn\"]", e) {
        operator.one_of(&["In", "NotIn"], e);
    }
    let container = codes.at("containerName");
    if container.present() && !containers.contains(&container.str()) {
        container.invalid("must be one of the container or initContainer names in the pod template", e);
    }
    let values = codes.at("values");
    if values.is_empty() {
        e.invalid(&values.path, BadValue("[]int32(nil)".into()), "at least one value is required");
    } else if values.len() > EXIT_CODES_MAX {
        e.too_many(&values.path, values.len(), EXIT_CODES_MAX);
    }
    let (mut ordered, mut last) = (true, i64::MIN);
    let mut seen: HashSet<i64> = HashSet::new();
    for value in values.items() {
        let code = value.int_or_zero();
        if operator.str() == "In" && code == 0 {
            e.invalid(&value.path, code, "must not be 0 for the In operator");
        }
        if !seen.insert(code) {
            e.duplicate(&value.path, code);
        }
        ordered &= last <= code;
        last = code;
    }
    if !ordered {
        values.invalid("must be ordered", e);
    }
}

fn pod_conditions(conditions: &Node<'_, '_>, e: &mut Errors) {
    if conditions.len() > CONDITIONS_MAX {
        e.too_many(&conditions.path, conditions.len(), CONDITIONS_MAX);
    }
    for condition in conditions.items() {
        condition.at("type").text_is(names::is_qualified_name, e);
        let status = condition.at("status");
        if status.required_because("valid values: [\"False\" \"True\" \"Unknown\"]", e) {
            status.one_of(&["False", "True", "Unknown"], e);
        }
    }
}

pub(super) fn job_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    let (root, old_root) = (Node::root(new), Node::root(old));
    if context.subresource == "status" {
        meta::again_on_update(new, old, e);
        let status = root.at("status");
        for field in ["active", "succeeded", "failed", "ready", "terminating"] {
            status.at(field).non_negative(e);
        }
        uncounted_pods(&status.at("uncountedTerminatedPods"), e);
        return;
    }
    let had = &old["spec"]["template"]["metadata"]["labels"];
    let had_prefixed = super::own_labels("", "").iter().all(|(key, _)| !key.contains('/') || had[*key].is_string());
    meta::again_on_create(new, e);
    whole_job(new, had_prefixed, e);
    meta::again_on_update(new, old, e);
    let (spec, old_spec) = (root.at("spec"), old_root.at("spec"));
    job_spec(&spec, e);
    completions_update(&spec, &old_spec, e);
    spec.at("selector").immutable(&old_spec.at("selector"), e);
    template_update(&root, &old_root, e);
    for field in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        spec.at(field).immutable(&old_spec.at(field), e);
    }
}

/// Each pod is there once.
fn uncounted_pods(pods: &Node<'_, '_>, e: &mut Errors) {
    let mut seen: HashSet<&str> = HashSet::new();
    for list in ["succeeded", "failed"] {
        for uid in pods.at(list).items() {
            if uid.is_empty() {
                uid.invalid("must not be empty", e);
            } else if !seen.insert(uid.str()) {
                uid.duplicate(e);
            }
        }
    }
}

/// An indexed job may be resized by changing completions and parallelism together.
fn completions_update(spec: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let completions = spec.at("completions");
    let now = completions.int();
    if now == old.at("completions").int() {
        return;
    }
    let elastic = spec.text("completionMode") == "Indexed" && old.text("completionMode") == "Indexed";
    if !elastic {
        completions.changed(IMMUTABLE, e);
    } else if now.is_some() && now != spec.at("parallelism").int() {
        completions.invalid("can only be modified in tandem with spec.parallelism", e);
    }
}

/// The template may not change, but where a suspended job that never started says where its pods may go.
fn template_update(root: &Node<'_, '_>, old: &Node<'_, '_>, e: &mut Errors) {
    let suspended = old.at("spec").at("suspend").is_true() && !old.at("status").has("startTime");
    let spec = root.at("spec");
    let template = spec.at("template");
    let mut same = template.value.clone();
    let was = &old.get("spec")["template"];
    if suspended {
        for (at, field) in [
            ("spec", "nodeSelector"),
            ("spec", "tolerations"),
            ("spec", "schedulingGates"),
            ("metadata", "labels"),
            ("metadata", "annotations"),
        ] {
            let before = was[at][field].clone();
            if let Some(map) = same[at].as_object_mut() {
                if before.is_null() {
                    map.remove(field);
                } else {
                    map.insert(field.to_owned(), before);
                }
            }
        }
    }
    if suspended {
        node_affinity_as(&mut same, was);
    }
    if same != *was {
        template.invalid(IMMUTABLE, e);
    }
}

/// Of the affinity to other pods nothing may change.
fn node_affinity_as(template: &mut Value, was: &Value) {
    let field = "affinity";
    let Some(spec) = template["spec"].as_object_mut() else { return };
    let (before, node_before) = (&was["spec"][field], &was["spec"][field]["nodeAffinity"]);
    match spec.get_mut(field).and_then(Value::as_object_mut) {
        Some(now) => {
            now.remove("nodeAffinity");
            if !node_before.is_null() {
                now.insert("nodeAffinity".into(), node_before.clone());
            } else if before.is_null() && now.is_empty() {
                spec.remove(field);
            }
        }
        None if !node_before.is_null() => {
            spec.insert(field.into(), serde_json::json!({"nodeAffinity": node_before}));
        }
        None => {}
    }
}

pub(super) fn cron_job(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let name = root.at("metadata");
    let name = name.at("name");
    // Names of jobs get eleven characters more.
    if name.str().len() > names::DNS_LABEL_BYTES_MAX - 11 {
        name.invalid("must be no more than 52 characters", e);
    }
    cron_job_spec(&root, e);
}

fn cron_job_spec(root: &Node<'_, '_>, e: &mut Errors) {
    let spec = root.at("spec");
    let when = spec.at("schedule");
    if when.required(e) {
        if let Err(why) = schedule::check(when.str()) {
            when.invalid(&why, e);
        }
        let zoned = when.str().contains("TZ");
        if zoned && spec.has("timeZone") {
            when.invalid("cannot use both timeZone field and TZ or CRON_TZ in schedule", e);
        } else if zoned {
            when.invalid("cannot use TZ or CRON_TZ in schedule, use timeZone field instead", e);
        }
    }
    let deadline = spec.at("startingDeadlineSeconds");
    deadline.non_negative(e);
    let zone = spec.at("timeZone");
    if zone.present() {
        time_zone(&zone, e);
    }
    let concurrency = spec.at("concurrencyPolicy");
    concurrency.required_one_of(&["Allow", "Forbid", "Replace"], e);
    let template = spec.at("jobTemplate");
    job_template(&template.at("spec"), e);
    for field in ["successfulJobsHistoryLimit", "failedJobsHistoryLimit"] {
        spec.at(field).non_negative(e);
    }
}

/// The spec of a job that a cron job will make: its selector is not there yet, and may only be a generated one.
fn job_template(spec: &Node<'_, '_>, e: &mut Errors) {
    job_template_spec(spec, e);
    if spec.at("manualSelector").is_true() {
        spec.at("manualSelector").not_supported(&["nil", "false"], e);
    }
    if spec.has("selector") {
        spec.at("selector").invalid("`selector` will be auto-generated", e);
    }
}

fn time_zone(zone: &Node<'_, '_>, e: &mut Errors) {
    let name = zone.str();
    if name.is_empty() {
        zone.invalid("timeZone must be nil or non-empty string", e);
    } else if name.eq_ignore_ascii_case("Local") {
        zone.invalid("timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones", e);
    } else if !schedule::is_time_zone(name) {
        zone.invalid(&format!("unknown time zone {name}"), e);
    }
}

pub(super) fn cron_job_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    if context.subresource != "status" {
        meta::again_on_update(new, old, e);
        cron_job_spec(&Node::root(new), e);
    }
}
