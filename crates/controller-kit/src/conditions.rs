//! Condition lists, over the kinds that have one.
//!
//! The transition time moves only when the status does, so that writing the same condition twice changes nothing.

use chrono::{DateTime, Utc};
use k8s_openapi::api::{apps, batch, core};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// A condition of any kind that has a type, a status, a reason, a message and a transition time.
pub trait Condition: Clone {
    /// A condition that has just become what it says.
    fn make(kind: &str, status: &str, reason: &str, message: &str, now: DateTime<Utc>) -> Self;
    /// Its type.
    fn kind(&self) -> &str;
    /// `True`, `False` or `Unknown`.
    fn status(&self) -> &str;
    /// Its reason.
    fn reason(&self) -> &str;
    /// Its message.
    fn message(&self) -> &str;
    /// Since when it has its status.
    fn since(&self) -> Option<&Time>;
    /// Sets since when it has its status.
    fn set_since(&mut self, since: Option<Time>);
}

macro_rules! condition {
    ($($type:ty),* $(,)?) => {$(
        impl Condition for $type {
            #[allow(clippy::needless_update)] // Some kinds have more fields than these.
            fn make(kind: &str, status: &str, reason: &str, message: &str, now: DateTime<Utc>) -> Self {
                Self {
                    type_: kind.to_owned(),
                    status: status.to_owned(),
                    reason: (!reason.is_empty()).then(|| reason.to_owned()),
                    message: (!message.is_empty()).then(|| message.to_owned()),
                    last_transition_time: Some(Time(now)),
                    ..Self::default()
                }
            }
            fn kind(&self) -> &str { &self.type_ }
            fn status(&self) -> &str { &self.status }
            fn reason(&self) -> &str { self.reason.as_deref().unwrap_or_default() }
            fn message(&self) -> &str { self.message.as_deref().unwrap_or_default() }
            fn since(&self) -> Option<&Time> { self.last_transition_time.as_ref() }
            fn set_since(&mut self, since: Option<Time>) { self.last_transition_time = since; }
        }
    )*};
}

condition!(
    apps::v1::DaemonSetCondition,
    apps::v1::DeploymentCondition,
    apps::v1::ReplicaSetCondition,
    apps::v1::StatefulSetCondition,
    batch::v1::JobCondition,
    core::v1::NamespaceCondition,
    core::v1::NodeCondition,
    core::v1::PodCondition,
    core::v1::ReplicationControllerCondition,
);

/// The condition of type `kind`.
pub fn get<'a, C: Condition>(conditions: Option<&'a Vec<C>>, kind: &str) -> Option<&'a C> {
    conditions?.iter().find(|condition| condition.kind() == kind)
}

/// Whether the condition of type `kind` is there and `True`.
pub fn is_true<C: Condition>(conditions: Option<&Vec<C>>, kind: &str) -> bool {
    get(conditions, kind).is_some_and(|condition| condition.status() == "True")
}

/// Puts `new` in place of the condition of its type, or at the end. Says whether anything but times has changed.
pub fn set<C: Condition>(conditions: &mut Vec<C>, mut new: C) -> bool {
    let Some(old) = conditions.iter_mut().find(|condition| condition.kind() == new.kind()) else {
        conditions.push(new);
        return true;
    };
    if old.status() == new.status() {
        if old.reason() == new.reason() && old.message() == new.message() {
            return false;
        }
        new.set_since(old.since().cloned());
    }
    *old = new;
    true
}

/// Takes the condition of type `kind` away.
pub fn remove<C: Condition>(conditions: &mut Vec<C>, kind: &str) {
    conditions.retain(|condition| condition.kind() != kind);
}
