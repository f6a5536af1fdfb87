//! Certificate signing requests, from the question to the certificate.

use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest as Request;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use crate::world::World;

fn request(name: &str, signer: &str, usages: &[&str], info: &pki::CsrInfo) -> Request {
    let pem = pki::signing_request(info).unwrap().cert_pem;
    let spec = json!({"request": "", "signerName": signer, "usages": usages, "expirationSeconds": 7200});
    let mut request: Request = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
    request.spec.request = ByteString(pem.into_bytes());
    request
}

fn condition(request: Option<&Request>, kind: &str) -> Option<(String, String)> {
    let conditions = request?.status.as_ref()?.conditions.as_ref()?;
    let one = conditions.iter().find(|one| one.type_ == kind)?;
    Some((one.reason.clone().unwrap_or_default(), one.message.clone().unwrap_or_default()))
}

fn issued(request: Option<&Request>) -> bool {
    request.and_then(|request| request.status.as_ref()?.certificate.as_ref()).is_some_and(|cert| !cert.0.is_empty())
}

/// [sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations
/// (its end; the verbs are the server's own tests)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_approved_and_signed() {
    let world = World::start(0).await;
    let requests = world.api::<Request>();
    let usages = ["digital signature", "client auth"];
    // A node asks for itself: approved and signed without anybody.
    let node = pki::CsrInfo {
        common_name: "system:node:a".into(),
        organizations: vec!["system:nodes".into()],
        ..pki::CsrInfo::default()
    };
    world
        .create::<k8s_openapi::api::rbac::v1::ClusterRoleBinding>(json!({"metadata": {"name": "self"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient"},
        "subjects": [{"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:nodes"}]}))
        .await;
    let as_node: Api<Request> = Api::all(world.client_as("system:node:a", &["system:nodes"]));
    let asked = request("node", "kubernetes.io/kube-apiserver-client-kubelet", &usages, &node);
    as_node.create(&PostParams::default(), &asked).await.unwrap();
    let done = world.until(&requests, "node", issued).await.unwrap();
    let approval = condition(Some(&done), "Approved").unwrap();
    assert_eq!(approval.0, "AutoApproved");
    assert_eq!(approval.1, "Auto approving self kubelet client certificate after SubjectAccessReview.");
    let cert = done.status.unwrap().certificate.unwrap();
    let ends = pki::ends_at(std::str::from_utf8(&cert.0).unwrap()).unwrap();
    let left = ends - chrono::Utc::now().timestamp();
    assert!((7000..=7200).contains(&left), "{left}");

    // Anybody else's request waits for a decision.
    let jane = pki::CsrInfo {
        common_name: "jane".into(),
        organizations: vec!["dev".into(), "ops".into()],
        ..pki::CsrInfo::default()
    };
    let signer = "kubernetes.io/kube-apiserver-client";
    requests.create(&PostParams::default(), &request("jane", signer, &usages, &jane)).await.unwrap();
    requests.create(&PostParams::default(), &request("bad", signer, &["server auth"], &jane)).await.unwrap();
    for name in ["jane", "bad"] {
        let condition = json!({"type": "Approved", "status": "True", "reason": "KubectlApprove", "message": "yes"});
        let approve = Patch::Merge(json!({"status": {"conditions": [condition]}}));
        requests.patch_approval(name, &PatchParams::default(), &approve).await.unwrap();
    }
    world.until(&requests, "jane", issued).await;
    let failed = world.until(&requests, "bad", |found| condition(found, "Failed").is_some()).await;
    let (reason, message) = condition(failed.as_ref(), "Failed").unwrap();
    assert_eq!(reason, "SignerValidationFailure");
    assert_eq!(message, "usages did not match [client auth digital signature key encipherment]");
    world.stop().await;
}
