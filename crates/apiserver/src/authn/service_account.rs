//! Users from service-account tokens.

use super::user::UserInfo;
use crate::tokens::claims::{Claims, LEGACY_ISSUER, Remarks};
use crate::tokens::keys::Keys;
use crate::view::View;

/// A token that was taken: whose it is, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// The user.
    pub user: UserInfo,
    /// The audiences asked for that it has.
    pub audiences: Vec<String>,
    /// Seconds since the epoch when it ends, if it does.
    pub expires: Option<i64>,
    /// What is said of its use.
    pub remarks: Remarks,
}

/// Checks service-account tokens.
#[derive(Debug)]
pub struct Verifier {
    /// Keys that verify.
    pub keys: Keys,
    /// Issuers whose tokens are taken.
    pub issuers: Vec<String>,
    /// Audiences of this server.
    pub audiences: Vec<String>,
}

impl Verifier {
    /// The user of a token for one of `audiences` (or of the server's own, if empty). `Ok(None)` if it is no
    /// service-account token of this cluster, an error if it is one and does not hold.
    pub fn verify(
        &self,
        token: &str,
        audiences: &[String],
        view: &dyn View,
        now: i64,
    ) -> Result<Option<Taken>, String> {
        if token.splitn(4, '.').count() != 3 {
            return Ok(None);
        }
        let Some(claims) = self.keys.verify(token).as_ref().and_then(Claims::read) else { return Ok(None) };
        let legacy = claims.issuer == LEGACY_ISSUER;
        if !legacy && !self.issuers.contains(&claims.issuer) {
            return Ok(None);
        }
        let wanted = if audiences.is_empty() { &self.audiences } else { audiences };
        // A legacy token says nothing of audiences: it is for this server.
        let has = if legacy { &self.audiences } else { &claims.audiences };
        let common: Vec<String> = wanted.iter().filter(|a| has.contains(a)).cloned().collect();
        if common.is_empty() {
            return Err(format!(
                "token audiences {} is invalid for the target audiences {}",
                go_list(has),
                go_list(wanted)
            ));
        }
        claims.check(token, view, now)?;
        Ok(Some(Taken {
            user: claims.user(),
            audiences: common,
            expires: claims.expires,
            remarks: claims.remarks(view, now),
        }))
    }
}

fn go_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|s| format!("{s:?}")).collect();
    format!("[{}]", quoted.join(" "))
}
