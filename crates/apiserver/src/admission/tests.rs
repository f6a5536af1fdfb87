//! Writes through all plugins: what becomes of a pod, and who is refused.

use super::*;
use crate::authz::{Authorizer, Change};
use crate::view::MapView;
use serde_json::json;

fn cluster() -> MapView {
    MapView::default()
        .with("namespaces", json!({"metadata": {"name": "ns"}}))
        .with("namespaces", json!({"metadata": {"name": "ending"}, "status": {"phase": "Terminating"}}))
        .with(
            "namespaces",
            json!({"metadata": {"name": "hard", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}),
        )
        .with("serviceaccounts", json!({"metadata": {"namespace": "ns", "name": "default"}}))
        .with("serviceaccounts", json!({"metadata": {"namespace": "hard", "name": "default"}}))
}

fn row(path: &str) -> Arc<Row> {
    let (group, resource) = path.split_once('/').unwrap_or(("", path));
    let found = api_kinds::rows().iter().find(|r| r.gvr.group == group && r.gvr.resource == resource);
    found.expect("a built-in resource").clone()
}

struct Write {
    user: UserInfo,
    operation: Operation,
    path: &'static str,
    namespace: &'static str,
    old: Option<Value>,
}

impl Write {
    fn new(operation: Operation, path: &'static str, namespace: &'static str) -> Self {
        let user = UserInfo::authenticated("ann", ["staff"]);
        Self { user, operation, path, namespace, old: None }
    }

    fn run(&self, mut object: Value) -> Result<(Value, Vec<String>), ApiError> {
        let authorizer = Arc::new(Authorizer::new(Vec::new()));
        authorizer.observe(
            "rbac.authorization.k8s.io",
            "clusterroles",
            Change::Put(&json!({"metadata": {"name": "reader"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]})),
        );
        let admission = Admission::new(Arc::new(cluster()), authorizer);
        let row = row(self.path);
        let name = object.name().to_owned();
        let attributes = Attributes {
            operation: self.operation,
            user: &self.user,
            row: &row,
            resource: &row.gvr,
            subresource: "",
            namespace: self.namespace,
            name: &name,
            old: self.old.as_ref(),
            revision: 0,
            dry_run: false,
            request: None,
            delete_options: None,
        };
        let mut warnings = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        runtime.block_on(async {
            if self.operation == Operation::Delete {
                admission.validate(&attributes, None, &mut warnings).await?;
            } else {
                admission.mutate(&attributes, &mut object, &mut warnings).await?;
                admission.validate(&attributes, Some(&object), &mut warnings).await?;
            }
            Ok((object, warnings))
        })
    }
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}})
}

#[test]
fn a_pod_is_completed() {
    let (pod, _) = Write::new(Operation::Create, "pods", "ns").run(pod()).expect("admitted");
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    let volume = spec["volumes"][0]["name"].as_str().expect("volume");
    assert!(volume.starts_with("kube-api-access-") && volume.len() == 21, "{volume}");
}

#[test]
fn refusals() {
    let message = |write: &Write, object: Value| match write.run(object) {
        Ok(_) => String::new(),
        Err(e) => format!("{} {}", e.code, e.message),
    };
    let create = |path, namespace| Write::new(Operation::Create, path, namespace);
    let mut other = pod();
    other["spec"]["serviceAccountName"] = "bot".into();
    let binding = |role: &str| json!({"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": role}, "subjects": []});
    let table = [
        (create("configmaps", "absent"), json!({"metadata": {"name": "x"}}), "404 namespaces \"absent\" not found"),
        (
            create("configmaps", "ending"),
            json!({"metadata": {"name": "x"}}),
            "403 configmaps \"x\" is forbidden: unable to create new content in namespace ending because it is being terminated",
        ),
        (
            Write::new(Operation::Delete, "namespaces", "kube-system"),
            json!({"metadata": {"name": "kube-system"}}),
            "403 namespaces \"kube-system\" is forbidden: this namespace may not be deleted",
        ),
        (
            create("pods", "ns"),
            other,
            "403 pods \"p\" is forbidden: error looking up service account ns/bot: serviceaccount \"bot\" not found",
        ),
        (
            create("pods", "hard"),
            json!({"metadata": {"generateName": "p-"}, "spec": {"hostPID": true, "containers": []}}),
            "403 pods \"p-\" is forbidden: violates PodSecurity \"restricted:latest\": host namespaces (hostPID=true)",
        ),
        (
            create("rbac.authorization.k8s.io/clusterroles", ""),
            json!({"metadata": {"name": "r"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            "403 clusterroles.rbac.authorization.k8s.io \"r\" is forbidden: user \"ann\" (groups=[\"staff\" \"system:authenticated\"]) \
             is attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\"]}",
        ),
        (
            create("rbac.authorization.k8s.io/clusterrolebindings", ""),
            binding("absent"),
            "404 clusterroles.rbac.authorization.k8s.io \"absent\" not found",
        ),
    ];
    for (write, object, want) in table {
        assert_eq!(message(&write, object), want);
    }
    assert!(
        message(&create("rbac.authorization.k8s.io/clusterrolebindings", ""), binding("reader")).starts_with("403 ")
    );
    let mut administrator = create("rbac.authorization.k8s.io/clusterrolebindings", "");
    administrator.user = UserInfo::authenticated("root", ["system:masters"]);
    assert_eq!(message(&administrator, binding("absent")), "");
}

#[test]
fn templates_are_warned_of() {
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"template": {"spec": {"hostIPC": true}}}});
    let (_, warnings) = Write::new(Operation::Create, "apps/deployments", "hard").run(deployment).expect("admitted");
    assert_eq!(warnings, ["would violate PodSecurity \"restricted:latest\": host namespaces (hostIPC=true)"]);
}

#[test]
fn every_plugin_is_named_once() {
    let mut names: Vec<_> = Admission::plugins().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), PLUGINS.len());
}
