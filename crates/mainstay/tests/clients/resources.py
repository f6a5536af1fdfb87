"""Conformance behaviours of resources that need no node: the whole life of an object through the API, and what is special."""
import time

from api import DEADLINE_S, MERGE, STRATEGIC, Api, behaviour, run

CONTAINERS = [{"name": "c", "image": "i"}]


def whole_life(api, collection, sample, change, all_namespaces=None, status=None):
    """Create, get, list, watch, patch, update, status, delete, delete collection; as upstream's "API operations" do."""
    name, label = sample["metadata"]["name"], {"special": sample["metadata"]["name"]}
    sample["metadata"]["labels"] = {**sample["metadata"].get("labels", {}), **label}
    selector = f"special={name}"
    path = f"{collection}/{name}"
    made = api.post(collection, sample, code=201)
    assert made["metadata"]["uid"] and made["metadata"]["creationTimestamp"], made
    assert api.get(path)["metadata"]["uid"] == made["metadata"]["uid"]
    for where in [collection] + ([all_namespaces] if all_namespaces else []):
        listed = api.get(where, labelSelector=selector)
        assert [o["metadata"]["name"] for o in listed["items"]] == [name], listed
        assert listed["kind"].endswith("List") and listed["metadata"]["resourceVersion"]
    start = listed["metadata"]["resourceVersion"]
    patched = api.patch(path, {"metadata": {"annotations": {"patched": "true"}}})
    assert patched["metadata"]["annotations"]["patched"] == "true"
    patched = api.patch(path, {"metadata": {"labels": {"more": "yes"}}}, kind=STRATEGIC)
    code = 409
    while code == 409:  # A controller may write in between.
        updated = api.get(path)
        updated["metadata"].setdefault("annotations", {})["updated"] = "true"
        change(updated)
        code, updated = api.send("PUT", path, updated)
    assert code == 200, updated
    assert updated["metadata"]["annotations"]["updated"] == "true" and updated["metadata"]["labels"]["more"] == "yes"
    assert updated["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    if status:
        shown = api.patch(path + "/status", {"status": status})
        assert says(shown["status"], status), shown
        shown = api.get(path + "/status")
        assert says(shown["status"], status), shown
        # A controller may write in between.
        while (answer := api.send("PUT", path + "/status", shown))[0] == 409:
            shown = api.get(path + "/status")
        assert answer[0] == 200 and says(answer[1]["status"], status), answer
    for event in api.watch(collection, labelSelector=selector, resourceVersion=start):
        # A controller may write in between.
        assert event["type"] == "MODIFIED", event
        if event["object"]["metadata"].get("annotations", {}).get("patched") == "true":
            break
    else:
        raise AssertionError("the watch did not show the change")
    api.delete(path, gracePeriodSeconds=0)
    release(api, path)
    api.post(collection, {**sample, "metadata": {**sample["metadata"], "name": name + "-2"}}, code=201)
    api.delete(collection, labelSelector=selector, gracePeriodSeconds=0)
    release(api, path + "-2")
    assert api.get(collection, labelSelector=selector)["items"] == []


def says(status, wanted):
    """Whether a status has these fields; a list may have more than these items."""
    return all(all(i in status[k] for i in v) if isinstance(v, list) else status[k] == v for k, v in wanted.items())


def release(api, path):
    """Waits until it is gone; a finalizer of protection is taken off, since nobody is there to do so."""
    code, left = api.send("GET", path)
    if code == 200 and left["metadata"].get("finalizers"):
        api.send("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)
    api.gone(path)


def change_none(o):
    pass


def life(name, group, version, plural, make, change=change_none, namespaced=True, status=None):
    @behaviour(name)
    def test(api, ns):
        root = f"/apis/{group}/{version}" if group else f"/api/{version}"
        sample = make(ns)
        sample["metadata"] = {"name": f"o-{ns}"}
        collection = f"{root}/namespaces/{ns}/{plural}" if namespaced else f"{root}/{plural}"
        whole_life(api, collection, sample, change, f"{root}/{plural}" if namespaced else None, status)
        if group:
            assert any(g["name"] == group for g in api.get("/apis")["groups"])
        listed = {r["name"]: r for r in api.get(root)["resources"]}
        assert listed[plural]["namespaced"] == namespaced


def set_at(*path):
    *parents, last, value = path
    def change(o):
        for p in parents:
            o = o.setdefault(p, {})
        o[last] = value
    return change


template = lambda labels: {"metadata": {"labels": labels}, "spec": {"containers": CONTAINERS}}
rule = lambda: {"spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {
    "service": {"name": "s", "port": {"number": 80}}}}]}}]}}

