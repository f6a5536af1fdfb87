//! Container logs: the runtime's files, from any line on, and followed by notifications of the kernel as they grow and
//! are rotated. Parsing is pure.

use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use tokio::io::{AsyncBufReadExt, AsyncSeekExt, BufReader};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::route::{self, Query};
use super::{Body, Kubelet, text};
use crate::pod::spec;
use crate::pod::status::display_reason;
use crate::pod::view::{self, PodView, State};
use crate::watchfile::FileWatch;

/// Chunks on their way to a slow reader; beyond, the file is not read further.
const CHUNKS_MAX: usize = 16;
/// A chunk is sent when it has this size, or there is nothing more to read.
const CHUNK_BYTES: usize = 32 * 1024;
/// Looking backwards for the last lines goes in steps of this size.
const TAIL_STEP_BYTES: u64 = 64 * 1024;

/// What of a log is wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    follow: bool,
    timestamps: bool,
    previous: bool,
    tail: Option<usize>,
    limit_bytes: Option<usize>,
    since: Option<DateTime<Utc>>,
}

fn options(query: &Query, now: DateTime<Utc>) -> Result<Options, String> {
    let number = |name: &str| -> Result<Option<i64>, String> {
        query
            .get(name)
            .filter(|v| !v.is_empty())
            .map(|v| v.parse::<i64>().map_err(|_| format!("invalid {name}: {v}")))
            .transpose()
    };
    // Longer ago than there are times is since ever.
    let ago = |s: i64| chrono::Duration::try_seconds(s).and_then(|s| now.checked_sub_signed(s));
    let since_seconds = number("sinceSeconds")?.and_then(ago);
    let since_time = query
        .get("sinceTime")
        .filter(|v| !v.is_empty())
        .map(|v| DateTime::parse_from_rfc3339(v).map(|t| t.to_utc()).map_err(|e| e.to_string()));
    Ok(Options {
        follow: query.flag("follow"),
        timestamps: query.flag("timestamps"),
        previous: query.flag("previous"),
        tail: number("tailLines")?.and_then(|n| usize::try_from(n).ok()),
        limit_bytes: number("limitBytes")?.and_then(|n| usize::try_from(n).ok()),
        since: since_seconds.or(since_time.transpose()?),
    })
}

/// Answers a request for a container's log.
pub async fn answer(
    kubelet: &Arc<Kubelet>,
    namespace: &str,
    name: &str,
    container: &str,
    query: &Query,
) -> Response<Body> {
    let pod = match route::find_container(kubelet, namespace, name, container) {
        Ok(pod) => pod,
        Err(answer) => return *answer,
    };
    let options = match options(query, Utc::now()) {
        Ok(options) => options,
        Err(error) => return text(StatusCode::BAD_REQUEST, error),
    };
    let view = match PodView::read(&kubelet.agent.cri, spec::uid(&pod)).await {
        Ok(view) => view,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let chosen = match choose(&view, &pod, container, options.previous) {
        Ok(chosen) => chosen.clone(),
        Err(message) => return text(StatusCode::BAD_REQUEST, message),
    };
    let (tx, rx) = mpsc::channel(CHUNKS_MAX);
    let reader = Reader {
        kubelet: kubelet.clone(),
        uid: spec::uid(&pod).into(),
        container: chosen,
        options,
        out: tx,
        buffer: Vec::new(),
        sent: 0,
    };
    tokio::spawn(async move {
        if let Err(error) = reader.run().await {
            tracing::debug!(%error, "log not read to its end");
        }
    });
    let frames =
        futures::StreamExt::map(ReceiverStream::new(rx), |chunk: std::io::Result<Bytes>| chunk.map(Frame::data));
    let mut response = Response::new(StreamBody::new(frames).boxed());
    response.headers_mut().insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    response
}

/// The container whose log is meant: the newest one that ran, or the one before it.
fn choose<'v>(
    view: &'v PodView,
    pod: &k8s_openapi::api::core::v1::Pod,
    container: &str,
    previous: bool,
) -> Result<&'v view::Container, String> {
    let name = spec::name(pod);
    let mut ran = view.containers.iter().filter(|c| c.name == container && c.state != State::Created);
    if previous {
        let newest_exited = view.newest(container).is_some_and(|c| matches!(c.state, State::Exited { .. }));
        let waiting = display_reason(pod, container).is_some();
        // A container that waits for its restart is itself the previous one.
        let found = if newest_exited && waiting { ran.next() } else { ran.nth(1) };
        return found
            .ok_or_else(|| format!("previous terminated container \"{container}\" in pod \"{name}\" not found"));
    }
    ran.next().ok_or_else(|| {
        let reason = display_reason(pod, container).unwrap_or_else(|| "ContainerCreating".into());
        match reason.as_str() {
            "ErrImagePull" | "ImagePullBackOff" | "ErrImageNeverPull" | "InvalidImageName" | "ImageInspectError" => {
                format!(
                    "container \"{container}\" in pod \"{name}\" is waiting to start: trying and failing to pull image"
                )
            }
            _ => format!("container \"{container}\" in pod \"{name}\" is waiting to start: {reason}"),
        }
    })
}

