//! Being told to stop: SIGTERM or SIGINT once to drain, twice to end at once.

use std::time::Duration;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};
use tracing::{info, warn};

use super::failure::{Exit, Failure};

/// What a drain may take beyond its own bound before the process ends all the same.
const GRACE: Duration = Duration::from_secs(2);

/// SIGHUP, which does not end the process from now on.
pub(super) fn hangup() -> Result<Signal, Failure> {
    signal(SignalKind::hangup()).map_err(|cause| Failure::new(Exit::Failed, format!("cannot take signals: {cause}")))
}

/// The signals.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    /// Takes the signals over.
    pub(super) fn listen() -> Result<Self, Failure> {
        let take =
            |kind| signal(kind).map_err(|cause| Failure::new(Exit::Failed, format!("cannot take signals: {cause}")));
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    /// Waits to be told.
    pub(super) async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits to be told, then for `drain` to end within its bound.
    pub(super) async fn then(mut self, bound: Duration, drain: impl Future<Output = ()>) -> Result<(), Failure> {
        self.asked().await;
        info!(within_s = bound.as_secs(), "stopping");
        tokio::select! {
            ended = timeout(bound + GRACE, drain) => {
                if ended.is_err() {
                    warn!("stopped with calls still running");
                }
                Ok(())
            }
            () = self.asked() => Err(Failure::new(Exit::Failed, "told twice to stop: ended with calls still running")),
        }
    }
}