life("[sig-network] Ingress API should support creating Ingress API operations",
     "networking.k8s.io", "v1", "ingresses", lambda ns: rule(), set_at("spec", "ingressClassName", "x"),
     status={"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}})
life("[sig-network] IngressClass API should support creating IngressClass API operations",
     "networking.k8s.io", "v1", "ingressclasses", lambda ns: {"spec": {"controller": "example.com/c"}}, namespaced=False)
life("[sig-network] EndpointSlice should support creating EndpointSlice API operations",
     "discovery.k8s.io", "v1", "endpointslices",
     lambda ns: {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"name": "p", "port": 80}]},
     set_at("endpoints", [{"addresses": ["10.0.0.2"]}]))
life("Whole life of endpoints",
     "", "v1", "endpoints", lambda ns: {"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"port": 80}]}]},
     set_at("subsets", [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"port": 8080}]}]))
life("[sig-node] Lease lease API should be available",
     "coordination.k8s.io", "v1", "leases", lambda ns: {"spec": {"holderIdentity": "h", "leaseDurationSeconds": 30}},
     set_at("spec", "leaseTransitions", 2))
life("[sig-node] RuntimeClass should support RuntimeClasses API operations",
     "node.k8s.io", "v1", "runtimeclasses", lambda ns: {"handler": "h"}, namespaced=False)
life("[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision",
     "apps", "v1", "controllerrevisions", lambda ns: {"revision": 1, "data": {"x": 1}}, set_at("revision", 2))
life("Whole life of a CSINode",
     "storage.k8s.io", "v1", "csinodes", lambda ns: {"spec": {"drivers": []}}, namespaced=False)
life("[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver",
     "storage.k8s.io", "v1", "csidrivers", lambda ns: {"spec": {"attachRequired": False}}, namespaced=False)
life("[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations",
     "storage.k8s.io", "v1", "csistoragecapacities", lambda ns: {"storageClassName": "x", "capacity": "1Gi"},
     set_at("capacity", "2Gi"))
life("Status of a VolumeAttachment",
     "storage.k8s.io", "v1", "volumeattachments",
     lambda ns: {"spec": {"attacher": "a.example.com", "nodeName": "n", "source": {"persistentVolumeName": "p"}}},
     namespaced=False, status={"attached": True})
life("[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass",
     "storage.k8s.io", "v1", "storageclasses", lambda ns: {"provisioner": "e2e.example.com"}, namespaced=False)
life("Whole life of a PersistentVolume",
     "", "v1", "persistentvolumes",
     lambda ns: {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                          "hostPath": {"path": "/x"}}},
     namespaced=False, status={"message": "m"})
life("[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status",
     "", "v1", "persistentvolumeclaims",
     lambda ns: {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}},
     status={"conditions": [{"type": "Resizing", "status": "True", "lastProbeTime": None, "lastTransitionTime": None}]})
life("[sig-node] PodTemplates should run the lifecycle of PodTemplates",
     "", "v1", "podtemplates", lambda ns: {"template": template({"a": "b"})})
life("[sig-node] ConfigMap should run through a ConfigMap lifecycle",
     "", "v1", "configmaps", lambda ns: {"data": {"k": "v"}}, set_at("data", "k", "w"))
life("[sig-node] Secrets should patch a secret",
     "", "v1", "secrets", lambda ns: {"data": {"k": "dg=="}}, set_at("data", "k", "dw=="))
life("[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods",
     "scheduling.k8s.io", "v1", "priorityclasses", lambda ns: {"value": 7}, set_at("description", "d"), namespaced=False)
