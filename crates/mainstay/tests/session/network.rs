//! Services of each type from pods and from the host, and the names that cluster DNS gives.

use crate::Step;
use crate::place::{Place, shell_pod, web};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long an answer is waited for that must come at once.
const PATIENCE: Duration = Duration::from_secs(4);

pub const STEPS: &[Step] = &[
    ("services", services),
    ("service without endpoints", refused),
    ("dns", dns),
    ("pod network", pod_network),
    ("host network", host_network),
    ("host port", host_port),
];

fn services(place: &Place) {
    place.apply(&web("web", 2));
    place.ok("rollout status deployment/web --timeout=60s");
    assert_eq!(place.ok("expose deployment web --port=80 --target-port=http --type=NodePort"), "service/web exposed\n");
    place.shell_pod("client", "sleep 3600");
    place.eventually("get endpoints web", |text| text.matches(":8080").count() == 2);
    let names = place.ok("get pods -l app=web -o jsonpath={.items[*].metadata.name}");
    let cluster_ip = place.ok("get service web -o jsonpath={.spec.clusterIP}");
    let node_port = place.ok("get service web -o jsonpath={.spec.ports[0].nodePort}");
    let node_ip = place.ok("get nodes -o jsonpath={.items[0].status.addresses[0].address}");
    for address in [format!("{cluster_ip}:80"), format!("{node_ip}:{node_port}")] {
        let page = place.on_host(&format!(
            "curl -sS --retry 20 --retry-connrefused --retry-delay 1 --max-time 30 http://{address}/"
        ));
        assert!(names.contains(page.trim()), "{address} from the host: {page}");
        let page = place.sh("client", &format!("wget -q -O - http://{address}/"));
        assert!(names.contains(page.trim()), "{address} from a pod: {page}");
    }
    let all = place.sh(
        "client",
        &format!(
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do wget -q -O - http://{cluster_ip}/; done"
        ),
    );
    assert!(names.split(' ').all(|name| all.contains(name)), "both pods are asked: {all}");
    assert_eq!(place.ok("delete service web"), "service \"web\" deleted\n");
    place.eventually("get endpoints -o name", |text| !text.contains("web"));
}

/// Puts what it is given into a page's address, and says why there is no page.
const ASKER: &str = "echo 'timeout 3 wget -O - http://$1/ 2>&1 || true' > /ask; sleep 3600";

/// Asks for a page from the pod `client`.
fn ask(address: &str) -> String {
    format!("exec client -- sh /ask {address}")
}

/// A service that nobody is behind refuses at once: a TCP connection with a reset, a UDP packet with ICMP "port
/// unreachable"; both are told to the asker as "connection refused".
fn refused(place: &Place) {
    place.apply(
        "
apiVersion: v1
kind: Service
metadata: {name: empty}
spec:
  type: NodePort
  selector: {app: nobody}
  ports:
  - {name: tcp, port: 80, protocol: TCP}
  - {name: udp, port: 53, protocol: UDP}
",
    );
    place.shell_pod("client", ASKER);
    let ip = place.ok("get service empty -o jsonpath={.spec.clusterIP}");
    let ports = place.ok("get service empty -o jsonpath={.spec.ports[*].nodePort}");
    let (tcp, udp) = ports.split_once(' ').expect("two ports");
    let node = place.ok("get nodes -o jsonpath={.items[0].status.addresses[0].address}");
    // Until the proxy knows of the service, packets to its address go nowhere.
    place.eventually(&ask(&ip), |said| said.contains("Connection refused"));
    for address in [format!("{ip}:80"), format!("{node}:{tcp}")] {
        let said = place.ok(&ask(&address));
        assert!(said.contains("Connection refused"), "{address} from a pod: {said}");
        let address: SocketAddr = address.parse().expect("an address");
        let began = Instant::now();
        let error = place.in_network(move || TcpStream::connect_timeout(&address, PATIENCE)).expect_err("nobody there");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{address} from the host");
        assert!(began.elapsed() < PATIENCE / 2, "{address} is refused at once");
    }
    for address in [format!("{ip}:53"), format!("{node}:{udp}")] {
        let address: SocketAddr = address.parse().expect("an address");
        let answer = place.in_network(move || {
            let socket = UdpSocket::bind("0.0.0.0:0")?;
            socket.set_read_timeout(Some(PATIENCE))?;
            socket.connect(address)?;
            socket.send(b"anyone?")?;
            socket.recv(&mut [0; 16])
        });
        // What is refused on its way out is told to the sender already.
        let kind = answer.expect_err("nobody there").kind();
        let refused = [ErrorKind::ConnectionRefused, ErrorKind::PermissionDenied];
        assert!(refused.contains(&kind), "{address} by UDP: {kind:?}");
    }
    // Endpoints that go make it refuse, too.
    place.apply(&web("web", 1));
    place.ok("rollout status deployment/web --timeout=60s");
    place.ok("expose deployment web --port=80 --target-port=http");
    let ip = place.ok("get service web -o jsonpath={.spec.clusterIP}");
    place.eventually(&ask(&ip), |page| page.contains("web-"));
    place.ok("scale deployment web --replicas=0");
    place.eventually(&ask(&ip), |said| said.contains("Connection refused"));
}

