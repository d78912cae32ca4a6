//! The binary as processes: started, waited for by its health, killed, started again; any number of them on one database
//! with one keyring.

use std::{
    collections::VecDeque,
    env, fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use rekey::{
    crypto::{Keyring, SystemEntropy},
    domain::Timestamp,
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::common::{postgres, rekey::Clients};

/// Longer than anything takes; only so that a test that fails ends.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
/// Between two questions.
pub(crate) const PAUSE: Duration = Duration::from_millis(10);
/// What is kept of a process's log, for when it is needed.
const LINES: usize = 200;

/// An installation: keyring, database, administrator, and what its processes are started with.
pub(crate) struct Site {
    directory: TempDir,
    /// What a test writes: not on a disk that it takes away.
    notes: TempDir,
    /// Where the database is, as the processes are told.
    pub(crate) url: String,
    /// A token that may do everything everywhere.
    pub(crate) admin_token: String,
    environment: Vec<(String, String)>,
    /// What is run: this version's, or another's.
    program: PathBuf,
}

impl Site {
    /// On a SQLite file.
    pub(crate) fn on_sqlite() -> Self {
        Self::on_sqlite_in(&env::temp_dir())
    }

    /// On a SQLite file, all of it on the file system of this directory.
    pub(crate) fn on_sqlite_in(place: &Path) -> Self {
        let directory = tempfile::tempdir_in(place).unwrap();
        let url = format!("sqlite:{}", directory.path().join("rekey.db").display());
        Self::make(directory, url)
    }

    /// On a new database of the tests' PostgreSQL; `None` where there is no server.
    pub(crate) fn on_postgres() -> Option<Self> {
        Some(Self::on(postgres::url()?))
    }

    /// On the empty database at this URL.
    pub(crate) fn on(url: String) -> Self {
        Self::make(tempfile::tempdir().unwrap(), url)
    }

    /// On the empty database at this URL, installed by another program.
    pub(crate) fn by(program: PathBuf, url: String) -> Self {
        let mut site = Self::empty(url);
        site.program = program;
        site.install();
        site
    }

    /// A directory for the database at this URL, and nothing else yet.
    pub(crate) fn empty(url: String) -> Self {
        Self::without_installation(tempfile::tempdir().unwrap(), url)
    }

    fn without_installation(directory: TempDir, url: String) -> Self {
        let (admin_token, environment) = (String::new(), Vec::new());
        let notes = tempfile::tempdir().unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_rekey"));
        Self { directory, notes, url, admin_token, environment, program }
    }

    /// From the next start on, processes are of this version.
    pub(crate) fn use_own_program(&mut self) {
        self.program = PathBuf::from(env!("CARGO_BIN_EXE_rekey"));
    }

    /// Makes keys, and nothing in the database.
    pub(crate) fn make_keyring(&self) {
        let now = Timestamp::from_micros(1_767_225_600_000_000);
        Keyring::create(&self.path("keyring.json"), now, &SystemEntropy).unwrap();
    }

    fn install(&mut self) {
        let made = self.run(&["init"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        String::from_utf8(made.stdout).unwrap().trim().clone_into(&mut self.admin_token);
    }

    fn make(directory: TempDir, url: String) -> Self {
        let mut site = Self::without_installation(directory, url);
        site.install();
        site
    }

    /// A file of this installation.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where a test writes what it asked and was answered.
    pub(crate) fn history(&self) -> PathBuf {
        self.notes.path().join("history")
    }

    /// From the next start on, processes have this in their environment.
    pub(crate) fn set(&mut self, variable: &str, value: &str) {
        self.environment.push((variable.to_owned(), value.to_owned()));
    }

    /// From the next start on, a soft lock begins as late as it may. Each kill leaves checks reserved that are void only
    /// two minutes after the last one at their subject: more kills than a crash brings would fill its room, and every
    /// look at it wait in vain.
    pub(crate) fn allow_many_failures(&mut self) {
        for (limit, most) in [("FREE_FAILURES", "100"), ("STRANGER_FAILURES", "1000"), ("HARD_STOP_FAILURES", "100")] {
            self.set(&format!("REKEY_LIMITS__{limit}"), most);
        }
    }

    /// From the next start on, processes have this bug of `src/planted.rs`.
    pub(crate) fn plant(&mut self, bug: &str) {
        self.set("PLANTED_BUG", bug);
    }

    /// The program, with settings of this installation alone, started by another one where `under` names it.
    pub(crate) fn command(&self, under: &[&str], arguments: &[&str]) -> Command {
        let program = self.program.to_str().unwrap();
        let mut line = under.iter().chain([&program]).chain(arguments);
        let mut command = Command::new(line.next().unwrap());
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REKEY_")) {
            command.env_remove(name);
        }
        command
            .args(line)
            .current_dir(self.directory.path())
            .env("REKEY_DATA_DIR", self.directory.path())
            .env("REKEY_DATABASE__URL", &self.url)
            // The cheapest hashing that is allowed, and room for all that comes: how it sheds has tests of its own.
            .env("REKEY_HASHING__THREADS", "1")
            .env("REKEY_HASHING__MEMORY_KIB", "7168")
            .env("REKEY_HASHING__ITERATIONS", "5")
            .env("REKEY_HASHING__QUEUE", "256")
            .env("REKEY_HASHING__MAX_WAIT_MS", "30000")
            // Replaced passwords are tried on purpose, all of them from one place.
            .env("REKEY_LIMITS__SOURCE_FAILURES_PER_MINUTE", "0")
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a subcommand to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(&[], arguments).output().unwrap()
    }

    /// Starts a process of the service and waits until it is ready.
    pub(crate) async fn serve(&self) -> Server {
        let server = self.start(&[]).unwrap_or_else(|log| panic!("it did not start:\n{log}"));
        server.wait_until_ready().await;
        server
    }

    /// Starts a process of the service, under another program where one is named, and waits until it listens; what it
    /// said where it ends instead.
    pub(crate) fn start(&self, under: &[&str]) -> Result<Server, String> {
        self.start_with(under, &[])
    }

    /// Starts a gateway before a process of the service, and waits until it listens.
    pub(crate) fn gateway(&self, upstream: SocketAddr) -> Server {
        let upstream = format!("http://{upstream}");
        let mut command = self.command(&[], &["gateway", "--http-listen", "127.0.0.1:0", "--upstream", &upstream]);
        let gateway = Server::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
        gateway.unwrap_or_else(|log| panic!("it did not start:\n{log}"))
    }

    /// Starts a process of the service with more arguments.
    pub(crate) fn start_with(&self, under: &[&str], more: &[&str]) -> Result<Server, String> {
        let mut command = self.command(under, &[&["serve", "--grpc-listen", "127.0.0.1:0"], more].concat());
        Server::start(command.stdout(Stdio::null()).stderr(Stdio::piped()))
    }

    /// Keeps the files, for whoever looks into what went wrong.
    pub(crate) fn keep(self) -> (PathBuf, PathBuf) {
        (self.directory.keep(), self.notes.keep())
    }
}

/// A process of the service; killed when dropped.
pub(crate) struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Mutex<VecDeque<String>>>,
}

impl Server {
    fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = channel();
        read_lines(child.stderr.take().unwrap(), Arc::clone(&log), sender);
        match address_in(&lines) {
            Ok(address) => Ok(Self { child, address, log }),
            Err(why) => {
                let _ = child.kill();
                let status = child.wait().unwrap();
                Err(format!("{why}, {status}\n{}", text(&log)))
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its id, or that of the program it runs under.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A channel to it, connected at its first call.
    pub(crate) fn channel(&self) -> Channel {
        channel_to(self.address)
    }

    /// Clients on a channel of their own that send this token.
    pub(crate) fn clients(&self, token: &str) -> Clients {
        Clients::on(&self.channel(), token)
    }

    /// What `grpc.health.v1` says; `None` where nothing is said within the bound.
    pub(crate) async fn health(&self) -> Option<ServingStatus> {
        let asked = async { HealthClient::new(self.channel()).check(HealthCheckRequest::default()).await };
        let answer = tokio::time::timeout(Duration::from_secs(5), asked).await.ok()?.ok()?;
        Some(answer.into_inner().status())
    }

    /// Asks for its health until it is this.
    pub(crate) async fn wait_for_health(&self, wanted: ServingStatus) {
        let begun = Instant::now();
        while self.health().await != Some(wanted) {
            assert!(begun.elapsed() < PATIENCE, "it never was {wanted:?}, but said:\n{}", self.log());
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks for its health until it serves.
    pub(crate) async fn wait_until_ready(&self) {
        self.wait_for_health(ServingStatus::Serving).await;
    }

    /// The last that it said.
    pub(crate) fn log(&self) -> String {
        text(&self.log)
    }

    /// Whether it runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGKILL, and the end.
    pub(crate) fn kill(&mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// Waits for an end that comes by itself, and what was said before.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.log());
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end:\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(self) -> (ExitStatus, String) {
        self.signal("TERM");
        self.end()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill -{name} {pid}");
}

/// A channel to a service, connected at its first call.
pub(crate) fn channel_to(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// Waits for the line that says where it listens.
fn address_in(lines: &Receiver<String>) -> Result<SocketAddr, &'static str> {
    let begun = Instant::now();
    loop {
        let line = match lines.recv_timeout(PATIENCE.saturating_sub(begun.elapsed())) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => return Err("it ended"),
            Err(RecvTimeoutError::Timeout) => return Err("it was never ready"),
        };
        if line.contains("ready")
            && let Some((_, rest)) = line.split_once("address=")
            && let Some(Ok(address)) = rest.split_whitespace().next().map(str::parse)
        {
            return Ok(address);
        }
    }
}

/// Reads to the end, so that a process never waits for who reads what it says.
fn read_lines(stream: impl Read + Send + 'static, log: Arc<Mutex<VecDeque<String>>>, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            let mut log = log.lock().unwrap();
            if log.len() == LINES {
                log.pop_front();
            }
            log.push_back(line.clone());
            drop(log);
            let _ = sender.send(line);
        }
    });
}

fn text(log: &Mutex<VecDeque<String>>) -> String {
    log.lock().unwrap().iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}

/// Whether this machine has a program.
pub(crate) fn has_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|directory| fs::metadata(directory.join(name)).is_ok_and(|found| found.is_file()))
}
