//! Images of containers: present, pulled or refused, by pull policy, with the pod's credentials and backoff. Pulls run
//! at most so many at once; a pull that hangs holds back only the pods that need it.

use std::time::Instant;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use k8s_cri::v1 as cri;
use k8s_openapi::api::core::v1::{Container, Pod, Secret};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cri::Cri;
use crate::events::Recorder;
use crate::pod::backoff::Backoff;
use crate::pod::container::ImageUser;
use crate::pod::plan::Waiting;
use crate::pod::spec;
use crate::volumes::sources::References;

/// The node's image pulls.
pub struct Images {
    cri: Cri,
    events: Recorder,
    slots: Semaphore,
    backoff: Mutex<Backoff>,
}

/// An image that is present.
pub struct Present {
    /// What the runtime calls it.
    pub reference: String,
    /// The user it names.
    pub user: ImageUser,
}

fn waiting(reason: &str, message: impl Into<String>) -> Waiting {
    Waiting { reason: reason.into(), message: message.into() }
}

impl Images {
    /// `pulls_max` pulls at once.
    pub fn new(cri: Cri, events: Recorder, pulls_max: usize) -> Self {
        Self { cri, events, slots: Semaphore::new(pulls_max), backoff: Mutex::default() }
    }

    /// Makes sure that a container's image is present as its policy asks, or says why the container must wait.
    pub async fn ensure(
        &self,
        pod: &Pod,
        kind: spec::Kind,
        c: &Container,
        refs: &References,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<Present, Waiting> {
        let image = with_tag(c.image.as_deref().unwrap_or_default());
        let about = Some((kind, c.name.as_str()));
        let found = self.cri.image_status(&image).await.map_err(|e| {
            self.events.warning(pod, about, "Failed", format!("Failed to inspect image \"{image}\": {e}"));
            waiting("ImageInspectError", format!("Failed to inspect image \"{image}\": {e}"))
        })?;
        match (policy(c), found) {
            ("Never", None) => {
                let message = format!("Container image \"{image}\" is not present with pull policy of Never");
                self.events.warning(pod, about, "ErrImageNeverPull", message.clone());
                return Err(waiting("ErrImageNeverPull", message));
            }
            ("Never" | "IfNotPresent", Some(found)) => {
                self.events.normal(
                    pod,
                    about,
                    "Pulled",
                    format!("Container image \"{image}\" already present on machine"),
                );
                return Ok(present(found));
            }
            _ => {}
        }
        self.pull(pod, about, &image, refs, sandbox).await
    }

    async fn pull(
        &self,
        pod: &Pod,
        about: Option<(spec::Kind, &str)>,
        image: &str,
        refs: &References,
        sandbox: &cri::PodSandboxConfig,
    ) -> Result<Present, Waiting> {
        let key = format!("{}_{image}", spec::uid(pod));
        if self.backoff.lock().waiting_since_update(&key, Utc::now()).is_some() {
            let message = format!("Back-off pulling image \"{image}\"");
            self.events.normal(pod, about, "BackOff", message.clone());
            return Err(waiting("ImagePullBackOff", message));
        }
        self.events.normal(pod, about, "Pulling", format!("Pulling image \"{image}\""));
        let asked = Instant::now();
        let Ok(_slot) = self.slots.acquire().await else { return Err(waiting("ErrImagePull", "shutting down")) };
        let begun = Instant::now();
        let mut last = None;
        for auth in credentials(pod, image, refs).await {
            match self.cri.pull_image(image, auth, sandbox.clone()).await {
                Ok(reference) => {
                    self.backoff.lock().reset(&key);
                    let found = self.cri.image_status(&reference).await.ok().flatten();
                    let size = found.as_ref().map_or(0, |i| i.size);
                    let (net, gross) = (round(begun.elapsed()), round(asked.elapsed()));
                    let message = format!(
                        "Successfully pulled image \"{image}\" in {net} ({gross} including waiting). Image size: {size} bytes."
                    );
                    self.events.normal(pod, about, "Pulled", message);
                    return Ok(found.map_or(Present { reference, user: ImageUser::Unset }, present));
                }
                Err(error) => last = Some(error.to_string()),
            }
        }
        let now = Utc::now();
        self.backoff.lock().next(&key, now, now);
        let cause = last.unwrap_or_default();
        self.events.warning(pod, about, "Failed", format!("Failed to pull image \"{image}\": {cause}"));
        Err(waiting("ErrImagePull", cause))
    }

    /// When a pull of this pod that failed may be tried again.
    pub fn retry_at(&self, pod: &Pod, c: &Container) -> Option<chrono::DateTime<Utc>> {
        let key = format!("{}_{}", spec::uid(pod), with_tag(c.image.as_deref().unwrap_or_default()));
        self.backoff.lock().waiting_since_update(&key, Utc::now()).map(|(until, _)| until)
    }
}

fn round(d: std::time::Duration) -> String {
    if d.as_secs() > 0 { format!("{:.3}s", d.as_secs_f64()) } else { format!("{}ms", d.as_millis()) }
}

fn present(image: cri::Image) -> Present {
    let user = match (image.uid, image.username) {
        (Some(uid), _) => ImageUser::Uid(uid.value),
        (None, name) if !name.is_empty() => ImageUser::Name(name),
        _ => ImageUser::Unset,
    };
    Present { reference: image.id, user }
}

/// The container's pull policy, or the API's default for its tag.
fn policy(c: &Container) -> &str {
    let latest = c.image.as_deref().is_some_and(|i| with_tag(i).ends_with(":latest"));
    c.image_pull_policy.as_deref().unwrap_or(if latest { "Always" } else { "IfNotPresent" })
}

/// A reference without tag and digest means `latest`.
fn with_tag(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image);
    if last.contains(':') || image.contains('@') { image.into() } else { format!("{image}:latest") }
}

