//! Pods as such: init containers, environment, restart policies, jobs, service account tokens.

use crate::Step;
use crate::place::{Place, shell_pod};

pub const STEPS: &[Step] = &[
    ("init containers", init),
    ("environment", environment),
    ("job", job),
    ("failing job", failing_job),
    ("restarts", restarts),
    ("token of a pod", token),
    ("security context", security),
    ("graceful end", graceful),
];

fn init(place: &Place) {
    place.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: steps}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{name: scratch, emptyDir: {}}]
  initContainers:
  - {name: first, image: IMAGE, command: [sh, -c, 'echo 1 >> /scratch/steps'], volumeMounts: [{name: scratch, mountPath: /scratch}]}
  - {name: second, image: IMAGE, command: [sh, -c, 'echo 2 >> /scratch/steps'], volumeMounts: [{name: scratch, mountPath: /scratch}]}
  - name: beside
    image: IMAGE
    restartPolicy: Always
    command: [sh, -c, 'echo side >> /scratch/steps; sleep 3600']
    volumeMounts: [{name: scratch, mountPath: /scratch}]
    startupProbe: {exec: {command: [grep, side, /scratch/steps]}, periodSeconds: 1}
  containers:
  - {name: main, image: IMAGE, command: [sh, -c, 'echo 3 >> /scratch/steps; sleep 3600'], volumeMounts: [{name: scratch, mountPath: /scratch}]}
",
    );
    place.ready("steps");
    assert_eq!(place.ok("exec steps -c main -- cat /scratch/steps"), "1\n2\nside\n3\n");
    assert!(place.ok("get pod steps").contains("2/2"), "the sidecar counts");
    place.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: stuck}
spec:
  terminationGracePeriodSeconds: 1
  restartPolicy: Never
  initContainers: [{name: fails, image: IMAGE, command: [sh, -c, exit 2]}]
  containers: [{name: main, image: IMAGE}]
",
    );
    place.eventually("get pod stuck", |text| text.contains("Init:Error"));
    assert_eq!(place.ok("get pod stuck -o jsonpath={.status.phase}"), "Failed");
}

fn environment(place: &Place) {
    place.ok("create configmap settings --from-literal=COLOUR=blue --from-literal=SIZE=9");
    place.ok("create secret generic hidden --from-literal=WORD=sesame");
    place.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: env, labels: {tier: front}, annotations: {note: hi}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: IMAGE
    command: [sh, -c, 'echo $(PLAIN) \"$(ESCAPED)\" $$(PLAIN); env; sleep 3600']
    resources: {limits: {cpu: 500m, memory: 64Mi}}
    envFrom: [{configMapRef: {name: settings}}, {prefix: S_, secretRef: {name: hidden}}, {configMapRef: {name: absent, optional: true}}]
    env:
    - {name: PLAIN, value: plain}
    - {name: ESCAPED, value: $$(PLAIN)-$(PLAIN)}
    - {name: FROM, valueFrom: {configMapKeyRef: {name: settings, key: SIZE}}}
    - {name: SECRET, valueFrom: {secretKeyRef: {name: hidden, key: WORD}}}
    - {name: ME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: TIER, valueFrom: {fieldRef: {fieldPath: 'metadata.labels[''tier'']'}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: MEMORY, valueFrom: {resourceFieldRef: {resource: limits.memory, divisor: 1Mi}}}
",
    );
    place.ready("env");
    let said = place.eventually("logs env", |text| text.contains("MEMORY="));
    for line in [
        "COLOUR=blue",
        "SIZE=9",
        "S_WORD=sesame",
        "ESCAPED=$(PLAIN)-plain",
        "FROM=9",
        "SECRET=sesame",
        "ME=env",
        "TIER=front",
        "MEMORY=64",
        "KUBERNETES_SERVICE_HOST=10.96.0.1",
        "KUBERNETES_SERVICE_PORT=443",
        "HOSTNAME=env",
    ] {
        assert!(said.lines().any(|l| l == line), "{line}: {said}");
    }
    assert!(said.contains("IP=10.244."), "{said}");
    place.apply(&shell_pod("waits", "true").replace("image:", "envFrom: [{configMapRef: {name: later}}]\n    image:"));
    place.eventually("get pod waits", |text| text.contains("CreateContainerConfigError"));
    place.eventually("describe pod waits", |text| text.contains("configmap \"later\" not found"));
    place.ok("create configmap later");
    place.eventually("get pod waits", |text| text.contains("Completed") || text.contains("CrashLoopBackOff"));
}

