//! Removes requests that are done with: an hour after they were decided, a day after nobody decided, and when what was
//! issued has ended.

use chrono::{DateTime, TimeDelta, Utc};
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{conditions, is_issued};

const DECIDED_FOR: TimeDelta = TimeDelta::hours(1);
const PENDING_FOR: TimeDelta = TimeDelta::hours(24);

pub(crate) static ROW: Row = Row {
    name: "csrcleaner",
    account: "certificate-controller",
    inputs: &["CertificateSigningRequest"],
    outputs: &["CertificateSigningRequest"],
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

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Next::Done) };
        let Some(due) = due(&request) else { return Ok(Next::Done) };
        match (due - self.context.now()).to_std() {
            Ok(wait) if !wait.is_zero() => return Ok(Next::After(wait)),
            _ => {}
        }
        self.writer.delete::<CertificateSigningRequest>(key, &Remove::this(&*request)).await?;
        Ok(Next::Done)
    }
}

/// When the request is to go; never, while it is approved and waits for its signer.
fn due(request: &CertificateSigningRequest) -> Option<DateTime<Utc>> {
    let issued = is_issued(request);
    let decided = conditions(request).iter().filter_map(|one| {
        let ends = match one.type_.as_str() {
            "Approved" => issued,
            "Denied" | "Failed" => true,
            _ => false,
        };
        one.last_update_time.as_ref().filter(|_| ends).map(|at| at.0 + DECIDED_FOR)
    });
    let pending = conditions(request).is_empty() && !issued;
    let created = request.metadata.creation_timestamp.as_ref().filter(|_| pending).map(|at| at.0 + PENDING_FOR);
    let cert = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    let ended = cert.and_then(|cert| pki::ends_at(std::str::from_utf8(&cert.0).ok()?).ok());
    decided.chain(created).chain(ended.and_then(|at| DateTime::from_timestamp(at, 0))).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn when_requests_go() {
        let request = |status: serde_json::Value| -> CertificateSigningRequest {
            serde_json::from_value(json!({"metadata": {"creationTimestamp": "2024-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "a.example.com/b"}, "status": status}))
            .unwrap()
        };
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastUpdateTime": "2024-01-01T05:00:00Z"});
        let table = [
            (json!({}), Some("2024-01-02T00:00:00Z")),
            (json!({"conditions": [condition("Approved")]}), None),
            (json!({"conditions": [condition("Approved")], "certificate": "eA=="}), Some("2024-01-01T06:00:00Z")),
            (json!({"conditions": [condition("Denied")]}), Some("2024-01-01T06:00:00Z")),
            (json!({"conditions": [condition("Approved"), condition("Failed")]}), Some("2024-01-01T06:00:00Z")),
        ];
        for (status, wanted) in table {
            assert_eq!(due(&request(status.clone())), wanted.map(|at| at.parse().unwrap()), "{status}");
        }
        let ca = pki::certificate_authority("a", 1_700_000_000, 1).unwrap().cert_pem;
        let mut ended = request(json!({"conditions": [condition("Approved")]}));
        ended.status.as_mut().unwrap().certificate = Some(k8s_openapi::ByteString(ca.into_bytes()));
        assert_eq!(due(&ended).unwrap().timestamp(), 1_700_000_000 + 86_400);
    }
}
