//! Custom resources over the whole server: definitions, their objects, versions, discovery, OpenAPI. Each conformance
//! behaviour about them has a test that is named like it.

mod support;

#[path = "custom/answers.rs"]
mod answers;
#[path = "custom/apart.rs"]
mod apart;
#[path = "custom/api.rs"]
mod api;
#[path = "custom/applied.rs"]
mod applied;
#[path = "custom/beside.rs"]
mod beside;
#[path = "custom/conversion.rs"]
mod conversion;
#[path = "custom/creates.rs"]
mod creates;
#[path = "custom/definitions.rs"]
mod definitions;
#[path = "custom/documents.rs"]
mod documents;
#[path = "custom/fields.rs"]
mod fields;
#[path = "custom/managers.rs"]
mod managers;
#[path = "custom/many.rs"]
mod many;
#[path = "custom/objects.rs"]
mod objects;
#[path = "custom/pods.rs"]
mod pods;
#[path = "custom/scale.rs"]
mod scale;
#[path = "custom/steps.rs"]
mod steps;
#[path = "custom/texts.rs"]
mod texts;
#[path = "custom/updates.rs"]
mod updates;
#[path = "custom/versions.rs"]
mod versions;
