//! Rotation, while everything serves: data keys are wrapped under the wrapping key that makes now, every tenant gets a new
//! data key, and what is sealed under older ones is sealed under that.
//!
//! It goes in small batches, and each row moves only as it was read; what it was sealed under stays in the database for
//! good. So at no moment is anything unreadable, whoever writes meanwhile; any number of processes may do it at once; and
//! one that is killed leaves nothing that the next call has to know of: a rotation is a number in the database, data keys
//! say which one made them, and what is left to do is what is there.
//!
//! Others remember for a while which data key seals for a tenant. So, before it ends, a rotation that made new ones
//! waits for them to forget, and looks once more; unless no other process was seen lately. What a program seals that
//! remembers for ever (one from before rotations) stays readable, and keeps the rotation from ending.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::Instant};

use super::{Call, Ops, for_the_platform};
use crate::{
    audit::{Outcome, Target},
    crypto::{DataKey, Place, ReplyPlace},
    domain::{Error, Reason, Result, Slot, Timestamp, Uid, WrappedKey},
    store::{KeyRotation, Renewed, ReplyKey, Resealed, Rewrapped, Sealed, SecretPlace},
};

/// Rows that one statement looks at.
const WINDOW: u64 = 1_000;
/// How often everything is looked through at most: each time but the first there is only what others did meanwhile.
const PASSES: u32 = 10;

/// How a rotation is to go.
#[derive(Clone, Copy, Debug)]
pub struct RotationOptions {
    /// Whether data keys are wrapped anew.
    pub wraps: bool,
    /// Whether tenants get new data keys.
    pub renews: bool,
    /// Rows in one transaction, at least one.
    pub batch: u32,
    /// Rows in a second at most; as fast as it goes where absent.
    pub per_second: Option<u32>,
    /// How long others may remember an older data key after new ones were made.
    pub settle: Duration,
}

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Data keys are wrapped anew.
    Wrapping,
    /// Tenants get new data keys.
    DataKeys,
    /// Secrets are sealed anew.
    Secrets,
    /// Earlier answers are sealed anew.
    Replies,
    /// Others forget older data keys; counted in seconds.
    Settling,
    /// It is over.
    Done,
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Which rotation it is.
    pub rotation: i64,
    /// What is being done.
    pub phase: Phase,
    /// How much of that is done; of the last phase, all that this call has moved.
    pub done: u64,
    /// How much of it there was when it began.
    pub total: u64,
    /// How much is left; of the last phase, what still hangs on older keys.
    pub remaining: u64,
    /// What of it cannot be opened, and stays as it is.
    pub unreadable: u64,
    /// How much of it is done in a second.
    pub per_second: f64,
}

/// A rotation that has begun.
#[derive(Debug)]
pub struct Rotation {
    state: KeyRotation,
    options: RotationOptions,
}

/// What one call does of a rotation.
struct Run<'a> {
    rotation: &'a Rotation,
    progress: &'a mpsc::Sender<Result<Progress>>,
    phase: Phase,
    total: u64,
    done: u64,
    unreadable: u64,
    began: Instant,
    /// In all phases.
    moved: u64,
}

/// Nobody hears of it any more, so it ends.
struct Unheard;

