"""Conformance behaviours of api-machinery that need no node: watches, chunks, tables, discovery, namespaces, collection."""
from api import APPLY, JSON_PATCH, STRATEGIC, behaviour, run

MAPS = "/api/v1/namespaces/{}/configmaps"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


def config_map(name, labels=None, **data):
    return {"metadata": {"name": name, "labels": labels or {}}, "data": data}


def pod(name, owners=None, labels=None):
    return {"metadata": {"name": name, "ownerReferences": owners or [], "labels": labels or {}},
            "spec": {"containers": [{"name": "c", "image": "i"}]}}


def owner(o, kind, version="v1", block=False):
    return {"apiVersion": version, "kind": kind, "name": o["metadata"]["name"], "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": block}


def value(v):
    return lambda o: o.get("data", {}).get("mutation") == v


@behaviour("[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on configmaps")
def watch_notifications(api, ns):
    maps = MAPS.format(ns)
    start = api.get(maps)["metadata"]["resourceVersion"]
    for label in ("a", "b"):
        m = api.post(maps, config_map(label, {"w": label}))
        m["data"] = {"mutation": "1"}
        m = api.put(f"{maps}/{label}", m)
        api.patch(f"{maps}/{label}", {"data": {"mutation": "2"}})
        api.delete(f"{maps}/{label}")
    wanted = [("ADDED", value(None)), ("MODIFIED", value("1")), ("MODIFIED", value("2")), ("DELETED", value("2"))]
    for selector in ("w=a", "w=b"):
        api.see(maps, wanted, labelSelector=selector, resourceVersion=start)
    both = api.see(maps, wanted + wanted, labelSelector="w in (a,b)", resourceVersion=start)
    versions = [int(e["object"]["metadata"]["resourceVersion"]) for e in both]
    assert versions == sorted(versions), versions


@behaviour("[sig-api-machinery] Watchers should be able to start watching from a specific resource version")
def watch_from_version(api, ns):
    maps = MAPS.format(ns)
    api.post(maps, config_map("x"))
    first = api.patch(f"{maps}/x", {"data": {"mutation": "1"}})
    api.patch(f"{maps}/x", {"data": {"mutation": "2"}})
    api.delete(f"{maps}/x")
    api.see(maps, [("MODIFIED", value("2")), ("DELETED", value("2"))],
            resourceVersion=first["metadata"]["resourceVersion"])


@behaviour("[sig-api-machinery] Watchers should be able to restart watching from the last resource version observed by the previous watch")
def watch_restart(api, ns):
    maps = MAPS.format(ns)
    start = api.get(maps)["metadata"]["resourceVersion"]
    api.post(maps, config_map("x"))
    api.patch(f"{maps}/x", {"data": {"mutation": "1"}})
    seen = api.see(maps, [("ADDED", value(None)), ("MODIFIED", value("1"))], resourceVersion=start)
    api.patch(f"{maps}/x", {"data": {"mutation": "2"}})
    api.delete(f"{maps}/x")
    last = seen[-1]["object"]["metadata"]["resourceVersion"]
    api.see(maps, [("MODIFIED", value("2")), ("DELETED", value("2"))], resourceVersion=last)


@behaviour("[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the requirements of the selector")
def watch_selector(api, ns):
    maps = MAPS.format(ns)
    start = api.get(maps)["metadata"]["resourceVersion"]
    api.post(maps, config_map("x", {"w": "yes"}))
    api.patch(f"{maps}/x", {"data": {"mutation": "1"}})
    api.patch(f"{maps}/x", {"metadata": {"labels": {"w": "no"}}})
    api.patch(f"{maps}/x", {"data": {"mutation": "2"}})
    api.patch(f"{maps}/x", {"metadata": {"labels": {"w": "yes"}}})
    api.patch(f"{maps}/x", {"data": {"mutation": "3"}})
    api.delete(f"{maps}/x")
    api.see(maps, [("ADDED", value(None)), ("MODIFIED", value("1")), ("DELETED", value("1")), ("ADDED", value("2")),
                   ("MODIFIED", value("3")), ("DELETED", value("3"))], labelSelector="w=yes", resourceVersion=start)


