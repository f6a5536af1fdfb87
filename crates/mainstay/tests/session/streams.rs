//! What goes through the node agent: logs, exec, attach, cp, port-forward, run.

use crate::Step;
use crate::place::{IMAGE, Place, shell_pod};
use crate::terminal::Terminal;

pub const STEPS: &[Step] = &[
    ("logs", logs),
    ("exec", exec),
    ("exec on a terminal", exec_terminal),
    ("cp", copy),
    ("attach", attach),
    ("port forward", port_forward),
    ("run", run),
    ("debug", debug),
];

fn logs(place: &Place) {
    // Output and errors come by two pipes, which keep no order between them.
    let script = "for i in 1 2 3; do echo line $i; done; sleep 0.5; echo err >&2; while ! [ -e /go ]; do sleep 0.2; done; echo last; sleep 3600";
    place.shell_pod("talks", script);
    place.eventually("logs talks", |text| text == "line 1\nline 2\nline 3\nerr\n");
    assert_eq!(place.ok("logs talks --tail=2"), "line 3\nerr\n");
    assert_eq!(place.ok("logs talks --limit-bytes=6"), "line 1");
    assert_eq!(place.ok("logs -l app=talks --prefix --tail=1"), "[pod/talks/main] err\n");
    let stamped = place.ok("logs talks --timestamps --tail=1");
    assert!(stamped.starts_with("20") && stamped.ends_with("Z err\n"), "{stamped}");
    assert_eq!(place.ok("logs talks --since=1h").lines().count(), 4);
    let mut following = Terminal::start(place.background("logs -f talks"));
    following.expect("line 3\n");
    place.sh("talks", "touch /go");
    following.expect("last\n");
    place.ok("delete pod talks");
    assert_eq!(following.ended(), 0);
    place.apply(&shell_pod("brief", "echo once; exit 3").replace("spec:", "spec:\n  restartPolicy: Always"));
    place.eventually("logs brief --previous", |text| text == "once\n");
    assert!(place.fails("logs brief -c absent").contains("container absent is not valid for pod brief"));
    assert!(place.fails("logs absent").contains("pods \"absent\" not found"));
}

