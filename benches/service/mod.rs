//! The release binary as a process of its own, with a tenant, a user and a device, and what benchmarks ask of it.

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
    CreateDeviceRequest, CreateTenantRequest, CreateUserRequest, Tenant, VerifyAuthenticationRequest,
    VerifyPasswordRequest, create_device_request, create_user_request, device_service_client::DeviceServiceClient,
    tenant_service_client::TenantServiceClient, user_service_client::UserServiceClient, verify_authentication_request,
    verify_password_request,
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
const USER: &str = "ada@example.org";

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

/// A server that runs; killed with the benchmark.
pub(crate) struct Service {
    child: Child,
    port: u16,
    token: String,
    _directory: TempDir,
}

impl Service {
    /// With the defaults, but for these settings.
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let init = rekey(&data).arg("init").stderr(Stdio::null()).output().unwrap();
        assert!(init.status.success());
        let token = String::from_utf8(init.stdout).unwrap().trim().to_owned();
        let port = free_port();
        let child = rekey(&data)
            .args(["serve", "--log-level", "error", "--grpc-listen", &format!("127.0.0.1:{port}")])
            .envs(settings.iter().copied())
            .spawn()
            .unwrap();
        let service = Self { child, port, token, _directory: directory };
        service.fill().await;
        service
    }

    async fn fill(&self) {
        let channel = self.connect().await;
        let mut tenants = TenantServiceClient::new(channel.clone());
        let tenant = Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() };
        tenants.create_tenant(CreateTenantRequest { tenant: Some(tenant), ..Default::default() }).await.unwrap();
        let user = CreateUserRequest {
            tenant_id: TENANT.to_owned(),
            user_id: "ada".to_owned(),
            username: USER.to_owned(),
            secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
            ..CreateUserRequest::default()
        };
        UserServiceClient::new(channel.clone()).create_user(user).await.unwrap();
        let device = CreateDeviceRequest {
            tenant_id: TENANT.to_owned(),
            device_id: "4711".to_owned(),
            user_name: "device01".to_owned(),
            secret_source: Some(create_device_request::SecretSource::Password(DEVICE_PASSWORD.to_owned())),
            ..Default::default()
        };
        DeviceServiceClient::new(channel).create_device(device).await.unwrap();
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

    /// A line of the process's status in KiB: `VmRSS`, `VmHWM`.
    pub(crate) fn kib(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    for _ in 0..200 {
        if let Ok(channel) = endpoint.connect().await {
            return channel;
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

/// The right password of the user there is.
pub(crate) fn check_right() -> VerifyPasswordRequest {
    check_user(USER, PASSWORD)
}

pub(crate) fn check_device() -> VerifyAuthenticationRequest {
    VerifyAuthenticationRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("4711".to_owned())),
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

/// The numbers after the benchmark's name: `cargo bench --bench flood -- 10 200`.
pub(crate) fn argument(place: usize, default: u64) -> u64 {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    numbers.get(place).copied().unwrap_or(default)
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
