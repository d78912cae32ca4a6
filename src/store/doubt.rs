//! Whether the database failed of late: then it is asked more closely whether it is well, and what comes back from it is
//! looked at.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// How long a failure is remembered: longer than anything that it may have left behind takes to end.
const LASTING: Duration = Duration::from_secs(30);

/// When it last failed. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Doubt(Arc<Mutex<Option<Instant>>>);

impl Doubt {
    /// It has just failed.
    pub(super) fn arise(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether it failed of late.
    pub(super) fn lasts(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|failed| failed.elapsed() < LASTING)
    }
}
