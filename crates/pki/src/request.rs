//! Signing requests: made, read, and answered with a certificate.

use crate::cert::{Pair, issuer, params};
use crate::{Error, subject};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;

/// Who asks in a signing request, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CsrInfo {
    /// `CN`.
    pub common_name: String,
    /// `O`.
    pub organizations: Vec<String>,
    /// Alternative names.
    pub dns_names: Vec<String>,
    /// Alternative addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// Alternative mail addresses; only read.
    pub emails: Vec<String>,
    /// Alternative URIs; only read.
    pub uris: Vec<String>,
}

/// How a request is answered.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// Usages, by the names that the API has for them.
    pub usages: &'a [&'a str],
    /// The time (Unix seconds).
    pub now_unix_s: i64,
    /// Seconds from now until it ends; it never outlives the authority.
    pub valid_s: i64,
}

/// A lifetime from this on begins a little before now, so that clocks may differ.
const SHORT_S: i64 = 8 * 3600;

fn unreadable() -> Error {
    Error::Parse { what: "the certificate signing request".into() }
}

/// A signing request (PEM) with a new key (PEM).
///
/// # Errors
/// [`Error::Sign`] if a name is not valid in a certificate.
pub fn signing_request(info: &CsrInfo) -> Result<Pair, Error> {
    let fail = |source| Error::Sign { subject: info.common_name.clone(), source };
    let mut params = CertificateParams::new(info.dns_names.clone()).map_err(fail)?;
    params.subject_alt_names.extend(info.ip_addresses.iter().map(|ip| SanType::IpAddress(*ip)));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, info.common_name.as_str());
    let key = KeyPair::generate().map_err(fail)?;
    let request = params.serialize_request(&key).map_err(fail)?;
    let name = subject::name(&info.common_name, &info.organizations);
    let der = subject::replace(request.der(), subject::IN_REQUEST, &name, &key)?;
    Ok(Pair { cert_pem: subject::to_pem("CERTIFICATE REQUEST", der), key_pem: key.serialize_pem() })
}

/// Reads a signing request (PEM).
///
/// # Errors
/// [`Error::Parse`] if it is none.
pub fn read_request(pem: &str) -> Result<CsrInfo, Error> {
    let block = first_block(pem)?;
    let (_, request) = X509CertificationRequest::from_der(&block.contents).map_err(|_| unreadable())?;
    let name = &request.certification_request_info.subject;
    let text = |values: &mut dyn Iterator<Item = Option<String>>| values.flatten().collect::<Vec<_>>();
    let mut info = CsrInfo {
        common_name: name.iter_common_name().find_map(|n| n.as_str().ok()).unwrap_or_default().to_owned(),
        organizations: text(&mut name.iter_organization().map(|o| o.as_str().ok().map(str::to_owned))),
        ..CsrInfo::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(names) = extension else { continue };
        for name in &names.general_names {
            match name {
                GeneralName::DNSName(name) => info.dns_names.push((*name).to_owned()),
                GeneralName::RFC822Name(name) => info.emails.push((*name).to_owned()),
                GeneralName::URI(uri) => info.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => info.ip_addresses.push(address(bytes).ok_or_else(unreadable)?),
                _ => {}
            }
        }
    }
    Ok(info)
}

