//! Defaults of pods and of pod templates.

use super::super::volume::default_volume_source;
use crate::hooks::fill::Fill;
use serde_json::{Map, Value, json};

/// A pod itself: what holds for its spec, and what a template leaves open.
pub(in crate::hooks) fn default_pod(pod: &mut Value) {
    pod.with("status", addresses);
    let Some(spec) = pod.at_mut("spec") else { return };
    default_spec(spec);
    if spec["terminationGracePeriodSeconds"].as_i64().is_some_and(|seconds| seconds < 0) {
        spec["terminationGracePeriodSeconds"] = 1.into();
    }
    spec.fill("enableServiceLinks", true);
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers"] {
        spec.each_mut(list, |container| {
            requests_from_limits(container);
            if host_network {
                container.each_mut("ports", host_port_from_container_port);
            }
        });
    }
}

/// `podIP` is the first of `podIPs`; where they differ, it is the one that counts.
fn addresses(status: &mut Value) {
    let one = status.text("podIP").to_owned();
    let first = status["podIPs"][0]["ip"].as_str().map(str::to_owned);
    match first {
        Some(first) if one.is_empty() => status["podIP"] = first.into(),
        first if !one.is_empty() && first.as_ref() != Some(&one) => status["podIPs"] = json!([{ "ip": one }]),
        _ => {}
    }
}

/// A pod template: `{metadata, spec}`.
pub(in crate::hooks) fn default_template(template: &mut Value) {
    default_spec(template.make("spec"));
}

fn default_spec(spec: &mut Value) {
    spec.fill("dnsPolicy", "ClusterFirst");
    spec.fill("restartPolicy", "Always");
    spec.fill("terminationGracePeriodSeconds", 30);
    spec.fill("schedulerName", "default-scheduler");
    spec.make("securityContext");
    one_service_account(spec);
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        spec.each_mut(list, default_container);
    }
    spec.each_mut("volumes", default_volume_source);
    spec.round_resources("overhead");
}

/// `serviceAccount` is the old name of `serviceAccountName`; both are served.
fn one_service_account(spec: &mut Value) {
    let name = match (spec.text("serviceAccountName"), spec.text("serviceAccount")) {
        ("", "") => return,
        ("", old) => old.to_owned(),
        (name, _) => name.to_owned(),
    };
    spec["serviceAccountName"] = name.clone().into();
    spec["serviceAccount"] = name.into();
}

fn default_container(container: &mut Value) {
    let policy = if is_latest(container.text("image")) { "Always" } else { "IfNotPresent" };
    container.fill("imagePullPolicy", policy);
    container.fill("terminationMessagePath", "/dev/termination-log");
    container.fill("terminationMessagePolicy", "File");
    container.make("resources");
    container.with("resources", |resources| {
        resources.round_resources("limits");
        resources.round_resources("requests");
    });
    container.each_mut("ports", |port| port.fill("protocol", "TCP"));
    container.each_mut("env", |env| {
        env.with("valueFrom", |from| from.with("fieldRef", |field| field.fill("apiVersion", "v1")));
    });
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        container.with(probe, default_probe);
    }
    container.with("lifecycle", |lifecycle| {
        for hook in ["postStart", "preStop"] {
            lifecycle.with(hook, |hook| hook.with("httpGet", default_http_get));
        }
    });
}

fn default_probe(probe: &mut Value) {
    probe.fill("timeoutSeconds", 1);
    probe.fill("periodSeconds", 10);
    probe.fill("successThreshold", 1);
    probe.fill("failureThreshold", 3);
    probe.with("httpGet", default_http_get);
    probe.with("grpc", |grpc| grpc.fill("service", ""));
}

fn default_http_get(http: &mut Value) {
    http.fill("path", "/");
    http.fill("scheme", "HTTP");
}

fn requests_from_limits(container: &mut Value) {
    let Some(resources) = container.at_mut("resources") else { return };
    let Some(Value::Object(limits)) = resources.get("limits").cloned() else { return };
    let requests = resources.make("requests");
    for (name, amount) in limits {
        requests.fill(&name, amount);
    }
    if *requests == json!({}) {
        resources["requests"] = Value::Object(Map::new());
    }
}

fn host_port_from_container_port(port: &mut Value) {
    let number = port["containerPort"].clone();
    port.fill("hostPort", number);
}