struct Reader {
    kubelet: Arc<Kubelet>,
    uid: String,
    container: view::Container,
    options: Options,
    out: mpsc::Sender<std::io::Result<Bytes>>,
    buffer: Vec<u8>,
    sent: usize,
}

impl Reader {
    async fn run(mut self) -> std::io::Result<()> {
        let path = PathBuf::from(&self.container.log_path);
        let mut watch = None;
        if self.options.follow {
            let mut files = FileWatch::new(&path).map_err(std::io::Error::other)?;
            if let Some(dir) = path.parent() {
                files.add(dir).map_err(std::io::Error::other)?;
            }
            watch = Some(files);
        }
        let start = match self.options.tail {
            Some(lines) => tail_offset(&path, lines)?,
            None => 0,
        };
        let mut file = BufReader::new(tokio::fs::File::open(&path).await?);
        file.seek(SeekFrom::Start(start)).await?;
        let mut status = self.kubelet.manager.watch_status(&self.uid);
        let mut line = Vec::new();
        let mut ended = !self.options.follow || self.container.state != State::Running;
        loop {
            // An incomplete line stays in `line` until the rest of it was written.
            while file.read_until(b'\n', &mut line).await? > 0 && line.last() == Some(&b'\n') {
                if !self.take(&line).await {
                    return Ok(());
                }
                line.clear();
            }
            if !self.flush().await || ended {
                return Ok(());
            }
            if let Some(next) = rotated(&path, file.get_ref()).await {
                file = BufReader::new(next);
                line.clear();
                if let Some(files) = &mut watch {
                    files.add(&path).map_err(std::io::Error::other)?;
                }
                continue;
            }
            let Some(files) = &mut watch else { return Ok(()) };
            tokio::select! {
                () = files.changed() => {}
                () = self.out.closed() => return Ok(()),
                () = async { match &mut status { Some(s) => drop(s.changed().await), None => std::future::pending().await } } => {
                    // What was written last is read once more.
                    ended = self.has_ended().await;
                    if status.as_ref().is_some_and(|s| s.has_changed().is_err()) {
                        status = None;
                    }
                }
            }
        }
    }

    async fn has_ended(&self) -> bool {
        let status = self.kubelet.agent.cri.container_status(&self.container.id).await;
        !status.is_ok_and(|s| s.state == k8s_cri::v1::ContainerState::ContainerRunning as i32)
    }

    /// Takes one line in; `false` if no more are wanted.
    async fn take(&mut self, line: &[u8]) -> bool {
        let Some(entry) = parse(line) else { return true };
        if self.options.since.is_some_and(|since| entry.time().is_some_and(|t| t < since)) {
            return true;
        }
        if self.options.timestamps {
            self.buffer.extend_from_slice(entry.timestamp);
            self.buffer.push(b' ');
        }
        self.buffer.extend_from_slice(entry.text);
        if !entry.partial {
            self.buffer.push(b'\n');
        }
        let limit_reached = self.options.limit_bytes.is_some_and(|limit| self.sent + self.buffer.len() >= limit);
        if limit_reached || self.buffer.len() >= CHUNK_BYTES {
            return self.flush().await && !limit_reached;
        }
        true
    }

