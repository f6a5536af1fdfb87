//! Users from client certificates: the common name is the user, organizations are groups.
//!
//! The chain was verified against the client CA where TLS ended.

use super::user::UserInfo;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The user of a certificate chain; `None` if the leaf cannot be read or names nobody.
pub fn user(chain: &[Vec<u8>]) -> Option<UserInfo> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    let subject = leaf.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    if name.is_empty() {
        return None;
    }
    let groups = subject.iter_organization().filter_map(|o| o.as_str().ok()).map(str::to_owned);
    Some(UserInfo::authenticated(name, groups))
}

/// When the first certificate of a chain ends, in seconds since the epoch.
pub fn ends(chain: &[Vec<u8>]) -> Option<i64> {
    let (_, leaf) = X509Certificate::from_der(chain.first()?).ok()?;
    Some(leaf.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine;

    #[test]
    fn subject_is_user() {
        let now = 1_700_000_000;
        let ca = pki::certificate_authority("ca", now, 10).expect("ca");
        let spec = pki::LeafSpec {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: pki::Usage::Client,
            valid_days: 1,
        };
        let leaf = pki::leaf(&ca, &spec, now).expect("leaf");
        let body: String = leaf.cert_pem.lines().filter(|l| !l.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body).expect("base64");
        let user = user(std::slice::from_ref(&der)).expect("user");
        assert_eq!(user.name, "system:node:a");
        assert_eq!(user.groups, ["system:nodes", "system:authenticated"]);
        assert_eq!(super::user(&[vec![1, 2]]), None);
        assert_eq!(ends(&[der]), Some(now + 86_400));
    }
}
