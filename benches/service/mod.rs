//! The release binary as a process of its own, with a tenant, users and devices, and what benchmarks ask of it.

#![expect(dead_code, reason = "each benchmark uses a part")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use rekey::proto::{
    CreateDeviceRequest, CreateTenantRequest, CreateUserRequest, GetUserRequest, ImportBatch, ImportOptions,
    ImportUser, ImportUsersRequest, SubjectState, Tenant, VerifyAuthenticationRequest, VerifyPasswordRequest,
    create_device_request, create_user_request, device_service_client::DeviceServiceClient,
    import_users_request::Content, tenant_service_client::TenantServiceClient, user_service_client::UserServiceClient,
    verify_authentication_request, verify_password_request,
};
use tempfile::TempDir;
use tonic::{
    Request, Status,
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

pub(crate) const PASSWORD: &str = "a long enough phrase to guess at";
pub(crate) const DEVICE_PASSWORD: &str = "Abcdefgh1234567!";
pub(crate) const TENANT: &str = "bench";
/// So many that no limit of one subject is what is measured.
pub(crate) const USERS: usize = 32;
pub(crate) const DEVICES: usize = 64;
/// One caller asks for all, which the limits do not have in mind. They are asked all the same.
const NO_LIMITS: [(&str, &str); 4] = [
    ("REKEY_LIMITS__CALLER_PER_SECOND", "1000000"),
    ("REKEY_LIMITS__CALLER_BURST", "1000000"),
    ("REKEY_LIMITS__TENANT_PER_SECOND", "1000000"),
    ("REKEY_LIMITS__TENANT_BURST", "1000000"),
];

/// Puts the administrator's token into each request.
#[derive(Clone)]
pub(crate) struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.0).parse().unwrap());
        Ok(request)
    }
}

pub(crate) type Authorised = InterceptedService<Channel, Bearer>;

/// A server that runs, and what runs besides; killed with the benchmark.
pub(crate) struct Service {
    child: Child,
    gateway: Option<Child>,
    port: u16,
    token: String,
    _directory: TempDir,
}

