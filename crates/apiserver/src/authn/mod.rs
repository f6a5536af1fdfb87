//! Who sends a request: client certificate, front proxy, service-account or bootstrap token, or nobody.
//!
//! An identity from inside the process comes as a request extension and is trusted. Wrong credentials are an error even
//! where no credentials would do.

mod bootstrap_token;
mod certificates;
pub mod impersonate;
mod metrics;
pub mod request_header;
mod service_account;
pub mod user;
mod x509;

pub use service_account::{Taken, Verifier};
pub use user::UserInfo;

use crate::PeerCertificates;
use crate::config::Config;
use crate::server::Inner;
use crate::tokens::claims::Remarks;
use crate::tokens::keys::Keys;
use crate::tokens::legacy::Uses;
use crate::view::View;
use api_core::ApiError;
use base64::Engine;
use certificates::Authority;
use http::HeaderMap;
use http::request::Parts;
use metrics::TokenMetrics;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

/// Tokens whose verdict is remembered; past it all are forgotten.
const TOKENS_MAX: usize = 4096;
/// Seconds that a taken token is not checked again; so long may a deleted account's token live on.
const TOKEN_S: i64 = 10;
/// Prefix of the WebSocket protocol in which a browser sends a token.
const PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// Finds out who sends a request.
#[derive(Debug)]
pub struct Authenticator {
    anonymous: bool,
    clients: Option<Authority>,
    front_proxies: Option<Authority>,
    front_proxy_names: Vec<String>,
    /// Checks service-account tokens.
    pub verifier: Verifier,
    view: Arc<dyn View>,
    metrics: TokenMetrics,
    /// By hash of the token: when it was taken, and the verdict.
    tokens: Mutex<HashMap<[u8; 32], (i64, Taken)>>,
    /// Uses of tokens that secrets keep.
    pub(crate) uses: Uses,
}

/// Seconds since the epoch.
pub(crate) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

impl Authenticator {
    /// Reads keys and certificates of the configuration.
    pub fn new(config: &Config, view: Arc<dyn View>) -> Result<Self, String> {
        let keys = Keys::new(&config.service_account_key_pem, &config.service_account_public_keys_pem);
        let issuer = config.service_account_issuer.clone();
        let own = if config.api_audiences.is_empty() { vec![issuer.clone()] } else { config.api_audiences.clone() };
        let lifetimes = metrics::lifetimes(&config.metrics).map_err(|e| e.to_string())?;
        Ok(Self {
            anonymous: config.anonymous,
            clients: Authority::new(&config.client_ca_pem)?.map(|a| a.with_lifetimes(lifetimes)),
            front_proxies: Authority::new(&config.front_proxy_ca_pem)?,
            front_proxy_names: config.front_proxy_names.clone(),
            verifier: Verifier { keys: keys.map_err(|e| e.to_string())?, issuers: vec![issuer], audiences: own },
            view,
            metrics: TokenMetrics::new(&config.metrics).map_err(|e| e.to_string())?,
            tokens: Mutex::default(),
            uses: Uses::default(),
        })
    }

    /// The user; `None` if the request carries no credentials; an error if they are wrong.
    /// With it comes what is said of the credentials.
    pub fn authenticate(&self, parts: &Parts) -> Result<Option<(UserInfo, Remarks)>, ApiError> {
        let plain = |user| (user, Remarks::default());
        if let Some(user) = parts.extensions.get::<UserInfo>() {
            return Ok(Some(plain(user.clone())));
        }
        let now = now();
        let mut wrong = false;
        if let Some(chain) = parts.extensions.get::<PeerCertificates>().filter(|c| !c.0.is_empty()) {
            if let Some(user) = self.front_proxy_user(&chain.0, &parts.headers, now) {
                return Ok(Some(plain(user)));
            }
            match self.clients.as_ref().and_then(|a| a.user(&chain.0, now)) {
                Some(user) => return Ok(Some(plain(user))),
                None => wrong = !self.is_front_proxy(&chain.0, now),
            }
        }
        if let Some(token) = bearer_token(&parts.headers) {
            match self.token(&token, &[], now) {
                Ok(Some(taken)) => return Ok(Some((taken.user, taken.remarks))),
                Ok(None) | Err(_) => wrong = true,
            }
        }
        match (wrong, self.anonymous) {
            (true, _) => Err(ApiError::unauthorized()),
            (false, true) => Ok(Some(plain(UserInfo::anonymous()))),
            (false, false) => Ok(None),
        }
    }

