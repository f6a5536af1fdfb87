//! The commands of `kubectl` beyond the daily ones, each with what it must say: what it makes from flags, what it does to
//! sets of objects, to nodes, to certificates, to custom resources, and what it tells of mistakes.

use testbed::{ApiServer, Kubectl, ServerOptions};

fn server() -> (ApiServer, Kubectl) {
    let options = ServerOptions { roles: "api,controllers".into(), ..ServerOptions::default() };
    let server = ApiServer::start(env!("CARGO_BIN_EXE_mainstay"), options).expect("a server");
    let k = server.kubectl().expect("kubectl");
    k.eventually("get serviceaccount default -o name", |out| out.contains("default"));
    let k = k.with_flags(&["--namespace", "default"]);
    (server, k)
}

/// Commands, and what they say.
const MADE: &[(&str, &str)] = &[
    ("create deployment web --image=nginx --replicas=0 --port=80", "deployment.apps/web created"),
    ("create configmap c --from-literal=a=b", "configmap/c created"),
    ("create secret generic s --from-literal=p=q", "secret/s created"),
    ("create secret docker-registry d --docker-username=u --docker-password=p", "secret/d created"),
    ("create service clusterip one --tcp=80:8080", "service/one created"),
    ("create service nodeport two --tcp=80:8080", "service/two created"),
    ("create service loadbalancer three --tcp=80", "service/three created"),
    ("create service externalname four --external-name=x.y", "service/four created"),
    (
        "create ingress i --rule=foo.com/bar*=one:80,tls=t --default-backend=one:80",
        "ingress.networking.k8s.io/i created",
    ),
    ("create job j --image=busybox -- date", "job.batch/j created"),
    ("create cronjob cj --image=busybox --schedule=@daily -- date", "cronjob.batch/cj created"),
    ("create job by-hand --from=cronjob/cj", "job.batch/by-hand created"),
    ("create serviceaccount a", "serviceaccount/a created"),
    ("create role r --verb=get,list --resource=pods,deployments.apps --resource-name=x", "io/r created"),
    ("create rolebinding rb --role=r --user=bob --serviceaccount=default:a", "io/rb created"),
    ("create clusterrole cr --verb=get --non-resource-url=/logs/*", "io/cr created"),
    ("create clusterrolebinding crb --clusterrole=cr --user=bob", "io/crb created"),
    ("create quota q --hard=pods=100", "resourcequota/q created"),
    ("create poddisruptionbudget p --selector=app=web --min-available=50%", "poddisruptionbudget.policy/p created"),
    ("create priorityclass pc --value=1000 --preemption-policy=Never", "io/pc created"),
    ("run single --image=nginx --port=80 --expose --env=A=B", "service/single created\npod/single created"),
    ("expose deployment web --port=80 --target-port=8080 --name=web --type=NodePort", "service/web exposed"),
    ("autoscale deployment web --min=1 --max=3 --cpu-percent=50", "horizontalpodautoscaler.autoscaling/web autoscaled"),
    ("auth can-i get /logs/x --as=bob", "yes"),
    ("wait --for=jsonpath={.status.phase}=Pending pod/single --timeout=20s", "pod/single condition met"),
    ("set image deployment/web nginx=nginx:2", "deployment.apps/web image updated"),
    ("set selector service one a=b", "service/one selector updated"),
    ("set subject rolebinding rb --user=eve", "rb subjects updated"),
    ("rollout pause deployment web", "deployment.apps/web paused"),
    ("rollout resume deployment web", "deployment.apps/web resumed"),
    ("get horizontalpodautoscaler web", "cpu: <unknown>/50%"),
    ("get service three two", "LoadBalancer"),
    ("delete job,cronjob --all", "job.batch \"by-hand\" deleted"),
];

