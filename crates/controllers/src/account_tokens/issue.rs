//! Fills in token, CA and namespace of token secrets, and deletes those whose account is gone.

use std::collections::BTreeMap;

use client::informer::Selector;
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Remove, Row, Runner, Writer};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use pki::tokens::Keys;
use serde_json::{Value, json};

use super::{ACCOUNT_UID, TYPE, account_key, annotation, is_for, lists};

pub(crate) static ROW: Row = Row {
    name: "serviceaccount-token",
    // The controller manager itself, as upstream.
    account: "",
    inputs: &["Secret", "ServiceAccount"],
    outputs: &["Secret", "ServiceAccount"],
    workers: 2,
};

/// Without a key no token is made.
pub(crate) async fn start(context: Context, key_pem: Option<String>, root_ca_pem: String) {
    let keys = match key_pem.map(|pem| Keys::new(&pem, &[])) {
        Some(Ok(keys)) => keys,
        Some(Err(error)) => {
            tracing::error!(error = &error as &dyn std::error::Error, "no service account token will be made");
            return context.stop.cancelled().await;
        }
        None => return context.stop.cancelled().await,
    };
    let secrets = context.informer_of::<Secret>(Selector::fields(format!("type={TYPE}")));
    let accounts = context.informer::<ServiceAccount>();
    let of_account = secrets.clone();
    let runner = Runner::new(&context).primary(&secrets).watch(&accounts, move |account| {
        let all = of_account.store().list_namespace(account.metadata.namespace.as_deref().unwrap_or_default());
        let key = Key::of(account);
        all.iter()
            .filter(|secret| account_key(secret).as_ref() == Some(&key))
            .map(|secret| Key::of(&**secret))
            .collect()
    });
    runner.run(Driver { writer: context.writer(), secrets, accounts, keys, root_ca_pem }).await;
}

struct Driver {
    writer: Writer,
    secrets: Handle<Secret>,
    accounts: Handle<ServiceAccount>,
    keys: Keys,
    root_ca_pem: String,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let Some(secret) = self.secrets.store().get(key) else { return self.forget(key).await };
        if secret.metadata.deletion_timestamp.is_some() {
            return Ok(Next::Done);
        }
        let Some(account_key) = account_key(&secret) else { return Ok(Next::Done) };
        let cached = self.accounts.store().get(&account_key).filter(|account| is_for(&secret, account));
        let account = match cached {
            Some(account) => Some((*account).clone()),
            // It may be too new for the cache; a secret is deleted only if the account really is not there.
            None => self.writer.read::<ServiceAccount>(&account_key).await?.filter(|account| is_for(&secret, account)),
        };
        let Some(account) = account else {
            let remove =
                Remove { resource_version: secret.metadata.resource_version.clone(), ..Remove::this(&*secret) };
            self.writer.delete::<Secret>(key, &remove).await?;
            return Ok(Next::Done);
        };
        let sign = |claims: &Value| self.keys.sign(claims);
        if let Some(filled) = fill(&secret, &account, &self.root_ca_pem, sign) {
            match self.writer.replace(&filled).await {
                Err(error) if !error.is_namespace_terminating() => return Err(error),
                _ => {}
            }
        }
        Ok(Next::Done)
    }
}

impl Driver {
    /// A secret that is gone leaves the list of its account.
    async fn forget(&self, key: &Key) -> Result<Next, Error> {
        let accounts = self.accounts.store().list_namespace(&key.namespace);
        for account in accounts.iter().filter(|account| lists(account, &key.name)) {
            if self.writer.read::<Secret>(key).await?.is_some() {
                break;
            }
            let mut without = (**account).clone();
            without.secrets.get_or_insert_default().retain(|one| one.name.as_deref() != Some(&*key.name));
            self.writer.replace(&without).await?;
        }
        Ok(Next::Done)
    }
}

/// The secret with all that it should have; `None` if it has it.
fn fill(
    secret: &Secret,
    account: &ServiceAccount,
    root_ca_pem: &str,
    sign: impl Fn(&Value) -> Option<String>,
) -> Option<Secret> {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let mut filled = secret.clone();
    let data: &mut BTreeMap<String, ByteString> = filled.data.get_or_insert_default();
    data.insert("ca.crt".into(), ByteString(root_ca_pem.as_bytes().to_vec()));
    data.entry("namespace".into()).or_insert_with(|| ByteString(namespace.as_bytes().to_vec()));
    if data.get("token").is_none_or(|token| token.0.is_empty()) {
        let token = sign(&claims(secret, account))?;
        data.insert("token".into(), ByteString(token.into_bytes()));
    }
    let uid = account.metadata.uid.clone().unwrap_or_default();
    if annotation(secret, ACCOUNT_UID) != uid {
        filled.metadata.annotations.get_or_insert_default().insert(ACCOUNT_UID.into(), uid);
    }
    (filled != *secret).then_some(filled)
}

fn claims(secret: &Secret, account: &ServiceAccount) -> Value {
    let namespace = secret.metadata.namespace.as_deref().unwrap_or_default();
    let name = account.metadata.name.as_deref().unwrap_or_default();
    json!({
        "iss": "kubernetes/serviceaccount",
        "sub": format!("system:serviceaccount:{namespace}:{name}"),
        "kubernetes.io/serviceaccount/namespace": namespace,
        "kubernetes.io/serviceaccount/secret.name": secret.metadata.name,
        "kubernetes.io/serviceaccount/service-account.name": name,
        "kubernetes.io/serviceaccount/service-account.uid": account.metadata.uid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_filled_once() {
        let account: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "bot", "uid": "u"}})).unwrap();
        let secret: Secret = serde_json::from_value(json!({"type": TYPE, "metadata": {"namespace": "n", "name": "s",
            "annotations": {super::super::ACCOUNT: "bot"}}}))
        .unwrap();
        let sign = |claims: &Value| Some(claims["sub"].as_str().unwrap().to_owned());
        let filled = fill(&secret, &account, "ca", sign).unwrap();
        let data = filled.data.clone().unwrap();
        let text = |key: &str| String::from_utf8(data[key].0.clone()).unwrap();
        assert_eq!(
            (text("ca.crt"), text("namespace"), text("token")),
            ("ca".into(), "n".into(), "system:serviceaccount:n:bot".into())
        );
        assert_eq!(annotation(&filled, ACCOUNT_UID), "u");
        assert!(fill(&filled, &account, "ca", sign).is_none());
        assert!(fill(&filled, &account, "another ca", sign).is_some());
        let other: ServiceAccount =
            serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "bot", "uid": "v"}})).unwrap();
        assert!(is_for(&filled, &account) && !is_for(&filled, &other) && is_for(&secret, &other));
    }
}
