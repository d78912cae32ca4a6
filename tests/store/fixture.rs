//! Databases to test with, and things to put into them.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use rekey::{
    audit::{Outcome, Record, Target, Wait},
    domain::{
        Attributes, Dialect, Error, Filter, Labels, Material, Order, Policy, Reason, ResourceId, Secret, Slot, Stage,
        Subject, SubjectKind, SubjectState, Tenant, TenantLimits, Timestamp, Uid, WrappedKey,
        listing::OrderBy,
        policy::Preset,
        tenant::{Alias, JwtAlgorithm, JwtIssuer, Settings},
    },
    store::{SecretChange, Store, StoreOptions, SubjectChange, TenantListing},
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tempfile::TempDir;

use crate::common::postgres;

pub(crate) const NOW: Timestamp = Timestamp::from_micros(1_795_000_000_123_456);
pub(crate) const LATER: Timestamp = Timestamp::from_micros(1_795_000_777_654_321);

/// A database, a store on it, and a way past the store.
pub(crate) struct Database {
    pub(crate) options: StoreOptions,
    pub(crate) store: Store,
    pub(crate) raw: Raw,
    directory: Option<TempDir>,
}

impl Database {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = StoreOptions::sqlite(&directory.path().join("rekey.db"), 4);
        Self::open(options, Some(directory)).await
    }

    pub(crate) async fn postgres() -> Option<Self> {
        let url = postgres::url()?;
        Some(Self::open(StoreOptions { url, max_connections: 8 }, None).await)
    }

    async fn open(options: StoreOptions, directory: Option<TempDir>) -> Self {
        let store = Store::connect(&options).await.unwrap();
        store.migrate().await.unwrap();
        let raw = Raw::open(&options).await;
        Self { options, store, raw, directory }
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.directory.is_some()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.as_ref().unwrap().path().join(name)
    }

    /// A tenant in the database.
    pub(crate) async fn tenant(&self, id: &str) -> Tenant {
        let tenant = tenant(id);
        let key = wrapped_key(&tenant);
        self.store.insert_tenant(tenant.clone(), key, record(&tenant.uid)).await.unwrap();
        tenant
    }

    /// A user with a password in the database.
    pub(crate) async fn user(&self, tenant: &Tenant, id: &str) -> (Subject, Secret) {
        let user = subject(tenant, SubjectKind::User, id);
        let password = secret(&user, Slot::Password, 1);
        self.store.insert_subject(user.clone(), vec![password.clone()], record(&tenant.uid)).await.unwrap();
        (user, password)
    }
}

/// Plain SQL.
pub(crate) struct Raw(DatabaseConnection);

impl Raw {
    pub(crate) async fn open(options: &StoreOptions) -> Self {
        Self(crate::common::sql::connect(&options.url).await)
    }

    pub(crate) fn is_sqlite(&self) -> bool {
        self.0.get_database_backend() == sea_orm::DbBackend::Sqlite
    }

