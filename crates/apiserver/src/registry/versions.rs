//! A resource's other versions, for managers that own fields in them.
//!
//! Who owns what is decided in pure code, which asks for conversions as it goes. One that takes a webhook is not there yet
//! when it is asked for first: then the webhook is called, and the decision is taken anew with what it said.

use super::call::Call;
use super::custom::convert;
use super::{Table, object};
use api_core::gvk;
use api_core::meta::Meta;
use api_patch::managed::{Types, Versioned, Versions};
use api_schema::custom::{Conversion, Custom};
use api_schema::row::Row;
use parking_lot::Mutex;
use serde_json::Value;
use std::sync::Arc;

/// What is known of other versions; `None` if there are none.
pub(crate) type Known<'a> = Option<&'a dyn Versions>;

/// Gives what `decide` makes with everything that it wants converted. It may be called several times.
pub(super) async fn in_all<T>(call: &Call, mut decide: impl FnMut(Known<'_>) -> T) -> T {
    let Some(others) = Others::of(call) else { return decide(None) };
    loop {
        let decided = decide(Some(&others));
        if !others.convert_wanted(call).await {
            return decided;
        }
    }
}

#[derive(Debug)]
struct Others {
    table: Arc<Table>,
    row: Arc<Row>,
    asked: Mutex<Asked>,
}

/// Conversions by a webhook.
#[derive(Debug, Default)]
struct Asked {
    known: Vec<(Wanted, Result<Value, String>)>,
    wanted: Vec<Wanted>,
}

#[derive(Debug, Clone, PartialEq)]
struct Wanted {
    object: Value,
    version: String,
}

impl Others {
    fn of(call: &Call) -> Option<Self> {
        let (table, row) = (call.server.registry.table(), call.served.row.clone());
        (!row.storage_prefix.is_empty()).then(|| Self { table, row, asked: Mutex::default() })
    }

    /// Converts what was asked for in vain; whether there was any.
    async fn convert_wanted(&self, call: &Call) -> bool {
        let wanted = std::mem::take(&mut self.asked.lock().wanted);
        let Some(custom) = &call.row().custom else { return false };
        let any = !wanted.is_empty();
        for wanted in wanted {
            let revision = wanted.object.resource_version().to_owned();
            let (webhooks, object) = (&call.server.webhooks, wanted.object.clone());
            let mut converted = convert::untidy(webhooks, custom, object, &wanted.version).await;
            if let Ok(object) = &mut converted {
                object.set_meta("resourceVersion", &revision);
            }
            self.asked.lock().known.push((wanted, converted.map_err(|e| e.message)));
        }
        any
    }

    fn custom<'c>(
        &self,
        object: &Value,
        custom: &'c Custom,
        api_version: &str,
    ) -> Result<Option<Versioned<'c>>, String> {
        let family = &custom.family;
        let version = api_version.strip_prefix(family.group.as_str()).and_then(|v| v.strip_prefix('/'));
        let Some((version, types)) = version.and_then(|v| Some((v, family.types(v)?))) else { return Ok(None) };
        let converted = match family.conversion {
            _ if family.version_of(object) == version => object.clone(),
            // What the version does not know stays, so that nothing is lost on the way back.
            Conversion::None => {
                let mut object = object.clone();
                object["apiVersion"] = api_version.into();
                object
            }
            Conversion::Webhook { .. } => self.by_webhook(object, version)?,
        };
        Ok(Some(Versioned { object: converted, schema: Types::Lent(&types.0), root: types.1 }))
    }

    fn by_webhook(&self, object: &Value, version: &str) -> Result<Value, String> {
        let mut asked = self.asked.lock();
        let wanted = Wanted { object: object.clone(), version: version.to_owned() };
        if let Some((_, converted)) = asked.known.iter().find(|(known, _)| *known == wanted) {
            return converted.clone();
        }
        asked.wanted.push(wanted);
        Err("it is not converted yet".into())
    }

    fn rows(&self) -> impl Iterator<Item = &Arc<super::Served>> {
        self.table.same_objects(&self.row)
    }
}

impl Versions for Others {
    fn may_misfit(&self) -> bool {
        self.row.hooks.may_misfit
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Option<Versioned<'_>>, String> {
        if let Some(custom) = self.rows().find_map(|s| s.row.custom.as_ref()) {
            return self.custom(object, custom, api_version);
        }
        // Of a group of its own (events have two) upstream knows no way there.
        if gvk::split_api_version(api_version).0 != self.row.gvr.group {
            return Ok(None);
        }
        let Some(served) = self.rows().find(|s| s.api_version == api_version) else { return Ok(None) };
        let row = &served.row;
        let mut converted = object.clone();
        object::convert(row, &mut converted, &row.kind);
        Ok(Some(Versioned { object: converted, schema: Types::Lent(row.schema()), root: row.root() }))
    }
}