/// The registry that an image comes from.
fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

/// What to try in turn: each matching credential of the pod's pull secrets, or none.
async fn credentials(pod: &Pod, image: &str, refs: &References) -> Vec<Option<cri::AuthConfig>> {
    let mut found = Vec::new();
    for reference in spec::spec(pod).image_pull_secrets.iter().flatten() {
        match refs.secret(&reference.name).await {
            Ok(Some(secret)) => found.extend(from_secret(&secret, image).into_iter().map(Some)),
            Ok(None) => {
                tracing::warn!(secret = %reference.name, pod = %spec::full_name(pod), "pull secret does not exist")
            }
            Err(error) => tracing::warn!(secret = %reference.name, %error, "pull secret cannot be read"),
        }
    }
    if found.is_empty() {
        found.push(None);
    }
    found
}

#[derive(serde::Deserialize)]
struct DockerEntry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identitytoken: Option<String>,
}

fn from_secret(secret: &Secret, image: &str) -> Vec<cri::AuthConfig> {
    let data = secret.data.as_ref();
    let json =
        |key: &str| data.and_then(|d| d.get(key)).and_then(|b| serde_json::from_slice::<serde_json::Value>(&b.0).ok());
    let entries = json(".dockerconfigjson").map(|v| v["auths"].clone()).or_else(|| json(".dockercfg"));
    let Some(serde_json::Value::Object(entries)) = entries else { return Vec::new() };
    let mut matching: Vec<(String, cri::AuthConfig)> = entries
        .into_iter()
        .filter(|(server, _)| matches_server(server, image))
        .filter_map(|(server, entry)| Some((server, auth(serde_json::from_value(entry).ok()?))))
        .collect();
    // The longest path is the most specific.
    matching.sort_by_key(|(server, _)| std::cmp::Reverse(server.len()));
    matching.into_iter().map(|(_, auth)| auth).collect()
}

/// Reads credentials for an image; for `crate::fuzz`.
pub fn read(image: &str, docker_config: &[u8]) {
    let tagged = with_tag(image);
    assert_eq!(with_tag(&tagged), tagged, "{image:?}");
    let data = [(".dockerconfigjson".to_owned(), k8s_openapi::ByteString(docker_config.to_vec()))].into();
    let secret = Secret { data: Some(data), ..Secret::default() };
    drop(from_secret(&secret, image));
}

fn matches_server(server: &str, image: &str) -> bool {
    let server = server.trim_start_matches("https://").trim_start_matches("http://");
    let (host, path) = server.split_once('/').unwrap_or((server, ""));
    let path = path.trim_matches('/');
    let registry = registry(image);
    let host_matches = match host.strip_prefix("*.") {
        Some(domain) => registry.split_once('.').is_some_and(|(_, rest)| rest == domain),
        None => {
            host == registry || registry == "docker.io" && matches!(host, "index.docker.io" | "registry-1.docker.io")
        }
    };
    let image_path = image.strip_prefix(registry).unwrap_or(image).trim_start_matches('/');
    host_matches && (path.is_empty() || matches!(path, "v1" | "v2") || image_path.starts_with(path))
}

fn auth(entry: DockerEntry) -> cri::AuthConfig {
    let decoded = entry.auth.and_then(|a| BASE64_STANDARD.decode(a).ok()).and_then(|b| String::from_utf8(b).ok());
    let (user, password) = decoded.as_deref().and_then(|d| d.split_once(':')).unwrap_or_default();
    cri::AuthConfig {
        username: entry.username.unwrap_or_else(|| user.into()),
        password: entry.password.unwrap_or_else(|| password.into()),
        identity_token: entry.identitytoken.unwrap_or_default(),
        ..cri::AuthConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    #[test]
    fn credentials_match_registry_and_path() {
        let config = serde_json::json!({"auths": {
            "reg.example.com": {"auth": BASE64_STANDARD.encode("u:p:q")},
            "https://reg.example.com/team/": {"username": "team", "password": "x"},
            "https://index.docker.io/v1/": {"username": "hub", "password": "y"},
            "*.wild.io": {"username": "w", "password": "z"}}});
        let secret = Secret {
            data: Some([(".dockerconfigjson".to_owned(), ByteString(config.to_string().into_bytes()))].into()),
            ..Secret::default()
        };
        let users =
            |image: &str| from_secret(&secret, image).into_iter().map(|a| a.username).collect::<Vec<_>>().join(" ");
        assert_eq!(users("reg.example.com/app:1"), "u");
        assert_eq!(users("reg.example.com/team/app:1"), "team u");
        assert_eq!(users("busybox"), "hub");
        assert_eq!(users("a.wild.io/x"), "w");
        assert_eq!(users("other.io/x"), "");
        assert_eq!(from_secret(&secret, "reg.example.com/a")[0].password, "p:q");
    }

    #[test]
    fn tags() {
        for (image, want) in
            [("a", "a:latest"), ("h:5000/a", "h:5000/a:latest"), ("a:1", "a:1"), ("a@sha256:00", "a@sha256:00")]
        {
            assert_eq!(with_tag(image), want);
        }
    }
}