    /// The columns of a table: name, kind, and whether it must not be null.
    pub(crate) async fn columns(&self, table: &str) -> Vec<(String, String, bool)> {
        let query = if self.is_sqlite() {
            format!("SELECT name, lower(type) AS kind, \"notnull\" <> 0 AS required FROM pragma_table_info('{table}')")
        } else {
            format!(
                "SELECT column_name::text AS name, data_type::text AS kind, is_nullable = 'NO' AS required
                 FROM information_schema.columns WHERE table_name = '{table}' ORDER BY ordinal_position"
            )
        };
        let rows = self.0.query_all_raw(Statement::from_string(self.0.get_database_backend(), query)).await.unwrap();
        let column = |row: &sea_orm::QueryResult| {
            (row.try_get("", "name").unwrap(), row.try_get("", "kind").unwrap(), row.try_get("", "required").unwrap())
        };
        rows.iter().map(column).collect()
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.0.execute_unprepared(sql).await.unwrap();
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.row(sql).await.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn text(&self, sql: &str) -> Option<String> {
        self.row(sql).await.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn column(&self, sql: &str, name: &str) -> String {
        self.row(sql).await.try_get("", name).unwrap()
    }

    pub(crate) async fn bytes(&self, sql: &str) -> Vec<u8> {
        self.row(sql).await.try_get_by_index(0).unwrap()
    }

    pub(crate) async fn records(&self, uid: &Uid) -> i64 {
        self.number(&format!("SELECT count(*) FROM audit WHERE uid = '{uid}'")).await
    }

    /// How a query would be done, in the engine's words.
    pub(crate) async fn plan(&self, sql: &str) -> String {
        let engine = self.0.get_database_backend();
        let (explain, column) =
            if engine == sea_orm::DbBackend::Sqlite { ("EXPLAIN QUERY PLAN", 3) } else { ("EXPLAIN", 0) };
        let rows = self.0.query_all_raw(Statement::from_string(engine, format!("{explain} {sql}"))).await.unwrap();
        let lines = rows.iter().map(|row| row.try_get_by_index::<String>(column).unwrap());
        lines.collect::<Vec<_>>().join("\n")
    }

    async fn row(&self, sql: &str) -> sea_orm::QueryResult {
        let statement = Statement::from_string(self.0.get_database_backend(), sql);
        self.0.query_one_raw(statement).await.unwrap().unwrap()
    }
}

pub(crate) fn new_uid() -> Uid {
    static LAST: AtomicU64 = AtomicU64::new(0);
    Uid::from_stored(format!("{:024x}", LAST.fetch_add(1, Ordering::Relaxed)))
}

pub(crate) fn id(text: &str) -> ResourceId {
    ResourceId::parse(text).unwrap()
}

pub(crate) fn tenant(id_text: &str) -> Tenant {
    let policy = Policy {
        preset: Preset::Nist,
        min_length: 15,
        max_length: 128,
        required_classes: Vec::new(),
        symbols: "!#%+-".to_owned(),
        blocklist: true,
        generated_length: 20,
        ..Policy::preset(Preset::Nist)
    };
    let settings = Settings {
        limits: TenantLimits::default(),
        display_name: format!("Tenant “{id_text}”"),
        change_password_allowed: true,
        user_policy: policy.clone(),
        device_policy: policy.clone(),
        integration_policy: policy,
        jwt_issuers: Vec::new(),
        labels: Labels::new(),
        permission_aliases: Vec::new(),
        token_issuer: None,
    };
    Tenant {
        uid: new_uid(),
        id: id(id_text),
        aliases: Vec::new(),
        settings,
        state: SubjectState::Active,
        version: 1,
        create_time: NOW,
        update_time: NOW,
    }
}

pub(crate) fn alias(dialect: Dialect, name: &str) -> Alias {
    Alias { dialect, name: name.to_owned() }
}

pub(crate) fn issuer(issuer: &str) -> JwtIssuer {
    JwtIssuer {
        max_auth_age_s: 0,
        issuer: issuer.to_owned(),
        public_key_pem: "-----BEGIN PUBLIC KEY-----".to_owned(),
        algorithm: JwtAlgorithm::ES256,
        audience: String::new(),
        scope_grants: Vec::new(),
    }
}

pub(crate) fn wrapped_key(tenant: &Tenant) -> WrappedKey {
    WrappedKey {
        id: new_uid(),
        tenant_uid: tenant.uid.clone(),
        wrapping_key_id: "w1".to_owned(),
        ciphertext: vec![0, 1, 254, 255],
    }
}

pub(crate) fn subject(tenant: &Tenant, kind: SubjectKind, id_text: &str) -> Subject {
    Subject {
        uid: new_uid(),
        tenant_uid: tenant.uid.clone(),
        kind,
        id: id(id_text),
        login: Some(format!("{id_text}@example.com")),
        state: SubjectState::Active,
        attributes: Attributes {
            display_name: "Ängström".to_owned(),
            permissions: vec!["users:get".to_owned()],
            ..Attributes::default()
        },
        version: 1,
        create_time: NOW,
        update_time: NOW,
    }
}

pub(crate) fn secret(subject: &Subject, slot: Slot, version: i64) -> Secret {
    Secret {
        subject_uid: subject.uid.clone(),
        lookup_key: slot.lookup_key(),
        slot,
        version,
        stage: Stage::Current,
        material: Material::Verifier,
        payload: format!("payload {version} of {}", subject.uid).into_bytes(),
        scheme: None,
        key_id: "k1".to_owned(),
        read_only: false,
        must_change: false,
        create_time: NOW,
        stage_time: NOW,
        expire_time: Some(LATER),
        own_expire_time: None,
        last_used_time: None,
        use_count: 0,
    }
}

pub(crate) fn record(tenant_uid: &Uid) -> Record {
    Record {
        uid: new_uid(),
        tenant_uid: tenant_uid.clone(),
        time: NOW,
        actor: "system/admin (token:t1)".to_owned(),
        action: "UserService/ResetPassword",
        target: Target::None,
        outcome: Outcome::Succeeded,
        reason: None,
        request_id: "r1".to_owned(),
        detail: String::new(),
        wait: Wait::begin(),
    }
}

/// A new password for a subject in this version.
pub(crate) fn reset(subject: &Subject, expected_version: i64) -> SubjectChange {
    SubjectChange {
        subject_uid: subject.uid.clone(),
        expected_version,
        login: None,
        state: None,
        attributes: None,
        forgives: false,
        leaves_administrator: false,
        secrets: vec![SecretChange::Replace(secret(subject, Slot::Password, expected_version + 1))],
        time: LATER,
    }
}

/// The reason, and the field where it names one.
pub(crate) fn why(error: &Error) -> (Reason, Option<&str>) {
    let field = error.metadata().iter().find(|(name, _)| *name == "field").map(|(_, value)| value.as_str());
    (error.reason(), field)
}

pub(crate) fn cause(error: &Error) -> String {
    error.cause().map(ToString::to_string).unwrap_or_default()
}

/// All tenants by id, a hundred at most.
pub(crate) fn all_tenants() -> TenantListing {
    let order = Order { by: OrderBy::Id, descending: false };
    TenantListing { only: None, filter: Filter::default(), order, after: None, limit: 100 }
}
