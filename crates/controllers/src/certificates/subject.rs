//! What the built-in signers sign: who may be asked for, and for which usages.

use std::collections::BTreeSet;

use pki::CsrInfo;

use super::{CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY};

const SIGNATURE: &str = "digital signature";
const KEYS: &str = "key encipherment";
const AS_CLIENT: &str = "client auth";
const AS_SERVER: &str = "server auth";

/// Why `signer` does not sign the request; `None` if it is no signer of ours.
pub(super) fn check(signer: &str, asked: &CsrInfo, usages: &[&str]) -> Option<Result<(), String>> {
    match signer {
        KUBELET_CLIENT => Some(kubelet_client(asked, usages)),
        KUBELET_SERVING => Some(kubelet_serving(asked, usages)),
        CLIENT => Some(client(usages)),
        LEGACY => Some(Ok(())),
        _ => None,
    }
}

/// A client certificate of a kubelet.
pub(super) fn kubelet_client(asked: &CsrInfo, usages: &[&str]) -> Result<(), String> {
    is_node_group(asked)?;
    nothing(&asked.dns_names, "DNS")?;
    nothing(&asked.emails, "Email")?;
    nothing(&asked.ip_addresses, "IP")?;
    nothing(&asked.uris, "URI")?;
    is_node_name(asked)?;
    exactly(usages, AS_CLIENT)
}

fn kubelet_serving(asked: &CsrInfo, usages: &[&str]) -> Result<(), String> {
    is_node_group(asked)?;
    if asked.dns_names.is_empty() && asked.ip_addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".into());
    }
    nothing(&asked.emails, "Email")?;
    nothing(&asked.uris, "URI")?;
    exactly(usages, AS_SERVER)?;
    is_node_name(asked)
}

fn client(usages: &[&str]) -> Result<(), String> {
    let allowed = [SIGNATURE, KEYS, AS_CLIENT];
    let unknown = usages.iter().any(|usage| !allowed.contains(usage));
    if unknown || !usages.contains(&AS_CLIENT) {
        return Err(format!("usages did not match [{AS_CLIENT} {SIGNATURE} {KEYS}]"));
    }
    Ok(())
}

fn is_node_group(asked: &CsrInfo) -> Result<(), String> {
    let only = asked.organizations == ["system:nodes"];
    only.then_some(()).ok_or_else(|| "subject organization is not system:nodes".into())
}

fn is_node_name(asked: &CsrInfo) -> Result<(), String> {
    let named = asked.common_name.starts_with("system:node:");
    named.then_some(()).ok_or_else(|| "subject common name does not begin with system:node:".into())
}

fn nothing<T>(names: &[T], kind: &str) -> Result<(), String> {
    names.is_empty().then_some(()).ok_or_else(|| format!("{kind} subjectAltNames are not allowed"))
}

/// With or without the encipherment of keys, which only RSA keys do.
fn exactly(usages: &[&str], role: &str) -> Result<(), String> {
    let usages: BTreeSet<&str> = usages.iter().copied().collect();
    if usages == BTreeSet::from([SIGNATURE, role]) || usages == BTreeSet::from([SIGNATURE, KEYS, role]) {
        return Ok(());
    }
    let mut wanted = [SIGNATURE, KEYS, role];
    wanted.sort_unstable();
    Err(format!("usages did not match [{}]", wanted.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signers_sign_only_what_they_are_for() {
        let node = CsrInfo {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            ..CsrInfo::default()
        };
        let named = CsrInfo { dns_names: vec!["a".into()], ..node.clone() };
        let other = CsrInfo { organizations: vec!["dev".into()], ..node.clone() };
        let many = CsrInfo { organizations: vec!["system:nodes".into(), "system:masters".into()], ..node.clone() };
        let user = CsrInfo { common_name: "jane".into(), ..node.clone() };
        let (as_client, as_server) = ([SIGNATURE, KEYS, AS_CLIENT], [SIGNATURE, AS_SERVER]);
        let table: [(&str, &CsrInfo, &[&str], &str); 13] = [
            (KUBELET_CLIENT, &node, &as_client, ""),
            (KUBELET_CLIENT, &node, &[AS_CLIENT, SIGNATURE], ""),
            (KUBELET_CLIENT, &named, &as_client, "DNS subjectAltNames are not allowed"),
            (KUBELET_CLIENT, &other, &as_client, "subject organization is not system:nodes"),
            (KUBELET_CLIENT, &many, &as_client, "subject organization is not system:nodes"),
            (KUBELET_CLIENT, &user, &as_client, "subject common name does not begin with system:node:"),
            (
                KUBELET_CLIENT,
                &node,
                &as_server,
                "usages did not match [client auth digital signature key encipherment]",
            ),
            (KUBELET_SERVING, &named, &as_server, ""),
            (KUBELET_SERVING, &node, &as_server, "DNS or IP subjectAltName is required"),
            (
                KUBELET_SERVING,
                &named,
                &as_client,
                "usages did not match [digital signature key encipherment server auth]",
            ),
            (CLIENT, &user, &as_client, ""),
            (CLIENT, &user, &as_server, "usages did not match [client auth digital signature key encipherment]"),
            (LEGACY, &user, &["any"], ""),
        ];
        for (signer, asked, usages, wanted) in table {
            let got = check(signer, asked, usages).expect("a signer of ours");
            assert_eq!(got.err().unwrap_or_default(), wanted, "{signer} {asked:?} {usages:?}");
        }
        assert_eq!(check("example.com/mine", &node, &as_client), None);
    }
}
