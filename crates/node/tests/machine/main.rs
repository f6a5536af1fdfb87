//! Pods on a real runtime: what users see of them through the API, and what is on the machine.

mod kit;

use kit::{Machine, condition, isolated};
use serde_json::json;

fn on_a_machine<F: Future<Output = ()>>(name: &str, test: impl FnOnce(Machine) -> F) {
    isolated(name, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("runtime");
        runtime.block_on(async {
            let mut machine = Machine::start().await;
            machine.start_agent();
            machine.node_ready().await;
            test(machine).await;
        });
    });
}

#[test]
fn pods_run_and_end() {
    on_a_machine("pods_run_and_end", |mut m| async move {
        // A pod that serves: ready by its probe, gone after its deletion.
        m.pod(
            "web",
            json!({"containers": [{"name": "c", "command": ["httpd", "-f", "-p", "8080", "-h", "/etc"],
            "resources": {"requests": {"cpu": "10m", "memory": "8Mi"}, "limits": {"memory": "32Mi"}},
            "readinessProbe": {"httpGet": {"port": 8080, "path": "/passwd"}, "periodSeconds": 1}}]}),
        )
        .await;
        let web = m.ready("web").await;
        let status = web.status.clone().unwrap();
        assert!(status.pod_ip.unwrap().starts_with("10.244.1."));
        assert_eq!(status.qos_class.as_deref(), Some("Burstable"));
        let events = m.events("web").await;
        for reason in ["Pulled Container image", "Created Created container c", "Started Started container c"] {
            assert!(events.iter().any(|e| e.starts_with(reason)), "{reason} in {events:?}");
        }

        // A pod that does its work and ends, with last words.
        m.pod("job", json!({"restartPolicy": "Never", "initContainers": [{"name": "i", "command": ["sh", "-c", "echo init > /scratch/x"],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
            "containers": [{"name": "c", "command": ["sh", "-c", "cat /scratch/x /etc/hosts; hostname; echo -n bye > /dev/termination-log"],
                "volumeMounts": [{"name": "scratch", "mountPath": "/scratch"}]}],
            "volumes": [{"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}]})).await;
        let job = m.phase("job", "Succeeded").await;
        let ended =
            job.status.clone().unwrap().container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
        assert_eq!(
            (ended.exit_code, ended.reason.as_deref(), ended.message.as_deref()),
            (0, Some("Completed"), Some("bye"))
        );
        let log = m.log(&job, "c", 0);
        assert!(log.starts_with("init\n# Kubernetes-managed hosts file.") && log.ends_with("\njob"), "{log}");
        m.pod(
            "fails",
            json!({"restartPolicy": "Never", "containers": [{"name": "c", "command": ["sh", "-c", "exit 3"]}]}),
        )
        .await;
        m.phase("fails", "Failed").await;

        // The agent comes back and finds its pods.
        let id = |p: &k8s_openapi::api::core::v1::Pod| {
            p.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].container_id.clone()
        };
        let before = id(&web);
        m.stop_agent().await;
        m.start_agent();
        m.pod("later", json!({"containers": [{"name": "c", "command": ["sleep", "1000"]}]})).await;
        m.ready("later").await;
        let web = m.ready("web").await;
        assert_eq!((id(&web), web.status.unwrap().container_statuses.unwrap()[0].restart_count), (before, 0));

        for name in ["web", "job", "fails", "later"] {
            m.delete(name).await;
        }
        m.stop().await;
    });
}

#[test]
fn containers_restart_and_report() {
    on_a_machine("containers_restart_and_report", |m| async move {
        m.pod("crash", json!({"containers": [{"name": "c", "command": ["sh", "-c", "echo again; exit 1"]}]})).await;
        m.pod("sick", json!({"containers": [{"name": "c", "command": ["sh", "-c", "touch /tmp/ok; sleep 2; rm /tmp/ok; sleep 1000"],
            "livenessProbe": {"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}}]})).await;
        m.pod(
            "noimage",
            json!({"containers": [{"name": "c", "image": "docker.io/library/none:1", "imagePullPolicy": "Never"}]}),
        )
        .await;
        m.pod("noconfig", json!({"containers": [{"name": "c", "command": ["env"], "envFrom": [{"configMapRef": {"name": "absent"}}]}]})).await;
        m.pod("badcmd", json!({"restartPolicy": "Never", "containers": [{"name": "c", "command": ["/none"]}]})).await;
        let waits = |reason: &'static str| {
            move |p: &k8s_openapi::api::core::v1::Pod| {
                let statuses = p.status.as_ref().and_then(|s| s.container_statuses.as_ref());
                let waiting = statuses.and_then(|c| c.first()?.state.as_ref()?.waiting.as_ref()?.reason.clone());
                waiting.as_deref() == Some(reason)
            }
        };
        m.until("crash", "CrashLoopBackOff", waits("CrashLoopBackOff")).await;
        m.until("noimage", "ErrImageNeverPull", waits("ErrImageNeverPull")).await;
        m.until("noconfig", "CreateContainerConfigError", waits("CreateContainerConfigError")).await;
        m.phase("badcmd", "Failed").await;
        m.until("sick", "restarted", |p| {
            p.status.as_ref().is_some_and(|s| s.container_statuses.as_ref().is_some_and(|c| c[0].restart_count > 0))
        })
        .await;
        let events = m.events("sick").await;
        assert!(events.iter().any(|e| e.contains("Liveness probe failed")), "{events:?}");
        assert!(
            events.iter().any(|e| e == "Killing Container c failed liveness probe, will be restarted"),
            "{events:?}"
        );

        // What was missing comes: the pod goes on by itself.
        m.create(
            "",
            "configmaps",
            json!({"kind": "ConfigMap", "metadata": {"name": "absent"}, "data": {"KEY": "value"}}),
        )
        .await;
        m.until("noconfig", "started", |p| p.status.as_ref().is_some_and(|s| s.phase.as_deref() == Some("Running")))
            .await;
        for name in ["crash", "sick", "noimage", "noconfig", "badcmd"] {
            m.delete(name).await;
        }
        m.stop().await;
    });
}

#[test]
fn volumes_follow_their_sources() {
    on_a_machine("volumes_follow_their_sources", |m| async move {
        m.create(
            "",
            "configmaps",
            json!({"kind": "ConfigMap", "metadata": {"name": "cm"}, "data": {"a": "one", "b": "two"}}),
        )
        .await;
        m.create(
            "",
            "secrets",
            json!({"kind": "Secret", "metadata": {"name": "s"}, "stringData": {"password": "hush"}}),
        )
        .await;
        m.pod("vol", json!({"securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
            "containers": [{"name": "c", "workingDir": "/cm",
                "command": ["sh", "-c", "id; cat /cm/x /secret/password /sub; echo $P $Q; stat -c %a:%g /empty; echo; test -s /token/token && echo token; while true; do cat /cm/x; echo; sleep 1; done"],
                "env": [{"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "Q", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}}],
                "securityContext": {"readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [{"name": "cm", "mountPath": "/cm"}, {"name": "secret", "mountPath": "/secret"}, {"name": "empty", "mountPath": "/empty"},
                    {"name": "cm", "mountPath": "/sub", "subPath": "x"}, {"name": "token", "mountPath": "/token"}]}],
            "volumes": [{"name": "cm", "configMap": {"name": "cm", "items": [{"key": "a", "path": "x"}]}},
                {"name": "secret", "secret": {"secretName": "s"}}, {"name": "empty", "emptyDir": {}},
                {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]})).await;
        let pod = m.ready("vol").await;
        let lines = |attempt| m.log(&pod, "c", attempt);
        m.until("vol", "ready", |p| condition(p, "Ready") == "True").await;
        wait_for(|| lines(0), "token").await;
        let log = lines(0);
        assert!(
            log.starts_with("uid=1000 gid=3000 groups=2000") || log.starts_with("uid=1000 gid=3000 groups=3000"),
            "{log}"
        );
        for text in ["onehushone10.244.1.", " hush", "2777:2000", "token"] {
            assert!(log.contains(text), "{text} in {log}");
        }
        // A change of the ConfigMap arrives in the running container.
        let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(m.admin.clone(), "default");
        let patch = kube::api::Patch::Merge(json!({"data": {"a": "changed"}}));
        maps.patch("cm", &kube::api::PatchParams::default(), &patch).await.unwrap();
        wait_for(|| lines(0), "changed").await;
        m.delete("vol").await;
        assert_eq!(std::fs::read_dir(m.root().join("var/lib/kubelet/pods")).unwrap().count(), 0);
        m.stop().await;
    });
}

/// Looks at a log until it says something; logs are files of the runtime.
async fn wait_for(log: impl Fn() -> String, text: &str) {
    for _ in 0..300 {
        if log().contains(text) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{text} is never in {}", log());
}

#[test]
fn the_kubelet_api_answers_the_cluster_only() {
    on_a_machine("the_kubelet_api_answers_the_cluster_only", |m| async move {
        m.pod("talk", json!({"containers": [{"name": "c", "command": ["sh", "-c", "for i in 1 2 3 4; do echo line$i; done; sleep 2; echo last; sleep 1000"]}]})).await;
        m.ready("talk").await;
        let log = |query: &str| m.kubelet(&format!("/containerLogs/default/talk/c{query}"));
        assert_eq!(log("?tailLines=2"), (200, "line3\nline4\n".to_owned()));
        assert_eq!(log("?limitBytes=7").1, "line1\nl");
        assert!(log("?timestamps=true&tailLines=1").1.contains("Z line4"));
        assert_eq!(log("?previous=true").0, 400);
        assert_eq!(m.kubelet("/containerLogs/default/talk/x").0, 404);
        // A follower gets what is written later, without asking.
        let (code, followed) = m.kubelet("/containerLogs/default/talk/c?follow=true&limitBytes=29");
        assert_eq!((code, followed.as_str()), (200, "line1\nline2\nline3\nline4\nlast\n"));

        assert_eq!(m.kubelet("/healthz"), (200, "ok".to_owned()));
        assert_eq!(m.anonymous("/pods"), 401);
        assert!(m.kubelet("/pods").1.contains("\"talk\"") && m.kubelet("/runningpods").1.contains("\"talk\""));
        let stats: serde_json::Value = serde_json::from_str(&m.kubelet("/stats/summary").1).unwrap();
        assert!(stats["pods"][0]["containers"][0]["memory"]["workingSetBytes"].as_u64().unwrap() > 0, "{stats}");
        assert!(stats["node"]["fs"]["capacityBytes"].as_u64().unwrap() > 0);
        let metrics = m.kubelet("/metrics/resource").1;
        assert!(
            metrics.contains("container_cpu_usage_seconds_total{container=\"c\",namespace=\"default\",pod=\"talk\"}"),
            "{metrics}"
        );
        assert!(m.kubelet("/metrics").1.contains("kubelet_running_pods 1"));
        assert!(m.kubelet("/metrics/cadvisor").1.contains("container_network_receive_bytes_total{interface=\"eth0\""));
        assert_eq!(m.upgrade("/exec/default/talk/c?command=id&output=1&error=1"), 101);
        m.delete("talk").await;
        m.stop().await;
    });
}

#[test]
fn kubectl_reaches_containers() {
    on_a_machine("kubectl_reaches_containers", |m| async move {
        m.serve_api().await;
        m.pod("box", json!({"shareProcessNamespace": true, "containers": [{"name": "c", "command": ["sh", "-c", "echo hello; httpd -f -p 8080 -h /etc"]}]})).await;
        m.ready("box").await;
        let (ok, text) = m.kubectl(&["logs", "box"]).await;
        assert!(ok && text == "hello\n", "{text}");
        let (ok, text) = m.kubectl(&["exec", "box", "--", "sh", "-c", "echo out; echo err >&2; exit 7"]).await;
        assert!(!ok && text.contains("out") && text.contains("err") && text.contains("exit code 7"), "{text}");

        // Files go in: standard input must be closed from our side for that to end.
        let file = m.root().join("sent");
        std::fs::write(&file, vec![b'x'; 300_000]).unwrap();
        let input = std::fs::File::open(&file).unwrap().into();
        let (ok, text) =
            m.kubectl_fed(input, &["exec", "-i", "box", "--", "sh", "-c", "cat > /tmp/got; wc -c < /tmp/got"]).await;
        assert!(ok && text.trim() == "300000", "{text}");

        // A shell is attached to a running pod by an ephemeral container.
        let patch = json!({"spec": {"ephemeralContainers": [{"name": "debug", "image": kit::BUSYBOX, "command": ["sh", "-c", "ps; sleep 1000"], "targetContainerName": "c"}]}});
        let patched = m
            .pods()
            .patch_subresource(
                "ephemeralcontainers",
                "box",
                &kube::api::PatchParams::default(),
                &kube::api::Patch::Strategic(patch),
            )
            .await;
        patched.expect("ephemeral container");
        m.until("box", "debugged", |p| {
            let statuses = p.status.as_ref().and_then(|s| s.ephemeral_container_statuses.as_ref());
            statuses.is_some_and(|s| s.iter().any(|c| c.state.as_ref().is_some_and(|s| s.running.is_some())))
        })
        .await;
        let pod = m.ready("box").await;
        wait_for(|| m.log(&pod, "debug", 0), "httpd").await;

        let mut forward = tokio::process::Command::new(kit::kubectl())
            .arg("--kubeconfig")
            .arg(m.root().join("etc/kubernetes/admin.conf"))
            .args(["port-forward", "box", "18080:8080"])
            .env("HOME", m.root())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut out = tokio::io::BufReader::new(forward.stdout.take().unwrap());
        tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.unwrap();
        let (code, body) = tokio::task::spawn_blocking(|| kit::curl(&["http://127.0.0.1:18080/passwd"])).await.unwrap();
        assert!(code == 200 && body.starts_with("root:"), "{code} {body} after {line}");
        forward.kill().await.unwrap();
        m.delete("box").await;
        m.stop().await;
    });
}