impl Service {
    /// With the defaults, but for these settings and the limits of one caller.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let init = rekey(&data).arg("init").envs(settings.iter().copied()).stderr(Stdio::null()).output().unwrap();
        assert!(init.status.success());
        let token = String::from_utf8(init.stdout).unwrap().trim().to_owned();
        let port = free_port();
        let child = rekey(&data)
            .args(["serve", "--log-level", "error", "--grpc-listen", &format!("127.0.0.1:{port}")])
            .envs(NO_LIMITS)
            .envs(settings.iter().copied())
            .spawn()
            .unwrap();
        let service = Self { child, gateway: None, port, token, _directory: directory };
        service.fill().await;
        service
    }

    async fn fill(&self) {
        let channel = self.connect().await;
        let mut tenants = TenantServiceClient::new(channel.clone());
        let tenant = Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() };
        tenants.create_tenant(CreateTenantRequest { tenant: Some(tenant), ..Default::default() }).await.unwrap();
        for number in 0..USERS {
            self.create_user(&format!("user{number}"), &user(number), SubjectState::Active).await;
        }
        let mut devices = DeviceServiceClient::new(channel);
        for number in 0..DEVICES {
            let device = CreateDeviceRequest {
                tenant_id: TENANT.to_owned(),
                device_id: number.to_string(),
                user_name: format!("device{number:02}"),
                secret_source: Some(create_device_request::SecretSource::Password(DEVICE_PASSWORD.to_owned())),
                ..Default::default()
            };
            devices.create_device(device).await.unwrap();
        }
    }

    /// Makes a user with the password that all have.
    pub(crate) async fn create_user(&self, id: &str, username: &str, state: SubjectState) {
        let user = CreateUserRequest {
            tenant_id: TENANT.to_owned(),
            user_id: id.to_owned(),
            username: username.to_owned(),
            state: state.into(),
            secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
            ..CreateUserRequest::default()
        };
        UserServiceClient::new(self.connect().await).create_user(user).await.unwrap();
    }

    /// Takes over users, each with a hash of another system.
    pub(crate) async fn import_users(&self, users: impl Iterator<Item = (String, &str)>) {
        let options = ImportOptions { tenant_id: TENANT.to_owned(), ..ImportOptions::default() };
        let users = users.map(|(username, hash)| ImportUser {
            username,
            password_hash: hash.to_owned(),
            ..ImportUser::default()
        });
        let batch = ImportBatch { users: users.collect() };
        let messages = [Content::Options(options), Content::Batch(batch)]
            .map(|content| ImportUsersRequest { content: Some(content) });
        let mut users = UserServiceClient::new(self.connect().await);
        let mut answers = users.import_users(tokio_stream::iter(messages)).await.unwrap().into_inner();
        while let Some(answer) = answers.message().await.unwrap() {
            assert_eq!(answer.failures, []);
        }
    }

    /// A new connection.
    pub(crate) async fn connect(&self) -> Authorised {
        InterceptedService::new(connect(self.port).await, Bearer(self.token.clone()))
    }

    /// Another server's connection with the same headers.
    pub(crate) async fn connect_to(&self, port: u16) -> Authorised {
        InterceptedService::new(connect(port).await, Bearer(self.token.clone()))
    }

    /// Its port, and the administrator's token.
    pub(crate) fn reach(&self) -> (u16, &str) {
        (self.port, &self.token)
    }

    /// Starts a REST gateway in front of it, as a process of its own, and returns its port once somebody listens there.
    pub(crate) async fn start_gateway(&mut self) -> u16 {
        let port = free_port();
        let gateway = Command::new(env!("CARGO_BIN_EXE_rekey"))
            .args(["gateway", "--log-level", "error", "--http-listen", &format!("127.0.0.1:{port}")])
            .args(["--upstream", &format!("http://127.0.0.1:{}", self.port)])
            .spawn()
            .unwrap();
        self.gateway = Some(gateway);
        until(async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok(), port).await;
        port
    }

    /// A line of the process's status in KiB: `VmRSS`, `VmHWM`.
    pub(crate) fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        for child in self.gateway.iter_mut().chain([&mut self.child]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn rekey(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekey"));
    command.arg("--data-dir").arg(data);
    command
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

/// Waits until somebody listens.
pub(crate) async fn connect(port: u16) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().tcp_nodelay(true);
    until(async || endpoint.connect().await.ok(), port).await
}

async fn until<T>(attempt: impl AsyncFn() -> Option<T>, port: u16) -> T {
    for _ in 0..200 {
        if let Some(made) = attempt().await {
            return made;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens on port {port}");
}

pub(crate) fn check_user(username: &str, password: &str) -> VerifyPasswordRequest {
    VerifyPasswordRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_password_request::Subject::Username(username.to_owned())),
        password: password.to_owned(),
    }
}

/// The name of one of the users.
pub(crate) fn user(number: usize) -> String {
    format!("user{:02}@example.org", number % USERS)
}

/// The first of the users.
pub(crate) fn get_user() -> GetUserRequest {
    GetUserRequest { tenant_id: TENANT.to_owned(), user_id: "user0".to_owned() }
}

/// The right password of one of the users.
pub(crate) fn check_right(number: usize) -> VerifyPasswordRequest {
    check_user(&user(number), PASSWORD)
}

/// The right password of one of the devices.
pub(crate) fn check_device(number: usize) -> VerifyAuthenticationRequest {
    VerifyAuthenticationRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId((number % DEVICES).to_string())),
        password: DEVICE_PASSWORD.to_owned(),
    }
}

/// Processor, threads and load of this machine.
pub(crate) fn machine() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown processor");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let threads = thread::available_parallelism().unwrap();
    format!("{}, {threads} threads, load before the run {}", model.trim_start_matches(['\t', ':', ' ']), load.trim())
}

/// How much of the processors this process has had.
pub(crate) fn own_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    // After the name, which is in parentheses: utime and stime are the 12th and 13th, in hundredths of a second.
    let fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
    let ticks: u64 = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Whether a run of seconds is asked for, which tells only whether it runs: `cargo bench --bench flood -- --quick`.
pub(crate) fn is_quick() -> bool {
    std::env::args().any(|argument| argument == "--quick")
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which this part of a thousand lies.
pub(crate) fn quantile(times: &mut [Duration], of_thousand: usize) -> Duration {
    times.sort_unstable();
    let place = (times.len() * of_thousand / 1_000).min(times.len().saturating_sub(1));
    times.get(place).copied().unwrap_or_default()
}

/// How many there are, and p50, p99 and the longest.
pub(crate) fn tell(what: &str, times: &mut [Duration]) {
    let [p50, p99, most] = [500, 990, 1_000].map(|part| millis(quantile(times, part)));
    println!("{what:<28} {:>7}:  p50 {p50:>8.3} ms  p99 {p99:>8.3} ms  most {most:>8.3} ms", times.len());
}