fn job(place: &Place) {
    place.apply(
        "
apiVersion: batch/v1
kind: Job
metadata: {name: count}
spec:
  completions: 3
  parallelism: 2
  completionMode: Indexed
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: IMAGE, command: [sh, -c, 'echo number $JOB_COMPLETION_INDEX']}]
",
    );
    place.ok("wait job/count --for=condition=Complete --timeout=60s");
    let table = place.ok("get job count");
    assert!(table.contains("Complete") && table.contains("3/3"), "{table}");
    let mut said: Vec<String> = place.ok("logs -l job-name=count").lines().map(String::from).collect();
    said.sort();
    assert_eq!(said, ["number 0", "number 1", "number 2"]);
    assert!(place.ok("describe job count").contains("Job completed"));
    assert!(place.ok("get pods").contains("Completed"));
    place.ok("delete job count");
    place.eventually("get pods -o name", str::is_empty);
    place.ok(&format!("create job quick --image={} -- echo quick", crate::place::IMAGE));
    place.ok("wait job/quick --for=condition=Complete --timeout=60s");
    assert_eq!(place.ok("logs job/quick"), "quick\n");
}

fn failing_job(place: &Place) {
    place.apply(
        "
apiVersion: batch/v1
kind: Job
metadata: {name: fails}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers: [{name: main, image: IMAGE, command: [sh, -c, exit 1]}]
",
    );
    place.ok("wait job/fails --for=condition=Failed --timeout=60s");
    assert!(place.ok("describe job fails").contains("BackoffLimitExceeded"));
}

fn restarts(place: &Place) {
    place.apply(&shell_pod("crashes", "echo try; exit 1"));
    place.eventually("get pod crashes", |text| text.contains("CrashLoopBackOff"));
    place.eventually("describe pod crashes", |text| text.contains("Back-off restarting failed container main"));
    let last = place.ok("get pod crashes -o jsonpath={.status.containerStatuses[0].lastState.terminated.exitCode}");
    assert_eq!(last, "1");
    place.apply(&shell_pod("never", "exit 3").replace("spec:", "spec:\n  restartPolicy: Never"));
    place.eventually("get pod never", |text| text.contains("Error"));
    let reason =
        place.ok("get pod never -o jsonpath={.status.phase}/{.status.containerStatuses[0].state.terminated.exitCode}");
    assert_eq!(reason, "Failed/3");
    place.apply(
        &shell_pod("once", "echo done > /dev/termination-log").replace("spec:", "spec:\n  restartPolicy: OnFailure"),
    );
    place.ok("wait pod/once --for=jsonpath={.status.phase}=Succeeded --timeout=60s");
    let message = place.ok("get pod once -o jsonpath={.status.containerStatuses[0].state.terminated.message}");
    assert_eq!(message, "done\n");
    place.apply(
        &shell_pod("greedy", "exec tail /dev/zero")
            .replace("image:", "resources: {limits: {memory: 16Mi}}\n    image:"),
    );
    place.eventually("get pod greedy -o jsonpath={.status.containerStatuses[0]}", |text| text.contains("OOMKilled"));
}

