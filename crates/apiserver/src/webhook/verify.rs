//! Whether a server's certificate is good, by the rules of upstream's language: a certificate that is itself among the
//! roots is trusted as it is, and one that may sign others may be a server too. `webpki` refuses both, and webhooks in the
//! field use both. Failures are worded as upstream's clients word them. Knows nothing of connections.

use api_core::time::format_unix_s;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{AlgorithmIdentifier, CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::net::IpAddr;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::AlgorithmIdentifier as ParsedAlgorithm;

/// What every failure of verification starts with.
const FAILED: &str = "tls: failed to verify certificate: x509: ";

/// How a server's certificate is judged.
#[derive(Debug)]
pub struct Verifier {
    provider: Arc<CryptoProvider>,
    /// `None` takes any certificate.
    roots: Option<Roots>,
}

#[derive(Debug)]
struct Roots {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Takes any certificate.
    pub fn insecure(provider: Arc<CryptoProvider>) -> Self {
        Self { provider, roots: None }
    }

    /// Takes what one of these vouches for. What of them is no certificate is passed over, as upstream does.
    pub fn new(provider: Arc<CryptoProvider>, certificates: Vec<CertificateDer<'static>>) -> Self {
        let mut anchors = RootCertStore::empty();
        anchors.add_parsable_certificates(certificates.iter().cloned());
        Self { provider, roots: Some(Roots { anchors, certificates }) }
    }

    fn judge(
        &self,
        roots: &Roots,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), String> {
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|e| format!("malformed certificate: {e}"))?;
        check_time(&parsed, now)?;
        check_name(&parsed, name)?;
        if roots.certificates.iter().any(|root| root.as_ref() == leaf.as_ref()) {
            return check_usage(&parsed);
        }
        let algorithms = self.provider.signature_verification_algorithms;
        let standard = ParsedCertificate::try_from(leaf)
            .and_then(|p| verify_server_cert_signed_by_trust_anchor(&p, &roots.anchors, others, now, algorithms.all));
        match standard {
            Ok(()) => Ok(()),
            Err(error) if is_about_authority(&error) => {
                check_usage(&parsed)?;
                let issuers = roots.certificates.iter().filter_map(|c| Some(X509Certificate::from_der(c).ok()?.1));
                let signed = issuers.filter(|i| i.subject() == parsed.issuer()).any(|i| self.signed(&parsed, &i, now));
                if signed { Ok(()) } else { Err(worded(&error)) }
            }
            Err(error) => Err(worded(&error)),
        }
    }

    /// Whether `issuer`, an authority that is valid now, has signed `certificate`.
    fn signed(&self, certificate: &X509Certificate<'_>, issuer: &X509Certificate<'_>, now: UnixTime) -> bool {
        let key = issuer.public_key();
        issuer.is_ca()
            && check_time(issuer, now).is_ok()
            && self.provider.signature_verification_algorithms.all.iter().any(|algorithm| {
                is_same(&algorithm.signature_alg_id(), &certificate.signature_algorithm)
                    && is_same(&algorithm.public_key_alg_id(), &key.algorithm)
                    && algorithm
                        .verify_signature(
                            &key.subject_public_key.data,
                            certificate.tbs_certificate.as_ref(),
                            &certificate.signature_value.data,
                        )
                        .is_ok()
            })
    }
}

/// Whether the two name the same algorithm; one stands without the header of its sequence.
fn is_same(known: &AlgorithmIdentifier, found: &ParsedAlgorithm<'_>) -> bool {
    let Ok(len) = u8::try_from(known.as_ref().len()) else { return false };
    // The short form of a length; no identifier comes near its limit of 127 bytes.
    let der = [&[0x30, len][..], known.as_ref()].concat();
    ParsedAlgorithm::from_der(&der).is_ok_and(|(_, known)| known == *found)
}

/// Whether `webpki` minds who signed the certificate or that it may sign, not what it says of its server.
fn is_about_authority(error: &Error) -> bool {
    match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => true,
        Error::InvalidCertificate(CertificateError::Other(other)) => other.to_string().contains("CaUsedAsEndEntity"),
        _ => false,
    }
}

fn worded(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => "certificate specifies an incompatible key usage".into(),
        _ if is_about_authority(error) => "certificate signed by unknown authority".into(),
        _ => error.to_string(),
    }
}

/// Reads a certificate in DER form; for `crate::fuzz`.
pub(crate) fn check_certificate(der: &[u8]) {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return };
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(1_800_000_000));
    drop(check_time(&certificate, now).and_then(|()| check_usage(&certificate)));
    for name in ["a.b", "10.0.0.1"] {
        if let Ok(name) = ServerName::try_from(name) {
            drop(check_name(&certificate, &name));
        }
    }
}

fn check_time(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), String> {
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let valid = certificate.validity();
    let (from, to) = (valid.not_before.timestamp(), valid.not_after.timestamp());
    let (relation, limit) = match now {
        now if now < from => ("before", from),
        now if now > to => ("after", to),
        _ => return Ok(()),
    };
    let (now, limit) = (format_unix_s(now), format_unix_s(limit));
    Err(format!("certificate has expired or is not yet valid: current time {now} is {relation} {limit}"))
}

/// A certificate that says what it is for must say that it is for servers.
fn check_usage(certificate: &X509Certificate<'_>) -> Result<(), String> {
    match certificate.extended_key_usage() {
        Ok(Some(usage)) if !usage.value.server_auth && !usage.value.any => {
            Err("certificate specifies an incompatible key usage".into())
        }
        _ => Ok(()),
    }
}