life("[sig-apps] DisruptionController should create a PodDisruptionBudget",
     "policy", "v1", "poddisruptionbudgets", lambda ns: {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
     set_at("spec", "minAvailable", 2))
life("[sig-apps] CronJob should support CronJob API operations",
     "batch", "v1", "cronjobs",
     lambda ns: {"spec": {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": {"spec": {"containers": CONTAINERS, "restartPolicy": "Never"}}}}}},
     set_at("spec", "suspend", True), status={"lastScheduleTime": "2020-01-01T00:00:00Z"})
life("[sig-auth] ServiceAccounts should run through the lifecycle of a ServiceAccount",
     "", "v1", "serviceaccounts", lambda ns: {}, set_at("automountServiceAccountToken", False))
life("[sig-apps] ReplicationController should test the lifecycle of a ReplicationController",
     "", "v1", "replicationcontrollers",
     lambda ns: {"spec": {"replicas": 0, "selector": {"a": "b"}, "template": template({"a": "b"})}},
     set_at("spec", "minReadySeconds", 1))
life("[sig-api-machinery] API priority and fairness should support FlowSchema API operations",
     "flowcontrol.apiserver.k8s.io", "v1", "flowschemas",
     lambda ns: {"spec": {"matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"}}},
     set_at("spec", "matchingPrecedence", 9999), namespaced=False,
     status={"conditions": [{"type": "PatchStatusFailed", "status": "False", "reason": "Patched", "message": "m", "lastTransitionTime": None}]})


@behaviour("[sig-auth] ServiceAccounts should guarantee kube-root-ca.crt exist in any namespace")
def root_ca(api, ns):
    path = f"/api/v1/namespaces/{ns}/configmaps/kube-root-ca.crt"
    whole = api.until(path, lambda o: o is not None and "ca.crt" in o["data"])
    api.delete(path)
    api.until(path, lambda o: o is not None and o["metadata"]["uid"] != whole["metadata"]["uid"])
    api.patch(path, {"data": {"ca.crt": ""}})
    api.until(path, lambda o: o is not None and o["data"] == whole["data"])


@behaviour("Tokens are for their audiences")
def token(api, ns):
    account = f"/api/v1/namespaces/{ns}/serviceaccounts/default"
    made = api.post(account + "/token", {"spec": {"audiences": ["x"], "expirationSeconds": 600}})
    assert made["status"]["token"].count(".") == 2 and made["status"]["expirationTimestamp"]
    own = api.post(account + "/token", {"spec": {}})["status"]["token"]
    review = api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": own}})
    assert review["status"]["authenticated"] and review["status"]["user"]["username"] == f"system:serviceaccount:{ns}:default"
    foreign = api.post("/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": made["status"]["token"]}})
    assert not foreign["status"].get("authenticated"), foreign


@behaviour("[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer")
def issuer(api, ns):
    document = api.get("/.well-known/openid-configuration")
    assert document["issuer"] and document["jwks_uri"] and document["subject_types_supported"] == ["public"], document
    keys = api.get("/openid/v1/jwks")["keys"]
    assert keys and all(k["use"] == "sig" and k["kid"] for k in keys), keys


@behaviour("SelfSubjectReview should support SelfSubjectReview API operations")
def self_review(api, ns):
    review = Api(user="jane").post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
    assert review["status"]["userInfo"]["username"] == "jane", review