/// [sig-auth] ServiceAccounts should mount an API token into pods
fn token(place: &Place) {
    place.ok("create serviceaccount robot");
    place.ok("create role reader --verb=get,list --resource=pods");
    place.ok(&format!("create rolebinding reader --role=reader --serviceaccount={}:robot", place.namespace));
    // The demo's image has no TLS that a server of today takes; the machine's curl has.
    let pod = shell_pod("robot", "sleep 3600")
        .replace("containers:", "serviceAccountName: robot\n  volumes:\n  - {name: usr, hostPath: {path: /usr}}\n  containers:")
        .replace(
            "image:",
            "volumeMounts:\n    - {name: usr, mountPath: /usr}\n    - {name: usr, mountPath: /lib, subPath: lib}\n    - {name: usr, mountPath: /lib64, subPath: lib64}\n    image:",
        );
    place.apply(&pod);
    place.ready("robot");
    let ask = "cd /var/run/secrets/kubernetes.io/serviceaccount && curl -sS --cacert ca.crt \
        -H \"Authorization: Bearer $(cat token)\" https://kubernetes.default.svc/api/v1/namespaces/$(cat namespace)/";
    let pods = place.sh("robot", &format!("{ask}pods"));
    // What curl is sent is indented.
    assert!(pods.contains("\"kind\": \"PodList\"") && pods.contains("\"name\": \"robot\""), "{pods}");
    let refused = place.sh("robot", &format!("{ask}secrets"));
    let user =
        format!("User \\\"system:serviceaccount:{}:robot\\\" cannot list resource \\\"secrets\\\"", place.namespace);
    assert!(refused.contains("\"code\": 403") && refused.contains(&user), "{refused}");
}

fn security(place: &Place) {
    let pod = shell_pod("careful", "id -u; id -g; cat /proc/self/status | grep -E 'NoNewPrivs|CapEff'; touch /x; sleep 3600").replace(
        "image:",
        "securityContext: {runAsUser: 1234, runAsGroup: 2345, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n    image:",
    );
    place.apply(&pod);
    place.ready("careful");
    // Errors come by a pipe of their own, between any of the other lines.
    let said = place.eventually("logs careful", |text| text.contains("touch:") && text.contains("NoNewPrivs"));
    let ids: Vec<&str> = said.lines().filter(|line| line.parse::<u32>().is_ok()).collect();
    assert_eq!(ids, ["1234", "2345"], "{said}");
    assert!(said.contains("CapEff:\t0000000000000000") && said.contains("NoNewPrivs:\t1"), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    let root = shell_pod("root", "true").replace("image:", "securityContext: {runAsNonRoot: true}\n    image:");
    place.apply(&root);
    place.eventually("get pod root", |text| text.contains("CreateContainerConfigError"));
}

fn graceful(place: &Place) {
    let script =
        "trap 'echo told; sleep 1; echo bye > /out/end; exit 0' TERM; echo ready; while true; do sleep 0.1; done";
    let dir = place.path("out");
    std::fs::create_dir_all(&dir).expect("made");
    let pod = shell_pod("polite", script)
        .replace("terminationGracePeriodSeconds: 1", &format!("terminationGracePeriodSeconds: 30\n  volumes: [{{name: out, hostPath: {{path: {}}}}}]", dir.display()))
        .replace(
            "image:",
            "volumeMounts: [{name: out, mountPath: /out}]\n    lifecycle: {preStop: {exec: {command: [touch, /out/before]}}}\n    image:",
        );
    place.apply(&pod);
    place.eventually("logs polite", |text| text == "ready\n");
    place.ok("delete pod polite");
    assert_eq!(std::fs::read_to_string(dir.join("end")).expect("it ended by itself"), "bye\n");
    assert!(dir.join("before").exists(), "the hook ran");
    place.shell_pod("rude", "trap '' TERM; while true; do sleep 0.1; done");
    let began = std::time::Instant::now();
    place.ok("delete pod rude --grace-period=1");
    assert!(began.elapsed().as_secs() < 10);
    place.shell_pod("forced", "trap '' TERM; while true; do sleep 0.1; done");
    let said = place.run("delete pod forced --grace-period=0 --force");
    assert!(said.stdout.contains("force deleted"), "{}{}", said.stdout, said.stderr);
}
