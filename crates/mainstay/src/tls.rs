//! The TLS library of the process, set up once.

use anyhow::{Result, anyhow};
use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Sets it up, for the API server and all clients that bring no set-up of their own.
///
/// # Errors
/// If that was done before.
pub(crate) fn install() -> Result<()> {
    provider().install_default().map_err(|_| anyhow!("the TLS library is set up already"))
}

/// The library's own, but of TLS 1.3 with AES of 128 bits first, as Go has it: our server takes what its client names first,
/// and to encrypt with the longer key takes half as long again.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_key_comes_first_and_no_suite_is_lost() {
        let (suites, known) = (provider().cipher_suites, aws_lc_rs::default_provider().cipher_suites);
        assert_eq!(suites[0].suite(), CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(suites[1].suite(), CipherSuite::TLS13_AES_256_GCM_SHA384);
        assert_eq!(suites.len(), known.len());
        assert!(known.iter().all(|suite| suites.contains(suite)));
    }
}
