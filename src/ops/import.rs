//! Users of other systems, taken over with the hashes they have; and the census of what is left of those.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::{task::JoinSet, time::MissedTickBehavior};
use zeroize::Zeroizing;

use super::{ATTEMPTS, Call, Ops, reach::outranks, user::KIND};
use crate::{
    audit::{Outcome, Record, Target},
    crypto::{DataKey, Hasher, TakenOver, Turn, Verifier},
    domain::{
        Attributes, Error, Reason, ResourceId, Result, Secret, Subject, SubjectState, Tenant, TenantRef, Uid, Violation,
    },
    metrics::Census,
    store::{self, Replacement},
};

/// Hashes that one import has wrapped at once: enough for a few cores, and no flood.
const WRAPPING: usize = 4;
/// How often the census of all tenants is made anew.
const CENSUS_EVERY: Duration = Duration::from_mins(5);

/// What to do with a user who is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuplicatePolicy {
    /// Leave the one that is there.
    Skip,
    /// Change the one that is there.
    Replace,
    /// Report it.
    Fail,
}

/// What holds for a whole import.
#[derive(Debug)]
pub struct ImportOptions {
    /// Into which tenant.
    pub tenant: TenantRef,
    /// What to do with users who are there.
    pub duplicates: DuplicatePolicy,
    /// Whether to change nothing.
    pub dry_run: bool,
    /// Whether to hash the hashes.
    pub wrap: bool,
}

/// An import that has begun.
#[derive(Debug)]
pub struct Import {
    tenant: Tenant,
    options: ImportOptions,
}

/// A user of another system.
pub struct ImportUser {
    /// Its place in the whole import.
    pub index: u64,
    /// The id; made where absent.
    pub id: Option<ResourceId>,
    /// What it signs in with.
    pub username: String,
    /// In use or not.
    pub state: SubjectState,
    /// The hash as it came; no password where absent.
    pub hash: Option<Zeroizing<String>>,
}

impl fmt::Debug for ImportUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImportUser").field("index", &self.index).finish_non_exhaustive()
    }
}

/// What became of a batch.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// Users that were made.
    pub created: u32,
    /// Users that were changed.
    pub replaced: u32,
    /// Users that were left as they are.
    pub skipped: u32,
    /// Users that were not taken over, by their place.
    pub failures: Vec<(u64, Error)>,
}

/// A user whose hash was recognised.
struct Prepared {
    index: u64,
    id: Option<ResourceId>,
    username: String,
    state: SubjectState,
    verifier: Option<Verifier>,
}

impl Ops {
    /// Begins an import.
    ///
    /// # Errors
    /// Tenant not found.
    pub async fn begin_import(&self, call: &Call, options: ImportOptions) -> Result<Import> {
        self.audited(call, Target::None, async {
            let tenant = self.tenant(call, &options.tenant).await?;
            Ok(Import { tenant, options })
        })
        .await
    }

    /// Takes over a batch of users, in one transaction. One record tells of all that are new, and one of each that is
    /// replaced: there a password of somebody changes.
    ///
    /// # Errors
    /// Unavailable; outcome unknown. What is wrong with a user is in the report.
    pub async fn import_users(&self, call: &Call, import: &Import, users: Vec<ImportUser>) -> Result<ImportReport> {
        self.audited(call, Target::Tenant(import.tenant.id.to_string()), async {
            let mut failures = Vec::new();
            let users = self.prepare(import, users, &mut failures).await?;
            let mut report = match self.import_prepared(call, import, &users).await {
                // Whoever is in the way of one must not be in the way of all.
                Err(error) if is_lost_race(&error) => self.import_singly(call, import, &users).await?,
                done => done?,
            };
            report.failures.extend(failures);
            report.failures.sort_by_key(|(index, _)| *index);
            Ok(report)
        })
        .await
    }

    /// Counts the passwords of a tenant's users by algorithm and parameters.
    ///
    /// # Errors
    /// Tenant not found.
    pub async fn password_census(&self, call: &Call, tenant: &TenantRef) -> Result<Vec<(Option<String>, i64)>> {
        let tenant = self.tenant_in_any_state(call, tenant).await?;
        self.store.password_census(&tenant.uid).await
    }

    /// Keeps the census of all tenants up to date, for as long as it is polled.
    pub async fn watch_census(self, census: Census) {
        let mut tick = tokio::time::interval(CENSUS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            match self.store.whole_password_census().await {
                Ok(counts) => census.set(counts),
                Err(error) => tracing::debug!(reason = ?error.reason(), "the census stays as it is"),
            }
        }
    }

