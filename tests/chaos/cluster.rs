//! A PostgreSQL server of this test's own: killed, stopped and started again. Unlike that of the other tests it waits for
//! the disk, as one in earnest does.

use std::{
    fs::{self, File},
    net::TcpListener,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use crate::{
    common::postgres::{account_for_server, as_account, programs},
    server::{PATIENCE, PAUSE, signal},
};

/// Clears up once this process is gone, however that ends.
const KEEPER: &str = r#"
    cat >/dev/null
    if server=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null); then
        kill -CONT "$server"; kill -QUIT "$server"
        while kill -0 "$server" 2>/dev/null; do sleep 0.05; done
    fi 2>/dev/null
    rm -rf "$1"
"#;

/// A server.
pub(crate) struct Cluster {
    programs: PathBuf,
    account: Option<(u32, u32)>,
    directory: PathBuf,
    port: u16,
    running: Option<Child>,
    _keeper: Child,
}

impl Cluster {
    /// A new one that runs; `None` where there are no server programs.
    pub(crate) fn start_new() -> Option<Self> {
        // Says so, and fails where it must not be skipped.
        crate::common::postgres::url()?;
        let (programs, account) = (programs()?, account_for_server());
        let directory = tempfile::Builder::new().prefix("rekey-chaos-").tempdir().unwrap().keep();
        if let Some((uid, gid)) = account {
            chown(&directory, Some(uid), Some(gid)).unwrap();
        }
        let keeper = as_account(Command::new("/bin/sh"), account, &directory)
            .args(["-c", KEEPER, "sh"])
            .arg(&directory)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let made = as_account(Command::new(programs.join("initdb")), account, &directory)
            .args(["--no-sync", "--auth=trust", "--username=rekey", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(directory.join("data"))
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
        let mut cluster = Self { programs, account, directory, port, running: None, _keeper: keeper };
        cluster.start();
        Some(cluster)
    }

    /// Starts it, and waits until it takes connections.
    pub(crate) fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.directory.join("log")).unwrap();
        let child = as_account(Command::new(self.programs.join("postgres")), self.account, &self.directory)
            .arg("-D")
            .arg(self.directory.join("data"))
            .args(["-h", "127.0.0.1", "-c", "max_connections=200", "-p", &self.port.to_string(), "-k"])
            .arg(&self.directory)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let running = self.running.insert(child.unwrap());
        let begun = Instant::now();
        let ready = || {
            let asked = Command::new(self.programs.join("pg_isready"))
                .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                .status();
            asked.unwrap().success()
        };
        while !ready() {
            let ended = running.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a new, empty database, behind another port where one is given.
    pub(crate) fn database(&self, name: &str, port: Option<u16>) -> String {
        let made = Command::new(self.programs.join("createdb"))
            .args(["-h", "127.0.0.1", "-U", "rekey", "-p", &self.port.to_string(), name])
            .status();
        assert!(made.unwrap().success(), "createdb failed: {}", self.log());
        format!("postgres://rekey@127.0.0.1:{}/{name}", port.unwrap_or(self.port))
    }

    /// SIGKILL to the server and to each of its processes.
    pub(crate) fn kill(&mut self) {
        let mut server = self.running.take().unwrap();
        let workers = children(server.id());
        server.kill().unwrap();
        server.wait().unwrap();
        for worker in &workers {
            // Some end by themselves before.
            let _ = Command::new("kill").args(["-KILL", &worker.to_string()]).stderr(Stdio::null()).status();
        }
        // The next start refuses while one of them holds the shared memory.
        let begun = Instant::now();
        while workers.iter().any(|worker| Path::new(&format!("/proc/{worker}")).exists()) {
            assert!(begun.elapsed() < PATIENCE, "a killed process of the server is still there");
            thread::sleep(PAUSE);
        }
    }

    /// Stops or continues all its processes: its connections stay open, and nobody answers.
    pub(crate) fn pause(&self, paused: bool) {
        let server = self.running.as_ref().unwrap().id();
        let name = if paused { "STOP" } else { "CONT" };
        // The server first, so that it starts no more.
        signal(server, name);
        for worker in children(server) {
            let _ =
                Command::new("kill").args([&format!("-{name}"), &worker.to_string()]).stderr(Stdio::null()).status();
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.pause(false);
            self.kill();
        }
    }
}

/// The processes that this one started.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let has_parent = |id: &u32| {
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        // After the name in brackets: state, parent.
        let rest = stat.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        rest.split(' ').nth(1) == Some(&parent.to_string())
    };
    ids.filter(has_parent).collect()
}
