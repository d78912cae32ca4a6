//! When a call's change is written, and how a repetition gets the answer that was given before.
//!
//! A use case decides a change and hands it to [`Ops::commit`], which is the one door to the store's changes. What comes
//! of it depends on the request:
//! - without `request_id` it is written **at once**;
//! - with one it is written **with its answer**. `commit` only keeps it in the call; the use case goes on and returns what
//!   will be; the api encodes the answer; then the sealed answer, the change and its audit record are written, in this
//!   order and in one transaction ([`Ops::conclude`]);
//! - with `validate_only` it is **not written**.
//!
//! Why an answer that was made before its change is true: a change is of one version of one subject, which only it can
//! leave (`SubjectChange::foresee`), or makes something that is not there; if anything is otherwise, nothing is written
//! and nobody sees the answer. Why a request is done once: its answer's key (tenant, caller, request id) is unique, and
//! taken before anything else in the transaction, on whichever replica; who comes second has done nothing and reads the
//! first one's answer. Why a crash or a lost connection leaves no half: there is one transaction. A failed call wrote no
//! answer, so that its repetition is tried anew.
//!
//! Where another change came first, the whole call is decided anew, unless it says [`Call::once`].
//!
//! So nothing may tell of a change before `commit`'s future for it has run: what must follow a change (an invalidated
//! cache) belongs into the future, a record that follows it goes through [`Ops::follow`].
//!
//! Who may have an answer again: the caller who got it, for the same method with the same content, which a keyed digest
//! tells; in the database it is sealed under the caller's tenant's key, for that caller, request, digest and time alone.

use std::{
    collections::HashMap,
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, mpsc};
use zeroize::Zeroizing;

use super::{ATTEMPTS, Call, Ops, name_field};
use crate::{
    access::{Caller, ProofKind},
    audit::{Outcome, Record, Wait},
    crypto::ReplyPlace,
    domain::{Clock, Error, Reason, Result, Timestamp, Uid},
    store::{Reply, Store},
};

/// How long an answer is given again.
const WINDOW: Duration = Duration::from_hours(24);
/// How often answers whose time is over are deleted.
const SWEEP_EVERY: Duration = Duration::from_mins(10);
/// Requests with an id that are worked on before those that have ended are forgotten.
const TIDY_AT: usize = 1_024;

/// Fields of a request by the columns that the store names.
pub(super) type Names<'a> = &'a [(&'static str, &'static str)];

type Writing = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// When a call's change is written.
#[derive(Clone, Debug, Default)]
pub(super) enum Effect {
    /// As soon as it is decided.
    #[default]
    AtOnce,
    /// Together with the answer.
    WithAnswer(Arc<Mutex<Pending>>),
    /// Never.
    Nothing,
}

/// What a call has decided and not written.
#[derive(Debug, Default)]
pub(super) struct Pending {
    staged: Option<Staged>,
    /// Whether it must not be decided anew where another change comes first.
    once: bool,
}

/// A change that waits for its answer.
struct Staged {
    record: Record,
    write: Box<dyn FnOnce(Store, Record) -> Writing + Send>,
    names: Vec<(&'static str, &'static str)>,
    /// What is recorded after it.
    after: Vec<Record>,
}

impl fmt::Debug for Staged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staged").field("record", &self.record.uid).finish_non_exhaustive()
    }
}

impl Call {
    /// The same call, but one that changes nothing.
    #[must_use]
    pub fn validating(&self) -> Self {
        Self { effect: Effect::Nothing, ..self.clone() }
    }

    /// The same call, but one whose change waits for its answer.
    fn waiting(&self) -> Self {
        Self { effect: Effect::WithAnswer(Arc::default()), ..self.clone() }
    }

    /// Whether it changes nothing.
    pub(super) fn validates(&self) -> bool {
        matches!(self.effect, Effect::Nothing)
    }

    /// Keeps a call that waits for its answer from being decided anew where another change comes first.
    pub(super) fn once(&self) {
        if let Some(mut pending) = self.pending() {
            pending.once = true;
        }
    }

    /// Whether its changes wait for their answers.
    pub(super) fn waits(&self) -> bool {
        matches!(self.effect, Effect::WithAnswer(_))
    }

    fn pending(&self) -> Option<MutexGuard<'_, Pending>> {
        match &self.effect {
            Effect::WithAnswer(pending) => Some(lock(pending)),
            Effect::AtOnce | Effect::Nothing => None,
        }
    }
}

/// Names a field in the error of a change that was written, or of one that still waits.
pub(super) fn named<T>(call: &Call, written: Result<T>, names: Names<'_>) -> Result<T> {
    let written = written.map_err(|error| name_field(error, names))?;
    if let Some(mut pending) = call.pending()
        && let Some(staged) = &mut pending.staged
    {
        staged.names = names.to_vec();
    }
    Ok(written)
}

/// Whose request, which, and what it asks for.
struct Key<'a> {
    tenant: &'a Uid,
    caller: String,
    request_id: &'a str,
    action: &'static str,
    content: &'a [u8],
}