    async fn prepare(
        &self,
        import: &Import,
        users: Vec<ImportUser>,
        failures: &mut Vec<(u64, Error)>,
    ) -> Result<Vec<Prepared>> {
        let mut prepared = Vec::with_capacity(users.len());
        let mut to_wrap = Vec::new();
        let there = if import.options.wrap { self.already_there(import, &users).await? } else { HashSet::new() };
        for ImportUser { index, id, username, state, hash } in users {
            let recognised = hash.map(|hash| TakenOver::recognise(&hash, self.hasher.foreign_bounds())).transpose();
            let mut verifier = None;
            match recognised {
                Ok(Some(taken_over)) if import.options.wrap && !there.contains(&index) => {
                    to_wrap.push((prepared.len(), taken_over));
                }
                Ok(taken_over) => verifier = taken_over.map(TakenOver::into_verifier),
                Err(sentence) => {
                    let violation = Violation::new("password_hash", sentence.clone());
                    failures.push((index, Error::fields(vec![violation])));
                    continue;
                }
            }
            prepared.push(Prepared { index, id, username, state, verifier });
        }
        let mut wrapping = JoinSet::<Result<(usize, Verifier)>>::new();
        let mut rest = to_wrap.into_iter();
        loop {
            while wrapping.len() < WRAPPING
                && let Some((place, taken_over)) = rest.next()
            {
                let (hasher, tenant_uid) = (self.hasher.clone(), import.tenant.uid.clone());
                wrapping.spawn(async move { Ok((place, wrap(&hasher, &tenant_uid, taken_over).await?)) });
            }
            let Some(wrapped) = wrapping.join_next().await else { return Ok(prepared) };
            let (place, verifier) = wrapped.map_err(Error::internal)??;
            if let Some(user) = prepared.get_mut(place) {
                user.verifier = Some(verifier);
            }
        }
    }

    /// Users whose hash need not be wrapped, for nothing will come of them.
    async fn already_there(&self, import: &Import, users: &[ImportUser]) -> Result<HashSet<u64>> {
        if import.options.dry_run {
            return Ok(users.iter().map(|user| user.index).collect());
        }
        if import.options.duplicates == DuplicatePolicy::Replace {
            return Ok(HashSet::new());
        }
        let ids = users.iter().filter_map(|user| user.id.as_ref()).map(ResourceId::as_str).collect();
        let logins = users.iter().map(|user| user.username.as_str()).collect();
        let existing = self.store.subjects_named(&import.tenant.uid, KIND, ids, logins).await?;
        let ids: HashSet<&str> = existing.iter().map(|subject| subject.id.as_str()).collect();
        let logins: HashSet<&str> = existing.iter().filter_map(|subject| subject.login.as_deref()).collect();
        let is_there = |user: &&ImportUser| {
            user.id.as_ref().is_some_and(|id| ids.contains(id.as_str())) || logins.contains(user.username.as_str())
        };
        Ok(users.iter().filter(is_there).map(|user| user.index).collect())
    }

    async fn import_prepared(&self, call: &Call, import: &Import, users: &[Prepared]) -> Result<ImportReport> {
        let ids = || users.iter().filter_map(|user| user.id.as_ref()).map(ResourceId::as_str).collect();
        let logins = || users.iter().map(|user| user.username.as_str()).collect();
        let mut attempt = 1;
        loop {
            let existing = self.store.subjects_named(&import.tenant.uid, KIND, ids(), logins()).await?;
            // For each batch anew: an import takes longer than a key may be remembered.
            let key = self.data_keys.primary(&import.tenant.uid).await?;
            let (report, plan) = Plan::make(self, call, import, key, existing, users)?;
            if import.options.dry_run {
                return Ok(report);
            }
            match self.store.import(plan.into_import(self, call, import, &report)).await {
                Err(error) if is_lost_race(&error) && attempt < ATTEMPTS => attempt += 1,
                done => return done.map(|()| report),
            }
        }
    }

    async fn import_singly(&self, call: &Call, import: &Import, users: &[Prepared]) -> Result<ImportReport> {
        let mut whole = ImportReport::default();
        for user in users {
            match self.import_prepared(call, import, std::slice::from_ref(user)).await {
                Ok(one) => {
                    whole.created += one.created;
                    whole.replaced += one.replaced;
                    whole.skipped += one.skipped;
                    whole.failures.extend(one.failures);
                }
                Err(error) if is_lost_race(&error) => whole.failures.push((user.index, error)),
                Err(error) => return Err(error),
            }
        }
        Ok(whole)
    }
}

fn is_lost_race(error: &Error) -> bool {
    matches!(error.reason(), Reason::AlreadyExists | Reason::ConcurrentChange)
}

/// Wraps a hash, and waits where the threads have more to do than they can.
async fn wrap(hasher: &Hasher, tenant_uid: &Uid, taken_over: TakenOver) -> Result<Verifier> {
    let turn = Turn { tenant: tenant_uid, deadline: None };
    loop {
        match hasher.wrap(turn, taken_over.clone()).await {
            Err(error) if error.reason() == Reason::Overloaded => {
                tokio::time::sleep(error.retry_delay().unwrap_or(Duration::from_secs(1))).await;
            }
            done => return done,
        }
    }
}

/// A subject that is there or will be.
struct Entry {
    subject: Subject,
    secret: Option<Secret>,
    /// Its version in the database; `None` where it is not there.
    version: Option<i64>,
    changed: bool,
}

