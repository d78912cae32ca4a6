//! The use cases without the network: as many replicas as a test wants on one database, each with threads of its own.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use rekey::{
    access::{Access, Caller, Proof, ProofKind},
    crypto::{Hasher, Keyring, KeyringInUse, SystemEntropy},
    domain::{
        Clock, Labels, Password, Permission, Reason, ResourceId, SubjectKind, SubjectRef, SubjectState, TenantLimits,
        TenantRef, Timestamp, Uid,
    },
    ops::{
        Call, Ops, Source,
        device::{CreateDevice, VerifyAuthentication},
        user::{CreateUser, VerifyPassword},
    },
    store::{Store, StoreOptions},
};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tempfile::TempDir;

use crate::common::{
    postgres,
    rekey::{START, TestClock, limits, options},
};

pub(crate) const RIGHT: &str = "The-right-0ne-and-long-enough";
pub(crate) const WRONG: &str = "Some-wr0ng-one-but-long-enough";

/// A database with the tenant `system`, the user `ada` and the device `d1`.
pub(crate) struct Site {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) raw: DatabaseConnection,
    store: StoreOptions,
    directory: TempDir,
}

/// One process of several.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) ops: Ops,
    pub(crate) hasher: Hasher,
}

impl Site {
    pub(crate) async fn sqlite() -> (Self, Replica) {
        let directory = tempfile::tempdir().unwrap();
        let store = options(directory.path()).store;
        Self::make(store, directory).await
    }

    pub(crate) async fn postgres() -> Option<(Self, Replica)> {
        let store = StoreOptions { url: postgres::url()?, max_connections: 8 };
        Some(Self::make(store, tempfile::tempdir().unwrap()).await)
    }

    async fn make(store: StoreOptions, directory: TempDir) -> (Self, Replica) {
        let clock = Arc::new(TestClock(AtomicI64::new(START * 1_000_000)));
        Keyring::create(&keyring(directory.path()), clock.now(), &SystemEntropy).unwrap();
        Store::connect(&store).await.unwrap().migrate().await.unwrap();
        let raw = crate::common::sql::connect(&store.url).await;
        let site = Self { clock, raw, store, directory };
        let replica = site.replica().await;
        drop(replica.ops.initialise().await.unwrap());
        replica.create_user("ada", SubjectState::Active).await;
        replica.create_device("d1", RIGHT).await;
        (site, replica)
    }

    pub(crate) async fn replica(&self) -> Replica {
        let hasher = Hasher::start(options(self.directory.path()).hasher, Arc::new(SystemEntropy)).unwrap();
        let ops = Ops::new(
            Store::connect(&self.store).await.unwrap(),
            KeyringInUse::new(Keyring::load(&keyring(self.directory.path())).unwrap()),
            hasher.clone(),
            Arc::clone(&self.clock) as Arc<dyn Clock>,
            Arc::new(SystemEntropy),
            &limits(),
        );
        Replica { ops, hasher }
    }

    /// The number that a query finds.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        let statement =
            Statement::from_string(self.raw.get_database_backend(), format!("SELECT count(*) AS n {query}"));
        self.raw.query_one_raw(statement).await.unwrap().unwrap().try_get("", "n").unwrap()
    }

    pub(crate) async fn run(&self, statement: &str) {
        self.raw.execute_unprepared(statement).await.unwrap();
    }

    pub(crate) async fn store(&self) -> Store {
        Store::connect(&self.store).await.unwrap()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

impl Replica {
    pub(crate) async fn create_user(&self, name: &str, state: SubjectState) {
        let user = CreateUser {
            tenant: system(),
            id: ResourceId::parse(name),
            username: name.to_owned(),
            state,
            labels: Labels::new(),
            rank: 0,
            source: Some(Source::Given(Password::parse(RIGHT.to_owned()).unwrap(), "password")),
        };
        self.ops.create_user(&call("admin"), user).await.unwrap();
    }

    pub(crate) async fn create_device(&self, name: &str, password: &str) {
        let device = CreateDevice {
            tenant: system(),
            id: ResourceId::parse(name),
            user_name: name.to_owned(),
            labels: Labels::new(),
            source: Source::Given(Password::parse(password.to_owned()).unwrap(), "password"),
            expire_time: None,
        };
        self.ops.create_device(&call("admin"), device).await.unwrap();
    }

    /// Whether a user's password is said to be right.
    pub(crate) async fn user(&self, name: &str, password: &str, from: &str) -> Result<bool, Reason> {
        let verify = VerifyPassword {
            tenant: system(),
            user: SubjectRef::Login(name.to_owned()),
            password: Password::parse(password.to_owned()).unwrap(),
            from: Some(from.to_owned()).filter(|from| !from.is_empty()),
        };
        let verified = self.ops.verify_password(&call("app"), verify).await;
        verified.map(|id| id.is_some()).map_err(|error| error.reason())
    }

    /// Whether a device's password is said to be right; not so, where the attempt is refused.
    pub(crate) async fn device(&self, name: &str, password: &str, from: &str) -> bool {
        let verify = VerifyAuthentication {
            tenant: system(),
            kind: SubjectKind::Device,
            subject: SubjectRef::Id(ResourceId::parse(name).unwrap()),
            password: Password::parse(password.to_owned()).unwrap(),
            from: Some(from.to_owned()).filter(|from| !from.is_empty()),
        };
        matches!(self.ops.verify_authentication(&call("app"), &verify).await, Ok(Some(_)))
    }
}

pub(crate) fn system() -> TenantRef {
    TenantRef::parse("system").unwrap()
}

/// A call of a caller that may do everything.
pub(crate) fn call(caller: &str) -> Call {
    let caller = Caller {
        tenant_uid: Uid::from_stored("0"),
        tenant_id: ResourceId::parse("system").unwrap(),
        reaches_all: true,
        id: caller.to_owned(),
        limits: TenantLimits::default(),
        permissions: vec![Permission::parse("*").unwrap()],
        roles: Vec::new(),
        rank: 1_000,
        own_permissions: Vec::new(),
        proof: Proof {
            kind: ProofKind::ApiToken,
            version: None,
            name: "test".to_owned(),
            expire_time: None,
            read_only: false,
            is_stale: false,
        },
    };
    let grant = Arc::new(caller).authorise(Access::AnyCaller).unwrap();
    Call::new(grant, "UserService/VerifyPassword", "test".to_owned())
}

fn keyring(directory: &Path) -> std::path::PathBuf {
    directory.join("keyring.json")
}