impl Key<'_> {
    /// What the digest covers: all of it, so that the same request of two callers has two digests.
    fn parts(&self) -> [&[u8]; 5] {
        [
            self.tenant.as_str().as_bytes(),
            self.caller.as_bytes(),
            self.request_id.as_bytes(),
            self.action.as_bytes(),
            self.content,
        ]
    }
}

/// A request that has an id, on its way to its answer.
pub struct Repeatable<'a> {
    key: Key<'a>,
    call: Call,
    earlier: Option<Zeroizing<Vec<u8>>>,
    attempt: u32,
    _turn: OwnedMutexGuard<()>,
}

impl Repeatable<'_> {
    /// The answer that was given before, if any.
    pub fn take_earlier(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        self.earlier.take()
    }

    /// The call that is to be worked on.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }
}

impl fmt::Debug for Repeatable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repeatable").field("request_id", &self.key.request_id).finish_non_exhaustive()
    }
}

impl Ops {
    /// Writes a change with its record: at once, with the answer, or not at all. `write` is one command of the store it
    /// gets, with the record it gets, and what has to follow.
    pub(super) async fn commit<W, F>(&self, call: &Call, record: Record, write: W) -> Result<()>
    where
        W: FnOnce(Store, Record) -> F + Send + 'static,
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Some(mut pending) = call.pending() else {
            return if call.validates() { Ok(()) } else { Box::pin(write(self.store.clone(), record)).await };
        };
        if pending.staged.is_some() {
            return Err(Error::internal("a call that changes two things"));
        }
        let write = Box::new(move |store, record| Box::pin(write(store, record)) as Writing);
        pending.staged = Some(Staged { record, write, names: Vec::new(), after: Vec::new() });
        Ok(())
    }

    /// Records what follows from a change: now, or once that is written; not where it is not written.
    pub(super) async fn follow(&self, call: &Call, record: Record) {
        if let Some(mut pending) = call.pending()
            && let Some(staged) = &mut pending.staged
        {
            staged.after.push(record);
            return;
        }
        if !call.validates() {
            self.journal.write(record).await;
        }
    }

    /// Begins a request that has an id: with the answer of an earlier one, or with a call whose change waits for its
    /// answer, which [`Ops::conclude`] then takes.
    ///
    /// # Errors
    /// Request id reused, where the earlier request was another one; unavailable.
    pub async fn repeatable<'a>(
        &self,
        call: &'a Call,
        request_id: &'a str,
        content: &'a [u8],
    ) -> Result<Repeatable<'a>> {
        let caller = call.grant.caller();
        let key = Key { tenant: &caller.tenant_uid, caller: name_of(caller), request_id, action: call.action, content };
        let turn = self.replies.turn(&key).await;
        let earlier = self.earlier(&key).await?;
        Ok(Repeatable { key, call: call.waiting(), earlier, attempt: 1, _turn: turn })
    }

    /// Writes what a request changed together with the answer to it, and returns the answer that counts: this one, or that
    /// of another replica that was faster. `None` where another change came first and the request is to be run again, with
    /// the call as it is then.
    ///
    /// # Errors
    /// What the request failed with; what writing its change fails with.
    pub async fn conclude(
        &self,
        repeatable: &mut Repeatable<'_>,
        answer: Result<Zeroizing<Vec<u8>>>,
    ) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Repeatable { key, call, attempt, .. } = repeatable;
        let answer = match answer {
            Ok(answer) => answer,
            // It may have failed because another replica has just done the same.
            Err(error) => return self.earlier_or(key, error).await.map(Some),
        };
        let Pending { staged, once } = call.pending().map(|mut pending| mem::take(&mut *pending)).unwrap_or_default();
        let Err((error, refused)) = self.write(key, staged, &answer).await else { return Ok(Some(answer)) };
        let again = *attempt < ATTEMPTS;
        *attempt += 1;
        let reason = error.reason();
        if reason == Reason::RequestIdReused {
            // Another replica was faster; or it was there, and its time is over by now.
            return match self.earlier(key).await? {
                None if again => Ok(None),
                None => Err(error),
                earlier => Ok(earlier),
            };
        }
        if reason == Reason::ConcurrentChange && !once && again {
            return Ok(None);
        }
        if reason == Reason::OutcomeUnknown {
            // Where the answer is there, so is the change.
            return self.earlier_or(key, error).await.map(Some);
        }
        if let Some(record) = refused {
            self.journal.write(record).await;
        }
        Err(error)
    }

    /// Writes a change together with its answer; where that fails, the record of it.
    async fn write(&self, key: &Key<'_>, staged: Option<Staged>, answer: &[u8]) -> Result<(), (Error, Option<Record>)> {
        let store = self.answering(key, answer).await.map_err(|error| (error, None))?;
        // Nothing changed, but the answer stays the same.
        let Some(Staged { record, write, names, after }) = staged else {
            return store.keep_reply().await.map_err(|error| (error, None));
        };
        let mut refused = record.clone();
        if let Err(error) = write(store, record).await {
            let error = name_field(error, &names);
            refused.time = self.now();
            refused.uid = self.make_uid(refused.time);
            refused.wait = Wait::begin();
            refused.outcome = outcome(&error);
            refused.reason = Some(error.reason());
            refused.detail = String::new();
            return Err((error, Some(refused)));
        }
        for record in after {
            self.journal.write(record).await;
        }
        Ok(())
    }

    /// A store that keeps this answer with what it changes.
    async fn answering(&self, key: &Key<'_>, answer: &[u8]) -> Result<Store> {
        let now = self.now();
        let (digest, expire_time) = (self.keyring().request_digest(&key.parts()), now.plus(WINDOW));
        let data_key = self.data_keys.primary(key.tenant).await?;
        let place = ReplyPlace {
            tenant: key.tenant,
            caller: &key.caller,
            request_id: key.request_id,
            digest: &digest,
            expire_time,
        };
        let answer = data_key.seal_reply(place, answer, &*self.entropy)?;
        let reply = Reply {
            tenant_uid: key.tenant.clone(),
            caller: key.caller.clone(),
            request_id: key.request_id.to_owned(),
            digest,
            answer,
            key_id: data_key.id().to_string(),
            expire_time,
        };
        Ok(self.store.answering(reply, now))
    }

    /// The answer that this request got before.
    async fn earlier(&self, key: &Key<'_>) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let Some(reply) = self.store.reply(key.tenant, &key.caller, key.request_id, self.now()).await? else {
            return Ok(None);
        };
        if !self.keyring().request_digest_matches(&key.parts(), &reply.digest) {
            let message = "an earlier request of the caller has this request_id and another content";
            return Err(Error::new(Reason::RequestIdReused, message));
        }
        let data_key = self.data_keys.by_id(key.tenant, &reply.key_id).await?;
        let place = ReplyPlace {
            tenant: key.tenant,
            caller: &key.caller,
            request_id: key.request_id,
            digest: &reply.digest,
            expire_time: reply.expire_time,
        };
        data_key.open_reply(place, &reply.answer).map(Some)
    }

    /// The answer that this request got before, or else this error.
    async fn earlier_or(&self, key: &Key<'_>, error: Error) -> Result<Zeroizing<Vec<u8>>> {
        match self.earlier(key).await {
            Ok(Some(earlier)) => Ok(earlier),
            Ok(None) | Err(_) => Err(error),
        }
    }
}

