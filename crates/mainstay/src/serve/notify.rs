//! Telling whoever started us how far we are: systemd's notification protocol, which `mainstay up` speaks too.

use sd_notify::NotifyState;

/// A line for people, such as `starting containerd`.
pub fn status(text: &str) {
    tracing::info!("{text}");
    send(&[NotifyState::Status(text)]);
}

/// The server is usable.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// The server drains.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

fn send(state: &[NotifyState<'_>]) {
    // Nobody may be listening; then there is nobody to tell.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify the service manager");
    }
}
