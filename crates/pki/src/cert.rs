//! Certificates: authorities and leaves. Pure: the clock is an argument.

use crate::{Error, subject};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData as _, SanType,
};
use std::net::IpAddr;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

/// A certificate (or public key) and its private key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Certificate, or public key.
    pub cert_pem: String,
    /// Private key, PKCS #8.
    pub key_pem: String,
}

/// What a certificate may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// TLS server.
    Server,
    /// TLS client.
    Client,
    /// Both.
    Both,
}

/// What a leaf certificate says.
#[derive(Debug, Clone)]
pub struct LeafSpec {
    /// `CN`: the user name of a client certificate.
    pub common_name: String,
    /// `O`: the groups of a client certificate.
    pub organizations: Vec<String>,
    /// Subject alternative names.
    pub dns_names: Vec<String>,
    /// Subject alternative addresses.
    pub ip_addresses: Vec<IpAddr>,
    /// What it is for.
    pub usage: Usage,
    /// Days that it is valid.
    pub valid_days: u32,
}

/// Certificates are valid from five minutes before they were made, so that clocks may differ a little.
const BACKDATE: Duration = Duration::minutes(5);

pub(crate) fn params(common_name: &str, now_unix_s: i64, valid: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    let now = OffsetDateTime::from_unix_timestamp(now_unix_s).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    params.not_before = now - BACKDATE;
    params.not_after = now + valid;
    params
}

/// A self-signed authority.
///
/// # Errors
/// [`Error::Sign`] if the crypto library fails.
pub fn certificate_authority(common_name: &str, now_unix_s: i64, valid_days: u32) -> Result<Pair, Error> {
    let fail = |source| Error::Sign { subject: common_name.into(), source };
    let mut params = params(common_name, now_unix_s, Duration::days(i64::from(valid_days)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
    params.subject_alt_names = vec![SanType::DnsName(common_name.try_into().map_err(fail)?)];
    let key = KeyPair::generate().map_err(fail)?;
    let cert = params.self_signed(&key).map_err(fail)?;
    Ok(Pair { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
}

/// A public and private key without a certificate, for signing service-account tokens (ES256).
///
/// # Errors
/// [`Error::Sign`] if the crypto library fails.
pub fn key_pair() -> Result<Pair, Error> {
    let key = KeyPair::generate().map_err(|source| Error::Sign { subject: "service accounts".into(), source })?;
    Ok(Pair { cert_pem: key.public_key_pem(), key_pem: key.serialize_pem() })
}

/// Whether `cert_pem`, a certificate or a public key, is that of the private key `key_pem`.
pub(crate) fn belongs(key_pem: &str, cert_pem: &str) -> bool {
    let (Ok(key), Ok((_, block))) = (KeyPair::from_pem(key_pem), parse_x509_pem(cert_pem.as_bytes())) else {
        return false;
    };
    let public = key.subject_public_key_info();
    match block.label.as_str() {
        "CERTIFICATE" => block.parse_x509().is_ok_and(|cert| cert.public_key().raw == public),
        _ => block.contents == public,
    }
}

pub(crate) fn issuer(ca: &Pair) -> Result<Issuer<'static, KeyPair>, Error> {
    let bad = |_| Error::Parse { what: "the certificate authority".into() };
    let key = KeyPair::from_pem(&ca.key_pem).map_err(bad)?;
    Issuer::from_ca_cert_pem(&ca.cert_pem, key).map_err(bad)
}

/// A certificate signed by `ca`, with a key of its own.
///
/// # Errors
/// [`Error::Parse`] if `ca` is not readable, [`Error::Sign`] if a name is not valid in a certificate.
pub fn leaf(ca: &Pair, spec: &LeafSpec, now_unix_s: i64) -> Result<Pair, Error> {
    let fail = |source| Error::Sign { subject: spec.common_name.clone(), source };
    let mut params = params(&spec.common_name, now_unix_s, Duration::days(i64::from(spec.valid_days)));
    for name in &spec.dns_names {
        params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(fail)?));
    }
    params.subject_alt_names.extend(spec.ip_addresses.iter().map(|ip| SanType::IpAddress(*ip)));
    params.is_ca = IsCa::NoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = match spec.usage {
        Usage::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        Usage::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
    };
    let key = KeyPair::generate().map_err(fail)?;
    let issuer = issuer(ca)?;
    let cert = params.signed_by(&key, &issuer).map_err(fail)?;
    let name = subject::name(&spec.common_name, &spec.organizations);
    let der = subject::replace(cert.der(), subject::IN_CERTIFICATE, &name, issuer.key())?;
    Ok(Pair { cert_pem: subject::to_pem("CERTIFICATE", der), key_pem: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use x509_parser::prelude::*;

    const NOW: i64 = 1_800_000_000;

    fn leaf_spec() -> LeafSpec {
        LeafSpec {
            common_name: "system:node:a".into(),
            organizations: vec!["system:nodes".into()],
            dns_names: vec!["a".into()],
            ip_addresses: vec!["10.0.0.1".parse().expect("an address")],
            usage: Usage::Both,
            valid_days: 365,
        }
    }

    fn parsed<T>(pem: &str, check: impl Fn(&X509Certificate<'_>) -> T) -> T {
        let (_, block) = parse_x509_pem(pem.as_bytes()).expect("PEM");
        check(&block.parse_x509().expect("a certificate"))
    }

    #[test]
    fn a_leaf_carries_its_user_and_groups_and_is_signed_by_the_authority() {
        let ca = certificate_authority("kubernetes", NOW, 3650).expect("a CA");
        let leaf = leaf(&ca, &leaf_spec(), NOW).expect("a leaf");
        parsed(&leaf.cert_pem, |c| {
            assert_eq!(c.subject().iter_common_name().next().and_then(|n| n.as_str().ok()), Some("system:node:a"));
            assert_eq!(c.subject().iter_organization().next().and_then(|n| n.as_str().ok()), Some("system:nodes"));
            assert_eq!(c.issuer().iter_common_name().next().and_then(|n| n.as_str().ok()), Some("kubernetes"));
            assert!(!c.is_ca());
            assert_eq!(c.validity().not_after.timestamp(), NOW + 365 * 86400);
            let names = c.subject_alternative_name().expect("readable").expect("has names");
            assert_eq!(names.value.general_names.len(), 2);
        });
        assert!(parsed(&ca.cert_pem, |c| c.is_ca()));
    }
}