    async fn flush(&mut self) -> bool {
        if let Some(limit) = self.options.limit_bytes {
            self.buffer.truncate(limit.saturating_sub(self.sent));
        }
        if self.buffer.is_empty() {
            return !self.out.is_closed();
        }
        self.sent += self.buffer.len();
        self.out.send(Ok(std::mem::take(&mut self.buffer).into())).await.is_ok()
    }
}

/// The file now at `path`, if it is another one than the one being read.
async fn rotated(path: &Path, current: &tokio::fs::File) -> Option<tokio::fs::File> {
    use std::os::unix::fs::MetadataExt;
    let fresh = tokio::fs::metadata(path).await.ok()?;
    let known = current.metadata().await.ok()?;
    if fresh.ino() == known.ino() { None } else { tokio::fs::File::open(path).await.ok() }
}

/// A line of the CRI log format: `timestamp stream tags text`.
#[derive(Debug, PartialEq, Eq)]
struct Entry<'a> {
    timestamp: &'a [u8],
    partial: bool,
    text: &'a [u8],
}

impl Entry<'_> {
    fn time(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(std::str::from_utf8(self.timestamp).ok()?).ok().map(|t| t.to_utc())
    }
}

/// Reads a query for a log; for `crate::fuzz`.
pub fn read_options(query: &str) {
    drop(options(&Query::parse(Some(query)), DateTime::default()));
}

/// Reads a line of a log; for `crate::fuzz`.
pub fn read_line(line: &[u8]) {
    let Some(entry) = parse(line) else { return };
    assert!(entry.timestamp.len() + entry.text.len() < line.len());
    entry.time();
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |b| *b == b' ');
    let (timestamp, _stream, tags) = (parts.next()?, parts.next()?, parts.next()?);
    let partial = tags.split(|b| *b == b':').next() == Some(b"P");
    Some(Entry { timestamp, partial, text: parts.next().unwrap_or_default() })
}

/// Where the last `lines` lines of a file begin.
fn tail_offset(path: &Path, lines: usize) -> std::io::Result<u64> {
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    if lines == 0 {
        return Ok(length);
    }
    let (mut end, mut seen) = (length, 0);
    let mut buffer = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(TAIL_STEP_BYTES);
        buffer.resize(usize::try_from(end - start).unwrap_or(0), 0);
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut buffer)?;
        for (i, _) in buffer.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
            let at = start + i as u64;
            // The newline that ends the file ends the last line, it does not begin one.
            if at + 1 == length {
                continue;
            }
            seen += 1;
            if seen == lines {
                return Ok(at + 1);
            }
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_runtime() {
        let e = parse(b"2026-01-01T00:00:00.5Z stdout F hello  you\n").unwrap();
        assert_eq!((e.text, e.partial), (&b"hello  you"[..], false));
        assert_eq!(e.time().unwrap().timestamp_millis(), 1_767_225_600_500);
        assert!(parse(b"2026-01-01T00:00:00Z stderr P part\n").unwrap().partial);
        assert_eq!(parse(b"2026-01-01T00:00:00Z stderr F\n").unwrap().text, b"");
        assert_eq!(parse(b"garbage"), None);
    }

    #[test]
    fn tails() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a\nbb\nccc\n").unwrap();
        for (lines, offset) in [(0, 9), (1, 5), (2, 2), (3, 0), (9, 0)] {
            assert_eq!(tail_offset(file.path(), lines).unwrap(), offset, "{lines}");
        }
    }

    #[test]
    fn parameters() {
        let now = DateTime::from_timestamp(1000, 0).unwrap();
        let parsed =
            options(&Query::parse(Some("follow=true&tailLines=5&sinceSeconds=10&limitBytes=7&timestamps=true")), now)
                .unwrap();
        let want = Options {
            follow: true,
            timestamps: true,
            previous: false,
            tail: Some(5),
            limit_bytes: Some(7),
            since: DateTime::from_timestamp(990, 0),
        };
        assert_eq!(parsed, want);
        assert!(options(&Query::parse(Some("tailLines=x")), now).is_err());
        for long_ago in ["9223372036854775807", "9223372036854775", "99999999999999"] {
            let query = Query::parse(Some(&format!("sinceSeconds={long_ago}")));
            assert_eq!(options(&query, now), Ok(Options::default()), "{long_ago}");
        }
    }
}
