//! Deployments from the first version to an undone second, scaling, and what a paused one does.

use crate::Step;
use crate::place::{Place, web};

pub const STEPS: &[Step] = &[("rollout", rollout), ("rollout that fails", stuck), ("scale", scale)];

fn rollout(place: &Place) {
    place.apply(&web("web", 2));
    let status = place.ok("rollout status deployment/web --timeout=60s");
    assert!(status.ends_with("deployment \"web\" successfully rolled out\n"), "{status}");
    let first = place.ok("get replicasets -o name");
    place.ok("set env deployment/web VERSION=2");
    place.ok_args(&["annotate", "deployment", "web", "kubernetes.io/change-cause=second version"]);
    let status = place.ok("rollout status deployment/web --timeout=60s");
    assert!(status.contains("successfully rolled out"), "{status}");
    let history = place.ok("rollout history deployment/web");
    assert!(history.contains("1         <none>\n2         second version\n"), "{history}");
    assert!(place.ok("rollout history deployment/web --revision=2").contains("VERSION:\t2"));
    assert_eq!(place.ok("rollout undo deployment/web"), "deployment.apps/web rolled back\n");
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok("get deployment web -o jsonpath={.spec.template.spec.containers[0].env}"), "");
    let history = place.ok("rollout history deployment/web");
    assert!(!history.contains("\n1 ") && history.contains("\n3 "), "{history}");
    let sizes = place.ok(&format!("get {} -o jsonpath={{.status.replicas}}", first.trim()));
    assert_eq!(sizes, "2", "the first replica set serves again");
    assert_eq!(place.ok("rollout restart deployment/web"), "deployment.apps/web restarted\n");
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok("rollout pause deployment/web"), "deployment.apps/web paused\n");
    place.ok("set env deployment/web VERSION=4");
    assert_eq!(place.ok("get replicasets -o name").lines().count(), 3, "a paused deployment starts nothing");
    assert_eq!(place.ok("rollout resume deployment/web"), "deployment.apps/web resumed\n");
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok("get replicasets -o name").lines().count(), 4);
}

fn stuck(place: &Place) {
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    place.ok("patch deployment web -p {\"spec\":{\"progressDeadlineSeconds\":2}}");
    assert_eq!(place.ok("set image deployment/web web=absent.local/none:1"), "deployment.apps/web image updated\n");
    let said = place.run("rollout status deployment/web --timeout=60s");
    assert_eq!(said.code, 1, "{}", said.stdout);
    assert!(said.stderr.contains("exceeded its progress deadline"), "{}{}", said.stdout, said.stderr);
    place.eventually("get pods", |text| text.contains("ErrImagePull") || text.contains("ImagePullBackOff"));
    let ready = place.ok("get deployment web -o jsonpath={.status.availableReplicas}");
    assert_eq!(ready, "2", "the old version serves on");
    place.ok("rollout undo deployment/web");
    place.ok("rollout status deployment/web --timeout=60s");
}

fn scale(place: &Place) {
    place.apply(&web("web", 1));
    assert_eq!(place.ok("scale deployment/web --replicas=3"), "deployment.apps/web scaled\n");
    place.ok("wait deployment/web --for=jsonpath={.status.readyReplicas}=3 --timeout=60s");
    assert!(
        place
            .fails("scale deployment/web --current-replicas=7 --replicas=1")
            .contains("Expected replicas to be 7, was 3")
    );
    place.ok("scale deployment/web --replicas=0");
    place.eventually("get pods -o name", str::is_empty);
    place.ok("wait deployment/web --for=condition=Available --timeout=60s");
    let said = place.fails("wait deployment/web --for=condition=Absent --timeout=1s");
    assert!(said.contains("timed out waiting for the condition on deployments/web"), "{said}");
}
