//! What is wanted, and how it is merged with what is there.

use super::merge;
use super::wanted::{node_rules, phases};
use crate::config::Config;
use api_core::meta::Meta;
use serde_json::json;

fn config() -> Config {
    Config { advertise_address: [192, 0, 2, 1].into(), ..Config::default() }
}

#[test]
fn every_default_object_is_listed_once() {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    let mut seen = std::collections::BTreeSet::new();
    for w in phases(&config()).iter().flatten() {
        *counts.entry(w.object["kind"].as_str().expect("kind").to_owned()).or_default() += 1;
        assert!(seen.insert(w.path()), "{} is there twice", w.path());
    }
    let counts: Vec<String> = counts.iter().map(|(kind, n)| format!("{kind} {n}")).collect();
    expect_test::expect![[r#"
        APIService 21
        ClusterRole 65
        ClusterRoleBinding 47
        ConfigMap 1
        FlowSchema 13
        Namespace 4
        PriorityClass 2
        PriorityLevelConfiguration 8
        Role 7
        RoleBinding 7
        Service 1"#]]
    .assert_eq(&counts.join("\n"));
}

#[test]
fn the_own_service_has_the_first_address() {
    let all = phases(&config());
    let service = all.iter().flatten().find(|w| w.object["kind"] == "Service").expect("service");
    assert_eq!(service.object["spec"]["clusterIP"], "10.96.0.1");
    assert_eq!(service.object.namespace(), "default");
    assert!(node_rules().iter().any(|r| r.allows_resource("list", "", "pods", "", "")));
}

#[test]
fn what_is_complete_is_left_alone() {
    for w in phases(&config()).iter().flatten() {
        assert_eq!((w.merge)(&w.object, &w.object), None, "{}", w.path());
    }
}

#[test]
fn a_role_gets_back_what_it_lost_and_keeps_what_it_has() {
    let wanted = json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": [
        {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]});
    let more = json!({"metadata": {"name": "r", "labels": {"a": "c"}}, "rules": [
        {"apiGroups": [""], "resources": ["pods", "secrets"], "verbs": ["*"]}]});
    assert_eq!(merge::role(&more, &wanted), None);
    let less =
        json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]});
    assert_eq!(
        merge::role(&less, &wanted),
        Some(json!({"metadata": {"name": "r", "labels": {"a": "b"}}, "rules": [
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]}))
    );
    let own =
        json!({"metadata": {"name": "r", "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
    assert_eq!(merge::role(&own, &wanted), None);
}

#[test]
fn the_servers_address_is_put_in_place() {
    let wanted = json!({"metadata": {"labels": {"a": "b"}}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]});
    let found =
        json!({"metadata": {"name": "k", "labels": {"x": "y"}}, "subsets": [{"addresses": [{"ip": "10.0.0.9"}]}]});
    assert_eq!(
        merge::fields(&found, &wanted),
        Some(
            json!({"metadata": {"name": "k", "labels": {"a": "b", "x": "y"}}, "subsets": [{"addresses": [{"ip": "10.0.0.1"}]}]})
        )
    );
}

#[test]
fn conditions_are_written_once() {
    let wanted = [json!({"type": "Available", "status": "True"})];
    let written = merge::conditions(&json!(null), &wanted, "now").expect("missing");
    assert_eq!(written, [json!({"type": "Available", "status": "True", "lastTransitionTime": "now"})]);
    assert_eq!(merge::conditions(&json!(written), &wanted, "later"), None);
    let other = json!([{"type": "Other"}, {"type": "Available", "status": "False"}]);
    assert_eq!(merge::conditions(&other, &wanted, "now").map(|c| c.len()), Some(2));
}
