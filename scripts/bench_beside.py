#!/usr/bin/env python3
"""Measures our API server and a kube-apiserver of upstream in turn on this machine, and prints the ratio of each figure.

KUBE_APISERVER is a kube-apiserver v1.30. Each round starts ours on an empty store and upstream's on an empty etcd, and runs
`mainstay bench api` against each, after a rest: a virtual machine is slower for a while after much work. The figures printed are
medians of the rounds, without those of which requests failed (a kube-apiserver ends watches that fall behind); ratios above 1
are in our favour. Processor time and memory are told of the server alone, and of the server with what keeps its objects: its
etcd, or nothing more if it keeps them itself. What the client takes leaves the less to the servers, on the same processors.
"""
import argparse, collections, contextlib, json, pathlib, signal, statistics, subprocess, sys, tempfile, time
from beside import Api, REPOSITORY, etcd_command, free_ports, upstream_command

# So much of the servers' log is shown when something fails.
LOG_CHARACTERS = 4_000
FIGURES = ["per_second", "p50_ms", "cpu_ms", "cpu_ms_with_store", "rss_mb", "rss_mb_with_store", "client_cpu_ms_per_op"]


@contextlib.contextmanager
def running(log, *command):
    """A process that is ended, and has ended, when the block is left."""
    process = subprocess.Popen([str(word) for word in command], stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def ours(mainstay, root, port, log, *more):
    """Our server, with a root of its own."""
    command = [mainstay, "server", "--roles", "api", "--root", root, "--bind-address", "127.0.0.1", "--secure-port", port]
    return running(log, *command, *more)


def ready(process, kubeconfig, port):
    """Returns when ours is ready; it says nothing that could be waited for, so it is asked."""
    while not kubeconfig.exists():
        if process.poll() is not None:
            sys.exit(f"the server on port {port} ended with {process.returncode}")
        time.sleep(0.1)
    Api(kubeconfig, port).ready(process)


def bench(args, kubeconfig, *processes):
    """The lines of the bench by what they measure, of a server and its store. A figure of requests that failed is left out."""
    pids = ",".join(str(process.pid) for process in processes if process)
    command = [args.mainstay, "bench", "api", "--kubeconfig", kubeconfig, "--pids", pids, "--ops", args.ops]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    lines = {line["op"]: line for line in map(json.loads, output.splitlines())}
    for op in [op for op, line in lines.items() if line.get("errors")]:
        failed = lines.pop(op)
        print(f"left out: {failed['errors']} of {failed['count']} failed of {op} by process {pids}", file=sys.stderr)
    if not all("server_cpu_ms_per_op" in line for line in lines.values()):
        sys.exit("a server or its store ended while it was measured")
    for line in lines.values():
        for figure, whole in (("cpu_ms", "server_cpu_ms_per_op"), ("rss_mb", "server_rss_mb")):
            line[f"{figure}_with_store"] = line[whole]
            line[figure] = line.get(whole.replace("server_", "each_"), [line[whole]])[0]
    return lines


def round_of_ours(args, root, log):
    """What `bench` gives of ours."""
    port, client, peer = free_ports(3)
    kubeconfig, store, more = pathlib.Path(root, "etc/kubernetes/admin.conf"), None, []
    with contextlib.ExitStack() as stack:
        if args.store == "etcd":
            store = stack.enter_context(running(log, *etcd_command(args.etcd, f"{root}-etcd", client, peer)))
            more = ["--store", "etcd", "--etcd-servers", f"http://127.0.0.1:{client}"]
        process = stack.enter_context(ours(args.mainstay, root, port, log, *more))
        ready(process, kubeconfig, port)
        return bench(args, kubeconfig, process, store)


def round_of_theirs(args, root, log):
    """The same of a kube-apiserver."""
    port, client, peer = free_ports(3)
    kubeconfig, pki = pathlib.Path(root, "etc/kubernetes/admin.conf"), f"{root}/etc/kubernetes/pki"
    with ours(args.mainstay, root, port, log) as process:  # For its keys and certificates, and the address in its kubeconfig.
        ready(process, kubeconfig, port)
    with running(log, *etcd_command(args.etcd, f"{root}-etcd", client, peer)) as store:
        command = upstream_command(args.kube_apiserver, port, pki, f"http://127.0.0.1:{client}")
        with running(log, *command) as process:
            Api(kubeconfig, port).ready(process)
            return bench(args, kubeconfig, process, store)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kube_apiserver")
    parser.add_argument("--mainstay", default=REPOSITORY / "target/release/mainstay")
    parser.add_argument("--etcd", default="etcd")
    parser.add_argument("--store", choices=["embedded", "etcd"], default="embedded", help="what ours keeps its objects in")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rest", type=float, default=30, metavar="SECONDS", help="before each server is measured")
    parser.add_argument("--ops", default="create,get,list,table,patch,watch,catch-up,delete")
    args = parser.parse_args()
    # What was started is ended, whatever ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    figures = collections.defaultdict(list)
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as root, open(f"{root}/log", "w") as log:
            for side, measure in (("ours", round_of_ours), ("theirs", round_of_theirs)):
                time.sleep(args.rest)
                try:
                    lines = measure(args, f"{root}/{side}", log)
                except BaseException:
                    print(pathlib.Path(log.name).read_text()[-LOG_CHARACTERS:], file=sys.stderr)
                    raise
                for op, line in lines.items():
                    for figure in FIGURES:
                        if figure in line:
                            figures[op, figure, side].append(line[figure])
    print(f"{'':14} {'':22} {'Mainstay':>12} {'upstream':>12} {'ratio':>8}")
    for op, figure in dict.fromkeys((op, figure) for op, figure, _ in figures):
        one, other = (statistics.median(figures[op, figure, side] or [0]) for side in ("ours", "theirs"))
        better = (one, other) if figure == "per_second" else (other, one)
        ratio = f"{better[0] / better[1]:.1f}" if all(better) else "-"
        print(f"{op:14} {figure:22} {one:12.3f} {other:12.3f} {ratio:>8}")


if __name__ == "__main__":
    main()
