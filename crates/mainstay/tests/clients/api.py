"""A small client of the API for scripts of tests: requests with their codes and documents, watches as iterators.

Knows a server by its kubeconfig alone (KUBECONFIG), as any client does.
"""
import base64, json, os, tempfile, time, uuid
import urllib.parse

import urllib3
import yaml

MERGE, STRATEGIC, JSON_PATCH, APPLY = (
    "application/merge-patch+json", "application/strategic-merge-patch+json",
    "application/json-patch+json", "application/apply-patch+yaml")
DEADLINE_S = 60


class Api:
    def __init__(self, user=None):
        config = yaml.safe_load(open(os.environ["KUBECONFIG"]))
        cluster, account = config["clusters"][0]["cluster"], config["users"][0]["user"]
        files = {}
        for name, data in (("ca", cluster["certificate-authority-data"]), ("cert", account["client-certificate-data"]),
                           ("key", account["client-key-data"])):
            with tempfile.NamedTemporaryFile("wb", suffix=".pem", delete=False) as f:
                f.write(base64.b64decode(data))
            files[name] = f.name
        self.server, self.headers = cluster["server"], {}
        if user:
            self.headers["Impersonate-User"] = user
        self.pool = urllib3.PoolManager(ca_certs=files["ca"], cert_file=files["cert"], key_file=files["key"])

    def send(self, method, path, body=None, kind="application/json", accept="application/json", headers=None, **query):
        url = self.server + path + ("?" + urllib.parse.urlencode(query, doseq=True) if query else "")
        data = body if isinstance(body, (str, bytes, type(None))) else json.dumps(body)
        sent = {"Content-Type": kind, "Accept": accept, **self.headers, **(headers or {})}
        r = self.pool.request(method, url, body=data, headers=sent, timeout=30.0, retries=False)
        try:
            answer = json.loads(r.data)
        except ValueError:
            answer = r.data.decode(errors="replace")
        self.answer_headers = r.headers
        return r.status, answer

    def must(self, method, path, body=None, code=None, **more):
        got, answer = self.send(method, path, body, **more)
        wanted = [code] if code else [200, 201, 202]
        assert got in wanted, f"{method} {path}: {got} {answer}"
        return answer

    def get(self, path, **q): return self.must("GET", path, **q)
    def post(self, path, body, **q): return self.must("POST", path, body, **q)
    def put(self, path, body, **q): return self.must("PUT", path, body, **q)
    def patch(self, path, body, kind=MERGE, **q): return self.must("PATCH", path, body, kind=kind, **q)
    def delete(self, path, body=None, **q): return self.must("DELETE", path, body, **q)

    def absent(self, path):
        code, answer = self.send("GET", path)
        assert code == 404 and answer["reason"] == "NotFound", f"{path}: {code} {answer}"

    def watch(self, path, accept="application/json", **query):
        """Events of a watch, until the reader has enough or the deadline."""
        url = self.server + path + "?" + urllib.parse.urlencode({"watch": "true", "timeoutSeconds": DEADLINE_S, **query})
        r = self.pool.request("GET", url, headers={"Accept": accept, **self.headers}, preload_content=False, retries=False)
        assert r.status == 200, f"{url}: {r.status} {r.data}"
        rest = b""
        try:
            for piece in r.stream(amt=None):
                lines = (rest + piece).split(b"\n")
                rest = lines.pop()
                for line in lines:
                    if line:
                        yield json.loads(line)
        finally:
            r.close()

    def see(self, path, wanted, **query):
        """The first events of a watch that are as `wanted`: pairs of type and a function of the object."""
        seen = []
        for event in self.watch(path, **query):
            seen.append(event)
            kind, holds = wanted[len(seen) - 1]
            assert event["type"] == kind and holds(event["object"]), f"event {len(seen)}: {event}"
            if len(seen) == len(wanted):
                return seen
        raise AssertionError(f"the watch of {path} ended after {seen}")

    def until(self, path, holds, **query):
        """Watches an object or a collection until its newest state is as wanted. `holds` is given it, or None if gone."""
        parent, name = path.rsplit("/", 1)
        listed = self.get(parent, fieldSelector="metadata.name=" + name)
        now = listed["items"][0] if listed["items"] else None
        if holds(now):
            return now
        start = listed["metadata"]["resourceVersion"]
        for event in self.watch(parent, fieldSelector="metadata.name=" + name, resourceVersion=start):
            now = None if event["type"] == "DELETED" else event["object"]
            if holds(now):
                return now
        raise AssertionError(f"{path} did not become so; last {now}")

    def gone(self, path):
        self.until(path, lambda o: o is None)

    def namespace(self):
        name = "t-" + uuid.uuid4().hex[:10]
        self.post("/api/v1/namespaces", {"metadata": {"name": name}})
        self.until(f"/api/v1/namespaces/{name}/serviceaccounts/default", lambda o: o is not None)
        return name


TESTS = []


def behaviour(name):
    """Marks a function as the test of a conformance behaviour, by upstream's name for it."""
    def mark(function):
        TESTS.append((name, function))
        return function
    return mark


def run():
    """Runs all, each in a namespace of its own; prints a line for each that fails, then how many there were."""
    import sys, traceback
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    failed = 0
    chosen = [t for t in TESTS if wanted in t[0]]
    for name, function in chosen:
        started = time.monotonic()
        try:
            api = Api()
            function(api, api.namespace())
        except Exception:
            failed += 1
            print(f"FAILED {name}\n{traceback.format_exc()}")
        took = time.monotonic() - started
        if took > 10:
            print(f"slow: {took:.0f} s {name}")
    print(f"{len(chosen) - failed} of {len(chosen)} behaviours hold")
    sys.exit(1 if failed or not chosen else 0)
