//! Services of each type from pods and from the host, and the names that cluster DNS gives.

use crate::Step;
use crate::place::{Place, shell_pod, web};

pub const STEPS: &[Step] = &[("services", services), ("dns", dns), ("pod network", pod_network)];

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
    place.ok("scale deployment web --replicas=0");
    place.eventually("get endpoints web", |text| text.contains("<none>"));
    // curl ends with 7 where it is refused, with 28 where nobody answers.
    let ask = format!("code=0; curl -s --max-time 5 http://{cluster_ip}/ || code=$?");
    place.on_host(&format!("for i in $(seq 50); do {ask}; [ $code != 7 ] || exit 0; sleep 0.1; done; exit 1"));
    assert_eq!(place.ok("delete service web"), "service \"web\" deleted\n");
    place.eventually("get endpoints -o name", |text| !text.contains("web"));
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
    assert!(place.sh("two", &format!("ping -c 1 -W 2 {one}")).contains("1 packets received"));
    place.apply(&shell_pod("hosted", "sleep 3600").replace("spec:", "spec:\n  hostNetwork: true"));
    place.ready("hosted");
    let hosted = place.ok("get pod hosted -o jsonpath={.status.podIP}={.status.hostIP}");
    let (pod, host) = hosted.split_once('=').expect("two addresses");
    assert_eq!(pod, host);
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
