//! The rules of the service proxy against the real kernel, in network namespaces of the test's own making.
//!
//! Needs root and `nft`, `ip`, `unshare`; `make test` installs them. A failure to make a namespace fails the test.

use net::proxy::rules::{self, Contribution};
use net::proxy::script::{self, Present, Ranges};
use serde_json::json;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// Runs a shell script in a new network namespace, which goes with its last process.
fn in_namespace(script: &str) -> (bool, String) {
    let mut child = Command::new("unshare")
        .args(["--net", "--mount", "bash", "-eu", "-s"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("unshare runs; the test needs root");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

fn ranges() -> Ranges {
    Ranges { pods: "10.244.0.0/16".parse().expect("a range"), services: "10.96.0.0/16".parse().expect("a range") }
}

fn contribution(service: serde_json::Value, endpoints: &[&str]) -> Contribution {
    let endpoints: Vec<_> = endpoints.iter().map(|ip| json!({"addresses": [ip], "nodeName": "a"})).collect();
    let slice = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints,
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}]});
    let service = serde_json::from_value(service).expect("a service");
    let slices = [Arc::new(serde_json::from_value(slice).expect("a slice"))];
    rules::service(&service, &slices, &rules::Node { name: "a".into() })
}

fn service(affinity: &str) -> serde_json::Value {
    json!({"metadata": {"name": "web", "namespace": "default"}, "spec": {
        "clusterIP": "10.96.0.20", "type": "NodePort", "sessionAffinity": affinity,
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}})
}

/// A pod in a namespace of its own, routed as the CNI configuration routes it; it serves its name on port 8080.
const POD: &str = "
pod() { # name address
  ip netns add $1
  ip link add h$1 type veth peer name eth0 netns $1
  ip link set h$1 up; ip addr add 10.244.0.1/32 dev h$1; ip route add $2/32 dev h$1
  ip -n $1 link set lo up; ip -n $1 link set eth0 up; ip -n $1 addr add $2/32 dev eth0
  ip -n $1 route add 10.244.0.1 dev eth0; ip -n $1 route add default via 10.244.0.1
  mkdir -p /tmp/www/$1; echo $1 > /tmp/www/$1/index.html
  nsenter --net=/run/netns/$1 busybox httpd -p 8080 -h /tmp/www/$1
}
fetch() { # namespace address[:port]
  local ip=${2%:*} port=80; case $2 in *:*) port=${2#*:};; esac
  nsenter --net=${1:-/proc/self/ns/net} timeout 3 bash -c \
    \"exec 3<>/dev/tcp/$ip/$port && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && tail -n 1 <&3\"
}
mount -t tmpfs t /run; mount -t tmpfs t /tmp; mkdir -p /run/netns
trap 'kill $(ip netns pids a) $(ip netns pids b) 2>/dev/null || true' EXIT
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
ip link add up0 type veth peer name up1; ip addr add 172.30.0.1/24 dev up0; ip link set up0 up; ip link set up1 up
ip route add 10.96.0.0/16 dev lo src 172.30.0.1
pod a 10.244.0.2; pod b 10.244.0.3
";

fn scenario(name: &str, contributions: &[Contribution], checks: &str) {
    let mut present = Present::default();
    let mut before = Contribution::default();
    let mut load = format!("nft -f - <<'EOF'\n{}EOF\n", script::base(&ranges()));
    for wanted in contributions {
        load += &format!("nft -f - <<'EOF'\n{}EOF\n", script::difference(&before, wanted, &mut present));
        before = wanted.clone();
    }
    let (ok, text) = in_namespace(&format!("{POD}{load}{checks}"));
    assert!(ok, "{name}: {text}");
}

#[test]
fn a_service_answers_from_a_pod_from_itself_from_the_host_and_on_the_node_port() {
    let both = contribution(service("None"), &["10.244.0.2", "10.244.0.3"]);
    scenario(
        "two endpoints",
        &[both],
        "
seen=$(for i in $(seq 30); do fetch '' 10.96.0.20; done | sort -u | tr '\\n' ' '); [ \"$seen\" = 'a b ' ]
for i in $(seq 10); do fetch /run/netns/a 10.96.0.20 >/dev/null; done
seen=$(for i in $(seq 30); do fetch /run/netns/a 172.30.0.1:30080; done | sort -u | tr '\\n' ' '); [ \"$seen\" = 'a b ' ]
fetch '' 172.30.0.1:30080 >/dev/null
",
    );
}

#[test]
fn endpoints_that_go_get_no_more_connections_and_without_any_the_client_is_refused() {
    let both = contribution(service("None"), &["10.244.0.2", "10.244.0.3"]);
    let one = contribution(service("None"), &["10.244.0.3"]);
    let none = contribution(service("None"), &[]);
    scenario(
        "one is left",
        &[both.clone(), one.clone()],
        "[ $(for i in $(seq 20); do fetch /run/netns/a 10.96.0.20; done | sort -u) = b ]\n",
    );
    scenario(
        "none is left",
        &[both, one, none],
        "! fetch /run/netns/a 10.96.0.20 2>/tmp/e; grep -q refused /tmp/e
! fetch '' 172.30.0.1:30080 2>/tmp/e; grep -q refused /tmp/e
",
    );
}

#[test]
fn a_client_with_affinity_stays_with_its_endpoint() {
    let both = contribution(service("ClientIP"), &["10.244.0.2", "10.244.0.3"]);
    scenario(
        "affinity",
        &[both],
        "[ $(for i in $(seq 20); do fetch /run/netns/a 10.96.0.20; done | sort -u | wc -l) = 1 ]\n",
    );
}

#[test]
fn a_pod_s_host_port_leads_to_it_and_can_be_taken_away() {
    let pod = serde_json::from_value(json!({"metadata": {"name": "a"}, "status": {"podIP": "10.244.0.2"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080, "hostPort": 9000}]}]}}));
    let open = rules::host_ports(&pod.expect("a pod"));
    scenario(
        "host port",
        std::slice::from_ref(&open),
        "[ $(fetch /run/netns/b 172.30.0.1:9000) = a ]\n[ $(fetch '' 172.30.0.1:9000) = a ]\n",
    );
    scenario("closed", &[open, Contribution::default()], "! fetch /run/netns/b 172.30.0.1:9000\n");
}
