//! containerd's own event stream, for versions whose CRI has none (before 1.7): tells when a container's process starts
//! or ends. Knows three messages of containerd's event service and nothing of pods.

use hyper_util::rt::TokioIo;
use std::path::Path;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

/// The namespace that the CRI plugin keeps its containers in.
const NAMESPACE: &str = "k8s.io";

#[derive(Clone, PartialEq, prost::Message)]
struct SubscribeRequest {
    #[prost(string, repeated, tag = "1")]
    filters: Vec<String>,
}

/// An event in its envelope.
#[derive(Clone, PartialEq, prost::Message)]
struct Envelope {
    #[prost(string, tag = "2")]
    namespace: String,
    #[prost(string, tag = "3")]
    topic: String,
    #[prost(message, optional, tag = "4")]
    event: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// The start of `TaskExit`, of which more is not needed.
#[derive(Clone, PartialEq, prost::Message)]
struct TaskExit {
    #[prost(string, tag = "1")]
    container_id: String,
    #[prost(string, tag = "2")]
    id: String,
}

/// Exits of containers (and of sandboxes, which are containers too).
pub struct Exits(Streaming<Envelope>);

impl Exits {
    /// Subscribes at a containerd; an error where the runtime is another one.
    pub async fn subscribe(socket: &Path) -> Result<Self, Status> {
        let socket = socket.to_path_buf();
        let channel: Channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let socket = socket.clone();
                async move { tokio::net::UnixStream::connect(socket).await.map(TokioIo::new) }
            }));
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
        let filters = vec![format!("topic==\"/tasks/exit\",namespace==\"{NAMESPACE}\"")];
        let mut request = Request::new(SubscribeRequest { filters });
        request.metadata_mut().insert("containerd-namespace", tonic::metadata::MetadataValue::from_static(NAMESPACE));
        let path = http::uri::PathAndQuery::from_static("/containerd.services.events.v1.Events/Subscribe");
        let response =
            client.server_streaming(request, path, ProstCodec::<SubscribeRequest, Envelope>::default()).await?;
        Ok(Self(response.into_inner()))
    }

    /// Id of the next container whose main process ended; `None` when the stream ends.
    pub async fn next(&mut self) -> Result<Option<String>, Status> {
        while let Some(envelope) = self.0.message().await? {
            let Some(event) = envelope.event else { continue };
            let Ok(exit) = <TaskExit as prost::Message>::decode(event.value.as_slice()) else { continue };
            // Commands that were executed in the container end too; their id is another one.
            if exit.id == exit.container_id {
                return Ok(Some(exit.container_id));
            }
        }
        Ok(None)
    }
}
