//! The ServiceAccount `default` of every namespace: made with the namespace, made again when deleted.

use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::namespace::is_active;

/// The account that pods get which name none.
const NAME: &str = "default";

pub(crate) static ROW: Row = Row {
    name: "serviceaccount",
    account: "service-account-controller",
    inputs: &["Namespace", "ServiceAccount"],
    outputs: &["ServiceAccount"],
    workers: 2,
};

pub(crate) async fn start(context: Context) {
    let (namespaces, accounts) = (context.informer::<Namespace>(), context.informer::<ServiceAccount>());
    let by_account = |account: &ServiceAccount| {
        let namespace = account.metadata.namespace.as_deref().unwrap_or_default();
        if account.metadata.name.as_deref() == Some(NAME) { vec![Key::cluster(namespace)] } else { Vec::new() }
    };
    let runner = Runner::new(&context).primary(&namespaces).watch(&accounts, by_account);
    runner.run(Driver { writer: context.writer(), namespaces, accounts }).await;
}

struct Driver {
    writer: Writer,
    namespaces: Handle<Namespace>,
    accounts: Handle<ServiceAccount>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let namespace = self.namespaces.store().get(key);
        let account = self.accounts.store().find(&key.name, NAME);
        let Some(missing) = plan(namespace.as_deref(), account.as_deref()) else { return Ok(Next::Done) };
        match self.writer.create(&missing).await {
            Err(error) if !error.is_already_exists() && !error.is_namespace_terminating() => Err(error),
            _ => Ok(Next::Done),
        }
    }
}

fn plan(namespace: Option<&Namespace>, account: Option<&ServiceAccount>) -> Option<ServiceAccount> {
    let namespace = namespace.filter(|namespace| is_active(namespace) && account.is_none())?;
    let metadata =
        ObjectMeta { name: Some(NAME.into()), namespace: namespace.metadata.name.clone(), ..ObjectMeta::default() };
    Some(ServiceAccount { metadata, ..ServiceAccount::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_active_namespace_without_one_gets_one() {
        let namespace = |phase: &str| -> Namespace {
            serde_json::from_value(json!({"metadata": {"name": "n"}, "status": {"phase": phase}})).unwrap()
        };
        let made = plan(Some(&namespace("Active")), None).unwrap();
        assert_eq!((made.metadata.namespace.as_deref(), made.metadata.name.as_deref()), (Some("n"), Some("default")));
        assert!(plan(Some(&namespace("Active")), Some(&made)).is_none());
        assert!(plan(Some(&namespace("Terminating")), None).is_none());
        assert!(plan(None, None).is_none());
    }
}
