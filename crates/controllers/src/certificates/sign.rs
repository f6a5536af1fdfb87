//! Signs approved requests for the signers of the API server, with the cluster's own authority.

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::ByteString;
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::{add_condition, asked, has, is_issued, subject};

/// Longest lifetime, and that of a request that names none.
const VALID_S_MAX: i64 = 365 * 86_400;
/// Shortest lifetime.
const VALID_S_MIN: i64 = 600;

pub(crate) static ROW: Row = Row {
    name: "csrsigning",
    account: "certificate-controller",
    inputs: &["CertificateSigningRequest"],
    outputs: &["CertificateSigningRequest/status"],
    workers: 2,
};

/// Without an authority's key nothing is signed, as when another signer is to do it.
pub(crate) async fn start(context: Context, ca: Option<(String, String)>) {
    let Some((cert_pem, key_pem)) = ca else { return context.stop.cancelled().await };
    let requests = context.informer::<CertificateSigningRequest>();
    let runner = Runner::new(&context).primary(&requests);
    let ca = pki::Pair { cert_pem, key_pem };
    runner.run(Driver { writer: context.writer(), context, requests, ca }).await;
}

struct Driver {
    context: Context,
    writer: Writer,
    requests: Handle<CertificateSigningRequest>,
    ca: pki::Pair,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(request) = self.requests.store().get(key) else { return Ok(Next::Done) };
        if !has(&request, "Approved") || has(&request, "Denied") || has(&request, "Failed") || is_issued(&request) {
            return Ok(Next::Done);
        }
        let now = self.context.now();
        let mut answered = (*request).clone();
        match sign(&self.ca, &request, now.timestamp()) {
            Answer::NotOurs => return Ok(Next::Done),
            Answer::Signed(cert) => {
                answered.status.get_or_insert_default().certificate = Some(ByteString(cert.into_bytes()));
            }
            Answer::Refused(why) => add_condition(&mut answered, "Failed", "SignerValidationFailure", &why, now),
            Answer::Failed(source) => {
                let (kind, key) = ("CertificateSigningRequest".into(), key.clone());
                return Err(Error::Request { verb: "sign", kind, key, source: source.into() });
            }
        }
        self.writer.replace_status(&answered).await?;
        Ok(Next::Done)
    }
}

enum Answer {
    NotOurs,
    Signed(String),
    /// It will never be signed.
    Refused(String),
    /// It could not be signed now.
    Failed(pki::Error),
}

fn sign(ca: &pki::Pair, request: &CertificateSigningRequest, now_unix_s: i64) -> Answer {
    let usages: Vec<&str> = request.spec.usages.iter().flatten().map(String::as_str).collect();
    let asked = match asked(request) {
        Ok(asked) => asked,
        Err(why) => return Answer::Refused(why),
    };
    match subject::check(&request.spec.signer_name, &asked, &usages) {
        None => return Answer::NotOurs,
        Some(Err(why)) => return Answer::Refused(why),
        Some(Ok(())) => {}
    }
    let valid_s = lifetime_s(request.spec.expiration_seconds);
    let signing = pki::Signing { usages: &usages, now_unix_s, valid_s };
    let pem = String::from_utf8_lossy(&request.spec.request.0);
    pki::sign_csr(ca, &pem, &signing).map_or_else(Answer::Failed, Answer::Signed)
}

fn lifetime_s(asked: Option<i32>) -> i64 {
    asked.map_or(VALID_S_MAX, |seconds| i64::from(seconds).clamp(VALID_S_MIN, VALID_S_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let table = [(None, 31_536_000), (Some(1), 600), (Some(7200), 7200), (Some(i32::MAX), 31_536_000)];
        for (asked, wanted) in table {
            assert_eq!(lifetime_s(asked), wanted, "{asked:?}");
        }
    }
}
