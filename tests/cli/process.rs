//! The binary as a process: started, waited for by what it says, told to stop.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader, Read},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use tempfile::TempDir;

/// Longer than any start takes; only so that a test that fails ends.
const PATIENCE: Duration = Duration::from_mins(1);

/// A place of its own for one test: the working directory of its processes.
pub(crate) struct Place {
    directory: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command, with no settings of whoever runs the tests.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rekey"));
        for (name, _) in env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("REKEY_")) {
            command.env_remove(name);
        }
        // Enough for tests, and quick: parameters have tests of their own.
        command.current_dir(self.directory.path()).args(arguments).env("REKEY_HASHING__THREADS", "1");
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// Starts what runs until it is told to stop.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        Running::new(self.command(arguments))
    }

    /// `rekey init` in `rekey-data`; the administrator's token.
    pub(crate) fn init(&self) -> String {
        let ended = self.run(&["init"]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.stdout.trim().to_owned()
    }

    /// `rekey serve` on a free port, and where it listens.
    pub(crate) fn serve(&self, more: &[&str]) -> (Running, SocketAddr) {
        let mut running = self.start(&[&["serve", "--grpc-listen", "127.0.0.1:0"], more].concat());
        let address = running.wait_for("ready").address("address");
        (running, address)
    }

    /// `rekey dev` on free ports, and what it wrote.
    pub(crate) fn dev(&self, more: &[&str]) -> (Running, HashMap<String, String>) {
        let mut running =
            self.start(&[&["dev", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], more].concat());
        running.wait_for("Control-C stops it");
        let values = demo_values(&self.path("rekey-data/demo.env"));
        (running, values)
    }
}

/// The assignments of a `demo.env`.
pub(crate) fn demo_values(path: &Path) -> HashMap<String, String> {
    let text = fs::read_to_string(path).unwrap();
    let assignments = text.lines().filter_map(|line| line.split_once('='));
    assignments.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
}

/// What a process ended with.
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A process that runs; killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: String,
}

/// A line that a process wrote.
pub(crate) struct Line(String);

impl Line {
    /// The address after `name=`.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let (_, rest) = self.0.split_once(&format!("{name}=")).unwrap();
        rest.split_whitespace().next().unwrap().parse().unwrap()
    }
}

impl Running {
    pub(crate) fn new(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        read_lines(child.stdout.take().unwrap(), sender.clone());
        read_lines(child.stderr.take().unwrap(), sender);
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line with these words, on either stream.
    pub(crate) fn wait_for(&mut self, words: &str) -> Line {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it never said {words:?}, but: {}", self.said));
            self.said += &line;
            self.said.push('\n');
            if line.contains(words) {
                return Line(line);
            }
        }
    }

    /// Sends SIGTERM.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal, named as `kill` takes it.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Waits for the end: the exit code, and everything that was said.
    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        // Both streams end with the process.
        while let Ok(line) = self.lines.recv() {
            self.said += &line;
            self.said.push('\n');
        }
        (code, std::mem::take(&mut self.said))
    }

    /// SIGTERM, and the end.
    pub(crate) fn stop(self) -> (i32, String) {
        self.terminate();
        self.end()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stream: impl Read + Send + 'static, sender: Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
}