@behaviour("[sig-api-machinery] Watchers should receive events on concurrent watches in same order")
def watch_order(api, ns):
    maps = MAPS.format(ns)
    start = api.get(maps)["metadata"]["resourceVersion"]
    for i in range(10):
        api.post(maps, config_map(f"m{i}"))
        api.patch(f"{maps}/m{i}", {"data": {"mutation": str(i)}})
        if i % 3 == 0:
            api.delete(f"{maps}/m{i}")
    version = lambda e: e["object"]["metadata"]["resourceVersion"]
    last = api.get(maps)["metadata"]["resourceVersion"]
    api.post(maps, config_map("end"))

    def versions(start):
        out = []
        for event in api.watch(maps, resourceVersion=start):
            if event["object"]["metadata"]["name"] == "end":
                return out
            out.append(version(event))
    whole = versions(start)
    assert len(whole) == 24 and int(whole[-1]) <= int(last), whole
    for i, at in enumerate(whole):
        assert versions(at) == whole[i + 1:]


@behaviour("[sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls")
def chunks(api, ns):
    templates = f"/api/v1/namespaces/{ns}/podtemplates"
    for i in range(40):
        api.post(templates, {"metadata": {"name": f"t{i:04}"}, "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}})
    whole = api.get(templates, limit=0)
    assert len(whole["items"]) == 40 and "continue" not in whole["metadata"]
    names, token, version = [], None, None
    while True:
        page = api.get(templates, limit=17, **({"continue": token} if token else {}))
        meta = page["metadata"]
        version = version or meta["resourceVersion"]
        assert meta["resourceVersion"] == version
        names += [o["metadata"]["name"] for o in page["items"]]
        token = meta.get("continue")
        assert meta.get("remainingItemCount", 0) == 40 - len(names), meta
        if not token:
            break
    assert names == [f"t{i:04}" for i in range(40)]
    assert "remainingItemCount" not in api.get(templates, limit=1, labelSelector="x!=y")["metadata"]


@behaviour("[sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow]")
def compacted(api, ns):
    maps = MAPS.format(ns)
    for i in range(6):
        api.post(maps, config_map(f"m{i}"))
    page = api.get(maps, limit=3)
    old = page["metadata"]["continue"]
    # So much is written that the first page's state is remembered no longer.
    for i in range(40):
        api.send("PUT", maps + "/m0", {**config_map("m0"), "data": {"k": str(i) * 450_000}})
    code, answer = api.send("GET", maps, limit=3, **{"continue": old})
    assert code == 410 and answer["reason"] == "Expired" and answer["code"] == 410, (code, answer)
    assert answer["message"].startswith("The provided continue parameter is too old"), answer
    token = answer["metadata"]["continue"]
    api.post(maps, config_map("m3a"))
    rest = api.get(maps, limit=3, **{"continue": token})
    names = [o["metadata"]["name"] for o in rest["items"]]
    assert len(names) == 3 and names[0] > page["items"][-1]["metadata"]["name"] and "m3a" in names, names
    last = api.get(maps, **{"continue": rest["metadata"]["continue"]})
    assert [o["metadata"]["name"] for o in last["items"]] == ["m4", "m5"], last


@behaviour("[sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata")
def table_406(api, ns):
    review = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    code, answer = api.send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review,
                            accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    assert code == 406 and answer["reason"] == "NotAcceptable", (code, answer)


@behaviour("Servers with support for Table transformation should return pod details")
def table(api, ns):
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    api.post(f"/api/v1/namespaces/{ns}/pods", pod("p"))
    t = api.get(f"/api/v1/namespaces/{ns}/pods/p", accept=accept)
    assert t["kind"] == "Table" and t["apiVersion"] == "meta.k8s.io/v1" and t["rows"][0]["cells"][0] == "p", t
    assert t["columnDefinitions"][0]["name"] == "Name" and t["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
    t = api.get(f"/api/v1/namespaces/{ns}/pods", accept=accept, includeObject="Object")
    assert t["rows"][0]["object"]["kind"] == "Pod" and t["metadata"]["resourceVersion"]
    t = api.get(f"/api/v1/namespaces/{ns}/pods", accept=accept, includeObject="None")
    assert t["rows"][0].get("object") is None
    done = api.patch(f"/api/v1/namespaces/{ns}/pods/p/status", {"status": {"phase": "Succeeded"}})
    t = api.get(f"/api/v1/namespaces/{ns}/pods", accept=accept)
    conditions = t["rows"][0]["conditions"]
    assert conditions == [{"type": "Completed", "status": "True", "reason": "Succeeded",
                           "message": "The pod has completed successfully."}], conditions
    first = next(api.watch(f"/api/v1/namespaces/{ns}/pods", accept=accept))
    assert first["type"] == "ADDED" and first["object"]["kind"] == "Table" and first["object"]["columnDefinitions"]
    assert done["status"]["phase"] == "Succeeded"


@behaviour("[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup")
def preferred(api, ns):
    groups = api.get("/apis")["groups"]
    assert groups
    for g in groups:
        own = api.get("/apis/" + g["name"])
        assert own["preferredVersion"] == g["preferredVersion"] and g["preferredVersion"] in g["versions"], g


@behaviour("[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup")
def locate(api, ns):
    for g in api.get("/apis")["groups"]:
        for v in g["versions"]:
            listed = api.get("/apis/" + v["groupVersion"])
            assert listed["groupVersion"] == v["groupVersion"] and listed["resources"], v
            assert api.get("/apis/" + v["groupVersion"] + "/") == listed
    assert any(r["name"] == "pods" for r in api.get("/api/v1")["resources"])


@behaviour("[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface")
@behaviour("[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers")
def aggregated(api, ns):
    for version in ("v2", "v2beta1"):
        accept = AGGREGATED.replace("v=v2", "v=" + version)
        for path, wanted in (("/apis", ("apps", "v1", "deployments")), ("/api", ("", "v1", "pods"))):
            d = api.get(path, accept=accept + ",application/json")
            assert d["kind"] == "APIGroupDiscoveryList" and d["apiVersion"] == "apidiscovery.k8s.io/" + version, d["kind"]
            assert api.answer_headers["content-type"] == accept, api.answer_headers
            found = [(g["metadata"].get("name", ""), v["version"], r["resource"])
                     for g in d["items"] for v in g["versions"] for r in v["resources"]]
            assert wanted in found
    assert api.get("/apis")["kind"] == "APIGroupList"


@behaviour("[sig-api-machinery] server version should find the server version")
def version(api, ns):
    v = api.get("/version")
    assert v["major"] == "1" and v["minor"] == "30" and v["gitVersion"].startswith("v1.30."), v


@behaviour("[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace")
def namespace_finalizer(api, ns):
    path = "/api/v1/namespaces/" + ns
    o = api.get(path)
    assert o["spec"]["finalizers"] == ["kubernetes"]
    o["spec"]["finalizers"].append("e2e.example.com/fake")
    o = api.put(path + "/finalize", o)
    assert "e2e.example.com/fake" in o["spec"]["finalizers"]
    o["spec"]["finalizers"] = ["kubernetes"]
    assert api.put(path + "/finalize", o)["spec"]["finalizers"] == ["kubernetes"]


@behaviour("[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace")
def namespace_update(api, ns):
    o = api.get("/api/v1/namespaces/" + ns)
    o["metadata"]["labels"][ns] = "updated"
    assert api.put("/api/v1/namespaces/" + ns, o)["metadata"]["labels"][ns] == "updated"


@behaviour("[sig-api-machinery] Namespaces [Serial] should patch a Namespace")
def namespace_patch(api, ns):
    o = api.patch("/api/v1/namespaces/" + ns, {"metadata": {"labels": {"testLabel": "testValue"}}}, kind=STRATEGIC)
    assert o["metadata"]["labels"] == {"kubernetes.io/metadata.name": ns, "testLabel": "testValue"}, o


@behaviour("[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status")
def namespace_status(api, ns):
    path = f"/api/v1/namespaces/{ns}/status"
    condition = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}
    o = api.patch(path, {"metadata": {"annotations": {"e2e-patched-ns-status": ns}}, "status": {"conditions": [condition]}})
    assert o["metadata"]["annotations"]["e2e-patched-ns-status"] == ns and o["status"]["conditions"][0]["type"] == "StatusPatch", o
    o["status"]["conditions"] = [{**condition, "type": "StatusUpdate"}]
    assert api.put(path, o)["status"]["conditions"][0]["type"] == "StatusUpdate"


@behaviour("[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted")
@behaviour("[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted")
def namespace_content(api, ns):
    pods, services = f"/api/v1/namespaces/{ns}/pods", f"/api/v1/namespaces/{ns}/services"
    api.post(pods, pod("p"))
    api.post(services, {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    api.delete("/api/v1/namespaces/" + ns)
    api.gone("/api/v1/namespaces/" + ns)
    api.post("/api/v1/namespaces", {"metadata": {"name": ns}})
    assert api.get(pods)["items"] == [] and api.get(services)["items"] == []


def replication_controller(api, ns, name, replicas=3):
    labels = {"rc": name}
    rcs = f"/api/v1/namespaces/{ns}/replicationcontrollers"
    rc = api.post(rcs, {"metadata": {"name": name}, "spec": {"replicas": replicas, "selector": labels,
                  "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    if replicas:
        api.until(f"{rcs}/{name}", lambda o: o["status"]["replicas"] == replicas)
    return f"{rcs}/{name}", rc


def pods_of(api, ns, name):
    return api.get(f"/api/v1/namespaces/{ns}/pods", labelSelector="rc=" + name)["items"]


@behaviour("[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning")
def collect_background(api, ns):
    path, rc = replication_controller(api, ns, "rc")
    pods = pods_of(api, ns, "rc")
    assert len(pods) == 3
    api.delete(path, {"preconditions": {"uid": rc["metadata"]["uid"]}, "propagationPolicy": "Background"})
    for p in pods:
        api.gone(f"/api/v1/namespaces/{ns}/pods/" + p["metadata"]["name"])


@behaviour("[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so")
def collect_orphan(api, ns):
    path, _ = replication_controller(api, ns, "rc")
    api.delete(path, {"propagationPolicy": "Orphan"})
    api.gone(path)
    pods = pods_of(api, ns, "rc")
    assert len(pods) == 3 and not any(p["metadata"].get("ownerReferences") for p in pods), pods


@behaviour("[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so")
def collect_foreground(api, ns):
    path, _ = replication_controller(api, ns, "rc")
    held = pods_of(api, ns, "rc")[0]["metadata"]["name"]
    held = f"/api/v1/namespaces/{ns}/pods/{held}"
    api.patch(held, {"metadata": {"finalizers": ["example.com/hold"]}})
    api.delete(path, {"propagationPolicy": "Foreground"})
    api.until(held, lambda o: "deletionTimestamp" in o["metadata"])
    rc = api.get(path)
    assert rc["metadata"]["finalizers"] == ["foregroundDeletion"] and "deletionTimestamp" in rc["metadata"], rc
    api.patch(held, {"metadata": {"finalizers": None}})
    api.gone(path)
    assert pods_of(api, ns, "rc") == []


@behaviour("[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted")
def collect_two_owners(api, ns):
    doomed, first = replication_controller(api, ns, "a", 2)
    _, second = replication_controller(api, ns, "b", 0)
    shared, own = pods_of(api, ns, "a")
    shared, own = (f"/api/v1/namespaces/{ns}/pods/" + p["metadata"]["name"] for p in (shared, own))
    api.patch(shared, {"metadata": {"ownerReferences": [owner(second, "ReplicationController")]}}, kind=STRATEGIC)
    api.delete(doomed, {"propagationPolicy": "Foreground"})
    api.gone(doomed)
    api.gone(own)
    left = api.get(shared)["metadata"]
    assert [o["uid"] for o in left["ownerReferences"]] == [second["metadata"]["uid"]] and "deletionTimestamp" not in left, left
    assert first["metadata"]["uid"] != second["metadata"]["uid"]


@behaviour("[sig-api-machinery] Garbage collector should not be blocked by dependency circle")
def collect_circle(api, ns):
    pods = f"/api/v1/namespaces/{ns}/pods"
    made = [api.post(pods, pod(f"p{i}")) for i in range(3)]
    for i in range(3):
        reference = owner(made[(i + 2) % 3], "Pod", block=True)
        api.patch(f"{pods}/p{i}", {"metadata": {"ownerReferences": [reference]}})
    api.delete(f"{pods}/p0", {"propagationPolicy": "Foreground"})
    for i in range(3):
        api.gone(f"{pods}/p{i}")


def deployment(api, ns):
    labels, path = {"app": "d"}, f"/apis/apps/v1/namespaces/{ns}/deployments"
    api.post(path, {"metadata": {"name": "d"}, "spec": {"replicas": 2, "selector": {"matchLabels": labels},
             "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}})
    api.until(path + "/d", lambda o: o["status"].get("replicas") == 2)
    sets = f"/apis/apps/v1/namespaces/{ns}/replicasets"
    (name,) = [s["metadata"]["name"] for s in api.get(sets)["items"]]
    return path + "/d", f"{sets}/{name}"


@behaviour("[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning")
def collect_replica_set(api, ns):
    path, replica_set = deployment(api, ns)
    api.delete(path, {"propagationPolicy": "Background"})
    api.gone(path)
    api.gone(replica_set)


@behaviour("[sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan")
def orphan_replica_set(api, ns):
    path, replica_set = deployment(api, ns)
    api.delete(path, {"propagationPolicy": "Orphan"})
    api.gone(path)
    assert "ownerReferences" not in api.get(replica_set)["metadata"]


@behaviour("[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object")
def field_validation(api, ns):
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    body = """{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d"},"spec":{"unknown1":"v","unknownDupe":"a",
      "unknownDupe":"b","paused":true,"paused":false,"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":
      {"a":"b"}},"spec":{"containers":[{"name":"n","image":"i","unknownNested":"x","imagePullPolicy":"Always",
      "imagePullPolicy":"Never"}]}}}}"""
    code, answer = api.send("POST", path, body, fieldValidation="Strict")
    wanted = ('strict decoding error: unknown field "spec.template.spec.containers[0].unknownNested", duplicate field '
              '"spec.template.spec.containers[0].imagePullPolicy", unknown field "spec.unknown1", unknown field '
              '"spec.unknownDupe", duplicate field "spec.paused"')
    assert code == 400 and all(part in answer["message"] for part in wanted.split(": ", 1)[1].split(", ")), answer
    api.post(path, body, fieldValidation="Warn")
    warnings = api.answer_headers.getlist("warning")
    assert len(warnings) == 5 and '299 - "unknown field \\"spec.unknown1\\""' in warnings, warnings
    code, answer = api.send("PATCH", path + "/d?fieldManager=m", "spec:\n  replicas: 1\n  unknown: 2\n  replicas: 3\n",
                            kind=APPLY)
    assert code == 400, answer


@behaviour("[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object")
def field_validation_metadata(api, ns):
    path = f"/apis/apps/v1/namespaces/{ns}/deployments"
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d", "unknownMeta": "x"},
            "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}, "unknownSubMeta": "x"},
                     "spec": {"containers": [{"name": "n", "image": "i"}]}}}}
    code, answer = api.send("POST", path, body, fieldValidation="Strict")
    assert code == 400 and 'unknown field "metadata.unknownMeta"' in answer["message"] and \
        'unknown field "spec.template.metadata.unknownSubMeta"' in answer["message"], answer


@behaviour("Generated names should be unique after generateName is used many times")
def generated(api, ns):
    maps = MAPS.format(ns)
    names = {api.post(maps, {"metadata": {"generateName": "gen-"}})["metadata"]["name"] for _ in range(20)}
    assert len(names) == 20 and all(n.startswith("gen-") and len(n) == 9 for n in names), names


@behaviour("API operations by preconditions, selectors and dry run")
def writes(api, ns):
    maps = MAPS.format(ns)
    m = api.post(maps, config_map("x", {"a": "1"}))
    code, answer = api.send("DELETE", maps + "/x", {"preconditions": {"resourceVersion": "1"}})
    assert code == 409 and answer["reason"] == "Conflict", answer
    code, answer = api.send("POST", maps, {**config_map("y"), "metadata": {"name": "y", "resourceVersion": "1"}})
    assert (code, answer["message"]) == (500, "resourceVersion should not be set on objects to be created"), answer
    stale = {**m, "data": {"k": "v"}}
    api.put(maps + "/x", stale)
    code, answer = api.send("PUT", maps + "/x", stale)
    assert code == 409 and answer["reason"] == "Conflict", answer
    api.patch(maps + "/x", [{"op": "test", "path": "/data/k", "value": "v"}, {"op": "remove", "path": "/data/k"}], kind=JSON_PATCH)
    api.delete(maps, labelSelector="a=1", dryRun="All")
    assert len(api.get(maps, labelSelector="a=1")["items"]) == 1
    api.delete(maps, labelSelector="a=1")
    assert api.get(maps, labelSelector="a=1")["items"] == []


@behaviour("WatchList should send the initial state and its end")
def watch_list(api, ns):
    maps = MAPS.format(ns)
    api.post(maps, config_map("x"))
    end = lambda o: o["metadata"]["annotations"]["k8s.io/initial-events-end"] == "true"
    named = lambda name: lambda o: o["metadata"]["name"] == name
    api.see(maps, [("ADDED", named("x")), ("BOOKMARK", end)], sendInitialEvents="true", allowWatchBookmarks="true",
            resourceVersionMatch="NotOlderThan", fieldSelector="metadata.name=x")
    code, answer = api.send("GET", maps, watch="true", sendInitialEvents="true")
    assert code == 422 and "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan" in answer["message"], answer


if __name__ == "__main__":
    run()