/// Commands that fail, and why.
const REFUSED: &[(&str, &str)] = &[
    ("create token nobody", "error: failed to create token: serviceaccounts \"nobody\" not found"),
    (
        "create token a --duration=1s",
        "spec.expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
    ),
    ("create priorityclass big --value=2000000000", "maximum allowed value of a user defined priority is 1000000000"),
    ("create namespace default", "Error from server (AlreadyExists): namespaces \"default\" already exists"),
    ("top nodes", "error: Metrics API not available"),
    (
        "get configmaps --field-selector=foo=bar",
        "\"foo\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
    ),
    ("get configmaps -l a=b,==", "found '==', expected: identifier after ','"),
    (
        "patch deployment web -p {\"spec\":{\"replicas\":\"x\"}}",
        "The request is invalid: patch: Invalid value: \"map[spec:map[replicas:x]]\": unrecognized type: int32",
    ),
    ("scale deployment web --replicas=1 --current-replicas=9", "error: Expected replicas to be 9, was 0"),
    ("wait --for=condition=Ready pod/single --timeout=1s", "error: timed out waiting for the condition on pods/single"),
    ("rollout undo deployment web --to-revision=99", "error: unable to find specified revision 99 in history"),
    ("logs nobody", "error: error from server (NotFound): pods \"nobody\" not found in namespace \"default\""),
    ("certificate approve nobody", "certificatesigningrequests.certificates.k8s.io \"nobody\" not found"),
    ("get --raw /nowhere", "Error from server (NotFound): the server could not find the requested resource"),
];

#[test]
fn commands_say_what_they_say_elsewhere() {
    let (_server, k) = server();
    for (command, said) in MADE {
        if command.starts_with("delete job") {
            // A job that its schedule did not make is seen, and left alone.
            k.eventually("get events -o custom-columns=R:.reason,M:.message", |out| {
                out.contains("UnexpectedJob") && out.contains("did not create or forgot: by-hand")
            });
            assert_eq!(k.ok("get cronjob cj -o jsonpath={.status.active}"), "");
        }
        let out = k.ok(command);
        assert!(out.contains(said), "{command}: {out}");
    }
    for (command, why) in REFUSED {
        let said = k.fails(command);
        assert!(said.contains(why), "{command}: {said}");
    }
    assert_eq!(k.ok("create token a --bound-object-kind=Secret --bound-object-name=s").split('.').count(), 3);
    let me = k.ok("auth whoami");
    assert!(me.contains("kubernetes-admin") && me.contains("system:authenticated"), "{me}");
    let rules = k.ok("auth can-i --list --as=bob");
    assert!(rules.contains("[/logs/*]") && rules.contains("selfsubjectreviews.authentication.k8s.io"), "{rules}");
    let more = "---\n{apiVersion: rbac.authorization.k8s.io/v1, kind: Role, metadata: {name: r, namespace: default}, rules: \
                [{apiGroups: [''], resources: [services], verbs: [get]}]}";
    assert!(k.ok_with("auth reconcile -f -", more).contains("reconciled"));
    assert_eq!(k.ok("get role r -o jsonpath={.rules[*].resources}"), r#"["pods"] ["deployments"] ["services"]"#);
    assert!(k.ok("get --raw /version").starts_with("{\n  \"major\": \"1\","));
    assert!(k.ok("cluster-info dump").contains("\"kind\": \"NodeList\""));
}

/// A request for `CN=jane,O=dev`.
const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTk1Bc0dBMVVFQXd3RWFtRnVaVEVNTUFvR0ExVUVDZ3dEWkdWMk1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVydlNodS9iNmFPVzlXQjA4dm05VlFlU3BvQVhGdkVrNWlzWnlQS2NCCjM5ZjlmbFhTaDJhdEo3VEE0eHFiQjFBZENpSzZtVTBTWjhHRC9CaTZ2RzgvYmFBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJUURJWjFmSjNXbm4xVHJheXJraFBldnN0OXExNnUrUUlvaHhLcDJ2cDlUTGRBSWdTNngrWHJPTgpFaTJRbHN5ZkZkaktUR3F2T2F3RFl6NmhvYklSOVVGaW1naz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

#[test]
fn nodes_and_certificates_are_administered() {
    let (_server, k) = server();
    k.ok_with("create -f -", "---\n{apiVersion: v1, kind: Node, metadata: {name: n1}}");
    assert_eq!(k.ok("taint node n1 a=b:NoSchedule"), "node/n1 tainted\n");
    assert!(k.fails("taint node n1 a=c:NoSchedule").contains("already has a taint(s) with same effect(s)"));
    assert_eq!(k.ok("taint node n1 a=c:NoSchedule --overwrite"), "node/n1 modified\n");
    assert_eq!(k.ok("taint node n1 a-"), "node/n1 untainted\n");
    assert_eq!(k.ok("cordon n1"), "node/n1 cordoned\n");
    assert!(k.ok("get nodes").contains("SchedulingDisabled"));
    assert_eq!(k.ok("uncordon n1"), "node/n1 uncordoned\n");
    assert!(k.ok("drain n1 --ignore-daemonsets").ends_with("node/n1 drained\n"));
    k.ok("label node n1 node-role.kubernetes.io/worker=");
    assert!(k.ok("get nodes").contains("worker"));
    for name in ["good", "bad"] {
        let request = format!(
            "---\n{{apiVersion: certificates.k8s.io/v1, kind: CertificateSigningRequest, metadata: {{name: {name}}}, spec: {{request: {REQUEST}, \
             signerName: kubernetes.io/kube-apiserver-client, expirationSeconds: 3600, usages: [client auth]}}}}"
        );
        k.ok_with("create -f -", &request);
    }
    assert!(k.ok("certificate approve good").contains("good approved"));
    assert!(k.ok("certificate approve good").contains("good approved"));
    assert!(k.ok("certificate deny bad").contains("bad denied"));
    assert!(k.fails("certificate deny good").contains("certificate signing request \"good\" is already Approved"));
    assert!(k.fails("certificate approve bad --force").contains("is already Denied"));
    let listed = k.eventually("get csr", |out| out.contains("Approved,Issued"));
    assert!(listed.contains("Denied") && listed.contains("60m"), "{listed}");
    let described = k.ok("describe csr good");
    assert!(described.contains("Common Name:    jane") && described.contains("Organization:   dev"), "{described}");
}

const SET: &str = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: a, labels: {set: one}}, data: {k: '1'}}\n";
const OTHER: &str = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: b, labels: {set: one}}, data: {k: '1'}}\n";

