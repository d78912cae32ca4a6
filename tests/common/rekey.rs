//! A whole Rekey in the test's process: a real service on a real port, a real SQLite file, a real gateway in front, and
//! a clock that tests set.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use rekey::{
    app::{self, Environment, Service, ServiceOptions},
    crypto::{ForeignBounds, HasherOptions, Keyring, SystemEntropy},
    domain::{Clock, Lockout, Rate, Timestamp, tenant::JwtAlgorithm},
    gateway::{self, Gateway, GatewayOptions},
    ops::{ExpiryOptions, FailureBudget, LimitOptions, job::JobOptions},
    proto::{
        CreateApiTokenRequest, CreateCallerRequest, CreateTenantRequest, Tenant,
        audit_service_client::AuditServiceClient, caller_service_client::CallerServiceClient,
        device_service_client::DeviceServiceClient, integration_service_client::IntegrationServiceClient,
        job_service_client::JobServiceClient, key_service_client::KeyServiceClient,
        tenant_service_client::TenantServiceClient, token_service_client::TokenServiceClient,
        user_service_client::UserServiceClient,
    },
    store::StoreOptions,
};
use secrecy::ExposeSecret as _;
use tempfile::TempDir;
use tonic::{
    Request, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Endpoint},
};

/// 2026-01-01T00:00:00Z: where every test's time begins.
pub(crate) const START: i64 = 1_767_225_600;

/// A clock that stands until it is set.
#[derive(Debug)]
pub(crate) struct TestClock(pub(crate) AtomicI64);

impl TestClock {
    /// Seconds since the epoch.
    pub(crate) fn seconds(&self) -> i64 {
        self.0.load(Ordering::SeqCst) / 1_000_000
    }