/// Whether an image's tag is `latest`, as it also is without tag and digest. A malformed name counts as not.
fn is_latest(image: &str) -> bool {
    let (named, digest) = image.split_once('@').map_or((image, None), |(named, digest)| (named, Some(digest)));
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[last..].find(':') {
        Some(colon) => (&named[..last + colon], Some(&named[last + colon + 1..])),
        None => (named, None),
    };
    let is_hash = image.len() == 64 && image.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    !is_hash
        && well_formed_repository(name)
        && tag.is_none_or(|tag| tag == "latest")
        && digest.is_none_or(|digest| tag.is_some() && well_formed_digest(digest))
}

/// `ALGORITHM:HASH`, such as `sha256:...`.
fn well_formed_digest(digest: &str) -> bool {
    let is_hex = |hash: &str| hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    digest.split_once(':').is_some_and(|(algorithm, hash)| {
        let digits = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return false,
        };
        hash.len() == digits && is_hex(hash)
    })
}

fn well_formed_repository(name: &str) -> bool {
    let is_host = |first: &str| {
        first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|b| b.is_ascii_uppercase())
    };
    let (host, path) = match name.split_once('/') {
        Some((host, rest)) if is_host(host) => (host, rest),
        _ => ("docker.io", name),
    };
    let library = if host == "docker.io" && !path.contains('/') { "library/".len() } else { 0 };
    let length = host.len() + 1 + library + path.len();
    well_formed_registry(host) && length <= 255 && path.split('/').all(well_formed_part)
}

/// `HOST` or `HOST:PORT`, where the host is a domain in letters of any case, or an IPv6 address in brackets.
fn well_formed_registry(registry: &str) -> bool {
    let has_port = |(_, port): &(&str, &str)| !port.ends_with(']');
    let (host, port) = registry.rsplit_once(':').filter(has_port).unwrap_or((registry, "0"));
    let well_formed_label = |label: &str| {
        let fits = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        fits && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let well_formed_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => !address.is_empty() && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(well_formed_label),
    };
    well_formed_host && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())
}

/// Small letters and digits; between them one `.`, one or two `_`, or any number of `-`.
fn well_formed_part(part: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut between = part.split(is_letter).peekable();
    let first_is_letter = between.next().is_some_and(str::is_empty);
    let mut last = "-";
    while let Some(separator) = between.next() {
        last = separator;
        let fits = matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-');
        if !fits && between.peek().is_some() {
            return false;
        }
    }
    first_is_letter && last.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_without_tag_are_latest() {
        for (image, latest) in [
            ("nginx", true),
            ("nginx:latest", true),
            ("nginx:1.27", false),
            ("host:5000/a/b", true),
            ("host:5000/a/b:v1", false),
            ("[2001:db8::1]:5000/a", true),
            ("[::1]/a:latest", true),
            ("[x]/a", false),
            ("[]:1/a", false),
            ("a.b-c.D:1/a", true),
            ("a..b/a", false),
            ("-a.b/a", false),
            ("a-.b/a", false),
            ("host:/a", false),
            ("host:1:2/a", false),
            ("host:x/a", false),
            ("a@sha256:0123", false),
            ("", false),
            ("Not Valid", false),
            ("UPPER", false),
            ("UPPER/a", true),
            ("A:latest", false),
            ("a..b", false),
            ("a__b", true),
            ("a___b", false),
            ("a.-b", false),
            ("a--b", true),
            ("-a", false),
            ("a-", false),
            (&format!("a:latest@sha256:{}", "0".repeat(64)), true),
            (&format!("a@sha256:{}", "0".repeat(64)), false),
            (&"deadbeef".repeat(8), false),
            (&"x".repeat(237), true),
            (&"x".repeat(238), false),
        ] {
            assert_eq!(is_latest(image), latest, "{image:?}");
        }
    }

    #[test]
    fn a_pod_takes_requests_from_limits_and_a_template_does_not() {
        let spec = json!({"containers": [{"image": "a", "resources": {"limits": {"cpu": "1.5", "memory": "1u"}}}]});
        let mut pod = json!({"spec": spec});
        default_pod(&mut pod);
        let resources = &pod["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], json!({"cpu": "1500m", "memory": "1m"}));
        let again = pod.clone();
        default_pod(&mut pod);
        assert_eq!(pod, again);

        let mut template = json!({"spec": spec});
        default_template(&mut template);
        assert_eq!(template["spec"]["containers"][0]["resources"].get("requests"), None);
        assert_eq!(template["spec"].get("enableServiceLinks"), None);
    }
}
