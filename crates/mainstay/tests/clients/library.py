"""The official Python client: typed objects, its dynamic client, watch, apply, errors, and leader election."""
import threading
import time
import uuid

from kubernetes import client, config, dynamic, watch
from kubernetes.client.rest import ApiException
from kubernetes.dynamic.exceptions import NotFoundError
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock


def typed(ns):
    core, apps = client.CoreV1Api(), client.AppsV1Api()
    made = core.create_namespaced_config_map(ns, client.V1ConfigMap(metadata=client.V1ObjectMeta(name="typed"), data={"k": "v"}))
    made.data["k"] = "w"
    assert core.replace_namespaced_config_map("typed", ns, made).data == {"k": "w"}
    labels = {"app": "web"}
    container = client.V1Container(name="c", image="i", ports=[client.V1ContainerPort(container_port=80)],
                                   resources=client.V1ResourceRequirements(requests={"cpu": "100m"}))
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=client.V1PodSpec(containers=[container]))
    apps.create_namespaced_deployment(ns, client.V1Deployment(metadata=client.V1ObjectMeta(name="web"), spec=client.V1DeploymentSpec(
        replicas=1, selector=client.V1LabelSelector(match_labels=labels), template=template)))
    apps.patch_namespaced_deployment_scale("web", ns, {"spec": {"replicas": 2}})
    for event in watch.Watch().stream(core.list_namespaced_pod, ns, label_selector="app=web", timeout_seconds=60):
        assert event["object"].spec.containers[0].resources.requests["cpu"] == "100m"
        if len(core.list_namespaced_pod(ns, label_selector="app=web").items) == 2:
            break
    try:
        core.read_namespaced_config_map("absent", ns)
        raise AssertionError("it is there")
    except ApiException as e:
        assert e.status == 404 and '"reason":"NotFound"' in e.body.replace(" ", ""), e.body
    assert client.VersionApi().get_code().git_version.startswith("v1.30.")
    assert any(g.name == "apps" for g in client.ApisApi().get_api_versions().groups)


def by_discovery(ns):
    api = dynamic.DynamicClient(client.ApiClient())
    maps = api.resources.get(api_version="v1", kind="ConfigMap")
    maps.create(body={"metadata": {"name": "dynamic"}, "data": {"k": "v"}}, namespace=ns)
    maps.patch(name="dynamic", namespace=ns, body={"data": {"k": "w"}}, content_type="application/merge-patch+json")
    assert maps.get(name="dynamic", namespace=ns).data.k == "w"
    applied = api.server_side_apply(maps, body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied"}, "data": {"a": "1"}},
                                    namespace=ns, field_manager="python")
    assert applied.metadata.managedFields[0].operation == "Apply"
    seen = []
    for event in maps.watch(namespace=ns, timeout=60):
        seen.append(event["object"].metadata.name)
        if "applied" in seen:
            break
    definitions = api.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(body={"metadata": {"name": "things.py.example.com"}, "spec": {
        "group": "py.example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}]}})
    for event in definitions.watch(name="things.py.example.com", timeout=60):
        conditions = (event["raw_object"].get("status") or {}).get("conditions") or []
        if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
            break
    api.resources.invalidate_cache()
    things = api.resources.get(api_version="py.example.com/v1", kind="Thing")
    numbers = {"big": 9007199254740993, "tenth": 0.1, "small": 1e-7, "large": 1e300, "negative": -5}
    thing = {"apiVersion": "py.example.com/v1", "kind": "Thing", "metadata": {"name": "t"}, "numbers": numbers}
    made = things.create(body=thing, namespace=ns)
    assert made.to_dict()["numbers"] == numbers, made.to_dict()["numbers"]
    assert things.get(name="t", namespace=ns).to_dict()["numbers"] == numbers
    things.delete(name="t", namespace=ns)
    try:
        things.get(name="t", namespace=ns)
        raise AssertionError("it is there")
    except NotFoundError:
        pass


def elects(ns):
    """Of two candidates one leads; the other follows once the first stops renewing."""
    order, first_leads, second_leads = [], threading.Event(), threading.Event()

    def candidate(name, led):
        lock = ConfigMapLock("lock", ns, name)
        started = lambda: (order.append(name), led.set())
        c = electionconfig.Config(lock, lease_duration=3, renew_deadline=2, retry_period=1, onstarted_leading=started,
                                  onstopped_leading=lambda: None)
        threading.Thread(target=leaderelection.LeaderElection(c).run, daemon=True).start()

    candidate("a", first_leads)
    assert first_leads.wait(30), "nobody leads"
    candidate("b", second_leads)
    time.sleep(4)
    assert order == ["a"], order
    record = client.CoreV1Api().read_namespaced_config_map("lock", ns).metadata.annotations
    assert '"holderIdentity": "a"' in record["control-plane.alpha.kubernetes.io/leader"], record


config.load_kube_config()
namespace = "py-" + uuid.uuid4().hex[:8]
client.CoreV1Api().create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=namespace)))
for event in watch.Watch().stream(client.CoreV1Api().list_namespaced_service_account, namespace, timeout_seconds=60):
    if event["object"].metadata.name == "default":
        break
for part in (typed, by_discovery, elects):
    part(namespace)
    print(part.__name__, "works")