fn dns(place: &Place) {
    place.apply(&web("web", 2));
    place.ok("expose deployment web --port=80 --target-port=http");
    place.ok("create service clusterip quiet --clusterip=None --tcp=8080");
    place.ok_args(&["patch", "service", "quiet", "-p", r#"{"spec":{"selector":{"app":"web"}}}"#]);
    place.ok("create service externalname out --external-name=web.example.com");
    place.shell_pod("client", "sleep 3600");
    place.ok("rollout status deployment/web --timeout=60s");
    let resolv = place.sh("client", "cat /etc/resolv.conf");
    assert!(resolv.contains("nameserver 10.96.0.10") && resolv.contains("options ndots:5"), "{resolv}");
    assert!(
        resolv.contains(&format!("search {}.svc.cluster.local svc.cluster.local cluster.local", place.namespace)),
        "{resolv}"
    );
    let ip = place.ok("get service web -o jsonpath={.spec.clusterIP}");
    let namespace = &place.namespace;
    for name in [format!("web.{namespace}.svc.cluster.local"), format!("web.{namespace}.svc.cluster.local.")] {
        place.eventually(&format!("exec client -- nslookup {name}"), |text| text.contains(&ip));
    }
    for url in [
        "http://web/",
        &format!("http://web.{namespace}/"),
        &format!("http://web.{namespace}.svc/"),
        "http://quiet:8080/",
    ] {
        let page = place.sh("client", &format!("wget -q -O - {url}"));
        assert!(page.starts_with("web-"), "{url}: {page}");
    }
    let ips = place.ok("get pods -l app=web -o jsonpath={.items[*].status.podIP}");
    let found = place.eventually(&format!("exec client -- nslookup quiet.{namespace}.svc.cluster.local"), |text| {
        ips.split(' ').all(|ip| text.contains(ip))
    });
    assert!(!found.contains("NXDOMAIN"), "{found}");
    let kubernetes = place.sh("client", "nslookup kubernetes.default.svc.cluster.local");
    assert!(kubernetes.contains("10.96.0.1"), "{kubernetes}");
    let answer = place.run_args(&["exec", "client", "--", "nslookup", "absent.default.svc.cluster.local"], "");
    assert!(
        answer.code != 0 && format!("{}{}", answer.stdout, answer.stderr).contains("NXDOMAIN"),
        "{}{}",
        answer.stdout,
        answer.stderr
    );
    let alias =
        place.run_args(&["exec", "client", "--", "nslookup", &format!("out.{namespace}.svc.cluster.local")], "");
    assert!(alias.stdout.contains("web.example.com"), "{}{}", alias.stdout, alias.stderr);
}

fn pod_network(place: &Place) {
    place.shell_pod("one", "mkdir /www; echo one > /www/index.html; exec httpd -f -p 8080 -h /www");
    place.shell_pod("two", "sleep 3600");
    let one = place.ok("get pod one -o jsonpath={.status.podIP}");
    place.eventually(&format!("exec two -- wget -q -O - http://{one}:8080/"), |text| text == "one\n");
    assert_eq!(place.on_host(&format!("curl -sS --max-time 5 http://{one}:8080/")), "one\n");
    let two = place.ok("get pod two -o jsonpath={.status.podIP}");
    for (from, to) in [("two", &one), ("one", &two)] {
        let said = place.sh(from, &format!("ping -c 2 -W 2 {to}"));
        assert!(said.contains("2 packets transmitted, 2 packets received"), "{said}");
    }
    // As the runtime sets it up for all: no capability is needed for it.
    place.apply(
        &shell_pod("plain", "sleep 3600")
            .replace("image:", "securityContext: {runAsUser: 1000, capabilities: {drop: [ALL]}}\n    image:"),
    );
    place.ready("plain");
    assert!(place.sh("plain", "cat /proc/sys/net/ipv4/ping_group_range").starts_with("0\t"));
}

fn host_network(place: &Place) {
    place.apply(&shell_pod("hosted", "sleep 3600").replace("spec:", "spec:\n  hostNetwork: true"));
    place.ready("hosted");
    let hosted = place.ok("get pod hosted -o jsonpath={.status.podIP}={.status.hostIP}");
    let (pod, host) = hosted.split_once('=').expect("two addresses");
    assert_eq!(pod, host);
    let links = place.sh("hosted", "cat /proc/net/dev");
    assert!(links.contains("up0:"), "it sees the links of the machine: {links}");
}

fn host_port(place: &Place) {
    let host = place.ok("get nodes -o jsonpath={.items[0].status.addresses[0].address}");
    place.apply(
        &shell_pod("port", "mkdir /www; echo port > /www/index.html; exec httpd -f -p 8080 -h /www")
            .replace("image:", "ports: [{containerPort: 8080, hostPort: 18080}]\n    image:"),
    );
    place.ready("port");
    let page = place.on_host(&format!(
        "curl -sS --retry 10 --retry-connrefused --retry-delay 1 --max-time 20 http://{host}:18080/"
    ));
    assert_eq!(page, "port\n", "a host port leads to its pod");
}
