//! Approves client certificates of kubelets, if whoever asks may have them: a bootstrap token for any node, a node for
//! itself.

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{KUBELET_CLIENT, add_condition, asked, conditions, is_issued, subject};

pub(crate) static ROW: Row = Row {
    name: "csrapproving",
    account: "certificate-controller",
    inputs: &["CertificateSigningRequest"],
    outputs: &["CertificateSigningRequest/approval", "SubjectAccessReview"],
    workers: 1,
};

pub(crate) async fn start(context: Context) {
    let requests = context.informer::<CertificateSigningRequest>();
    let runner = Runner::new(&context).primary(&requests);
    runner.run(Driver { writer: context.writer(), context, requests }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    requests: Handle<CertificateSigningRequest>,
}

/// What the requester must be allowed to create, and the words of an approval for it.
#[derive(Debug, PartialEq)]
struct Case {
    subresource: &'static str,
    message: &'static str,
}

const SELF: Case = Case {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
const NODE: Case =
    Case { subresource: "nodeclient", message: "Auto approving kubelet client certificate after SubjectAccessReview." };

/// The grounds on which a request may be approved.
fn cases(request: &CertificateSigningRequest) -> Vec<Case> {
    if is_issued(request) || conditions(request).iter().any(|one| one.type_ == "Approved" || one.type_ == "Denied") {
        return Vec::new();
    }
    let Ok(asked) = asked(request) else { return Vec::new() };
    let usages: Vec<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
    if request.spec.signer_name != KUBELET_CLIENT || subject::kubelet_client(&asked, &usages).is_err() {
        return Vec::new();
    }
    let for_itself = request.spec.username.as_deref() == Some(asked.common_name.as_str());
    if for_itself { vec![SELF, NODE] } else { vec![NODE] }
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Next::Done) };
        for case in cases(&request) {
            let answer = self.writer.create(&review(&request, case.subresource)).await?;
            if answer.status.is_some_and(|status| status.allowed) {
                let mut approved = (*request).clone();
                add_condition(&mut approved, "Approved", "AutoApproved", case.message, self.context.now());
                self.writer.replace_subresource("approval", &approved).await?;
                break;
            }
        }
        Ok(Next::Done)
    }
}

/// Asks whether the requester may create that.
fn review(request: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".into()),
        resource: Some("certificatesigningrequests".into()),
        verb: Some("create".into()),
        subresource: Some(subresource.into()),
        version: Some("*".into()),
        ..ResourceAttributes::default()
    };
    let spec = SubjectAccessReviewSpec {
        user: request.spec.username.clone(),
        uid: request.spec.uid.clone(),
        groups: request.spec.groups.clone(),
        extra: request.spec.extra.clone(),
        resource_attributes: Some(attributes),
        ..SubjectAccessReviewSpec::default()
    };
    SubjectAccessReview { spec, ..SubjectAccessReview::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;
    use serde_json::json;

    #[test]
    fn only_open_requests_of_kubelets_are_considered() {
        let info = pki::CsrInfo {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..pki::CsrInfo::default()
        };
        let pem = pki::signing_request(&info).unwrap().cert_pem;
        let request = |signer: &str, user: &str, conditions: serde_json::Value| -> CertificateSigningRequest {
            let mut request: CertificateSigningRequest = serde_json::from_value(json!({"metadata": {"name": "a"},
                "spec": {"request": "", "signerName": signer, "username": user,
                    "usages": ["client auth", "digital signature"]}, "status": {"conditions": conditions}}))
            .unwrap();
            request.spec.request = ByteString(pem.clone().into_bytes());
            request
        };
        let approved = json!([{"type": "Approved", "status": "True"}]);
        assert_eq!(cases(&request(KUBELET_CLIENT, "system:node:a", json!([]))), [SELF, NODE]);
        assert_eq!(cases(&request(KUBELET_CLIENT, "system:bootstrap:x", json!([]))), [NODE]);
        assert_eq!(cases(&request(KUBELET_CLIENT, "system:node:a", approved)), []);
        assert_eq!(cases(&request(super::super::CLIENT, "system:node:a", json!([]))), []);
    }
}
