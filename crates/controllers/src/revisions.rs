//! ControllerRevisions: the numbered templates of DaemonSets and StatefulSets, for rolling on and back.

use std::sync::Arc;

use controller_kit::{Error, Key, Object, Remove, Store, Writer, owner};
use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use serde_json::{Value, json};

/// The label that tells from which revision a pod was made.
pub const HASH_LABEL: &str = "controller-revision-hash";

/// The template as a revision holds it: what `kubectl rollout undo` applies as a patch.
fn data(template: &PodTemplateSpec) -> Value {
    let mut template = serde_json::to_value(template).unwrap_or_default();
    template["$patch"] = "replace".into();
    json!({"spec": {"template": template}})
}

/// The template that `revision` holds.
pub fn template(revision: &ControllerRevision) -> Option<PodTemplateSpec> {
    let mut template = revision.data.as_ref()?.0.get("spec")?.get("template")?.clone();
    template.as_object_mut()?.remove("$patch");
    serde_json::from_value(template).ok()
}

pub fn hash(revision: &ControllerRevision) -> &str {
    owner::labels(revision).get(HASH_LABEL).map_or("", String::as_str)
}

/// The revisions of one owner, the oldest first, and which of them is its present template.
pub struct History {
    pub all: Vec<Arc<ControllerRevision>>,
    pub latest: Arc<ControllerRevision>,
}

impl History {
    pub fn find(&self, name: &str) -> Option<&Arc<ControllerRevision>> {
        self.all.iter().find(|revision| revision.metadata.name.as_deref() == Some(name))
    }
}

/// What to do so that the present template is the latest revision. Pure.
#[derive(Debug, PartialEq)]
enum Step {
    /// It is already.
    Latest(usize),
    /// An earlier one is the same: it gets this number.
    Renumber(usize, i64),
    /// None is the same: make one with this number.
    Create(i64),
}

fn step(all: &[Arc<ControllerRevision>], wanted: &Value) -> Step {
    let highest = all.last().map_or(0, |revision| revision.revision);
    let same = |revision: &Arc<ControllerRevision>| revision.data.as_ref().is_some_and(|data| data.0 == *wanted);
    match all.iter().rposition(same) {
        Some(at) if at + 1 == all.len() => Step::Latest(at),
        Some(at) => Step::Renumber(at, highest + 1),
        None => Step::Create(highest + 1),
    }
}

/// Makes sure that the present template of `owner` is its latest revision.
pub async fn sync<O: Object>(
    writer: &Writer,
    store: &Store<ControllerRevision>,
    owner: &O,
    present: &PodTemplateSpec,
    collisions: Option<i32>,
) -> Result<History, Error> {
    let mut all = store.children(owner.meta().uid.as_deref().unwrap_or_default());
    all.sort_by_key(|revision| (revision.revision, revision.metadata.name.clone()));
    let wanted = data(present);
    let latest = match step(&all, &wanted) {
        Step::Latest(at) => all[at].clone(),
        Step::Renumber(at, number) => {
            let renumbered = ControllerRevision { revision: number, ..all.remove(at).as_ref().clone() };
            let written = Arc::new(writer.replace(&renumbered).await?);
            all.push(written.clone());
            written
        }
        Step::Create(number) => {
            let made = Arc::new(create(writer, owner, present, wanted, number, collisions).await?);
            all.push(made.clone());
            made
        }
    };
    Ok(History { all, latest })
}

async fn create<O: Object>(
    writer: &Writer,
    owner: &O,
    present: &PodTemplateSpec,
    data: Value,
    number: i64,
    collisions: Option<i32>,
) -> Result<ControllerRevision, Error> {
    let hash = crate::hash::of_template(present, collisions);
    let name = owner.meta().name.as_deref().unwrap_or_default();
    let mut labels = present.metadata.as_ref().and_then(|meta| meta.labels.clone()).unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{name}-{hash}")),
            namespace: owner.meta().namespace.clone(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![owner::controller_ref(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: number,
    };
    match writer.create(&revision).await {
        // Ours, that the cache does not show yet.
        Err(error) if error.is_already_exists() => {
            let there: Option<ControllerRevision> = writer.read(&Key::of(&revision)).await?;
            let uid = owner.meta().uid.as_deref().unwrap_or_default();
            let ours = |there: &ControllerRevision| owner::is_controlled_by(there, uid) && there.data == revision.data;
            there.filter(ours).ok_or(error)
        }
        other => other,
    }
}

/// Deletes the earliest revisions past `limit` that nothing `uses`.
pub async fn thin_out(
    writer: &Writer,
    history: &History,
    limit: Option<i32>,
    uses: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), Error> {
    let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
    let idle: Vec<&Arc<ControllerRevision>> = history.all.iter().filter(|revision| !uses(revision)).collect();
    for revision in idle.iter().take(idle.len().saturating_sub(limit)) {
        writer.delete::<ControllerRevision>(&Key::of(&***revision), &Remove::this(&***revision)).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_found_renumbered_or_made() {
        let template_of = |label: &str| -> PodTemplateSpec {
            serde_json::from_value(json!({"metadata": {"labels": {"v": label}}})).unwrap()
        };
        let revision = |number: i64, label: &str| {
            let data = Some(RawExtension(data(&template_of(label))));
            Arc::new(ControllerRevision { revision: number, data, ..ControllerRevision::default() })
        };
        let all = [revision(1, "a"), revision(2, "b")];
        let step_to = |label: &str| step(&all, &data(&template_of(label)));
        assert_eq!(
            [step_to("b"), step_to("a"), step_to("c")],
            [Step::Latest(1), Step::Renumber(0, 3), Step::Create(3)]
        );
        assert_eq!(step(&[], &data(&template_of("a"))), Step::Create(1));
        assert_eq!(template(&all[0]), Some(template_of("a")));
    }
}
