//! Versions that clients should leave: what the server warns of at every request for them.

use api_core::Gvr;

/// Group, version, resource and the warning.
const DEPRECATED: &[(&str, &str, &str, &str)] = &[
    ("", "v1", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+"),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "flowschemas",
        "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema is deprecated in v1.29+, unavailable in v1.32+",
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "prioritylevelconfigurations",
        "flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration is deprecated in v1.29+, unavailable in v1.32+",
    ),
];

/// The warning for a deprecated version.
pub fn deprecation(gvr: &Gvr) -> Option<&'static str> {
    let found = DEPRECATED.iter().find(|(group, version, resource, _)| {
        (*group, *version, *resource) == (gvr.group.as_str(), gvr.version.as_str(), gvr.resource.as_str())
    });
    found.map(|(_, _, _, warning)| *warning)
}
