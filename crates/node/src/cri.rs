//! The CRI client: one method per call, each with a time limit. Knows the runtime's protocol and nothing of pods.

use std::collections::HashMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use k8s_cri::v1::{self as cri, ImageSpec};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Response, Status};

/// Answers may be this large: lists of all containers and images, output of ExecSync.
const MESSAGE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Calls that only read.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Calls that make or remove something, as the kubelet's runtime request timeout times two.
const WRITE_TIMEOUT: Duration = Duration::from_secs(240);
/// Past this a pull is given up; the kubelet relies on progress alone, we bound it.
const PULL_TIMEOUT: Duration = Duration::from_secs(3600);

/// A CRI call that failed; prints as the kubelet reports it in events.
#[derive(Debug, Clone, thiserror::Error)]
#[error("rpc error: code = {code:?} desc = {message}")]
pub struct CriError {
    /// Which call.
    pub call: &'static str,
    /// gRPC code.
    pub code: Code,
    /// The runtime's message.
    pub message: String,
}

impl CriError {
    /// Whether the thing is not there (any more).
    pub fn is_not_found(&self) -> bool {
        self.code == Code::NotFound
    }
}

type Result<T> = std::result::Result<T, CriError>;

/// A connection to the runtime that comes back by itself when the runtime does. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Cri {
    runtime: RuntimeServiceClient<Channel>,
    images: ImageServiceClient<Channel>,
}

async fn limited<T>(
    call: &'static str,
    limit: Duration,
    f: impl Future<Output = std::result::Result<Response<T>, Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, f).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CriError { call, code: status.code(), message: status.message().into() }),
        Err(_) => Err(CriError { call, code: Code::DeadlineExceeded, message: "context deadline exceeded".into() }),
    }
}

/// A label selector of one label.
fn label(name: &str, value: &str) -> HashMap<String, String> {
    HashMap::from([(name.into(), value.into())])
}

