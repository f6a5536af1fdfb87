//! Rules of certificate signing requests.

use crate::hooks::check::Node;
use crate::hooks::meta;
use api_core::field::{BadValue, Errors};
use api_core::names;
use api_schema::row::WriteContext;
use base64::Engine;
use serde_json::Value;
use std::collections::BTreeSet;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];
const EXPIRATION_S_MIN: i64 = 600;
const DOMAIN_BYTES_MAX: usize = 253;
/// Decisions, and the end of a request that cannot be signed: once there, they stay.
const FINAL: [&str; 3] = ["Approved", "Denied", "Failed"];

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let spec = root.at("spec");
    let request = spec.at("request");
    if let Err(why) = parse(request.str()) {
        let none = BadValue("[]byte(nil)".into());
        e.invalid(&request.path, if request.present() { request.value.into() } else { none }, &why);
    }
    usages(&spec.at("usages"), e);
    let signer = spec.at("signerName");
    if signer.str() == "kubernetes.io/legacy-unknown" {
        signer.invalid("the legacy signerName is not allowed via this API version", e);
    } else {
        signer_name(&signer, e);
    }
    let expiration = spec.at("expirationSeconds");
    if expiration.int().is_some_and(|s| s < EXPIRATION_S_MIN) {
        expiration.invalid("may not specify a duration less than 600 seconds (10 minutes)", e);
    }
    conditions(&root.at("status").at("conditions"), e);
}

fn parse(request: &str) -> Result<(), String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(request).unwrap_or_default();
    let pem = Pem::iter_from_buffer(&bytes).next().and_then(Result::ok);
    let Some(pem) = pem.filter(|pem| pem.label == "CERTIFICATE REQUEST") else {
        return Err("PEM block type must be CERTIFICATE REQUEST".to_owned());
    };
    X509CertificationRequest::from_der(&pem.contents).map(drop).map_err(|why| format!("asn1: {why}"))
}

fn usages(list: &Node<'_, '_>, e: &mut Errors) {
    list.required(e);
    let mut seen = BTreeSet::new();
    for usage in list.items() {
        usage.one_of(&USAGES, e);
        if !seen.insert(usage.str()) {
            usage.duplicate(e);
        }
    }
}

/// `domain/path`.
fn signer_name(node: &Node<'_, '_>, e: &mut Errors) {
    if !node.required(e) {
        return;
    }
    let Some((domain, path)) = node.str().split_once('/').filter(|(_, path)| !path.contains('/')) else {
        return node.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'", e);
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        node.too_long(DOMAIN_BYTES_MAX, e);
    }
    let labels: Vec<&str> = domain.split('.').collect();
    let mut first_wrong = |of: &str, labels: &[&str], check: fn(&str) -> Vec<String>| {
        let wrong = labels.iter().map(|label| (label, check(label))).find(|(_, wrong)| !wrong.is_empty());
        for (label, why) in wrong.into_iter().flat_map(|(label, wrong)| wrong.into_iter().map(move |w| (label, w))) {
            e.invalid(&node.path, of, &format!("validating label {label:?}: {why}"));
        }
    };
    first_wrong(domain, &labels, names::is_dns1123_label);
    first_wrong(path, &path.split('.').collect::<Vec<_>>(), names::is_dns1123_subdomain);
    if labels.len() < 2 {
        e.invalid(&node.path, domain, "should be a domain with at least two segments separated by dots");
    }
    if path.len() > DOMAIN_BYTES_MAX {
        node.too_long(DOMAIN_BYTES_MAX, e);
    }
}

fn conditions(list: &Node<'_, '_>, e: &mut Errors) {
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for condition in list.items() {
        let (kind, status) = (condition.at("type"), condition.at("status"));
        kind.required(e);
        if FINAL.contains(&kind.str()) {
            status.required_one_of(&["True"], e);
        } else {
            status.required_one_of(&["True", "False", "Unknown"], e);
        }
        let other = match kind.str() {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if seen.contains(other) {
            kind.invalid("Approved and Denied conditions are mutually exclusive", e);
        }
        if !seen.insert(kind.str()) {
            kind.duplicate(e);
        }
    }
}

/// Whether what was signed is certificates in PEM.
fn check_certificates(encoded: &str) -> Result<(), String> {
    let pem = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap_or_default();
    if pem.is_empty() {
        return Ok(());
    }
    let mut blocks = 0;
    for block in Pem::iter_from_buffer(&pem) {
        let Ok(block) = block else { break };
        if block.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", block.label));
        }
        block.parse_x509().map_err(|_| "x509: malformed certificate".to_owned())?;
        blocks += 1;
    }
    if blocks == 0 { Err("must contain at least one CERTIFICATE PEM block".into()) } else { Ok(()) }
}

