//! Which authority a client certificate comes from, and the user it names. What was verified once is remembered.

use super::user::UserInfo;
use super::x509;
use parking_lot::Mutex;
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use telemetry::metrics::Histogram;

/// Verdicts that are remembered; past it all are forgotten and found out anew.
const REMEMBERED_MAX: usize = 1024;
/// Seconds that a verdict is remembered, so that a certificate ends when it says so.
const REMEMBERED_S: i64 = 60;

/// What was found out of a certificate.
#[derive(Debug, Clone)]
struct Verdict {
    since: i64,
    user: UserInfo,
    ends: i64,
}

/// Verifies chains against one authority.
pub struct Authority {
    verifier: Arc<dyn ClientCertVerifier>,
    /// By hash of the leaf.
    known: Mutex<HashMap<[u8; 32], Verdict>>,
    /// Told for how long each certificate goes on to hold, in seconds.
    lifetimes: Option<Histogram>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Of certificates in PEM form; `None` if there are none.
    pub fn new(pem: &str) -> Result<Option<Self>, String> {
        if pem.trim().is_empty() {
            return Ok(None);
        }
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|e| format!("client CA: {e}"))?;
            roots.add(certificate).map_err(|e| format!("client CA: {e}"))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|e| format!("client CA: {e}"))?;
        Ok(Some(Self { verifier, known: Mutex::default(), lifetimes: None }))
    }

    /// The same, and tells for how long certificates that were shown go on to hold.
    pub(super) fn with_lifetimes(mut self, lifetimes: Histogram) -> Self {
        self.lifetimes = Some(lifetimes);
        self
    }

    /// The user of a chain (DER, leaf first) that this authority stands behind.
    pub fn user(&self, chain: &[Vec<u8>], now: i64) -> Option<UserInfo> {
        let Verdict { user, ends, .. } = self.verdict(chain, now)?;
        if let Some(lifetimes) = &self.lifetimes {
            lifetimes.observe(ends.saturating_sub(now) as f64);
        }
        Some(user)
    }

    fn verdict(&self, chain: &[Vec<u8>], now: i64) -> Option<Verdict> {
        let leaf = chain.first()?;
        let hash: [u8; 32] = Sha256::digest(leaf).into();
        if let Some(verdict) = self.known.lock().get(&hash)
            && now - verdict.since < REMEMBERED_S
        {
            return Some(verdict.clone());
        }
        let certificates: Vec<CertificateDer<'_>> = chain.iter().map(|c| CertificateDer::from(c.as_slice())).collect();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now).ok()?));
        self.verifier.verify_client_cert(&certificates[0], &certificates[1..], time).ok()?;
        let verdict = Verdict { since: now, user: x509::user(chain)?, ends: x509::ends(chain)? };
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(hash, verdict.clone());
        Some(verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("certificate").to_vec()
    }

    #[test]
    fn only_its_own_certificates_and_only_while_they_last() {
        let now = 1_700_000_000;
        let ca = pki::certificate_authority("ca", now, 10).expect("ca");
        let other = pki::certificate_authority("other", now, 10).expect("ca");
        let spec = pki::LeafSpec {
            common_name: "ann".into(),
            organizations: vec!["staff".into()],
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            usage: pki::Usage::Client,
            valid_days: 1,
        };
        let chain = [der(&pki::leaf(&ca, &spec, now).expect("leaf").cert_pem)];
        let authority = |pem: &str| Authority::new(pem).expect("readable").expect("authority");
        assert_eq!(authority(&ca.cert_pem).user(&chain, now + 10).expect("user").name, "ann");
        assert_eq!(authority(&other.cert_pem).user(&chain, now + 10), None);
        let ours = authority(&ca.cert_pem);
        assert!(ours.user(&chain, now + 86_390).is_some());
        assert_eq!(ours.user(&chain, now + 86_500), None, "a remembered verdict must not outlive the certificate");
    }
}