fn exec(place: &Place) {
    place.shell_pod("box", "sleep 3600");
    assert_eq!(place.ok("exec box -- echo hello"), "hello\n");
    let answer = place.run_args(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"], "");
    assert_eq!((answer.code, answer.stdout.as_str()), (7, "out\n"));
    assert!(
        answer.stderr.starts_with("err\n") && answer.stderr.contains("command terminated with exit code 7"),
        "{}",
        answer.stderr
    );
    assert_eq!(place.ok_with("exec -i box -- cat", "from here\n"), "from here\n");
    let long = "0123456789".repeat(100_000);
    assert!(place.ok_with("exec -i box -- cat", &long) == long, "a megabyte comes back as it went");
    let absent = place.fails("exec box -- /absent");
    assert!(absent.contains("no such file or directory"), "{absent}");
    assert!(
        place.fails("exec box -c absent -- true").contains("container not found")
            || place.fails("exec box -c absent -- true").contains("absent")
    );
    assert!(place.fails("exec absent -- true").contains("pods \"absent\" not found"));
    assert_eq!(place.ok("exec box -- hostname"), "box\n");
}

fn exec_terminal(place: &Place) {
    place.shell_pod("box", "sleep 3600");
    let mut shell = place.terminal("exec -it box -- sh");
    shell.expect("# ").enter("echo $((40 + 2))\r").expect("42");
    // Said by the process that is to be interrupted: the shell itself may say it before there is one.
    shell.enter("sh -c 'echo begun; exec sleep 3600'\r").expect("\nbegun").enter("\u{3}").expect("# ");
    shell.enter("[ -t 0 ] && echo a terminal\r").expect("\na terminal");
    shell.enter("exit 5\r");
    assert_eq!(shell.ended(), 5);
    let mut sized = place.terminal("exec -it box -- sh -c 'sleep 1; echo size; exec sh'");
    sized.expect("size").enter("exit\r");
    assert_eq!(sized.ended(), 0);
}

fn copy(place: &Place) {
    place.shell_pod("box", "sleep 3600");
    let here = place.file("there.txt", "over there\n");
    place.ok(&format!("cp {} box:/tmp/there.txt", here.display()));
    assert_eq!(place.sh("box", "cat /tmp/there.txt"), "over there\n");
    place.sh("box", "mkdir -p /tmp/dir/sub && echo 1 > /tmp/dir/one && echo 2 > /tmp/dir/sub/two");
    let back = place.path("back");
    place.ok(&format!("cp box:/tmp/dir {}", back.display()));
    assert_eq!(std::fs::read_to_string(back.join("sub/two")).expect("copied"), "2\n");
    place.ok(&format!("cp {} box:/tmp/again", back.display()));
    assert_eq!(place.sh("box", "cat /tmp/again/one"), "1\n");
    // Of a file that is not there tar makes an empty archive; kubectl may have read it to its end before it is told that tar failed.
    let here = place.path("absent");
    place.run(&format!("cp box:/tmp/absent {}", here.display()));
    assert!(!here.exists(), "nothing is copied");
    let absent = place.fails(&format!("cp {} box:/tmp/x", here.display()));
    assert!(absent.contains("doesn't exist in local filesystem"), "{absent}");
}

fn attach(place: &Place) {
    let pod = shell_pod("listens", "while read line; do echo heard $line; done; echo gone; sleep 3600")
        .replace("image:", "stdin: true\n    image:");
    place.apply(&pod);
    place.ready("listens");
    let mut attached = Terminal::start(place.background("attach -i listens"));
    attached.enter("one\n").expect("heard one").enter("two\n").expect("heard two");
    assert_eq!(place.ok("logs listens"), "heard one\nheard two\n");
    let tty = shell_pod("tty", "exec sh").replace("image:", "stdin: true\n    tty: true\n    image:");
    place.apply(&tty);
    place.ready("tty");
    let mut attached = place.terminal("attach -it tty");
    attached.enter("\recho $((6 * 7))\r").expect("42");
}

fn port_forward(place: &Place) {
    place.apply(&crate::place::web("web", 1));
    place.ok("rollout status deployment/web --timeout=60s");
    place.ok("expose deployment web --port=80 --target-port=http");
    let name = place.ok("get pods -o jsonpath={.items[0].metadata.name}");
    for target in [format!("pod/{name} :8080"), "deployment/web :8080".into(), "service/web :80".into()] {
        let mut forward = Terminal::start(place.background(&format!("port-forward {target}")));
        forward.expect("Forwarding from 127.0.0.1:");
        let port = forward.line();
        let port = port.split(' ').next().expect("a port");
        for _ in 0..3 {
            let page = place.on_host(&format!("curl -sS --max-time 5 http://127.0.0.1:{port}/"));
            assert_eq!(page.trim(), name, "{target}");
        }
    }
    let mut refused = Terminal::start(place.background(&format!("port-forward pod/{name} :9")));
    refused.expect("Forwarding from 127.0.0.1:");
    let port = refused.line();
    let port = port.split(' ').next().expect("a port").to_owned();
    let ended =
        place.cluster.namespace().shell(&format!("curl -sS --max-time 5 http://127.0.0.1:{port}/")).expect("it runs");
    assert_ne!(ended.code, 0, "nobody listens there");
}

fn run(place: &Place) {
    let said =
        place.ok_with(&format!("run once --rm -i --quiet --restart=Never --image={IMAGE} -- cat"), "through the pod\n");
    assert!(said.contains("through the pod\n"), "{said}");
    place.eventually("get pods -o name", str::is_empty);
    let failed = place.run(&format!("run fails --rm -i --quiet --restart=Never --image={IMAGE} -- sh -c exit\\ 4"));
    assert_ne!(failed.code, 0, "{}{}", failed.stdout, failed.stderr);
    let mut shell = place.terminal(&format!("run shell --rm -it --restart=Never --image={IMAGE} -- sh"));
    shell.expect("# ").enter("echo $((40 + 2))\r").expect("42").enter("exit\r").expect("pod \"shell\" deleted");
    assert_eq!(shell.ended(), 0);
    assert_eq!(
        place.ok(&format!("run plain --image={IMAGE} --labels=a=b --env=X=1 --port=80 -- sleep 3600")),
        "pod/plain created\n"
    );
    place.ready("plain");
    assert_eq!(place.sh("plain", "echo $X"), "1\n");
}

fn debug(place: &Place) {
    place.shell_pod("box", "sleep 3600");
    let said = place.run(&format!("debug box --image={IMAGE} --container=probe -- sh -c echo"));
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    place.eventually("get pod box -o jsonpath={.status.ephemeralContainerStatuses[0].state}", |text| {
        text.contains("terminated")
    });
}
