//! How often who may call. The buckets are of this process: with several replicas each grants its own. What has to hold
//! across replicas, the soft lock, is in the database.

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher as _, Hash, RandomState},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use governor::{Quota, RateLimiter, clock, middleware::NoOpMiddleware, state::keyed::HashMapStateStore};

use super::Ops;
use crate::{
    access::Caller,
    domain::{Clock, Error, Lockout, Lockouts, Rate, Reason, Result, SubjectKind, Tenant, Timestamp, Uid},
};

/// How often full buckets, which say nothing, are thrown away: after this many questions.
const TIDY_EVERY: u32 = 4_096;
/// Hints shorter than this would only make a client come back at once.
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// What a source may fail in all, at whatever subjects of a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureBudget {
    /// Failures a minute in the long run; 0 for no limit.
    pub per_minute: u32,
    /// Failures at once; at least 1.
    pub burst: u32,
}

impl FailureBudget {
    /// No limit.
    pub const OFF: Self = Self { per_minute: 0, burst: 1 };
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
    /// Failures of one source at all subjects of a tenant.
    pub failures: FailureBudget,
}

impl LimitOptions {
    pub(super) fn lockouts(&self) -> Lockouts {
        Lockouts { source: self.source, strangers: self.strangers }
    }
}

/// The buckets.
pub(super) struct Limits {
    options: LimitOptions,
    caller: Buckets,
    tenant: Buckets,
    target: Buckets,
    failures: Option<Arc<Budgets>>,
}

impl Limits {
    pub(super) fn new(options: &LimitOptions, clock: &Arc<dyn Clock>) -> Self {
        let buckets = |what| Buckets {
            what,
            clock: Passed::since_now(Arc::clone(clock)),
            hasher: RandomState::new(),
            by_rate: Mutex::default(),
        };
        Self {
            options: *options,
            caller: buckets("of this caller"),
            tenant: buckets("about this tenant"),
            target: buckets("about this subject"),
            failures: Budgets::new(options.failures, Passed::since_now(Arc::clone(clock))),
        }
    }

    /// Takes one failure of what a source may fail in all; it is given back where it was none.
    pub(super) fn take_failure(&self, tenant: &Uid, source: &str) -> Result<Option<Taken>> {
        self.failures.as_ref().map(|budgets| budgets.take(format!("{tenant} {source}"))).transpose()
    }
}

impl Ops {
    /// Takes a call of this caller.
    ///
    /// # Errors
    /// Rate limited, with a time to retry.
    pub fn limit_caller(&self, caller: &Caller) -> Result<()> {
        let limits = &self.limits;
        let rate = caller.limits.caller(limits.options.caller);
        limits.caller.take(rate, (&caller.tenant_uid, &caller.id))
    }

    /// Takes a call of somebody unknown, who is told apart by what is asked, of whom, and from where as far as that is
    /// known. The size is that of a caller's.
    pub(super) fn limit_anybody(&self, action: &str, about: &str, source: &str) -> Result<()> {
        let limits = &self.limits;
        limits.caller.take(limits.options.caller, ("?", action, about, source))
    }

    /// Takes a call about this tenant.
    pub(super) fn limit_tenant(&self, tenant: &Tenant) -> Result<()> {
        let limits = &self.limits;
        let rate = tenant.settings.limits.tenant(limits.options.tenant);
        limits.tenant.take(rate, &tenant.uid)
    }

    /// Takes a check or change of a subject's password, by whatever name it was asked for.
    pub(super) fn limit_target(&self, tenant: &Tenant, kind: SubjectKind, name: &str) -> Result<()> {
        let limits = &self.limits;
        let rate = tenant.settings.limits.target(limits.options.target);
        limits.target.take(rate, (&tenant.uid, kind, name))
    }
}

/// Buckets of one kind, by a digest of whose they are; of each size that is in use, for tenants may have sizes of their own.
struct Buckets {
    what: &'static str,
    clock: Passed,
    /// Nobody outside can tell whose digests are equal, and of any two they are once in 2^64.
    hasher: RandomState,
    by_rate: Mutex<HashMap<Rate, Arc<OneSize>>>,
}

