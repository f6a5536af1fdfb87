//! Kinds of the group apiextensions.k8s.io.

use super::fill::Fill;
use api_schema::row::Hooks;
use serde_json::Value;

pub(super) fn hooks(kind: &str) -> &'static Hooks {
    match kind {
        "CustomResourceDefinition" => &const { Hooks { default: Some(default_definition), ..Hooks::NONE } },
        _ => &Hooks::NONE,
    }
}

fn default_definition(object: &mut Value) {
    let spec = object.make("spec");
    let names = spec.make("names");
    let kind = names.text("kind").to_owned();
    names.fill("singular", kind.to_lowercase());
    names.fill("listKind", format!("{kind}List"));
    let conversion = spec.make("conversion");
    conversion.fill_zero("strategy", "None");
    conversion.with("webhook", |webhook| {
        webhook.with("clientConfig", |client| client.with("service", |service| service.fill("port", 443)));
    });
}
