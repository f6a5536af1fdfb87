//! The ConfigMap `kube-root-ca.crt` of every namespace: what pods verify the API server by.

use std::collections::BTreeMap;

use client::informer::Selector;
use controller_kit::{Context, Controller, Error, Handle, Key, Next, Row, Runner, Writer};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::namespace::is_active;

const NAME: &str = "kube-root-ca.crt";
const DATA_KEY: &str = "ca.crt";
const DESCRIPTION: &str = "The CA bundle by which pods verify the API server at its in-cluster addresses.";

pub(crate) static ROW: Row = Row {
    name: "root-ca-certificate-publisher",
    account: "root-ca-cert-publisher",
    inputs: &["Namespace", "ConfigMap"],
    outputs: &["ConfigMap"],
    workers: 2,
};

pub(crate) async fn start(context: Context, root_ca_pem: String) {
    let namespaces = context.informer::<Namespace>();
    let maps = context.informer_of::<ConfigMap>(Selector::fields(format!("metadata.name={NAME}")));
    let by_map = |map: &ConfigMap| vec![Key::cluster(map.metadata.namespace.as_deref().unwrap_or_default())];
    let runner = Runner::new(&context).primary(&namespaces).watch(&maps, by_map);
    runner.run(Driver { writer: context.writer(), root_ca_pem, namespaces, maps }).await;
}

struct Driver {
    writer: Writer,
    root_ca_pem: String,
    namespaces: Handle<Namespace>,
    maps: Handle<ConfigMap>,
}

impl Controller for Driver {
    async fn reconcile(&self, key: &Key) -> Result<Next, Error> {
        let namespace = self.namespaces.store().get(key);
        let there = self.maps.store().find(&key.name, NAME);
        let written = match plan(namespace.as_deref(), there.as_deref(), &self.root_ca_pem) {
            Plan::Nothing => return Ok(Next::Done),
            Plan::Create(map) => self.writer.create(&map).await,
            Plan::Update(map) => self.writer.replace(&map).await,
        };
        match written {
            Err(error) if !error.is_already_exists() && !error.is_namespace_terminating() => Err(error),
            _ => Ok(Next::Done),
        }
    }
}

enum Plan {
    Nothing,
    Create(ConfigMap),
    Update(ConfigMap),
}

fn plan(namespace: Option<&Namespace>, there: Option<&ConfigMap>, root_ca_pem: &str) -> Plan {
    let Some(namespace) = namespace.filter(|namespace| is_active(namespace)) else { return Plan::Nothing };
    let data = Some(BTreeMap::from([(DATA_KEY.to_owned(), root_ca_pem.to_owned())]));
    match there {
        Some(map) if map.data == data => Plan::Nothing,
        Some(map) => Plan::Update(ConfigMap { data, ..map.clone() }),
        None => {
            let metadata = ObjectMeta {
                name: Some(NAME.into()),
                namespace: namespace.metadata.name.clone(),
                annotations: Some(BTreeMap::from([("kubernetes.io/description".into(), DESCRIPTION.into())])),
                ..ObjectMeta::default()
            };
            Plan::Create(ConfigMap { metadata, data, ..ConfigMap::default() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_made_and_kept_right() {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("n".into());
        let Plan::Create(made) = plan(Some(&namespace), None, "pem") else { panic!("none made") };
        assert_eq!(made.data.as_ref().unwrap()["ca.crt"], "pem");
        assert!(matches!(plan(Some(&namespace), Some(&made), "pem"), Plan::Nothing));
        let Plan::Update(fixed) = plan(Some(&namespace), Some(&made), "new") else { panic!("not fixed") };
        assert_eq!(fixed.data.unwrap()["ca.crt"], "new");
    }
}
