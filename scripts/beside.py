#!/usr/bin/env python3
"""Runs our API server beside a kube-apiserver of upstream on one etcd: what either writes, both must serve alike.

    scripts/beside.py KUBE_APISERVER [MAINSTAY] [ETCD]

KUBE_APISERVER is a kube-apiserver v1.30; MAINSTAY is target/release/mainstay and ETCD is etcd unless they are given. Objects
of all kinds, out of the recorded scenarios of the tests, are created through ours and then, under other names, through
upstream's. After each round every list of either is compared with the other's, in JSON, as a Table (descriptions of columns
apart) and byte for byte in protobuf. Prints each list that differs, and at the end how many objects were compared. Exit code
1 if any list differs.
"""
import base64, contextlib, gzip, http.client, json, pathlib, re, signal, socket, ssl, subprocess, sys, tempfile, time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
JSON, PROTOBUF = "application/json", "application/vnd.kubernetes.protobuf"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
# Reviews and the like are answered, not stored; the state of components is asked for at that moment.
NOT_STORED = re.compile("review|/token$|/eviction$|/binding|componentstatuses")


class Api:
    def __init__(self, kubeconfig, port):
        text = subprocess.check_output(["kubectl", "--kubeconfig", kubeconfig, "config", "view", "--raw", "-o", "json"])
        config = json.loads(text)
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        decoded = lambda owner, field: base64.b64decode(owner[field])
        context = ssl.create_default_context(cadata=decoded(cluster, "certificate-authority-data").decode())
        context.check_hostname = False
        with tempfile.NamedTemporaryFile() as file:
            file.write(decoded(user, "client-certificate-data") + b"\n" + decoded(user, "client-key-data"))
            file.flush()
            context.load_cert_chain(file.name)
        self.port, self.context = port, context

    def send(self, method, path, body=None, accept=JSON):
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=self.context, timeout=60)
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": JSON, "Accept": accept})
        answer = connection.getresponse()
        code, content = answer.status, answer.read()
        connection.close()
        with contextlib.suppress(ValueError):
            return code, json.loads(content)
        return code, content

    def ready(self, process):
        """Returns when the server is ready; it says nothing that could be waited for, so it is asked."""
        while process.poll() is None:
            with contextlib.suppress(OSError):
                if self.send("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.1)
        sys.exit(f"the server on port {self.port} ended with {process.returncode}")

    def collections(self):
        """Paths of all that can be listed."""
        versions = [v["groupVersion"] for g in self.send("GET", "/apis")[1]["groups"] for v in g["versions"]]
        for base in ["/api/v1"] + ["/apis/" + v for v in versions]:
            code, found = self.send("GET", base)
            for resource in found["resources"] if code == 200 else []:
                path = f"{base}/{resource['name']}"
                if "list" in resource["verbs"] and "/" not in resource["name"] and not NOT_STORED.search(path):
                    yield path


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


def samples():
    """Pairs of collection and object that upstream was recorded to create, without repeats."""
    seen = set()
    for line in gzip.open(REPOSITORY / "crates/mainstay/tests/data/recorded.jsonl.gz"):
        for step in json.loads(line)["steps"]:
            path, body = step["path"].split("?")[0], step.get("body")
            expected = step.get("expect", step)
            made = expected.get("status", expected.get("code")) == 201 or step.get("ignore")
            whole = isinstance(body, dict) and isinstance(body.get("metadata"), dict)
            if step["method"] != "POST" or not made or not whole or NOT_STORED.search(path) or path.endswith("/namespaces"):
                continue
            key = json.dumps([path, body], sort_keys=True)
            if key not in seen:
                seen.add(key)
                yield path, body


def create_all(api, suffix):
    api.send("POST", "/api/v1/namespaces", {"metadata": {"name": "oracle"}})
    api.send("POST", "/api/v1/namespaces/oracle/serviceaccounts", {"metadata": {"name": "default"}})
    created = 0
    for number, (path, body) in enumerate(samples()):
        metadata = {k: v for k, v in body["metadata"].items() if k not in ("uid", "resourceVersion")}
        # Names of these follow from what they say.
        if metadata.get("name") and not path.endswith(("customresourcedefinitions", "apiservices")):
            metadata["name"] = f"{metadata['name'][:40]}-{suffix}{number}"
        created += api.send("POST", path, body | {"metadata": metadata})[0] == 201
    return created


def items(api, path, accept):
    code, answer = api.send("GET", path, accept=accept)
    if code != 200:
        return code  # Custom resources have no protobuf.
    if accept == TABLE:
        columns = [{k: v for k, v in column.items() if k != "description"} for column in answer["columnDefinitions"]]
        return [columns, None] if answer["rows"] is None else [columns, *answer["rows"]]
    return answer["items"] if accept == JSON else answer


def compare(ours, theirs):
    """Counts objects that both serve, and lists that differ."""
    objects = different = 0
    for path in theirs.collections():
        for accept in (JSON, TABLE, PROTOBUF):
            # Controllers in either server may write between the two reads, and a second may pass.
            for _ in range(5):
                pair = items(ours, path, accept), items(theirs, path, accept)
                if pair[0] == pair[1]:
                    break
            if accept == JSON:
                objects += len(pair[1])
            if pair[0] != pair[1]:
                different += 1
                print(f"{path} differs in {accept}")
                for a, b in zip(*pair) if accept != PROTOBUF and all(isinstance(of, list) for of in pair) else []:
                    if a != b:
                        print(f"  ours   {json.dumps(a)}\n  theirs {json.dumps(b)}")
                        break
    return objects, different


def etcd_command(etcd, directory, client, peer):
    """The command of an etcd that listens on these ports."""
    store, itself = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    return [etcd, "--data-dir", directory, "--listen-client-urls", store, "--advertise-client-urls", store,
            "--listen-peer-urls", itself, "--initial-advertise-peer-urls", itself, "--initial-cluster", f"default={itself}"]


def upstream_command(kube_apiserver, port, pki, store):
    """The command of a kube-apiserver on an etcd, with the keys and certificates of a Mainstay."""
    return [kube_apiserver, "--etcd-servers", store, "--secure-port", port, "--bind-address", "127.0.0.1",
            "--advertise-address", "192.0.2.2", "--service-cluster-ip-range", "10.96.0.0/16",
            "--client-ca-file", f"{pki}/ca.crt", "--tls-cert-file", f"{pki}/apiserver.crt",
            "--tls-private-key-file", f"{pki}/apiserver.key", "--authorization-mode", "Node,RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc.cluster.local",
            "--service-account-key-file", f"{pki}/sa.pub", "--service-account-signing-key-file", f"{pki}/sa.key",
            "--requestheader-client-ca-file", f"{pki}/front-proxy-ca.crt", "--allow-privileged=true"]


def main(kube_apiserver, mainstay=REPOSITORY / "target/release/mainstay", etcd="etcd"):
    with tempfile.TemporaryDirectory() as root, contextlib.ExitStack() as running:
        client, peer, our_port, their_port = free_ports(4)
        log = running.enter_context(open(f"{root}/log", "w"))

        def start(*command):
            process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
            running.callback(process.wait)
            running.callback(process.send_signal, signal.SIGTERM)
            return process

        store = f"http://127.0.0.1:{client}"
        start(*etcd_command(etcd, f"{root}/etcd", client, peer))
        process = start(mainstay, "server", "--roles", "api", "--root", f"{root}/ours", "--bind-address", "127.0.0.1",
                        "--secure-port", our_port, "--store", "etcd", "--etcd-servers", store)
        kubeconfig, pki = pathlib.Path(f"{root}/ours/etc/kubernetes/admin.conf"), f"{root}/ours/etc/kubernetes/pki"
        while not kubeconfig.exists() and process.poll() is None:
            time.sleep(0.1)
        if process.poll() is not None:
            sys.exit(f"{mainstay} ended:\n{pathlib.Path(log.name).read_text()}")
        ours, theirs = Api(kubeconfig, our_port), Api(kubeconfig, their_port)
        ours.ready(process)
        made = create_all(ours, "ours")
        process = start(*upstream_command(kube_apiserver, their_port, pki, store))
        theirs.ready(process)
        objects, different = compare(ours, theirs)
        print(f"{made} objects created by ours: {objects} served by both, {different} lists differ")
        made = create_all(theirs, "theirs")
        objects, more = compare(ours, theirs)
        print(f"{made} objects created by upstream's: {objects} served by both, {more} lists differ")
        return 1 if different + more else 0


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