#[test]
fn sets_of_objects_are_applied_and_pruned() {
    let (_server, k) = server();
    let both = format!("{SET}{OTHER}");
    k.ok_with("apply -f -", &both);
    let pruned = k.ok_with("apply -f - --prune -l set=one --prune-allowlist=core/v1/ConfigMap", SET);
    assert_eq!(pruned, "configmap/a unchanged\nconfigmap/b pruned\n");
    let apply_set = |arguments: &str, input: &str| {
        let mut command = k.background(arguments);
        let ended = testbed::run(command.env("KUBECTL_APPLYSET", "true"), input).expect("it runs");
        assert_eq!(ended.code, 0, "{arguments}: {}", ended.stderr);
        ended.stdout
    };
    let said = apply_set("apply -f - --prune --applyset=mine", &both);
    assert_eq!(said, "configmap/a configured\nconfigmap/b created\n");
    let parent = k.ok("get secret mine -o jsonpath={.metadata.annotations}");
    assert!(parent.contains(r#""applyset.kubernetes.io/contains-group-kinds":"ConfigMap""#), "{parent}");
    let said = apply_set("apply --server-side --force-conflicts -f - --prune --applyset=mine", SET);
    assert_eq!(said, "configmap/a serverside-applied\nconfigmap/b pruned\n");
    let conflicts = k.run_args(&["apply", "--server-side", "--field-manager=x", "-f", "-"], &SET.replace("'1'", "'2'"));
    assert!(
        conflicts.stderr.contains("Apply failed with 1 conflict: conflict with \"kubectl\": .data.k"),
        "{}",
        conflicts.stderr
    );
    let diff = k.run_args(&["diff", "--server-side", "--force-conflicts", "-f", "-"], &SET.replace("'1'", "'2'"));
    assert!(diff.code == 1 && diff.stdout.contains("-  k: \"1\"\n+  k: \"2\"\n"), "{}", diff.stdout);
    let many: String = (0..25).map(|i| format!("---\n{{apiVersion: v1, kind: ConfigMap, metadata: {{name: z{i}, labels: {{many: 'y'}}}}, data: {{n: '{i}'}}}}\n")).collect();
    k.ok_with("create -f -", &many);
    assert_eq!(k.ok("get configmaps -l many=y --chunk-size=10 -o name").lines().count(), 25);
    let sorted = k.ok("get configmaps -l many=y --chunk-size=7 --sort-by=.metadata.name --no-headers");
    assert!(sorted.starts_with("z0 ") && sorted.lines().count() == 25, "{sorted}");
    assert_eq!(k.ok("delete configmaps -l many=y --dry-run=server").lines().count(), 25);
    assert_eq!(k.ok("delete configmaps -l many=y").lines().count(), 25);
}

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.ex.com}
spec:
  group: ex.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget, shortNames: [wd], categories: [mine]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    schema:
      openAPIV3Schema:
        type: object
        description: A widget of ours.
        properties:
          spec: {type: object, required: [size], properties: {size: {type: integer, minimum: 1, description: How big it is.}}}
          status: {type: object, properties: {size: {type: integer}}}
";

#[test]
fn custom_resources_are_explained_and_edited() {
    let (_server, k) = server();
    k.ok_with("create -f -", DEFINITION);
    k.ok("wait --for=condition=Established crd/widgets.ex.com --timeout=20s");
    k.ok_with("create -f -", "---\n{apiVersion: ex.com/v1, kind: Widget, metadata: {name: w}, spec: {size: 3}}");
    assert!(k.ok("get mine").starts_with("NAME   SIZE\nw      3"));
    let explained = k.ok("explain wd.spec");
    assert!(explained.contains("size\t<integer> -required-\n    How big it is."), "{explained}");
    let old = k.ok("explain wd --output=plaintext-openapiv2 --recursive");
    assert!(old.contains("A widget of ours.") && old.contains("      size\t<integer>"), "{old}");
    for builtin in ["pods", "wd"] {
        let said = k.ok(&format!("explain {builtin}.apiVersion"));
        assert!(said.contains("APIVersion defines the versioned schema of this representation"), "{said}");
    }
    assert_eq!(k.ok("scale wd w --replicas=5"), "widget.ex.com/w scaled\n");
    let edit = |script: &str, arguments: &str| {
        testbed::run(k.background(arguments).env("KUBE_EDITOR", script), "").expect("it runs")
    };
    assert_eq!(edit("sed -i s/size:.5/size:\\ 7/", "edit wd w").stdout, "widget.ex.com/w edited\n");
    let refused = edit("sed -i s/size:.7/size:\\ 0/", "edit wd w");
    assert!(refused.code == 1 && refused.stderr.contains("widgets.ex.com \"w\" is invalid"), "{}", refused.stderr);
    k.ok_args(&["patch", "wd", "w", "--subresource=status", "--type=merge", "-p", r#"{"status":{"size":4}}"#]);
    assert_eq!(
        edit("sed -i s/size:.4/size:\\ 9/", "edit wd w --subresource=status").stdout,
        "widget.ex.com/w edited\n"
    );
    assert_eq!(k.ok("get wd w -o jsonpath={.spec.size},{.status.size}"), "7,9");
    assert_eq!(k.ok("wait --for=jsonpath={.status.size}=9 wd/w --timeout=5s"), "widget.ex.com/w condition met\n");
    let strategic = k.run_args(&["patch", "wd", "w", "-p", "{}"], "");
    assert!(
        strategic.stderr.contains("application/strategic-merge-patch+json is not supported by ex.com/v1, Kind=Widget")
    );
    let twice = k.run_args(&["patch", "wd", "w", "--type=merge", "-p", r#"{"spec":{"size":"a"}}"#], "");
    assert!(twice.stderr.contains("spec.size in body must be of type integer: \"string\""), "{}", twice.stderr);
    k.ok("delete crd widgets.ex.com");
    assert!(k.fails("get wd").contains("could not find the requested resource"));
}
