//! How often who may call. The buckets are of this process: with several replicas each grants its own. What has to hold
//! across replicas, the soft lock, is in the database.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};

use super::Ops;
use crate::{
    access::Caller,
    domain::{Clock, Error, Lockout, Reason, Result, SubjectKind, Timestamp, Uid},
    store::Lockouts,
};

/// How often full buckets, which say nothing, are thrown away: after this many questions.
const TIDY_EVERY: u32 = 4_096;
/// Hints shorter than this would only make a client come back at once.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second in the long run; 0 for no limit.
    pub per_second: u32,
    /// Calls at once; at least 1.
    pub burst: u32,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { per_second: 0, burst: 1 };
}

/// What callers and guessers are held to.
#[derive(Clone, Copy, Debug)]
pub struct LimitOptions {
    /// What failed attempts of one source at one subject lead to.
    pub source: Lockout,
    /// What failed attempts of all strangers together at one subject lead to.
    pub strangers: Lockout,
    /// Calls of one caller.
    pub caller: Rate,
    /// Calls about one tenant.
    pub tenant: Rate,
    /// Checks and changes of one subject's password.
    pub target: Rate,
}

impl LimitOptions {
    pub(super) fn lockouts(&self) -> Lockouts {
        Lockouts { source: self.source, strangers: self.strangers }
    }
}

/// The buckets.
pub(super) struct Limits {
    caller: Option<Buckets>,
    tenant: Option<Buckets>,
    target: Option<Buckets>,
}

impl Limits {
    pub(super) fn new(options: &LimitOptions, clock: &Arc<dyn Clock>) -> Self {
        let buckets = |rate: Rate, what| Buckets::new(rate, what, Arc::clone(clock));
        Self {
            caller: buckets(options.caller, "of this caller"),
            tenant: buckets(options.tenant, "about this tenant"),
            target: buckets(options.target, "about this subject"),
        }
    }
}

impl Ops {
    /// Takes a call of this caller.
    ///
    /// # Errors
    /// Rate limited, with a time to retry.
    pub fn limit_caller(&self, caller: &Caller) -> Result<()> {
        match &self.limits.caller {
            Some(buckets) => buckets.take(&format!("{} {}", caller.tenant_uid, caller.id)),
            None => Ok(()),
        }
    }

    /// Takes a call of somebody unknown, who is told apart by what is asked, of whom, and from where as far as that is
    /// known. The size is that of a caller's.
    pub(super) fn limit_anybody(&self, action: &str, about: &str, source: &str) -> Result<()> {
        match &self.limits.caller {
            Some(buckets) => buckets.take(&format!("? {action} {about} {source}")),
            None => Ok(()),
        }
    }

    /// Takes a call about this tenant.
    pub(super) fn limit_tenant(&self, tenant: &Uid) -> Result<()> {
        match &self.limits.tenant {
            Some(buckets) => buckets.take(tenant.as_str()),
            None => Ok(()),
        }
    }

    /// Takes a check or change of a subject's password, by whatever name it was asked for.
    pub(super) fn limit_target(&self, tenant: &Uid, kind: SubjectKind, name: &str) -> Result<()> {
        match &self.limits.target {
            Some(buckets) => buckets.take(&format!("{tenant} {} {name}", kind.as_str())),
            None => Ok(()),
        }
    }
}

/// Buckets of one size, by key.
struct Buckets {
    limiter: RateLimiter<String, HashMapStateStore<String>, Passed, NoOpMiddleware<Duration>>,
    clock: Passed,
    what: &'static str,
    questions: AtomicU32,
}

impl Buckets {
    fn new(rate: Rate, what: &'static str, clock: Arc<dyn Clock>) -> Option<Self> {
        let quota = Quota::per_second(NonZeroU32::new(rate.per_second)?);
        let quota = NonZeroU32::new(rate.burst).map_or(quota, |burst| quota.allow_burst(burst));
        let clock = Passed::since_now(clock);
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Some(Self { limiter, clock, what, questions: AtomicU32::new(0) })
    }

    fn take(&self, key: &str) -> Result<()> {
        if self.questions.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            self.limiter.retain_recent();
        }
        self.limiter.check_key(&key.to_owned()).map_err(|not_until| {
            let wait = not_until.wait_time_from(clock::Clock::now(&self.clock)).max(SHORTEST_RETRY);
            Error::new(Reason::RateLimited, format!("too many calls {}; try again later", self.what)).retry_after(wait)
        })
    }
}

/// The time that has passed by our clock. Where that is set back, nothing has passed: buckets go on as they were.
#[derive(Clone)]
struct Passed {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<(Timestamp, Duration)>>,
}

impl Passed {
    fn since_now(clock: Arc<dyn Clock>) -> Self {
        // Not from nothing: a bucket's past has to fit in before its beginning.
        let state = (clock.now(), Duration::from_hours(24));
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }
}

impl clock::Clock for Passed {
    type Instant = Duration;

    fn now(&self) -> Duration {
        let now = self.clock.now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, passed) = *state;
        let passed = if now > last { passed.saturating_add(now.distance(last)) } else { passed };
        *state = (now, passed);
        passed
    }
}

impl fmt::Debug for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passed")
    }
}