impl Buckets {
    fn take(&self, rate: Rate, whose: impl Hash) -> Result<()> {
        let Some(per_second) = NonZeroU32::new(rate.per_second) else { return Ok(()) };
        let sized = {
            let mut by_rate = self.by_rate.lock().unwrap_or_else(PoisonError::into_inner);
            let new = || Arc::new(OneSize::new(per_second, rate.burst, &self.clock));
            Arc::clone(by_rate.entry(rate).or_insert_with(new))
        };
        if sized.questions.fetch_add(1, Ordering::Relaxed).is_multiple_of(TIDY_EVERY) {
            self.tidy();
        }
        sized
            .limiter
            .check_key(&self.hasher.hash_one(whose))
            .map_err(|not_until| limited(self.what, not_until.wait_time_from(clock::Clock::now(&self.clock))))
    }

    /// Throws full buckets away, and the sizes that no bucket is left of.
    fn tidy(&self) {
        let mut by_rate = self.by_rate.lock().unwrap_or_else(PoisonError::into_inner);
        by_rate.retain(|_, sized| {
            sized.limiter.retain_recent();
            !sized.limiter.is_empty() || Arc::strong_count(sized) > 1
        });
    }
}

/// Buckets of one size.
struct OneSize {
    limiter: RateLimiter<u64, HashMapStateStore<u64>, Passed, NoOpMiddleware<Duration>>,
    questions: AtomicU32,
}

impl OneSize {
    fn new(per_second: NonZeroU32, burst: u32, clock: &Passed) -> Self {
        let quota = Quota::per_second(per_second);
        let quota = NonZeroU32::new(burst).map_or(quota, |burst| quota.allow_burst(burst));
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { limiter, questions: AtomicU32::new(0) }
    }
}

fn limited(what: &str, wait: Duration) -> Error {
    let message = format!("too many calls {what}; try again later");
    Error::new(Reason::RateLimited, message).retry_after(wait.max(SHORTEST_RETRY))
}

/// What sources may fail. Not a bucket of `governor`'s: those take nothing back.
struct Budgets {
    /// How long it takes until one more may fail.
    each: Duration,
    /// How far a source may run ahead of that.
    ahead: Duration,
    clock: Passed,
    /// Until when each has used up what it has.
    used_until: Mutex<HashMap<String, Duration>>,
}

impl Budgets {
    fn new(budget: FailureBudget, clock: Passed) -> Option<Arc<Self>> {
        let each = Duration::from_mins(1).checked_div(budget.per_minute)?;
        let ahead = each.saturating_mul(budget.burst.saturating_sub(1));
        Some(Arc::new(Self { each, ahead, clock, used_until: Mutex::default() }))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Duration>> {
        self.used_until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, source: String) -> Result<Taken> {
        let now = clock::Clock::now(&self.clock);
        let mut used_until = self.lock();
        let until = used_until.get(&source).copied().unwrap_or(now).max(now);
        if let Some(wait) = until.checked_sub(now.saturating_add(self.ahead)).filter(|wait| !wait.is_zero()) {
            return Err(limited("with wrong passwords from this source", wait));
        }
        if used_until.len().is_multiple_of(TIDY_EVERY as usize) {
            used_until.retain(|_, until| *until > now);
        }
        used_until.insert(source.clone(), until.saturating_add(self.each));
        drop(used_until);
        Ok(Taken { budgets: Arc::clone(self), source, is_spent: false })
    }
}

/// One failure of a source's. Dropped, it is given back.
pub(super) struct Taken {
    budgets: Arc<Budgets>,
    source: String,
    is_spent: bool,
}

impl Taken {
    /// It was one.
    pub(super) fn spend(mut self) {
        self.is_spent = true;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_spent
            && let Some(until) = self.budgets.lock().get_mut(&self.source)
        {
            *until = until.saturating_sub(self.budgets.each);
        }
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
