//! The only code that knows SQL: entities, migrations, tenant-scoped look-ups, and commands.
//!
//! A command is data; it runs as one named transaction in a task of its own, to its end even when its caller goes away,
//! and writes its audit record there too. Every check-then-write is one conditional statement.

use crate::{
    audit::Record,
    domain::{ResourceId, Result, Secret, Slot, Subject, SubjectKind, Tenant, TenantRef, Timestamp, Uid, WrappedKey},
};

/// Where the database is and how it is used.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// `sqlite:<path>` or `postgres://…`.
    pub url: String,
    /// PostgreSQL connections, or SQLite's readers.
    pub max_connections: u32,
}

/// How a request names a subject.
#[derive(Clone, Debug)]
pub enum SubjectRef {
    /// By public id.
    Id(ResourceId),
    /// By what it signs in with.
    Login(String),
}

/// A change of one subject, done whole or not at all, and only while the subject has `expected_version`.
#[derive(Clone, Debug)]
pub struct SubjectChange {
    /// Which.
    pub subject_uid: Uid,
    /// The version it was decided on.
    pub expected_version: i64,
    /// The new login; kept where `None`.
    pub login: Option<String>,
    /// What happens to secrets, in this order.
    pub secrets: Vec<SecretChange>,
    /// When.
    pub time: Timestamp,
}

/// What happens to one slot.
#[derive(Clone, Debug)]
pub enum SecretChange {
    /// Everything live in the slot is revoked and wiped, and this becomes current.
    Replace(Secret),
    /// Everything live in the slot is revoked and wiped.
    Revoke(Slot),
}

/// A credential, whose it is, and in which tenant.
#[derive(Clone, Debug)]
pub struct FoundCredential {
    /// The secret.
    pub secret: Secret,
    /// The caller.
    pub subject: Subject,
    /// The caller's tenant.
    pub tenant: Tenant,
}

/// The database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {/* … */}

#[expect(clippy::todo, unused_variables, clippy::unused_async, reason = "to be written")]
impl Store {
    /// Opens the database; a SQLite file is made where there is none.
    ///
    /// # Errors
    /// Unavailable, with the driver's words as the cause.
    pub async fn connect(options: &StoreOptions) -> Result<Self> {
        todo!()
    }

    /// Applies what migrations are missing, one process at a time (PostgreSQL: advisory lock); returns how many.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn migrate(&self) -> Result<usize> {
        todo!()
    }

    /// How many migrations are missing.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn pending_migrations(&self) -> Result<usize> {
        todo!()
    }

    /// Whether the database answers, and can be written to.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn check(&self) -> Result<()> {
        todo!()
    }

    /// Closes every connection.
    pub async fn close(&self) {
        todo!()
    }

    /// A tenant by how a request names it; `own` is what `-` stands for.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tenant(&self, reference: &TenantRef, own: &Uid) -> Result<Option<Tenant>> {
        todo!()
    }

    /// At most `limit` tenants in the order of their ids, after `after`.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn list_tenants(&self, after: Option<&ResourceId>, limit: u64) -> Result<Vec<Tenant>> {
        todo!()
    }

    /// The tenants that believe this `iss`.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn tenants_of_issuer(&self, issuer: &str) -> Result<Vec<Tenant>> {
        todo!()
    }

    /// Adds a tenant with its aliases, issuers and first data key.
    ///
    /// # Errors
    /// Already exists (metadata `field`: `tenant.tenant_id` or `tenant.aliases`); unavailable; outcome unknown.
    pub async fn insert_tenant(&self, tenant: Tenant, key: WrappedKey, record: Record) -> Result<()> {
        todo!()
    }

    /// The tenant's data key that seals now.
    ///
    /// # Errors
    /// Unavailable; internal where there is none.
    pub async fn primary_data_key(&self, tenant_uid: &Uid) -> Result<WrappedKey> {
        todo!()
    }

    /// A data key by its id.
    ///
    /// # Errors
    /// Unavailable; internal where there is none.
    pub async fn data_key(&self, tenant_uid: &Uid, id: &str) -> Result<WrappedKey> {
        todo!()
    }

    /// Ids of the wrapping keys that some data key hangs on.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn wrapping_keys_in_use(&self) -> Result<Vec<String>> {
        todo!()
    }

    /// A subject of a tenant.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subject(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<Option<Subject>> {
        todo!()
    }

    /// A subject with its secrets in the slots `password` and `settings` that are not revoked, newest first.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn subject_with_secrets(
        &self,
        tenant_uid: &Uid,
        kind: SubjectKind,
        reference: &SubjectRef,
    ) -> Result<Option<(Subject, Vec<Secret>)>> {
        todo!()
    }

    /// A caller's credential by its slot's lookup key, revoked or not.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn credential(&self, lookup_key: &str) -> Result<Option<FoundCredential>> {
        todo!()
    }

    /// Adds a subject and its secrets.
    ///
    /// # Errors
    /// Already exists (metadata `field`: `id` or `login`); unavailable; outcome unknown.
    pub async fn insert_subject(&self, subject: Subject, secrets: Vec<Secret>, record: Record) -> Result<()> {
        todo!()
    }

    /// Changes a subject and returns it as it is then.
    ///
    /// # Errors
    /// Concurrent change, where the subject has another version by now; already exists (metadata `field`: `login`, or
    /// `lookup_key` where a token or API key is taken); unavailable; outcome unknown.
    pub async fn change_subject(&self, change: SubjectChange, record: Record) -> Result<Subject> {
        todo!()
    }

    /// Replaces the payload of a current verifier by one of the same password, while the subject has
    /// `expected_version`; the subject's version and times stay. False where somebody was faster.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn rehash(&self, secret: Secret, expected_version: i64, record: Record) -> Result<bool> {
        todo!()
    }

    /// Writes records of what changed nothing, all of them or none.
    ///
    /// # Errors
    /// Unavailable; outcome unknown.
    pub async fn append_records(&self, records: Vec<Record>) -> Result<()> {
        todo!()
    }
}
