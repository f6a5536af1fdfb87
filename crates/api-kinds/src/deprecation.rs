//! Versions that clients should leave: what the server warns of at every request for them.

use api_core::Gvr;

/// Group, version, resource, the warning, and the release that has it no more.
const DEPRECATED: &[(&str, &str, &str, &str, &str)] = &[
    ("", "v1", "componentstatuses", "v1 ComponentStatus is deprecated in v1.19+", ""),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "flowschemas",
        "flowcontrol.apiserver.k8s.io/v1beta3 FlowSchema is deprecated in v1.29+, unavailable in v1.32+; use flowcontrol.apiserver.k8s.io/v1 FlowSchema",
        "1.32",
    ),
    (
        "flowcontrol.apiserver.k8s.io",
        "v1beta3",
        "prioritylevelconfigurations",
        "flowcontrol.apiserver.k8s.io/v1beta3 PriorityLevelConfiguration is deprecated in v1.29+, unavailable in v1.32+; \
         use flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration",
        "1.32",
    ),
];

/// The warning for a deprecated version.
pub fn deprecation(gvr: &Gvr) -> Option<&'static str> {
    find(gvr).map(|(warning, _)| warning)
}

/// The release that a deprecated version is gone from, empty if none is named; `None` for a version that is not deprecated.
pub fn removed_release(gvr: &Gvr) -> Option<&'static str> {
    find(gvr).map(|(_, release)| release)
}

fn find(gvr: &Gvr) -> Option<(&'static str, &'static str)> {
    let found = DEPRECATED.iter().find(|(group, version, resource, ..)| {
        (*group, *version, *resource) == (gvr.group.as_str(), gvr.version.as_str(), gvr.resource.as_str())
    });
    found.map(|(_, _, _, warning, release)| (*warning, *release))
}