impl Cri {
    /// A client of the runtime at this socket; connects at the first call.
    pub fn connect(socket: &Path) -> Self {
        let socket: PathBuf = socket.into();
        // The URI is a formality: the connector below decides.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
            }));
        Self {
            runtime: RuntimeServiceClient::new(channel.clone()).max_decoding_message_size(MESSAGE_BYTES_MAX),
            images: ImageServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
        }
    }

    /// Name and version of the runtime.
    pub async fn version(&self) -> Result<cri::VersionResponse> {
        let request = cri::VersionRequest { version: "v1".into() };
        limited("Version", READ_TIMEOUT, self.runtime.clone().version(request)).await
    }

    /// Conditions of the runtime: RuntimeReady and NetworkReady.
    pub async fn status(&self) -> Result<cri::StatusResponse> {
        limited("Status", READ_TIMEOUT, self.runtime.clone().status(cri::StatusRequest { verbose: false })).await
    }

    /// Starts a sandbox and returns its id.
    pub async fn run_pod_sandbox(&self, config: cri::PodSandboxConfig, runtime_handler: String) -> Result<String> {
        let request = cri::RunPodSandboxRequest { config: Some(config), runtime_handler };
        Ok(limited("RunPodSandbox", WRITE_TIMEOUT, self.runtime.clone().run_pod_sandbox(request)).await?.pod_sandbox_id)
    }

    /// Stops a sandbox and takes down its network; idempotent.
    pub async fn stop_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        limited("StopPodSandbox", WRITE_TIMEOUT, self.runtime.clone().stop_pod_sandbox(request)).await.map(|_| ())
    }

    /// Removes a sandbox and its containers; idempotent.
    pub async fn remove_pod_sandbox(&self, id: &str) -> Result<()> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        limited("RemovePodSandbox", WRITE_TIMEOUT, self.runtime.clone().remove_pod_sandbox(request)).await.map(|_| ())
    }

    /// One sandbox in detail.
    pub async fn pod_sandbox_status(&self, id: &str) -> Result<cri::PodSandboxStatus> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let response =
            limited("PodSandboxStatus", READ_TIMEOUT, self.runtime.clone().pod_sandbox_status(request)).await?;
        Ok(response.status.unwrap_or_default())
    }

    /// Sandboxes of one pod, or all.
    pub async fn list_pod_sandboxes(&self, pod_uid: Option<&str>) -> Result<Vec<cri::PodSandbox>> {
        let filter = pod_uid.map(|uid| cri::PodSandboxFilter {
            label_selector: label(crate::names::POD_UID, uid),
            ..Default::default()
        });
        let request = cri::ListPodSandboxRequest { filter };
        Ok(limited("ListPodSandbox", READ_TIMEOUT, self.runtime.clone().list_pod_sandbox(request)).await?.items)
    }

    /// Containers of one pod, or all.
    pub async fn list_containers(&self, pod_uid: Option<&str>) -> Result<Vec<cri::Container>> {
        let filter = pod_uid.map(|uid| cri::ContainerFilter {
            label_selector: label(crate::names::POD_UID, uid),
            ..Default::default()
        });
        let request = cri::ListContainersRequest { filter };
        Ok(limited("ListContainers", READ_TIMEOUT, self.runtime.clone().list_containers(request)).await?.containers)
    }

    /// One container in detail.
    pub async fn container_status(&self, id: &str) -> Result<cri::ContainerStatus> {
        let request = cri::ContainerStatusRequest { container_id: id.into(), verbose: false };
        let response = limited("ContainerStatus", READ_TIMEOUT, self.runtime.clone().container_status(request)).await?;
        Ok(response.status.unwrap_or_default())
    }

    /// Makes a container and returns its id.
    pub async fn create_container(
        &self,
        sandbox: &str,
        config: cri::ContainerConfig,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let request = cri::CreateContainerRequest {
            pod_sandbox_id: sandbox.into(),
            config: Some(config),
            sandbox_config: Some(sandbox_config),
        };
        Ok(limited("CreateContainer", WRITE_TIMEOUT, self.runtime.clone().create_container(request))
            .await?
            .container_id)
    }

    /// Starts a container.
    pub async fn start_container(&self, id: &str) -> Result<()> {
        let request = cri::StartContainerRequest { container_id: id.into() };
        limited("StartContainer", WRITE_TIMEOUT, self.runtime.clone().start_container(request)).await.map(|_| ())
    }

    /// Stops a container: the stop signal, then SIGKILL after `grace_seconds`; idempotent.
    pub async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<()> {
        let request = cri::StopContainerRequest { container_id: id.into(), timeout: grace_seconds };
        let limit = WRITE_TIMEOUT + Duration::from_secs(grace_seconds.max(0).unsigned_abs());
        limited("StopContainer", limit, self.runtime.clone().stop_container(request)).await.map(|_| ())
    }

    /// Removes a container; idempotent.
    pub async fn remove_container(&self, id: &str) -> Result<()> {
        let request = cri::RemoveContainerRequest { container_id: id.into() };
        limited("RemoveContainer", WRITE_TIMEOUT, self.runtime.clone().remove_container(request)).await.map(|_| ())
    }

    /// Runs a command in a container; a command that takes longer than `limit` gives DeadlineExceeded.
    pub async fn exec_sync(&self, id: &str, cmd: Vec<String>, limit: Duration) -> Result<cri::ExecSyncResponse> {
        let timeout = i64::try_from(limit.as_secs()).unwrap_or(i64::MAX);
        let request = cri::ExecSyncRequest { container_id: id.into(), cmd, timeout };
        limited("ExecSync", limit.saturating_add(READ_TIMEOUT), self.runtime.clone().exec_sync(request)).await
    }

    /// URL of the runtime's streaming server for a command.
    pub async fn exec(&self, request: cri::ExecRequest) -> Result<String> {
        Ok(limited("Exec", READ_TIMEOUT, self.runtime.clone().exec(request)).await?.url)
    }

    /// URL of the runtime's streaming server for attaching.
    pub async fn attach(&self, request: cri::AttachRequest) -> Result<String> {
        Ok(limited("Attach", READ_TIMEOUT, self.runtime.clone().attach(request)).await?.url)
    }

    /// URL of the runtime's streaming server for port forwarding.
    pub async fn port_forward(&self, sandbox: &str, ports: Vec<i32>) -> Result<String> {
        let request = cri::PortForwardRequest { pod_sandbox_id: sandbox.into(), port: ports };
        Ok(limited("PortForward", READ_TIMEOUT, self.runtime.clone().port_forward(request)).await?.url)
    }

    /// Asks the runtime to reopen a container's log after it was moved away.
    pub async fn reopen_container_log(&self, id: &str) -> Result<()> {
        let request = cri::ReopenContainerLogRequest { container_id: id.into() };
        limited("ReopenContainerLog", WRITE_TIMEOUT, self.runtime.clone().reopen_container_log(request))
            .await
            .map(|_| ())
    }

    /// Usage of all containers.
    pub async fn list_container_stats(&self) -> Result<Vec<cri::ContainerStats>> {
        let request = cri::ListContainerStatsRequest { filter: None };
        Ok(limited("ListContainerStats", READ_TIMEOUT, self.runtime.clone().list_container_stats(request)).await?.stats)
    }

    /// Usage of all sandboxes.
    pub async fn list_pod_sandbox_stats(&self) -> Result<Vec<cri::PodSandboxStats>> {
        let request = cri::ListPodSandboxStatsRequest { filter: None };
        Ok(limited("ListPodSandboxStats", READ_TIMEOUT, self.runtime.clone().list_pod_sandbox_stats(request))
            .await?
            .stats)
    }

    /// The runtime's stream of container events; `Unimplemented` where it has none.
    pub async fn events(&self) -> Result<tonic::Streaming<cri::ContainerEventResponse>> {
        limited("GetContainerEvents", READ_TIMEOUT, self.runtime.clone().get_container_events(cri::GetEventsRequest {}))
            .await
    }

    /// All images.
    pub async fn list_images(&self) -> Result<Vec<cri::Image>> {
        let request = cri::ListImagesRequest { filter: None };
        Ok(limited("ListImages", READ_TIMEOUT, self.images.clone().list_images(request)).await?.images)
    }

    /// One image, if it is there.
    pub async fn image_status(&self, image: &str) -> Result<Option<cri::Image>> {
        let image = Some(ImageSpec { image: image.into(), ..Default::default() });
        let request = cri::ImageStatusRequest { image, verbose: false };
        Ok(limited("ImageStatus", READ_TIMEOUT, self.images.clone().image_status(request)).await?.image)
    }

    /// Pulls an image and returns what the runtime calls it.
    pub async fn pull_image(
        &self,
        image: &str,
        auth: Option<cri::AuthConfig>,
        sandbox_config: cri::PodSandboxConfig,
    ) -> Result<String> {
        let image = Some(ImageSpec { image: image.into(), ..Default::default() });
        let request = cri::PullImageRequest { image, auth, sandbox_config: Some(sandbox_config) };
        Ok(limited("PullImage", PULL_TIMEOUT, self.images.clone().pull_image(request)).await?.image_ref)
    }

    /// Removes an image; idempotent.
    pub async fn remove_image(&self, image: &str) -> Result<()> {
        let image = Some(ImageSpec { image: image.into(), ..Default::default() });
        let request = cri::RemoveImageRequest { image };
        limited("RemoveImage", WRITE_TIMEOUT, self.images.clone().remove_image(request)).await.map(|_| ())
    }

    /// Usage of the filesystem that images are on.
    pub async fn image_fs_info(&self) -> Result<cri::ImageFsInfoResponse> {
        limited("ImageFsInfo", READ_TIMEOUT, self.images.clone().image_fs_info(cri::ImageFsInfoRequest {})).await
    }
}