/// How a call that failed so is recorded.
pub(super) fn outcome(error: &Error) -> Outcome {
    if error.reason().is_denial() { Outcome::Denied } else { Outcome::Failed }
}

/// What tells a tenant's callers apart. A `sub` may be spelled like the id of a caller, and is not it.
fn name_of(caller: &Caller) -> String {
    match caller.proof.kind {
        ProofKind::ApiToken | ProofKind::SignedDate | ProofKind::AccessToken | ProofKind::Nothing => caller.id.clone(),
        ProofKind::Jwt => format!("jwt:{} {}", caller.proof.name, caller.id),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Deletes answers whose time is over, as long as it lives; and lets requests with the same id, of which all but one will
/// find its answer, take turns in this process, so that they neither hash nor count as attempts.
#[derive(Clone)]
pub(super) struct Replies {
    turns: Arc<Mutex<HashMap<String, Weak<AsyncMutex<()>>>>>,
    _alive: mpsc::Sender<()>,
}

impl Replies {
    pub(super) fn start(store: Store, clock: Arc<dyn Clock>) -> Self {
        let (alive, ended) = mpsc::channel(1);
        tokio::spawn(sweep(store, clock, ended));
        Self { turns: Arc::default(), _alive: alive }
    }

    async fn turn(&self, key: &Key<'_>) -> OwnedMutexGuard<()> {
        let name = format!("{} {} {}", key.tenant, key.request_id, key.caller);
        let turn = {
            let mut turns = lock(&self.turns);
            if turns.len() >= TIDY_AT {
                turns.retain(|_, turn| turn.strong_count() > 0);
            }
            let running = turns.get(&name).and_then(Weak::upgrade);
            running.unwrap_or_else(|| {
                let turn = Arc::default();
                turns.insert(name, Arc::downgrade(&turn));
                turn
            })
        };
        turn.lock_owned().await
    }
}

async fn sweep(store: Store, clock: Arc<dyn Clock>, mut ended: mpsc::Receiver<()>) {
    loop {
        let now: Timestamp = clock.now();
        if let Err(error) = store.delete_expired_replies(now).await {
            tracing::warn!(reason = ?error.reason(), cause = ?error.cause(), "expired answers were not deleted");
        }
        // Nobody sends; it ends when nobody could.
        if tokio::time::timeout(SWEEP_EVERY, ended.recv()).await.is_ok() {
            return;
        }
    }
}
