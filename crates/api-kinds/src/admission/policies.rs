//! Where policies and their bindings are.

use api_core::Gvr;

/// Group of policies and bindings.
pub const GROUP: &str = "admissionregistration.k8s.io";
/// Resource of policies.
pub const POLICIES: &str = "validatingadmissionpolicies";
/// Resource of bindings.
pub const BINDINGS: &str = "validatingadmissionpolicybindings";

/// Whether no policy is for it: else one could keep itself from being taken away.
pub fn exempt(gvr: &Gvr) -> bool {
    gvr.group == GROUP && (gvr.resource == POLICIES || gvr.resource == BINDINGS)
}