/// What a batch comes to, user by user, as if each came alone.
struct Plan {
    key: Arc<DataKey>,
    entries: Vec<Entry>,
    by_id: HashMap<ResourceId, usize>,
    by_login: HashMap<String, usize>,
}

impl Plan {
    fn make(
        ops: &Ops,
        call: &Call,
        import: &Import,
        key: Arc<DataKey>,
        existing: Vec<Subject>,
        users: &[Prepared],
    ) -> Result<(ImportReport, Self)> {
        let mut plan = Self { key, entries: Vec::new(), by_id: HashMap::new(), by_login: HashMap::new() };
        for subject in existing {
            let version = Some(subject.version);
            plan.add(Entry { subject, secret: None, version, changed: false });
        }
        let mut report = ImportReport::default();
        for user in users {
            let by_id = user.id.as_ref().and_then(|id| plan.by_id.get(id)).copied();
            let by_login = plan.by_login.get(&user.username).copied();
            let taken = if by_id.is_some() { "user_id" } else { "username" };
            match (by_id.or(by_login), import.options.duplicates) {
                (None, _) => {
                    plan.create(ops, import, user)?;
                    report.created += 1;
                }
                (Some(_), DuplicatePolicy::Skip) => report.skipped += 1,
                (Some(_), DuplicatePolicy::Fail) => report.failures.push((user.index, already_exists(taken))),
                (Some(place), DuplicatePolicy::Replace) => {
                    // Of two that are in the way, or of one with another id, none is the user that is meant.
                    let clear = by_login.is_none_or(|other| other == place) && (user.id.is_none() || by_id.is_some());
                    let in_the_way = plan.entries.get(place).map(|entry| outranks(call, &entry.subject));
                    if let Some(Err(refused)) = in_the_way {
                        report.failures.push((user.index, refused));
                    } else if clear {
                        plan.replace(ops, place, user)?;
                        report.replaced += 1;
                    } else {
                        report.failures.push((user.index, already_exists("username")));
                    }
                }
            }
        }
        Ok((report, plan))
    }

    fn add(&mut self, entry: Entry) {
        let place = self.entries.len();
        self.by_id.insert(entry.subject.id.clone(), place);
        self.by_login.extend(entry.subject.login.clone().map(|login| (login, place)));
        self.entries.push(entry);
    }

    fn create(&mut self, ops: &Ops, import: &Import, user: &Prepared) -> Result<()> {
        let now = ops.now();
        let subject = Subject {
            uid: ops.make_uid(now),
            tenant_uid: import.tenant.uid.clone(),
            kind: KIND,
            id: ops.id_or_new(user.id.clone(), now),
            login: Some(user.username.clone()),
            state: user.state,
            attributes: Attributes::default(),
            version: 1,
            create_time: now,
            update_time: now,
        };
        let verifier = user.verifier.as_ref();
        let secret = verifier.map(|verifier| ops.keep_verifier(&self.key, &subject, 1, now, verifier)).transpose()?;
        self.add(Entry { subject, secret, version: None, changed: true });
        Ok(())
    }

    fn replace(&mut self, ops: &Ops, place: usize, user: &Prepared) -> Result<()> {
        let now = ops.now();
        let Some(entry) = self.entries.get_mut(place) else { return Ok(()) };
        let subject = &mut entry.subject;
        if let Some(old) = subject.login.replace(user.username.clone()) {
            self.by_login.remove(&old);
        }
        self.by_login.insert(user.username.clone(), place);
        subject.state = user.state;
        subject.version = entry.version.map_or(1, |version| version + 1);
        subject.update_time = now;
        if let Some(verifier) = &user.verifier {
            entry.secret = Some(ops.keep_verifier(&self.key, subject, subject.version, now, verifier)?);
        }
        entry.changed = true;
        Ok(())
    }

    fn into_import(self, ops: &Ops, call: &Call, import: &Import, report: &ImportReport) -> store::Import {
        let record = |target, detail| -> Record { call.record(ops, target, Outcome::Succeeded, None, detail) };
        let ImportReport { created, replaced, skipped, failures } = report;
        let counts = format!("{created} created, {replaced} replaced, {skipped} skipped, {} failed", failures.len());
        let mut records = vec![record(Target::Tenant(import.tenant.id.to_string()), counts)];
        let (mut created, mut replaced) = (Vec::new(), Vec::new());
        for Entry { subject, secret, version, .. } in self.entries.into_iter().filter(|entry| entry.changed) {
            if let Some(expected_version) = version {
                records.push(record(Target::Subject(KIND, subject.id.to_string()), "replaced".to_owned()));
                replaced.push(Replacement { subject, expected_version, secret });
            } else {
                created.push((subject, secret));
            }
        }
        store::Import { created, replaced, records }
    }
}

fn already_exists(field: &'static str) -> Error {
    Error::new(Reason::AlreadyExists, format!("{field} is taken")).with("field", field)
}