    /// Whose a token is. `Ok(None)` if nobody here knows such tokens.
    pub fn token(&self, token: &str, audiences: &[String], now: i64) -> Result<Option<Taken>, String> {
        if !audiences.is_empty() {
            return self.find_token(token, audiences, now);
        }
        let started = Instant::now();
        let hash: [u8; 32] = Sha256::digest(token).into();
        if let Some((since, taken)) = self.tokens.lock().get(&hash)
            && now - since < TOKEN_S
            && taken.expires.is_none_or(|end| now < end)
        {
            self.metrics.verdict(started, None);
            return Ok(Some(taken.clone()));
        }
        let found = self.find_token(token, audiences, now);
        self.metrics.verdict(started, Some(matches!(found, Ok(Some(_)))));
        let found = found?;
        if let Some(taken) = &found {
            let mut tokens = self.tokens.lock();
            if tokens.len() >= TOKENS_MAX {
                tokens.clear();
            }
            tokens.insert(hash, (now, taken.clone()));
        }
        Ok(found)
    }

    fn find_token(&self, token: &str, audiences: &[String], now: i64) -> Result<Option<Taken>, String> {
        if let Some(taken) = self.verifier.verify(token, audiences, &*self.view, now)? {
            if let Some(kept_in) = &taken.remarks.kept_in {
                self.uses.note(kept_in.clone());
            }
            self.metrics.taken(&taken);
            return Ok(Some(taken));
        }
        let user = bootstrap_token::user(token, &*self.view, now);
        Ok(user.map(|user| Taken { user, audiences: audiences.to_vec(), expires: None, remarks: Remarks::default() }))
    }

    fn is_front_proxy(&self, chain: &[Vec<u8>], now: i64) -> bool {
        let Some(user) = self.front_proxies.as_ref().and_then(|a| a.user(chain, now)) else { return false };
        self.front_proxy_names.is_empty() || self.front_proxy_names.contains(&user.name)
    }

    fn front_proxy_user(&self, chain: &[Vec<u8>], headers: &HeaderMap, now: i64) -> Option<UserInfo> {
        let user = request_header::user(headers)?;
        self.is_front_proxy(chain, now).then_some(user)
    }
}

/// Reads all headers that say who asks; for `crate::fuzz`.
pub(crate) fn read_headers(headers: &HeaderMap) {
    drop(bearer_token(headers));
    if let Ok(Some(wish)) = impersonate::Wish::read(headers) {
        let user = wish.user();
        assert!(!user.name.is_empty() && !user.groups.is_empty(), "{user:?}");
    }
}

/// The user of a certificate in DER form; for `crate::fuzz`.
pub(crate) fn user_of_certificate(der: &[u8]) -> Option<UserInfo> {
    x509::user(&[der.to_vec()])
}

/// The token of the `Authorization` header, or of a WebSocket's protocols.
fn bearer_token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(http::header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.trim().split_once(' ')?;
        let token = token.trim();
        return (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned());
    }
    let protocols = headers.get_all(http::header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|v| v.to_str().ok());
    let encoded = protocols.flat_map(|p| p.split(',')).find_map(|p| p.trim().strip_prefix(PROTOCOL))?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(encoded).ok()?;
    String::from_utf8(bytes).ok()
}

/// The user whom the request is made as: its own, or that of its `Impersonate-*` headers if the user may do so.
pub(crate) fn impersonate(
    server: &Inner,
    user: &UserInfo,
    wish: Option<impersonate::Wish>,
) -> Result<UserInfo, ApiError> {
    let Some(wish) = wish else { return Ok(user.clone()) };
    wish.check(user, |attributes| server.authorizer.require(attributes))?;
    Ok(wish.user())
}