fn check_name(certificate: &X509Certificate<'_>, name: &ServerName<'_>) -> Result<(), String> {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let alternatives = certificate.subject_alternative_name().ok().flatten();
    for alternative in alternatives.iter().flat_map(|a| &a.value.general_names) {
        match alternative {
            GeneralName::DNSName(name) => names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    match name {
        ServerName::IpAddress(wanted) => {
            let wanted = IpAddr::from(*wanted);
            if addresses.contains(&wanted) {
                return Ok(());
            }
            if addresses.is_empty() {
                return Err(format!("cannot validate certificate for {wanted} because it doesn't contain any IP SANs"));
            }
            let addresses: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            Err(format!("certificate is valid for {}, not {wanted}", addresses.join(", ")))
        }
        ServerName::DnsName(wanted) => {
            let wanted = wanted.as_ref().trim_end_matches('.');
            if names.iter().any(|n| covers(n, wanted)) {
                return Ok(());
            }
            if names.is_empty() && alternatives.is_none() && certificate.subject().iter_common_name().next().is_some() {
                return Err("certificate relies on legacy Common Name field, use SANs instead".into());
            }
            if names.is_empty() {
                return Err(format!("certificate is not valid for any names, but wanted to match {wanted}"));
            }
            Err(format!("certificate is valid for {}, not {wanted}", names.join(", ")))
        }
        _ => Err("certificate is not valid for this kind of name".into()),
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether a name of a certificate covers `host`; `*` stands for the whole first label.
pub(crate) fn covers(pattern: &str, host: &str) -> bool {
    let pattern = pattern.trim_end_matches('.');
    let (Some((first, rest)), Some((label, host_rest))) = (pattern.split_once('.'), host.split_once('.')) else {
        return pattern.eq_ignore_ascii_case(host);
    };
    if first == "*" {
        !label.is_empty() && rest.eq_ignore_ascii_case(host_rest)
    } else {
        pattern.eq_ignore_ascii_case(host)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(roots) = &self.roots {
            self.judge(roots, leaf, others, name, now).map_err(|why| Error::General(format!("{FAILED}{why}")))?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::crypto::aws_lc_rs;
    use rustls::pki_types::pem::PemObject;

    const NOW: i64 = 1_760_000_000;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("certificate")
    }

    fn leaf(ca: &pki::Pair, dns: &[&str], usage: pki::Usage) -> CertificateDer<'static> {
        let spec = pki::LeafSpec {
            common_name: "server".into(),
            organizations: Vec::new(),
            dns_names: dns.iter().map(|n| (*n).into()).collect(),
            ip_addresses: vec![[127, 0, 0, 1].into()],
            usage,
            valid_days: 1,
        };
        der(&pki::leaf(ca, &spec, NOW).expect("leaf").cert_pem)
    }

    #[track_caller]
    fn check(root: &CertificateDer<'static>, leaf: &CertificateDer<'static>, name: &str, at: i64, expected: &str) {
        let verifier = Verifier::new(Arc::new(aws_lc_rs::default_provider()), vec![root.clone()]);
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs(u64::try_from(at).expect("time")));
        let name = ServerName::try_from(name.to_owned()).expect("name");
        let got = verifier.verify_server_cert(leaf, &[], &name, &[], now).map(|_| ());
        let text = match got {
            Ok(()) => "ok".to_owned(),
            Err(Error::General(why)) => why.trim_start_matches(FAILED).to_owned(),
            Err(other) => panic!("{other}"),
        };
        assert!(text.starts_with(expected), "{text}");
    }

    #[test]
    fn leaves_of_an_authority() {
        let ca = pki::certificate_authority("ca", NOW, 10).expect("ca");
        let other = pki::certificate_authority("ca", NOW, 10).expect("ca");
        let (root, stranger) = (der(&ca.cert_pem), der(&other.cert_pem));
        let good = leaf(&ca, &["w.n.svc", "*.wild.svc"], pki::Usage::Server);
        check(&root, &good, "w.n.svc", NOW + 5, "ok");
        check(&root, &good, "W.N.svc", NOW + 5, "ok");
        check(&root, &good, "x.wild.svc", NOW + 5, "ok");
        check(&root, &good, "127.0.0.1", NOW + 5, "ok");
        check(&root, &good, "x.n.svc", NOW + 5, "certificate is valid for w.n.svc, *.wild.svc, not x.n.svc");
        check(&root, &good, "127.0.0.2", NOW + 5, "certificate is valid for 127.0.0.1, not 127.0.0.2");
        check(&stranger, &good, "w.n.svc", NOW + 5, "certificate signed by unknown authority");
        check(&root, &good, "w.n.svc", NOW + 3 * 86400, "certificate has expired or is not yet valid: current time");
        let client = leaf(&ca, &["w.n.svc"], pki::Usage::Client);
        check(&root, &client, "w.n.svc", NOW + 5, "certificate specifies an incompatible key usage");
    }

    #[test]
    fn an_authority_may_be_the_server() {
        let mut params = rcgen::CertificateParams::new(vec!["w.n.svc".to_owned()]).expect("params");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("key");
        let own = der(&params.self_signed(&key).expect("certificate").pem());
        let now = jiff::Timestamp::now().as_second();
        check(&own, &own, "w.n.svc", now, "ok");
        check(&own, &own, "x.n.svc", now, "certificate is valid for w.n.svc, not x.n.svc");
        // Signed by a root, and an authority itself.
        let mut root_params = rcgen::CertificateParams::default();
        root_params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        root_params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        let root_key = rcgen::KeyPair::generate().expect("key");
        let root = der(&root_params.self_signed(&root_key).expect("certificate").pem());
        let issuer = rcgen::Issuer::from_params(&root_params, &root_key);
        let sub = der(&params.signed_by(&key, &issuer).expect("certificate").pem());
        check(&root, &sub, "w.n.svc", now, "ok");
        check(&own, &sub, "w.n.svc", now, "certificate signed by unknown authority");
    }
}
