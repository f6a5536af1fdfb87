//! Tokens of service accounts that live in secrets: filled in for whoever asks for such a secret, gone with the account,
//! and removed when nobody uses them.

pub(crate) mod clean;
pub(crate) mod issue;

use controller_kit::Key;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};

/// The type of such a secret.
const TYPE: &str = "kubernetes.io/service-account-token";
/// Annotation that names the account.
const ACCOUNT: &str = "kubernetes.io/service-account.name";
/// Annotation with the account's uid.
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

fn annotation<'s>(secret: &'s Secret, name: &str) -> &'s str {
    secret.metadata.annotations.as_ref().and_then(|all| all.get(name)).map_or("", String::as_str)
}

/// The account that a secret is for, if there is such a name in it.
fn account_key(secret: &Secret) -> Option<Key> {
    let name = annotation(secret, ACCOUNT);
    (!name.is_empty()).then(|| Key::new(secret.metadata.namespace.as_deref().unwrap_or_default(), name))
}

/// Whether the secret is for exactly this account, and not for an earlier one of its name.
fn is_for(secret: &Secret, account: &ServiceAccount) -> bool {
    let uid = annotation(secret, ACCOUNT_UID);
    uid.is_empty() || account.metadata.uid.as_deref() == Some(uid)
}

fn lists(account: &ServiceAccount, secret: &str) -> bool {
    account.secrets.iter().flatten().any(|one| one.name.as_deref() == Some(secret))
}