fn first_block(pem: &str) -> Result<Pem, Error> {
    let block = Pem::iter_from_buffer(pem.as_bytes()).next().and_then(Result::ok).ok_or_else(unreadable)?;
    if block.label == "CERTIFICATE REQUEST" { Ok(block) } else { Err(unreadable()) }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// When a certificate (PEM) ends (Unix seconds).
///
/// # Errors
/// [`Error::Parse`] if it is none.
pub fn ends_at(cert_pem: &str) -> Result<i64, Error> {
    let bad = || Error::Parse { what: "the certificate".into() };
    let block = Pem::iter_from_buffer(cert_pem.as_bytes()).next().and_then(Result::ok).ok_or_else(bad)?;
    let certificate = block.parse_x509().map_err(|_| bad())?;
    Ok(certificate.validity().not_after.timestamp())
}

/// Signs a request with the names that it asks for; usages and lifetime are the signer's.
///
/// # Errors
/// [`Error::Parse`] if the request or `ca` is not readable, [`Error::Sign`] if signing fails, [`Error::Expired`] if the
/// authority has ended.
pub fn sign_csr(ca: &Pair, csr_pem: &str, signing: &Signing<'_>) -> Result<String, Error> {
    let mut request = CertificateSigningRequestParams::from_pem(csr_pem).map_err(|_| unreadable())?;
    let block = first_block(csr_pem)?;
    let (_, asked) = X509CertificationRequest::from_der(&block.contents).map_err(|_| unreadable())?;
    let ca_ends = ends_at(&ca.cert_pem)?;
    if ca_ends <= signing.now_unix_s {
        return Err(Error::Expired { what: "the certificate authority".into() });
    }
    let backdate = params("", 0, Duration::ZERO).not_before.unix_timestamp().abs();
    let lives = if signing.valid_s < SHORT_S { signing.valid_s } else { signing.valid_s - backdate };
    let at = |unix_s: i64| OffsetDateTime::from_unix_timestamp(unix_s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    request.params.not_before = at(signing.now_unix_s - backdate);
    request.params.not_after = at((signing.now_unix_s + lives).min(ca_ends));
    request.params.is_ca = IsCa::ExplicitNoCa;
    request.params.use_authority_key_identifier_extension = true;
    request.params.key_usages = signing.usages.iter().filter_map(|usage| key_usage(usage)).collect();
    request.params.extended_key_usages = signing.usages.iter().filter_map(|usage| extended_usage(usage)).collect();
    let issuer = issuer(ca)?;
    let cert = request
        .signed_by(&issuer)
        .map_err(|source| Error::Sign { subject: "certificate signing request".into(), source })?;
    let name = asked.certification_request_info.subject.as_raw();
    let der = subject::replace(cert.der(), subject::IN_CERTIFICATE, name, issuer.key())?;
    Ok(subject::to_pem("CERTIFICATE", der))
}

fn key_usage(name: &str) -> Option<KeyUsagePurpose> {
    Some(match name {
        "signing" | "digital signature" => KeyUsagePurpose::DigitalSignature,
        "content commitment" => KeyUsagePurpose::ContentCommitment,
        "key encipherment" => KeyUsagePurpose::KeyEncipherment,
        "key agreement" => KeyUsagePurpose::KeyAgreement,
        "data encipherment" => KeyUsagePurpose::DataEncipherment,
        "cert sign" => KeyUsagePurpose::KeyCertSign,
        "crl sign" => KeyUsagePurpose::CrlSign,
        "encipher only" => KeyUsagePurpose::EncipherOnly,
        "decipher only" => KeyUsagePurpose::DecipherOnly,
        _ => return None,
    })
}

fn extended_usage(name: &str) -> Option<ExtendedKeyUsagePurpose> {
    let other = |arcs: &[u64]| ExtendedKeyUsagePurpose::Other(arcs.to_vec());
    Some(match name {
        "any" => ExtendedKeyUsagePurpose::Any,
        "server auth" => ExtendedKeyUsagePurpose::ServerAuth,
        "client auth" => ExtendedKeyUsagePurpose::ClientAuth,
        "code signing" => ExtendedKeyUsagePurpose::CodeSigning,
        "email protection" | "s/mime" => ExtendedKeyUsagePurpose::EmailProtection,
        "ipsec end system" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        "ipsec tunnel" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        "ipsec user" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        "timestamping" => ExtendedKeyUsagePurpose::TimeStamping,
        "ocsp signing" => ExtendedKeyUsagePurpose::OcspSigning,
        "microsoft sgc" => other(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => other(&[2, 16, 840, 1, 113730, 4, 1]),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LeafSpec, Usage, certificate_authority, leaf};
    use x509_parser::prelude::X509Certificate;

    const NOW: i64 = 1_800_000_000;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    fn parsed<T>(pem: &str, ca: &Pair, check: impl Fn(&X509Certificate<'_>) -> T) -> T {
        let block = |pem: &str| Pem::iter_from_buffer(pem.as_bytes()).next().expect("a block").expect("PEM");
        let (block, ca) = (block(pem), block(&ca.cert_pem));
        let (certificate, ca) = (block.parse_x509().expect("a certificate"), ca.parse_x509().expect("a CA"));
        certificate.verify_signature(Some(ca.public_key())).expect("signed by the authority");
        check(&certificate)
    }

    fn groups(certificate: &X509Certificate<'_>) -> Vec<String> {
        certificate.subject().iter_organization().filter_map(|o| o.as_str().ok().map(str::to_owned)).collect()
    }

    #[test]
    fn all_groups_survive() {
        let ca = certificate_authority("kubernetes", NOW, 3650).expect("a CA");
        let organizations = strings(&["dev", "ops", "system:nodes"]);
        let info = CsrInfo {
            common_name: "jane".into(),
            organizations: organizations.clone(),
            dns_names: strings(&["a.example.com"]),
            ip_addresses: vec!["10.0.0.1".parse().expect("an address")],
            ..CsrInfo::default()
        };
        let request = signing_request(&info).expect("a request");
        assert_eq!(read_request(&request.cert_pem).expect("readable"), info);
        let usages = ["digital signature", "key encipherment", "client auth"];
        let signing = Signing { usages: &usages, now_unix_s: NOW, valid_s: 3600 };
        let cert = sign_csr(&ca, &request.cert_pem, &signing).expect("a certificate");
        parsed(&cert, &ca, |c| {
            assert_eq!(groups(c), organizations);
            assert_eq!(c.subject().iter_common_name().next().and_then(|n| n.as_str().ok()), Some("jane"));
            let extended = c.extended_key_usage().expect("readable").expect("has usages");
            assert!(extended.value.client_auth && !extended.value.server_auth);
            let usage = c.key_usage().expect("readable").expect("has usages");
            assert!(usage.value.digital_signature() && usage.value.key_encipherment() && !usage.value.key_cert_sign());
            assert_eq!(c.validity().not_after.timestamp(), NOW + 3600);
            assert_eq!(c.subject_alternative_name().expect("readable").expect("has").value.general_names.len(), 2);
        });
        let spec = LeafSpec {
            common_name: "jane".into(),
            organizations: organizations.clone(),
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: Usage::Client,
            valid_days: 1,
        };
        let leaf = leaf(&ca, &spec, NOW).expect("a leaf");
        parsed(&leaf.cert_pem, &ca, |c| assert_eq!(groups(c), organizations));
    }

    #[test]
    fn a_certificate_never_outlives_its_authority() {
        let ca = certificate_authority("kubernetes", NOW, 1).expect("a CA");
        let request = signing_request(&CsrInfo { common_name: "a".into(), ..CsrInfo::default() }).expect("a request");
        let sign =
            |now_unix_s, valid_s| sign_csr(&ca, &request.cert_pem, &Signing { usages: &["any"], now_unix_s, valid_s });
        let long = sign(NOW, 365 * 86400).expect("a certificate");
        assert_eq!(ends_at(&long).expect("readable"), NOW + 86400);
        let day = sign(NOW, 10 * 3600).expect("a certificate");
        assert_eq!(ends_at(&day).expect("readable"), NOW + 10 * 3600 - 300, "as long in all as was asked for");
        assert!(matches!(sign(NOW + 86400, 600), Err(Error::Expired { .. })));
        let bad = Signing { usages: &[], now_unix_s: NOW, valid_s: 1 };
        assert!(matches!(sign_csr(&ca, "nonsense", &bad), Err(Error::Parse { .. })));
    }
}
