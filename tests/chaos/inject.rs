//! Faults of single system calls, by strace: the n-th `fsync` or `pwrite64` of a process kills it or fails.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use tempfile::NamedTempFile;

use crate::{
    parameters::say,
    server::{PATIENCE, PAUSE, Server, has_program},
};

/// How long strace may take to leave a process.
const DETACHING: Duration = Duration::from_secs(5);

/// What happens at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process is killed as it makes the call.
    Kill,
    /// The call fails with this error.
    Error(&'static str),
}

/// Whether strace is here and may trace; says so where not.
pub(crate) fn can_inject() -> bool {
    let works = has_program("strace")
        && Command::new("strace")
            .args(["-o", "/dev/null", "-e", "trace=none", "true"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if !works {
        say("skipped: no strace here that may trace (Debian's package strace, and the right to ptrace)");
    }
    works
}

/// A fault that is laid for a process. Taken away when dropped.
pub(crate) struct Trap {
    strace: Child,
    /// A line for each call.
    calls: NamedTempFile,
}

impl Trap {
    /// Lays it for the call of this name that each thread makes as its `ordinal`-th from now on; nothing but that one.
    pub(crate) fn lay(server: &Server, call: &str, ordinal: u32, fault: Fault) -> Self {
        let fault = match fault {
            Fault::Kill => "signal=SIGKILL".to_owned(),
            Fault::Error(error) => format!("error={error}"),
        };
        Self::attach(server, &["-e", &format!("trace={call}"), "-e", &format!("inject={call}:{fault}:when={ordinal}")])
    }

    /// Lets every call of these names fail, as long as it lies there.
    pub(crate) fn always(server: &Server, calls: &str, error: &str) -> Self {
        let inject = format!("inject={calls}:error={error}");
        Self::attach(server, &["-e", &format!("trace={calls}"), "-e", &inject])
    }

    /// Only counts the calls of this name.
    pub(crate) fn count(server: &Server, call: &str) -> Self {
        Self::attach(server, &["-e", &format!("trace={call}")])
    }

    /// Takes it away: how many calls there were, and whether one of them met the fault.
    pub(crate) fn lift(mut self, call: &str) -> (usize, bool) {
        self.end();
        let calls = fs::read_to_string(self.calls.path()).unwrap();
        // A call during which another thread made one is told in two lines.
        let made = calls.lines().filter(|line| line.contains(&format!("{call}(")));
        (made.count(), calls.contains("(INJECTED)"))
    }

    /// It detaches at this signal, and ends with the process that it traces. One that does neither is made to.
    fn end(&mut self) {
        let begun = Instant::now();
        let mut name = "INT";
        while self.strace.try_wait().unwrap().is_none() {
            // It may end at the same time.
            let pid = self.strace.id().to_string();
            let _ = Command::new("kill").args([&format!("-{name}"), &pid]).stderr(Stdio::null()).status();
            thread::sleep(PAUSE);
            if begun.elapsed() > DETACHING {
                name = "KILL";
            }
        }
    }

    /// Attaches strace to every thread of a process, and waits until it is.
    fn attach(server: &Server, expressions: &[&str]) -> Self {
        let calls = NamedTempFile::new().unwrap();
        let mut strace = Command::new("strace")
            .args(["-f", "-p", &server.pid().to_string(), "-o"])
            .arg(calls.path())
            .args(expressions)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(strace.stderr.take().unwrap());
        let (sender, attached) = mpsc::channel();
        thread::spawn(move || {
            for line in said.lines().map_while(Result::ok) {
                if line.contains("attached") {
                    let _ = sender.send(());
                }
            }
        });
        attached.recv_timeout(PATIENCE).unwrap();
        Self { strace, calls }
    }
}

impl Drop for Trap {
    fn drop(&mut self) {
        self.end();
    }
}
