//! A PostgreSQL server for a test process: made at the first question, gone with the process, however that ends.

#![expect(clippy::expect_used, reason = "a test without its server stops")]

use std::{
    env, fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
};

/// Where the server cannot be found, tests of it are skipped; with this set they fail.
const REQUIRED: &str = "REKEY_REQUIRE_POSTGRES";

static SERVER: LazyLock<Option<Server>> = LazyLock::new(Server::start);
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The URL of a new, empty database; `None` where there is no server program, after saying so.
#[must_use]
pub(crate) fn url() -> Option<String> {
    let server = SERVER.as_ref()?;
    let name = format!("rekey{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    let made = Command::new(server.programs.join("createdb"))
        .args(["-h", "127.0.0.1", "-U", "rekey", "-p"])
        .arg(server.port.to_string())
        .arg(&name)
        .status();
    assert!(made.expect("createdb runs").success(), "createdb failed");
    Some(format!("postgres://rekey@127.0.0.1:{}/{name}", server.port))
}

struct Server {
    programs: PathBuf,
    port: u16,
    /// Its shell waits for the end of its input, which comes with the end of this process.
    _shell: Child,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(env::var_os(REQUIRED).is_none_or(|value| value != "1"), "no PostgreSQL server programs found");
            // Past the test harness, which shows what a passing test prints to nobody.
            let sentence = "skipped: no PostgreSQL server programs found";
            let _ = writeln!(io::stderr(), "{sentence}; set {REQUIRED}=1 to make that a failure");
            return None;
        };
        let directory = tempfile::Builder::new().prefix("rekey-postgres-").tempdir().expect("a directory").keep();
        let account = account_for_server();
        if let Some((uid, gid)) = account {
            chown(&directory, Some(uid), Some(gid)).expect("root may give a directory away");
        }

        let data = directory.join("data");
        let made = as_account(Command::new(programs.join("initdb")), account, &directory)
            .args(["--no-sync", "--auth=trust", "--username=rekey", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success(), "initdb failed");

        // The port may be taken by another process before the server has it; then another one is tried.
        let (port, shell) = (0..5).find_map(|_| run(&programs, account, &directory)).expect("the server starts");
        Some(Self { programs, port, _shell: shell })
    }
}

/// Starts the server under a shell that stops it by its id once this process is gone, and clears up.
fn run(programs: &Path, account: Option<(u32, u32)>, directory: &Path) -> Option<(u16, Child)> {
    const SCRIPT: &str = r#"
        "$1/postgres" -D "$2/data" -h 127.0.0.1 -p "$3" -k "$2" \
            -c fsync=off -c full_page_writes=off -c max_connections=200 >"$2/log" 2>&1 &
        server=$!
        until "$1/pg_isready" -q -h 127.0.0.1 -p "$3"; do
            kill -0 $server 2>/dev/null || { echo failed; exit 1; }
            sleep 0.05
        done
        echo ready
        cat >/dev/null
        kill -INT $server
        wait $server
        rm -rf "$2"
    "#;
    let port = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a port").port();
    let mut shell = as_account(Command::new("/bin/sh"), account, directory)
        .args(["-c", SCRIPT, "sh"])
        .args([programs, directory])
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("a shell runs");
    let mut answer = String::new();
    BufReader::new(shell.stdout.take().expect("piped")).read_line(&mut answer).expect("an answer");
    if answer.trim() == "ready" {
        Some((port, shell))
    } else {
        let _ = shell.wait();
        None
    }
}

pub(crate) fn as_account(mut command: Command, account: Option<(u32, u32)>, directory: &Path) -> Command {
    // The server refuses root, and warns where it may not enter the working directory.
    command.current_dir(directory).env_remove("PGDATA").env_remove("PGPORT").env_remove("PGHOST");
    if let Some((uid, gid)) = account {
        command.gid(gid).uid(uid);
    }
    command
}

/// Where the server's programs are: the newest installed, or on the path.
pub(crate) fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path().join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").is_file())
        .max();
    let on_path = || env::split_paths(&env::var_os("PATH")?).find(|directory| directory.join("initdb").is_file());
    newest.map(|(_, programs)| programs).or_else(on_path)
}

/// Whom the server runs as: ourselves, or, as it refuses root, somebody else.
pub(crate) fn account_for_server() -> Option<(u32, u32)> {
    let is_root = fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        status.lines().any(|line| line.starts_with("Uid:") && line.split_whitespace().nth(2) == Some("0"))
    });
    if !is_root {
        return None;
    }
    let accounts = fs::read_to_string("/etc/passwd").expect("accounts");
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
    })
}
