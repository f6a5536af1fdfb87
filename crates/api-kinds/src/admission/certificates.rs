//! Certificate signing requests: whose permission an approval or a signature needs, and subjects that are not signed.

use super::text;
use serde_json::Value;

/// A permission on `signers` that a change needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Needed {
    /// `approve` or `sign`.
    pub verb: &'static str,
    /// The signer.
    pub signer: String,
    /// All signers of its domain: having it for these is enough too.
    pub domain: String,
}

impl Needed {
    /// The words of a refusal.
    pub fn refusal(&self) -> String {
        format!("user not permitted to {} requests with signerName {:?}", self.verb, self.signer)
    }
}

/// What an update of `subresource` needs.
pub fn needed(subresource: &str, new: &Value, old: &Value) -> Option<Needed> {
    let signed = || new["status"]["certificate"] != old["status"]["certificate"] || failed(new) != failed(old);
    let verb = match subresource {
        "approval" => "approve",
        "status" if signed() => "sign",
        _ => return None,
    };
    let signer = text(&old["spec"], "signerName").to_owned();
    let domain = signer.split_once('/').map_or_else(|| signer.clone(), |(domain, _)| format!("{domain}/*"));
    Some(Needed { verb, signer, domain })
}

fn failed(csr: &Value) -> bool {
    super::items(&csr["status"], "conditions").any(|c| text(c, "type") == "Failed")
}

/// Refuses to have administrators made by a signing request. `organizations` are those of the request's subject.
pub fn check_subject(csr: &Value, organizations: &[String]) -> Result<(), String> {
    const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
    if text(&csr["spec"], "signerName") == SIGNER && organizations.iter().any(|o| o == "system:masters") {
        return Err(format!("use of {SIGNER} signer with system:masters group is not allowed"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn permissions() {
        let csr = json!({"spec": {"signerName": "example.com/x"}, "status": {}});
        let signed = json!({"spec": {"signerName": "example.com/x"}, "status": {"certificate": "a"}});
        let approve = needed("approval", &csr, &csr).expect("needed");
        assert_eq!((approve.verb, approve.domain.as_str()), ("approve", "example.com/*"));
        assert_eq!(needed("status", &csr, &csr), None);
        assert_eq!(needed("status", &signed, &csr).map(|n| n.verb), Some("sign"));
        let masters = ["system:masters".to_owned()];
        assert!(check_subject(&csr, &masters).is_ok());
        assert!(
            check_subject(&json!({"spec": {"signerName": "kubernetes.io/kube-apiserver-client"}}), &masters).is_err()
        );
    }
}