@behaviour("[sig-auth] SubjectReview should support SubjectReview API operations")
def subject_review(api, ns):
    user = f"system:serviceaccount:{ns}:default"
    spec = {"user": user, "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": ns}}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert api.post(path, {"spec": spec})["status"]["allowed"] is False
    local = f"/apis/authorization.k8s.io/v1/namespaces/{ns}/localsubjectaccessreviews"
    rbac = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{ns}"
    api.post(rbac + "/roles", {"metadata": {"name": "r"}, "rules": [{"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}]})
    api.post(rbac + "/rolebindings", {"metadata": {"name": "r"}, "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"},
             "subjects": [{"kind": "User", "name": user}]})
    # What is allowed follows the roles; how soon is not promised.
    asked = time.monotonic()
    while not api.post(path, {"spec": spec})["status"]["allowed"]:
        assert time.monotonic() - asked < DEADLINE_S
    assert api.post(local, {"spec": spec, "metadata": {"namespace": ns}})["status"]["allowed"] is True
    assert Api(user=user).get(f"/api/v1/namespaces/{ns}/configmaps")["kind"] == "ConfigMapList"


def event(name, ns):
    return {"metadata": {"name": name, "labels": {"testevent": "yes"}}, "reason": "Test", "message": "m", "type": "Normal",
            "involvedObject": {"namespace": ns, "kind": "Pod", "name": "p"}}


@behaviour("[sig-instrumentation] Events should manage the lifecycle of an event")
@behaviour("[sig-instrumentation] Events should delete a collection of events")
def core_events(api, ns):
    path = f"/api/v1/namespaces/{ns}/events"
    for i in range(3):
        api.post(path, event(f"e{i}", ns))
    assert api.patch(path + "/e0", {"message": "changed"}, kind=STRATEGIC)["message"] == "changed"
    e = api.get(path + "/e0")
    e["series"] = {"count": 100, "lastObservedTime": "2020-01-01T00:00:00.000000Z"}
    assert api.put(path + "/e0", e)["series"]["count"] == 100
    assert api.get("/api/v1/events", fieldSelector=f"involvedObject.namespace={ns},reason=Test")["items"]
    api.delete(path + "/e0")
    api.absent(path + "/e0")
    api.delete(path, labelSelector="testevent=yes")
    assert api.get(path, labelSelector="testevent=yes")["items"] == []


@behaviour("[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and listed")
@behaviour("[sig-instrumentation] Events API should delete a collection of events")
def new_events(api, ns):
    path = f"/apis/events.k8s.io/v1/namespaces/{ns}/events"
    for i in range(3):
        api.post(path, {"metadata": {"name": f"n{i}", "labels": {"t": "y"}}, "eventTime": "2020-01-01T00:00:00.000000Z", "action": "Do",
                 "reason": "Test", "type": "Normal", "reportingController": "test-controller", "reportingInstance": "i",
                 "regarding": {"namespace": ns, "kind": "Pod", "name": "p"}, "note": "n"})
    assert api.get(path, fieldSelector="reportingController=test-controller")["items"]
    e = api.get(path + "/n0")
    assert e["note"] == "n" and e["regarding"]["name"] == "p"
    assert api.get(f"/api/v1/namespaces/{ns}/events/n0")["involvedObject"]["name"] == "p"
    e["series"] = {"count": 100, "lastObservedTime": "2020-01-01T00:00:00.000000Z"}
    assert api.put(path + "/n0", e)["series"]["count"] == 100
    api.delete(path + "/n0")
    api.delete(path, labelSelector="t=y")
    assert api.get(path, labelSelector="t=y")["items"] == []


@behaviour("[sig-auth] Certificates API [Privileged:ClusterAdmin] should support CSR API operations")
def requests(api, ns):
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    sample = {"metadata": {"generateName": "e2e-example-csr-", "labels": {"t": ns}},
              "spec": {"request": REQUEST, "signerName": "example.com/e2e-" + ns, "expirationSeconds": 3600, "usages": ["digital signature", "key encipherment", "server auth"]}}
    made = api.post(path, sample)
    assert made["spec"]["username"] and made["spec"]["groups"], made
    own = f"{path}/{made['metadata']['name']}"
    assert len(api.get(path, fieldSelector="spec.signerName=example.com/e2e-" + ns)["items"]) == 1
    api.patch(own, {"metadata": {"annotations": {"patched": "true"}}})
    approval = api.get(own + "/approval")
    condition = {"type": "Approved", "status": "True", "reason": "E2E", "message": "m"}
    approval["status"] = {"conditions": [condition]}
    assert api.put(own + "/approval", approval)["status"]["conditions"][0]["type"] == "Approved"
    shown = api.patch(own + "/status", {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": {"certificate": CERTIFICATE}})
    assert shown["status"]["certificate"] == CERTIFICATE and shown["metadata"]["annotations"]["patchedstatus"] == "true"
    api.delete(own)
    api.absent(own)
    api.post(path, sample)
    api.delete(path, labelSelector="t=" + ns)
    assert api.get(path, labelSelector="t=" + ns)["items"] == []


@behaviour("Scale of a ReplicaSet, a StatefulSet and a Deployment")
def scales(api, ns):
    for plural, more in (("deployments", {}), ("replicasets", {}), ("statefulsets", {"serviceName": "s"})):
        path = f"/apis/apps/v1/namespaces/{ns}/{plural}"
        api.post(path, {"metadata": {"name": "x"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"a": plural}},
                 "template": template({"a": plural}), **more}})
        scale = api.get(path + "/x/scale")
        assert scale["kind"] == "Scale" and scale["status"]["selector"] == "a=" + plural, scale
        scale["spec"]["replicas"] = 2
        # Its controller may write in between.
        del scale["metadata"]["resourceVersion"]
        assert api.put(path + "/x/scale", scale)["spec"]["replicas"] == 2
        assert api.patch(path + "/x/scale", {"spec": {"replicas": 1}})["spec"]["replicas"] == 1
        assert api.get(path + "/x")["spec"]["replicas"] == 1


# A request and a certificate without meaning, of a key that nobody has.
def pem():
    import base64, subprocess, tempfile, os
    with tempfile.TemporaryDirectory() as d:
        key, csr, crt = (os.path.join(d, n) for n in ("key", "csr", "crt"))
        quiet = {"check": True, "capture_output": True}
        subprocess.run(["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=e2e.example.com", "-out", csr], **quiet)
        subprocess.run(["openssl", "x509", "-req", "-in", csr, "-signkey", key, "-out", crt], **quiet)
        return tuple(base64.b64encode(open(p, "rb").read()).decode() for p in (csr, crt))


REQUEST, CERTIFICATE = pem()

if __name__ == "__main__":
    run()