/// Decisions are made through `approval` and never taken back; certificates are given through `status`, once.
pub(super) fn validate_update(context: &WriteContext<'_>, new: &Value, old: &Value, e: &mut Errors) {
    meta::again_on_create(new, e);
    validate(new, e);
    meta::again_on_update(new, old, e);
    let (new_root, old_root) = (Node::root(new), Node::root(old));
    let (status, old_status) = (new_root.at("status"), old_root.at("status"));
    let (list, old_list) = (status.at("conditions"), old_status.at("conditions"));
    let has = |list: &Node<'_, '_>, kind: &str| list.items().any(|c| c.text("type") == kind);
    for kind in FINAL {
        let decision = kind != "Failed";
        match (has(&old_list, kind), has(&list, kind)) {
            (true, false) => list.forbidden(&format!("updates may not remove a condition of type {kind:?}"), e),
            (false, true) if decision && context.subresource != "approval" => {
                list.forbidden(&format!("updates may not add a condition of type {kind:?}"), e);
            }
            _ => {}
        }
    }
    let (certificate, had) = (status.at("certificate"), old_status.at("certificate"));
    if certificate.value != had.value {
        if let Err(why) = check_certificates(certificate.str()) {
            e.invalid(&certificate.path, "<certificate data>", &why);
        }
        if !had.is_empty() {
            certificate.forbidden("updates may not modify existing certificate content", e);
        } else if context.subresource != "status" {
            certificate.forbidden("updates may not set certificate content", e);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn causes(errors: &Errors) -> Vec<String> {
        errors.0.iter().map(|e| format!("{} {}", e.kind.reason(), e.field)).collect()
    }

    #[test]
    fn requests() {
        let mut e = Errors::new();
        validate(
            &json!({"spec": {"request": "eA==", "usages": ["client auth", "x", "x"], "signerName": "a/b/c", "expirationSeconds": 1}}),
            &mut e,
        );
        assert_eq!(
            causes(&e),
            [
                "FieldValueInvalid spec.request",
                "FieldValueNotSupported spec.usages[1]",
                "FieldValueNotSupported spec.usages[2]",
                "FieldValueDuplicate spec.usages[2]",
                "FieldValueInvalid spec.signerName",
                "FieldValueInvalid spec.expirationSeconds",
            ]
        );
        for (signer, good) in
            [("kubernetes.io/kubelet-serving", true), ("a/b", false), ("a.b/C", false), ("", false), ("a.b/c.d", true)]
        {
            let (mut e, value) = (Errors::new(), json!(signer));
            signer_name(&Node::root(&value), &mut e);
            assert_eq!(e.is_empty(), good, "{signer}");
        }
    }

    #[test]
    fn decisions_stay() {
        let with = |kinds: &[&str], certificate: &str| {
            let list: Vec<Value> = kinds.iter().map(|k| json!({"type": k, "status": "True"})).collect();
            json!({"status": {"conditions": list, "certificate": certificate}})
        };
        let after = |subresource: &str, old: Value, new: Value| {
            let mut e = Errors::new();
            validate_update(&WriteContext { subresource, ..WriteContext::default() }, &new, &old, &mut e);
            causes(&e).into_iter().filter(|c| c.contains("status")).collect::<Vec<_>>()
        };
        assert_eq!(after("approval", with(&[], ""), with(&["Approved"], "")), [""; 0]);
        assert_eq!(after("status", with(&[], ""), with(&["Approved"], "")), ["FieldValueForbidden status.conditions"]);
        assert_eq!(
            after("approval", with(&["Approved"], ""), with(&[], "")),
            ["FieldValueForbidden status.conditions"]
        );
        assert_eq!(after("status", with(&["Approved"], ""), with(&["Approved"], "c")), [""; 0]);
        assert_eq!(after("status", with(&[], ""), with(&[], "YQ==")), ["FieldValueInvalid status.certificate"]);
        let wrong = ["FieldValueInvalid status.certificate", "FieldValueForbidden status.certificate"];
        assert_eq!(after("status", with(&[], "YQ=="), with(&[], "Yg==")), wrong);
        assert_eq!(
            after("approval", with(&["Denied"], ""), with(&["Denied", "Approved"], "")),
            ["FieldValueInvalid status.conditions[1].type"]
        );
    }
}
