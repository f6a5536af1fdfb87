//! Lifecycle hooks: postStart and preStop, by command, HTTP or sleep.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, LifecycleHandler};

use super::probe;
use crate::cri::Cri;

/// Longest that a command of a hook may run; the pod's grace period ends most of them sooner.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(24 * 3600);

/// Runs a hook of a running container; the error is what the event shows.
pub async fn run(
    cri: &Cri,
    hook: &LifecycleHandler,
    c: &Container,
    container_id: &str,
    pod_ip: &str,
) -> Result<(), String> {
    if let Some(exec) = &hook.exec {
        let command = exec.command.clone().unwrap_or_default();
        let output = cri.exec_sync(container_id, command.clone(), COMMAND_TIMEOUT).await.map_err(|e| e.to_string())?;
        if output.exit_code == 0 {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        return Err(format!("command '{}' exited with {}: {text}", command.join(" "), output.exit_code));
    }
    if let Some(get) = &hook.http_get {
        return match probe::http_get(get, c, pod_ip, "kube-lifecycle/1.30").await {
            // Unlike a probe, a hook is content with any answer.
            Err(error) if error.starts_with("HTTP probe failed") => Ok(()),
            other => other,
        };
    }
    if let Some(sleep) = &hook.sleep {
        tokio::time::sleep(Duration::from_secs(u64::try_from(sleep.seconds).unwrap_or(0))).await;
        return Ok(());
    }
    Err("invalid handler: no known kind of hook".into())
}