impl Run<'_> {
    fn begin(&mut self, phase: Phase, total: u64) {
        (self.phase, self.total, self.done, self.unreadable, self.began) = (phase, total, 0, 0, Instant::now());
    }

    /// Tells how far it is, and waits where it goes faster than it may.
    async fn report(&self, remaining: u64) -> Result<(), Unheard> {
        let elapsed = self.began.elapsed();
        let seconds = elapsed.as_secs_f64().max(0.001);
        #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
        let per_second = self.done as f64 / seconds;
        let (rotation, phase) = (self.rotation.state.number, self.phase);
        let (done, total, unreadable) = (self.done, self.total.max(self.done), self.unreadable);
        let progress = Progress { rotation, phase, done, total, remaining, unreadable, per_second };
        self.progress.send(Ok(progress)).await.map_err(|_closed| Unheard)
    }

    async fn step(&mut self, done: usize, moved: u64) -> Result<(), Unheard> {
        self.done += done as u64;
        self.moved += moved;
        self.report(self.total.saturating_sub(self.done)).await?;
        if let Some(per_second) = self.rotation.options.per_second.filter(|_| self.phase != Phase::Settling) {
            let due = Duration::from_secs_f64(
                f64::from(u32::try_from(self.done).unwrap_or(u32::MAX)) / f64::from(per_second.max(1)),
            );
            tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
        }
        Ok(())
    }

    fn batch(&self) -> usize {
        usize::try_from(self.rotation.options.batch.max(1)).unwrap_or(1)
    }

    /// Counts what cannot be opened; any other failure is the whole call's.
    fn skip<T>(&mut self, made: Result<T>, what: &str, id: &str) -> Result<Option<T>> {
        match made {
            Ok(made) => Ok(Some(made)),
            Err(error) if error.reason() == Reason::Internal => {
                tracing::error!(what, id, cause = ?error.cause(), "cannot be opened, and stays as it is");
                self.unreadable += 1;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// How a part of it ended: done, or unheard.
type Part<T> = Result<Result<T, Unheard>>;

/// Goes on where somebody still hears of it.
macro_rules! heard {
    ($part:expr) => {
        match $part {
            Ok(value) => value,
            Err(Unheard) => return Ok(Err(Unheard)),
        }
    };
}

impl Ops {
    /// Goes on with the rotation that is under way, or begins one, which is recorded.
    ///
    /// # Errors
    /// Permission missing (not a platform caller); unavailable.
    pub async fn begin_rotation(&self, call: &Call, options: RotationOptions) -> Result<Rotation> {
        self.audited(call, Target::None, async {
            for_the_platform(call)?;
            let (wraps, renews) = (options.wraps, options.renews);
            let parts = [(wraps, "data keys are wrapped anew"), (renews, "tenants get new data keys")];
            let parts: Vec<&str> = parts.into_iter().filter(|(is, _)| *is).map(|(_, what)| what).collect();
            let parts = if parts.is_empty() { "what is sealed under older keys" } else { &parts.join(", ") };
            let detail = format!("a rotation begins: {parts}");
            let record = call.record(self, Target::None, Outcome::Succeeded, None, detail);
            let state = self.store.begin_key_rotation(wraps, renews, self.now(), record).await?;
            Ok(Rotation { state, options })
        })
        .await
    }

    /// Does what is left of a rotation, as long as somebody hears of its progress.
    ///
    /// # Errors
    /// Unavailable; outcome unknown. What was done stays done, and the next call goes on.
    pub async fn rotate(
        &self,
        call: &Call,
        rotation: &Rotation,
        progress: &mpsc::Sender<Result<Progress>>,
    ) -> Result<()> {
        let (phase, began) = (Phase::Wrapping, Instant::now());
        let mut run = Run { rotation, progress, phase, total: 0, done: 0, unreadable: 0, began, moved: 0 };
        // Whoever no longer listens has the rest for the next call.
        self.audited(call, Target::None, async { self.work(call, &mut run).await.map(drop) }).await
    }

    async fn work(&self, call: &Call, run: &mut Run<'_>) -> Part<()> {
        let KeyRotation { number, wraps, renews } = run.rotation.state;
        if renews {
            heard!(self.renew_data_keys(run, number).await?);
        }
        // After that, so that what others made meanwhile is wrapped as well.
        let mut unreadable = 0;
        if wraps {
            unreadable += heard!(self.wrap_data_keys(run).await?);
        }
        let settle = run.rotation.options.settle;
        // What this process remembered it has forgotten already.
        let (now, replicas) = (self.now(), self.store.replicas().await?);
        let is_alone = replicas.iter().filter(|replica| replica.is_seen_lately(now)).count() <= 1;
        let mut is_settled = !renews || settle.is_zero() || is_alone;
        for _ in 0..PASSES {
            let (found, lost) = heard!(self.reseal(run).await?);
            let is_last = found == 0 && is_settled;
            if is_last {
                unreadable += lost;
                break;
            }
            if found == 0 {
                heard!(wait(run, settle).await);
                is_settled = true;
            }
        }
        let remaining = self.remaining(wraps).await?;
        // What cannot be opened by anybody is no reason to go on for ever.
        if remaining <= unreadable {
            let detail = format!("a rotation ends: {remaining} of what is under older keys cannot be opened");
            let record = call.record(self, Target::None, Outcome::Succeeded, None, detail);
            self.store.end_key_rotation(number, self.now(), record).await?;
        }
        let moved = run.moved;
        run.begin(Phase::Done, moved);
        (run.done, run.unreadable) = (moved, unreadable);
        heard!(run.report(remaining).await);
        Ok(Ok(()))
    }

    /// What still hangs on older keys.
    async fn remaining(&self, wraps: bool) -> Result<u64> {
        let census = self.store.key_census(self.now()).await?;
        let sealed = census.older_secrets + census.older_replies;
        let keyring = self.keyring();
        let primary =
            keyring.wrapping_key_ids().first().map(|id| census.uses.get(*id).map_or(0, |uses| uses.data_keys));
        let wrapped = census.data_keys + census.older_data_keys - primary.unwrap_or_default();
        Ok(sealed + if wraps { wrapped } else { 0 })
    }

    async fn renew_data_keys(&self, run: &mut Run<'_>, rotation: i64) -> Part<()> {
        run.begin(Phase::DataKeys, self.store.key_census(self.now()).await?.data_keys);
        let mut after = String::new();
        loop {
            let old = self.store.data_keys_before(rotation, &after, run.batch() as u64).await?;
            let Some(last) = old.last() else { return Ok(Ok(())) };
            after = last.tenant_uid.to_string();
            let count = old.len();
            let keyring = self.keyring();
            let mut new = Vec::with_capacity(count);
            for WrappedKey { id, tenant_uid, .. } in old {
                let key = DataKey::make(self.make_uid(self.now()), &*self.entropy);
                let wrapped = keyring.wrap(&key, &tenant_uid, &*self.entropy)?;
                keyring.unwrap(&wrapped)?;
                new.push(Renewed { old: id, new: wrapped });
            }
            let moved = match self.store.renew_data_keys(new.clone(), rotation, self.now()).await {
                // A tenant that is deleted at the same time must not be in the way of others.
                Err(error) if error.reason() == Reason::ConcurrentChange => {
                    let mut moved = 0;
                    for one in new.clone() {
                        match self.store.renew_data_keys(vec![one], rotation, self.now()).await {
                            Err(error) if error.reason() == Reason::ConcurrentChange => {}
                            done => moved += done?,
                        }
                    }
                    moved
                }
                done => done?,
            };
            for Renewed { new, .. } in new {
                self.data_keys.forget_primary(&new.tenant_uid);
            }
            heard!(run.step(count, moved).await);
        }
    }

    /// How many cannot be opened.
    async fn wrap_data_keys(&self, run: &mut Run<'_>) -> Part<u64> {
        let primary_of = |keys: &[&str]| keys.first().copied().unwrap_or_default().to_owned();
        let mut primary = primary_of(&self.keyring().wrapping_key_ids());
        let census = self.store.key_census(self.now()).await?;
        let uses = |id: &str| census.uses.get(id).map_or(0, |uses| uses.data_keys);
        run.begin(Phase::Wrapping, census.data_keys + census.older_data_keys - uses(&primary));
        'anew: loop {
            for old in self.store.wrapping_keys_in_use().await?.into_iter().filter(|id| *id != primary) {
                let mut after = String::new();
                loop {
                    let keys = self.store.data_keys_wrapped_by(&old, &after, run.batch() as u64).await?;
                    let Some(last) = keys.last() else { break };
                    after = last.id.to_string();
                    let count = keys.len();
                    // The keyring may be another by now, and what it no longer makes with may be retired.
                    let keyring = self.keyring();
                    let now = primary_of(&keyring.wrapping_key_ids());
                    if now != primary {
                        primary = now;
                        continue 'anew;
                    }
                    let mut moves = Vec::with_capacity(count);
                    for old in keys {
                        let new =
                            keyring.rewrap(&old, &*self.entropy).and_then(|new| keyring.unwrap(&new).map(|_| new));
                        moves.extend(run.skip(new, "data key", old.id.as_str())?.map(|new| Rewrapped { old, new }));
                    }
                    let done = self.store.rewrap(moves).await?;
                    heard!(run.step(count, done).await);
                }
            }
            return Ok(Ok(run.unreadable));
        }
    }

    /// Looks once through everything that is sealed: how much was under older keys and could be opened, and how much could
    /// not.
    async fn reseal(&self, run: &mut Run<'_>) -> Part<(u64, u64)> {
        let census = self.store.key_census(self.now()).await?;
        let mut keys = HashMap::new();
        let mut found = 0;

        run.begin(Phase::Secrets, census.older_secrets);
        let mut after = Some(String::new());
        while let Some(from) = after {
            let (secrets, end) = self.store.secrets_under_older_keys(&from, WINDOW).await?;
            let mut secrets = secrets.into_iter().peekable();
            while secrets.peek().is_some() {
                let batch: Vec<_> = secrets.by_ref().take(run.batch()).collect();
                let count = batch.len();
                let mut moves = Vec::with_capacity(count);
                for old in batch {
                    let new = self.reseal_secret(&mut keys, &old).await;
                    let new = run.skip(new, "secret", old.place.0.as_str())?;
                    moves.extend(new.map(|(key_id, payload)| Resealed { old, key_id, payload }));
                }
                found += moves.len() as u64;
                let done = self.store.reseal_secrets(moves).await?;
                heard!(run.step(count, done).await);
            }
            after = end;
        }
        let mut unreadable = run.unreadable;

        run.begin(Phase::Replies, census.older_replies);
        let mut after = Some(self.now());
        while let Some(from) = after {
            let (replies, end) = self.store.replies_under_older_keys(from, WINDOW).await?;
            let mut replies = replies.into_iter().peekable();
            while replies.peek().is_some() {
                let batch: Vec<_> = replies.by_ref().take(run.batch()).collect();
                let count = batch.len();
                let mut moves = Vec::with_capacity(count);
                for old in batch {
                    let new = self.reseal_reply(&mut keys, &old).await;
                    let new = run.skip(new, "answer", &old.place.request_id)?;
                    moves.extend(new.map(|(key_id, payload)| Resealed { old, key_id, payload }));
                }
                found += moves.len() as u64;
                let done = self.store.reseal_replies(moves).await?;
                heard!(run.step(count, done).await);
            }
            after = end;
        }
        unreadable += run.unreadable;
        Ok(Ok((found, unreadable)))
    }

    async fn reseal_secret(
        &self,
        keys: &mut HashMap<Uid, Arc<DataKey>>,
        old: &Sealed<SecretPlace>,
    ) -> Result<(String, Vec<u8>)> {
        let (subject, slot, stored, version) = &old.place;
        let unknown = || Error::internal(format!("a secret in the slot {stored}, which is unknown here"));
        let slot: &Slot = slot.as_ref().ok_or_else(unknown)?;
        let place = Place { tenant: &old.tenant_uid, subject, slot, version: *version };
        let from = self.data_keys.by_id(&old.tenant_uid, &old.key_id).await?;
        let key = self.sealing(keys, &old.tenant_uid).await?;
        Ok((key.id().to_string(), key.take_over(&from, place, &old.payload, &*self.entropy)?))
    }

    async fn reseal_reply(
        &self,
        keys: &mut HashMap<Uid, Arc<DataKey>>,
        old: &Sealed<ReplyKey>,
    ) -> Result<(String, Vec<u8>)> {
        let ReplyKey { caller, request_id, digest, expire_time } = &old.place;
        let expire_time: Timestamp = *expire_time;
        let place = ReplyPlace { tenant: &old.tenant_uid, caller, request_id, digest, expire_time };
        let from = self.data_keys.by_id(&old.tenant_uid, &old.key_id).await?;
        let key = self.sealing(keys, &old.tenant_uid).await?;
        Ok((key.id().to_string(), key.take_over_reply(&from, place, &old.payload, &*self.entropy)?))
    }

    /// The key that seals for a tenant, asked for once in a pass.
    async fn sealing(&self, keys: &mut HashMap<Uid, Arc<DataKey>>, tenant: &Uid) -> Result<Arc<DataKey>> {
        if let Some(key) = keys.get(tenant) {
            return Ok(Arc::clone(key));
        }
        let key = self.data_keys.primary_now(tenant).await?;
        keys.insert(tenant.clone(), Arc::clone(&key));
        Ok(key)
    }
}

/// Waits until others have forgotten which data keys sealed before, and tells how long it still takes.
async fn wait(run: &mut Run<'_>, settle: Duration) -> Result<(), Unheard> {
    run.begin(Phase::Settling, settle.as_secs());
    loop {
        let elapsed = run.began.elapsed();
        run.done = elapsed.as_secs().min(run.total);
        run.report(settle.saturating_sub(elapsed).as_secs()).await?;
        if elapsed >= settle {
            return Ok(());
        }
        tokio::time::sleep(settle.saturating_sub(elapsed).min(Duration::from_secs(1))).await;
    }
}
