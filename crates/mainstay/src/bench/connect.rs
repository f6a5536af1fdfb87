//! A client of the server to be measured, each with connections of its own.

use super::Api;
use anyhow::{Context as _, Result, anyhow};
use kube::Config;
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use std::fs;
use std::path::Path;

/// How to reach the server; [`Target::client`] makes a client with connections of its own.
#[derive(Clone)]
pub struct Target {
    config: Config,
}

impl Target {
    /// Reads the kubeconfig or the flags.
    ///
    /// # Errors
    /// If a file is not readable or the URL is none.
    pub async fn new(args: &Api) -> Result<Self> {
        let mut config = match &args.kubeconfig {
            Some(path) => {
                let text = Kubeconfig::read_from(path)
                    .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
                Config::from_custom_kubeconfig(text, &KubeConfigOptions::default())
                    .await
                    .with_context(|| format!("cannot use the kubeconfig {}", path.display()))?
            }
            None => Config::new("https://localhost".parse()?),
        };
        if let Some(server) = &args.server {
            config.cluster_url = server
                .parse()
                .map_err(|_| anyhow!("--server is {server:?}, which is no URL such as https://host:6443"))?;
        }
        if args.kubeconfig.is_none() {
            config.accept_invalid_certs = args.ca.is_none();
            config.auth_info = AuthInfo {
                token: args.token.clone().map(Into::into),
                client_certificate: args.cert.as_deref().map(path_text).transpose()?,
                client_key: args.key.as_deref().map(path_text).transpose()?,
                ..AuthInfo::default()
            };
            if let Some(ca) = &args.ca {
                config.root_cert = Some(read_certificates(ca)?);
            }
        }
        config.read_timeout = None;
        Ok(Self { config })
    }

    /// A client that shares no connection with others.
    ///
    /// # Errors
    /// If the credentials are not usable.
    pub fn client(&self) -> Result<kube::Client> {
        kube::Client::try_from(self.config.clone()).context("cannot make a client")
    }
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| anyhow!("{} is not UTF-8", path.display()))
}

fn read_certificates(path: &Path) -> Result<Vec<Vec<u8>>> {
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;
    let text = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    CertificateDer::pem_slice_iter(&text)
        .map(|cert| cert.map(|c| c.to_vec()))
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not a PEM certificate", path.display()))
}
