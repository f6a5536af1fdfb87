//! Certificate signing requests: approved where a kubelet may ask for itself, signed when approved, cleaned away when old.

pub(crate) mod approve;
pub(crate) mod clean;
pub(crate) mod sign;
mod subject;

use chrono::{DateTime, Utc};
use k8s_openapi::api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Signs client certificates of kubelets.
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// Signs serving certificates of kubelets.
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
/// Signs any other client certificate for the API server.
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
/// Signs anything, for requests of old.
const LEGACY: &str = "kubernetes.io/legacy-unknown";

fn has(request: &CertificateSigningRequest, condition: &str) -> bool {
    conditions(request).iter().any(|one| one.type_ == condition && one.status == "True")
}

fn conditions(request: &CertificateSigningRequest) -> &[CertificateSigningRequestCondition] {
    request.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default()
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    request.status.as_ref().and_then(|status| status.certificate.as_ref()).is_some_and(|cert| !cert.0.is_empty())
}

fn add_condition(request: &mut CertificateSigningRequest, kind: &str, reason: &str, message: &str, now: DateTime<Utc>) {
    let condition = CertificateSigningRequestCondition {
        type_: kind.into(),
        status: "True".into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_update_time: Some(Time(now)),
        last_transition_time: Some(Time(now)),
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(condition);
}

/// The request itself; the words of what is wrong with it if it cannot be read.
fn asked(request: &CertificateSigningRequest) -> Result<pki::CsrInfo, String> {
    let pem = std::str::from_utf8(&request.spec.request.0).map_err(|_| "the request is not text".to_owned())?;
    pki::read_request(pem).map_err(|error| error.to_string())
}
