//! Certificate signing requests: who may approve and sign, and whom nobody signs.

use super::{Attributes, Context, Operation};
use crate::authz::{self, ResourceTarget};
use api_core::ApiError;
use api_kinds::admission::certificates;
use base64::Engine;
use serde_json::Value;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

const GROUP: &str = "certificates.k8s.io";
const RESOURCE: &str = "certificatesigningrequests";

/// Approving and signing need a permission on the signer.
pub fn permission(
    context: &Context,
    a: &Attributes<'_>,
    csr: Option<&Value>,
    _: &mut Vec<String>,
) -> Result<(), ApiError> {
    let due = a.is_any(GROUP, RESOURCE, &[Operation::Update]);
    let (Some(csr), Some(old)) = (csr.filter(|_| due), a.old) else { return Ok(()) };
    let Some(needed) = certificates::needed(a.subresource, csr, old) else { return Ok(()) };
    let may = |name: &str| {
        let target =
            ResourceTarget { group: GROUP, version: "*", resource: "signers", name, ..ResourceTarget::default() };
        context.authorizer.authorize(&authz::Attributes::resource(a.user, needed.verb, target)).is_allowed()
    };
    if may(&needed.signer) || may(&needed.domain) { Ok(()) } else { Err(a.forbidden(Some(csr), &needed.refusal())) }
}

/// Nobody becomes an administrator by a signing request.
pub fn subject(_: &Context, a: &Attributes<'_>, csr: Option<&Value>, _: &mut Vec<String>) -> Result<(), ApiError> {
    let Some(csr) = csr.filter(|_| a.is(GROUP, RESOURCE, &[Operation::Create])) else { return Ok(()) };
    let organizations = organizations(csr["spec"]["request"].as_str().unwrap_or(""));
    certificates::check_subject(csr, &organizations).map_err(|why| a.forbidden(Some(csr), &why))
}

/// Organizations of the subject of a base64 PEM request; none if it cannot be read, which validation reports.
fn organizations(request: &str) -> Vec<String> {
    let read = || {
        let pem = base64::engine::general_purpose::STANDARD.decode(request).ok()?;
        let pem = Pem::iter_from_buffer(&pem).next()?.ok()?;
        let (_, request) = X509CertificationRequest::from_der(&pem.contents).ok()?;
        let subject = &request.certification_request_info.subject;
        Some(subject.iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect())
    };
    read().unwrap_or_default()
}
