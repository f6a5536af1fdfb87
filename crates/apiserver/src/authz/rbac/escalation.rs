//! Nobody may hand out what they do not hold: the check on writes of roles and bindings.

use super::index::Index;
use super::rule::{Rule, compact, uncovered};
use crate::authn::UserInfo;
use std::collections::BTreeSet;

/// Whether `user` holds all of `rules` in `namespace` (`""` is the cluster); if not, the words of the refusal.
///
/// The caller has checked before that the user is not in `system:masters` and may not `escalate`.
pub fn may_grant(index: &Index, user: &UserInfo, namespace: &str, rules: &[Rule]) -> Result<(), String> {
    let (owned, errors) = index.rules_for(user, namespace);
    let missing = compact(uncovered(&owned, rules));
    if missing.is_empty() {
        return Ok(());
    }
    let lines: BTreeSet<String> = missing.iter().map(Rule::to_string).collect();
    let lines: Vec<String> = lines.into_iter().collect();
    let groups: Vec<String> = user.groups.iter().map(|g| format!("{g:?}")).collect();
    let mut message = format!(
        "user {:?} (groups=[{}]) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        groups.join(" "),
        lines.join("\n")
    );
    match errors.as_slice() {
        [] => {}
        [one] => message.push_str(&format!("; resolution errors: [{one}]")),
        many => message.push_str(&format!("; resolution errors: [[{}]]", many.join(", "))),
    }
    Err(message)
}
