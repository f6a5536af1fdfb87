//! What must hold of every parser of what a stranger sends, each as a function of any bytes that panics if it does not.
//!
//! [`TARGETS`] lists them. `fuzz/` runs each with libFuzzer; `tests/replay.rs` runs the corpus that came of it, and some
//! thousands of changes of it, with every `cargo test`. Beyond not panicking, a property is that what was read can be
//! written and read again, that doing something twice is doing it once, that two ways agree, and that time and memory
//! stay small: the fuzzer's limits on both are in `scripts/fuzz.sh`.
//!
//! Properties of parsers that their crate keeps to itself stand there, in a module `fuzz`. Must never be depended on.

#![forbid(unsafe_code)]

mod cel;
mod codec;
mod custom;
mod files;
mod kinds;
mod names;
mod objects;
mod patch;
mod source;

/// A property of one parser.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Also the name of its file in `fuzz/fuzz_targets` and of its directory in `fuzz/corpus`.
    pub name: &'static str,
    /// Panics if the property does not hold of these bytes.
    pub run: fn(&[u8]),
    /// Changed inputs that each run of the tests tries; fewer where one takes long.
    pub changes: usize,
}

const fn target(name: &'static str, run: fn(&[u8]), changes: usize) -> Target {
    Target { name, run, changes }
}

/// All properties, by layer.
pub const TARGETS: &[Target] = &[
    target("label_selector", names::label_selector, 4000),
    target("field_selector", names::field_selector, 4000),
    target("quantity", names::quantity, 4000),
    target("time", names::time, 4000),
    target("name_rules", names::name_rules, 2000),
    target("json_object", codec::json_object, 1000),
    target("yaml_object", codec::yaml_object, 150),
    target("protobuf_object", codec::protobuf_object, 1000),
    target("protobuf_message", codec::protobuf_message, 1000),
    target("stored_value", codec::stored_value, 1000),
    target("built_in_kind", kinds::built_in_kind, 500),
    target("kind_update", kinds::kind_update, 300),
    target("json_patch", patch::json_patch, 2000),
    target("merge_patch", patch::merge_patch, 2000),
    target("strategic_patch", patch::strategic_patch, 1000),
    target("server_side_apply", patch::server_side_apply, 300),
    target("managed_fields", patch::managed_fields, 2000),
    target("cel", cel::cel, 1000),
    target("cel_rules", cel::cel_rules, 500),
    target("custom_schema", custom::custom_schema, 300),
    target("custom_definition", custom::custom_definition, 200),
    target("json_path", custom::json_path, 2000),
    target("pattern", custom::pattern, 300),
    target("signing_request", files::signing_request, 500),
    target("service_account_token", files::service_account_token, 500),
    target("store_file", files::store_file, 20),
    target("request_url", apiserver::fuzz::request_url, 4000),
    target("continue_token", apiserver::fuzz::continue_token, 2000),
    target("headers", apiserver::fuzz::headers, 2000),
    target("token_claims", apiserver::fuzz::token_claims, 2000),
    target("certificate", apiserver::fuzz::certificate, 1000),
    target("webhook_answer", apiserver::fuzz::webhook_answer, 2000),
    target("node_quantity", files::node_quantity, 2000),
    target("node_pod", node::fuzz::pod, 1000),
    target("env_expansion", node::fuzz::expansion, 2000),
    target("kubelet_url", node::fuzz::kubelet_url, 2000),
    target("log_line", node::fuzz::log_line, 2000),
    target("pull_secret", node::fuzz::pull_secret, 2000),
    target("static_pod", node::fuzz::static_pod, 60),
    target("machine_files", node::fuzz::machine_files, 2000),
    target("dns_request", net::fuzz::dns_request, 2000),
    target("resolv_conf", net::fuzz::resolv_conf, 1000),
];

/// Runs the property of that name.
///
/// # Panics
/// If the property does not hold, or if there is none of that name.
pub fn run(name: &str, data: &[u8]) {
    let found = TARGETS.iter().find(|t| t.name == name);
    (found.unwrap_or_else(|| panic!("there is no target {name}")).run)(data);
}