    pub(crate) fn advance(&self, duration: Duration) {
        self.0.fetch_add(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl TestClock {
    pub(crate) fn set_back(&self, duration: Duration) {
        self.0.fetch_sub(i64::try_from(duration.as_micros()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        // A tick a question, so that no two acts are at the same time.
        Timestamp::from_micros(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// A token of a caller, put into each request.
#[derive(Clone, Debug)]
pub(crate) struct Bearer(pub(crate) String);

impl tonic::service::Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if !self.0.is_empty() {
            request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
        }
        Ok(request)
    }
}

/// A channel on which every request carries a token.
pub(crate) type Authorised = InterceptedService<Channel, Bearer>;

/// Clients of every service for one caller.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) tenants: TenantServiceClient<Authorised>,
    pub(crate) users: UserServiceClient<Authorised>,
    pub(crate) devices: DeviceServiceClient<Authorised>,
    pub(crate) integrations: IntegrationServiceClient<Authorised>,
    pub(crate) callers: CallerServiceClient<Authorised>,
    pub(crate) audit: AuditServiceClient<Authorised>,
    pub(crate) tokens: TokenServiceClient<Authorised>,
    pub(crate) jobs: JobServiceClient<Authorised>,
    pub(crate) keys: KeyServiceClient<Authorised>,
}

impl Clients {
    /// Clients on a channel that send this token; none where it is empty.
    pub(crate) fn on(channel: &Channel, token: &str) -> Self {
        let channel = InterceptedService::new(channel.clone(), Bearer(token.to_owned()));
        Self {
            tenants: TenantServiceClient::new(channel.clone()),
            users: UserServiceClient::new(channel.clone()),
            devices: DeviceServiceClient::new(channel.clone()),
            integrations: IntegrationServiceClient::new(channel.clone()),
            callers: CallerServiceClient::new(channel.clone()),
            audit: AuditServiceClient::new(channel.clone()),
            tokens: TokenServiceClient::new(channel.clone()),
            jobs: JobServiceClient::new(channel.clone()),
            keys: KeyServiceClient::new(channel),
        }
    }
}

/// A Rekey that was stopped: its files and its clock.
pub(crate) struct Stopped {
    pub(crate) clock: Arc<TestClock>,
    pub(crate) admin_token: String,
    pub(crate) directory: TempDir,
    pub(crate) options: ServiceOptions,
}

impl Stopped {
    /// From the next start on this algorithm's tokens are signed by a new key.
    pub(crate) fn add_signing_key(&self, algorithm: JwtAlgorithm) -> String {
        let file = &self.options.keyring_file;
        Keyring::add_signing_key(file, algorithm, self.clock.now(), &SystemEntropy).unwrap()
    }

    pub(crate) async fn start(self) -> Rekey {
        let Self { clock, admin_token, directory, options } = self;
        let service = Box::pin(Service::start(options.clone(), environment(&clock), false)).await.unwrap();
        let grpc = service.address();
        let channel = connect(grpc).await;
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let upstream = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let options_of_gateway = GatewayOptions {
            listen,
            upstream,
            drain: Duration::from_secs(5),
            identity: gateway::identity(&admin_token),
            docs: true,
        };
        let gateway = Box::pin(Gateway::start(options_of_gateway)).await.unwrap();
        let http = gateway.address();
        Rekey { clock, admin_token, directory, options, grpc, http, channel, service, gateway }
    }
}

/// A second service on a Rekey's database.
pub(crate) struct Replica {
    service: Service,
    channel: Channel,
}

impl Replica {
    /// Clients that send this token.
    pub(crate) fn clients(&self, token: &str) -> Clients {
        Clients::on(&self.channel, token)
    }

    /// A bare channel to it.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Has it read its keyring's file at once.
    pub(crate) async fn reload_keyring(&self) -> Result<(), String> {
        self.service.keyring().reload().await
    }

    pub(crate) async fn stop(self) {
        self.service.stop().await;
    }
}

fn environment(clock: &Arc<TestClock>) -> Environment {
    Environment { clock: Arc::clone(clock) as Arc<dyn Clock>, entropy: Arc::new(SystemEntropy) }
}

/// A new connection to a service.
pub(crate) async fn connect(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
}

/// A running Rekey.
pub(crate) struct Rekey {
    pub(crate) clock: Arc<TestClock>,
    /// A token that may do everything everywhere.
    pub(crate) admin_token: String,
    /// Where database and keyring are.
    pub(crate) directory: TempDir,
    pub(crate) options: ServiceOptions,
    /// Where the service listens.
    pub(crate) grpc: SocketAddr,
    /// Where the gateway listens.
    pub(crate) http: SocketAddr,
    channel: Channel,
    service: Service,
    gateway: Gateway,
}

impl Rekey {
    /// On SQLite.
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// On SQLite, with keys that sign tokens.
    pub(crate) async fn start_signing() -> Self {
        let stopped = Self::start().await.pause().await;
        for algorithm in JwtAlgorithm::ALL {
            stopped.add_signing_key(algorithm);
        }
        stopped.start().await
    }

    /// On SQLite unless the options are set otherwise.
    pub(crate) async fn start_with(adjust: impl FnOnce(&mut ServiceOptions)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut options = options(directory.path());
        adjust(&mut options);
        let clock = Arc::new(TestClock(AtomicI64::new(START * 1_000_000)));
        let environment = environment(&clock);
        Keyring::create(&options.keyring_file, clock.now(), &SystemEntropy).unwrap();
        let admin_token = app::initialise(&options, &environment).await.unwrap().expose_secret().to_owned();
        Stopped { clock, admin_token, directory, options }.start().await
    }

    /// On a new PostgreSQL database; `None` where there is no server.
    pub(crate) async fn start_on_postgres() -> Option<Self> {
        let store = StoreOptions { url: super::postgres::url()?, max_connections: 8 };
        Some(Self::start_with(|options| options.store = store).await)
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.pause().await.directory
    }

    /// Stops it, to be started again.
    pub(crate) async fn pause(self) -> Stopped {
        self.gateway.stop().await;
        self.service.stop().await;
        let Self { clock, admin_token, directory, options, .. } = self;
        Stopped { clock, admin_token, directory, options }
    }

    /// Has it read its keyring's file at once.
    pub(crate) async fn reload_keyring(&self) -> Result<(), String> {
        self.service.keyring().reload().await
    }

    /// Another one on the same database, with the same keyring and clock.
    pub(crate) async fn replica(&self) -> Replica {
        self.replica_with(|_| {}).await
    }

    /// The same, where it is set otherwise.
    pub(crate) async fn replica_with(&self, adjust: impl FnOnce(&mut ServiceOptions)) -> Replica {
        let mut options = self.options.clone();
        adjust(&mut options);
        let service = Box::pin(Service::start(options, self.environment(), false)).await.unwrap();
        let channel = connect(service.address()).await;
        Replica { service, channel }
    }

    /// The system's random numbers and this one's clock.
    pub(crate) fn environment(&self) -> Environment {
        environment(&self.clock)
    }

    /// Where its metrics are read.
    pub(crate) fn metrics(&self) -> Option<SocketAddr> {
        self.service.metrics_address()
    }

    /// A bare channel to the service.
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Clients that send this token; none where it is empty.
    pub(crate) fn clients(&self, token: &str) -> Clients {
        Clients::on(&self.channel, token)
    }

    /// Clients of the administrator.
    pub(crate) fn admin(&self) -> Clients {
        self.clients(&self.admin_token)
    }

    /// Makes a tenant.
    pub(crate) async fn make_tenant(&self, tenant: Tenant) -> Tenant {
        let request = CreateTenantRequest { tenant: Some(tenant), ..Default::default() };
        self.admin().tenants.create_tenant(request).await.unwrap().into_inner().tenant.unwrap()
    }

    /// Makes a caller of a tenant with these permissions, and returns a token for it.
    pub(crate) async fn make_caller(&self, tenant_id: &str, permissions: &[&str]) -> String {
        let permissions = permissions.iter().map(|permission| (*permission).to_owned()).collect();
        let tenant_id = tenant_id.to_owned();
        self.make_caller_as(CreateCallerRequest { tenant_id, permissions, ..CreateCallerRequest::default() }).await
    }

    /// Makes a caller, and returns a token for it.
    pub(crate) async fn make_caller_as(&self, request: CreateCallerRequest) -> String {
        let mut callers = self.admin().callers;
        let tenant_id = request.tenant_id.clone();
        let caller_id = callers.create_caller(request).await.unwrap().into_inner().caller.unwrap().caller_id;
        let request = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
        callers.create_api_token(request).await.unwrap().into_inner().token
    }
}

/// On SQLite in this directory, with the cheapest hashing that is allowed, and a queue for the tests of a whole binary.
pub(crate) fn options(directory: &Path) -> ServiceOptions {
    ServiceOptions {
        store: StoreOptions::sqlite(&directory.join("rekey.db"), 4),
        keyring_file: directory.join("keyring.json"),
        anchor_file: directory.join("anchor.json"),
        hasher: HasherOptions {
            threads: 2,
            queue: 256,
            max_wait: Duration::from_mins(1),
            memory_kib: 7_168,
            iterations: 5,
            parallelism: 1,
            foreign: ForeignBounds::DEFAULT,
        },
        limits: limits(),
        jobs: JobOptions::default(),
        // Once, at the start.
        expiry: ExpiryOptions { notice: Duration::from_hours(7 * 24), every: Duration::from_hours(1) },
        blocklist: None,
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        reflection: true,
        tls: None,
        metrics: None,
        drain: Duration::from_secs(5),
    }
}

/// As configured by default, but without rates: the clock stands, so no bucket would fill again.
pub(crate) fn limits() -> LimitOptions {
    let lockout = |free, stop| Lockout { free, longest: Duration::from_mins(15), stop };
    LimitOptions {
        source: lockout(5, None),
        strangers: lockout(20, Some(100)),
        caller: Rate::OFF,
        tenant: Rate::OFF,
        target: Rate::OFF,
        failures: FailureBudget::OFF,
    }
}

/// The `ErrorInfo.reason` of an error.
pub(crate) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// The fields of an error's violations, in order.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    use tonic_types::StatusExt as _;
    let request = status.get_details_bad_request();
    request
        .map(|request| request.field_violations.into_iter().map(|violation| violation.field).collect())
        .unwrap_or_default()
}
