#!/usr/bin/env python3
"""Measures an API server with many custom resource definitions.

    scripts/definitions.py DEFINITIONS [COPIES [MAINSTAY]]

DEFINITIONS is a JSON file with a list of CustomResourceDefinitions. They are created COPIES times (1 unless it is given), each
time in groups of other names, by 4 clients; then the server is restarted. Prints what each step took: seconds, seconds of
the server's CPU, resident memory.
"""
import concurrent.futures, json, pathlib, subprocess, sys, tempfile, time

from beside import REPOSITORY, Api, free_ports

COLLECTION = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CLIENTS = 4


def copy(definition, number):
    """The definition, for a server that has seen none of it; in a group of its own but for the first copy."""
    spec = definition["spec"]
    if spec.get("conversion", {}).get("strategy") == "Webhook":
        spec = {field: value for field, value in spec.items() if field != "conversion"}
    group = f"c{number}.{spec['group']}" if number else spec["group"]
    # Groups of the Kubernetes project want this.
    annotations = definition["metadata"].get("annotations", {}) | {"api-approved.kubernetes.io": "unapproved, measuring"}
    metadata = {"name": f"{spec['names']['plural']}.{group}", "annotations": annotations}
    return {field: definition[field] for field in ("apiVersion", "kind")} | {
        "metadata": metadata, "spec": spec | {"group": group}}


class Server:
    def __init__(self, mainstay, root, port):
        started = time.monotonic()
        command = [mainstay, "server", "--roles", "api", "--root", root, "--bind-address", "127.0.0.1", "--secure-port", port]
        self.log = open(f"{root}/log", "a")
        self.process = subprocess.Popen([str(word) for word in command], stderr=self.log)
        kubeconfig = pathlib.Path(f"{root}/etc/kubernetes/admin.conf")
        while not kubeconfig.exists() and self.process.poll() is None:
            time.sleep(0.01)
        self.api = Api(kubeconfig, port)
        self.api.ready(self.process)
        self.tell("ready", started, 0)

    def cpu_s(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def tell(self, what, started, cpu_s):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        resident_kb = int(status.split("VmRSS:")[1].split()[0])
        took, cpu = time.monotonic() - started, self.cpu_s() - cpu_s
        print(f"{what:45} {took:7.2f} s {cpu:7.2f} s CPU {resident_kb // 1000:6} MB", flush=True)

    def step(self, what, work):
        started, cpu_s = time.monotonic(), self.cpu_s()
        result = work()
        self.tell(what, started, cpu_s)
        return result

    def get(self, what, path):
        return self.step(what, lambda: self.api.send("GET", path))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def is_established(definition):
    conditions = definition.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


def create(api, definitions):
    """Creates all of them and returns when they are established; gives those that were taken."""
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as clients:
        answers = list(clients.map(lambda definition: api.send("POST", COLLECTION, definition), definitions))
    taken = [answer for code, answer in answers if code == 201]
    while sum(map(is_established, api.send("GET", COLLECTION)[1]["items"])) < len(taken):
        time.sleep(0.2)
    return taken


def use(server, definition):
    spec = definition["spec"]
    version = next(v["name"] for v in spec["versions"] if v["served"])
    group_version, name = f"/apis/{spec['group']}/{version}", definition["metadata"]["name"]
    server.get("list of one resource", f"{group_version}/{spec['names']['plural']}")
    server.get("its /openapi/v3 document", f"/openapi/v3{group_version}")
    server.get("/openapi/v2", "/openapi/v2")
    found = server.api.send("GET", f"{COLLECTION}/{name}")[1]
    found["spec"]["names"].setdefault("categories", []).append(f"c{time.monotonic_ns()}")
    server.step("change of one definition", lambda: server.api.send("PUT", f"{COLLECTION}/{name}", found))
    server.get("/openapi/v2 after it", "/openapi/v2")


def main(file, copies="1", mainstay=REPOSITORY / "target/release/mainstay"):
    given = json.loads(pathlib.Path(file).read_text())
    definitions = [copy(definition, number) for number in range(int(copies)) for definition in given]
    with tempfile.TemporaryDirectory() as root:
        [port] = free_ports(1)
        with Server(mainstay, root, port) as server:
            taken = server.step(f"{len(definitions)} definitions created", lambda: create(server.api, definitions))
            refused, megabytes = len(definitions) - len(taken), sum(len(json.dumps(d)) for d in taken) // 10**6
            print(f"{refused} of them were refused, {megabytes} MB taken")
            use(server, taken[0])
        with Server(mainstay, root, port) as server:
            use(server, taken[0])


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3, 4):
        sys.exit(__doc__)
    main(*sys.argv[1:])
