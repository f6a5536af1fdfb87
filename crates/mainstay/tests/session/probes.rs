//! Probes: readiness moves a pod in and out of its Service, liveness restarts, startup holds the others back.

use crate::Step;
use crate::place::{Place, shell_pod};

pub const STEPS: &[Step] = &[("readiness", readiness), ("liveness", liveness)];

fn readiness(place: &Place) {
    let pod = shell_pod("web", "touch /ok; mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www").replace(
        "image:",
        "ports: [{containerPort: 8080}]\n    readinessProbe: {exec: {command: [ls, /ok]}, periodSeconds: 1, failureThreshold: 1}\n    image:",
    );
    place.apply(&pod);
    place.ok("expose pod web --port=80 --target-port=8080");
    place.ready("web");
    place.eventually("get endpoints web", |text| text.contains(":8080"));
    place.sh("web", "rm /ok");
    place.ok("wait pod/web --for=condition=Ready=false --timeout=30s");
    place.eventually("get endpoints web", |text| !text.contains(":8080"));
    place.eventually(
        "get endpointslices -l kubernetes.io/service-name=web -o jsonpath={.items[0].endpoints[0].conditions}",
        |text| text.contains("\"ready\":false"),
    );
    place.eventually("describe pod web", |text| text.contains("Readiness probe failed"));
    place.sh("web", "touch /ok");
    place.ready("web");
    place.eventually("get endpoints web", |text| text.contains(":8080"));
    let tcp = shell_pod("tcp", "sleep 2; exec httpd -f -p 9000")
        .replace("image:", "readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1}\n    image:");
    place.apply(&tcp);
    place.ready("tcp");
    // A server that takes one connection and ends: the first probe is its last client, so it has to be started again
    // for each; the pod is ready as long as that is done, and no longer once it is not.
    let once = shell_pod("once", "while [ ! -e /stop ]; do nc -l -p 9000 < /dev/null; done; sleep 3600").replace(
        "image:",
        "readinessProbe: {tcpSocket: {port: 9000}, periodSeconds: 1, failureThreshold: 2}\n    image:",
    );
    place.apply(&once);
    place.ready("once");
    place.sh("once", "touch /stop");
    place.ok("wait pod/once --for=condition=Ready=false --timeout=30s");
    let described = place.eventually("describe pod once", |text| text.contains("Readiness probe failed"));
    assert!(described.contains(":9000: connect: connection refused"), "{described}");
}

fn liveness(place: &Place) {
    let pod = shell_pod("sick", "touch /tmp/well; sleep 2; rm /tmp/well; sleep 3600").replace(
        "image:",
        "livenessProbe: {exec: {command: [cat, /tmp/well]}, periodSeconds: 1, failureThreshold: 1}\n    image:",
    );
    place.apply(&pod);
    place.eventually("get pod sick -o jsonpath={.status.containerStatuses[0].restartCount}", |text| {
        text.parse::<u32>().is_ok_and(|n| n > 0)
    });
    let described = place.ok("describe pod sick");
    assert!(described.contains("Liveness probe failed"), "{described}");
    assert!(described.contains("Container main failed liveness probe, will be restarted"), "{described}");
    let http = shell_pod("page", "mkdir /www; echo hi > /www/index.html; exec httpd -f -p 8080 -h /www").replace(
        "image:",
        "startupProbe: {httpGet: {port: 8080}, periodSeconds: 1}\n    livenessProbe: {httpGet: {port: 8080, path: /gone}, periodSeconds: 1, failureThreshold: 2}\n    image:",
    );
    place.apply(&http);
    place.ready("page");
    place.eventually("describe pod page", |text| text.contains("HTTP probe failed with statuscode: 404"));
    place.eventually("get pod page -o jsonpath={.status.containerStatuses[0].restartCount}", |text| text != "0");
}
