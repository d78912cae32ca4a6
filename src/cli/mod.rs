//! The command line: one file for each subcommand. A command gathers settings, calls `app` or `gateway`, and turns what
//! went wrong into a sentence and an exit code; it decides nothing that a client could see.

mod admin;
mod backup;
mod bar;
mod blocklist;
mod calibrate;
mod census;
mod completions;
mod dev;
mod failure;
mod gateway;
mod health;
mod import;
mod init;
mod installation;
mod keys;
mod migrate;
mod output;
mod print;
mod private_file;
mod profile;
mod prompt;
mod restore;
mod serve;
mod session;
mod stop;

use std::{env, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::failure::{Exit, Failure};
use crate::{
    config::{Config, Sources},
    telemetry,
};

const HELP: &str = "\
Examples:
  rekey dev                         try everything, with demo tenants, on this machine
  TOKEN=$(rekey init)               a new installation in ./rekey-data; keep the token
  rekey serve                       the service, on 127.0.0.1:50051
  rekey gateway                     REST in front of it, on 127.0.0.1:8080
  rekey health                      does it serve?
  rekey user create jane --generate administer it; see rekey user --help, and profiles there
  rekey import users.jsonl          take over users of another system
  rekey backup rekey.backup         the whole database in one file, while it is served

Exit codes:
  0 done   1 failed   2 wrong usage   3 configuration   4 keyring   5 database   6 address   7 unhealthy or not current
  8 an older copy of the database, or another one

Settings come from embedded defaults, --config FILE, the environment (REKEY_GRPC__LISTEN, REKEY_DATABASE__URL, …) and
flags; the later wins.";

/// Looks after credentials: a gRPC service, and a REST gateway in front of it.
#[derive(Debug, Parser)]
#[command(name = "rekey", version, after_help = HELP, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args, Debug)]
struct Global {
    /// Settings, as TOML
    #[arg(long, global = true, help_heading = "Settings", value_name = "FILE", env = "REKEY_CONFIG")]
    config: Option<PathBuf>,
    /// Where database and keyring are [default: rekey-data]
    #[arg(long, global = true, help_heading = "Settings", value_name = "DIRECTORY")]
    data_dir: Option<String>,
    /// `sqlite:PATH` or `postgres://USER@HOST/NAME` [default: sqlite in the data directory]
    ///
    /// Other users of the machine can read a command line: a URL with a password belongs into the file that
    /// `database.url_file` names, or into the environment.
    #[arg(long, global = true, help_heading = "Settings", value_name = "URL")]
    database_url: Option<String>,
    /// off, error, warn, info, debug, trace, or tracing's directives [default: info]
    #[arg(long, global = true, help_heading = "Settings", value_name = "LEVEL")]
    log_level: Option<String>,
    /// text or json [default: text]
    #[arg(long, global = true, help_heading = "Settings", value_name = "FORMAT")]
    log_format: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Dev(dev::Arguments),
    Init(init::Arguments),
    Serve(serve::Arguments),
    Gateway(gateway::Arguments),
    Migrate(migrate::Arguments),
    Backup(backup::Arguments),
    Restore(restore::Arguments),
    Keys(keys::Arguments),
    Health(health::Arguments),
    Calibrate(calibrate::Arguments),
    Import(import::Arguments),
    Census(census::Arguments),
    User(admin::user::Arguments),
    Device(admin::device::Arguments),
    Integration(admin::integration::Arguments),
    Tenant(admin::tenant::Arguments),
    Caller(admin::caller::Arguments),
    Policy(admin::policy::Arguments),
    Audit(admin::audit::Arguments),
    Job(admin::job::Arguments),
    Blocklist(blocklist::Arguments),
    Completions(completions::Arguments),
}

/// Runs what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::say(&format!("rekey: {failure}"));
            failure.exit.into()
        }
    }
}

impl Cli {
    fn run(self) -> Result<(), Failure> {
        let global = self.global;
        match self.command {
            Command::Dev(arguments) => global.start(arguments.flags())?.run(dev::run),
            Command::Init(arguments) => global.start(Vec::new())?.run(|config| init::run(config, arguments.if_missing)),
            Command::Serve(arguments) => {
                global.start(arguments.flags())?.run(|config| serve::run(config, arguments.migrate))
            }
            Command::Gateway(arguments) => global.start(arguments.flags())?.run(gateway::run),
            Command::Migrate(arguments) => {
                global.start(Vec::new())?.run(|config| migrate::run(config, arguments.check))
            }
            Command::Backup(arguments) => global.start(Vec::new())?.run(|config| backup::run(config, arguments)),
            Command::Restore(arguments) => global.start(Vec::new())?.run(|config| restore::run(config, arguments)),
            Command::Keys(arguments) => match arguments.command {
                keys::Command::File(command) => {
                    global.start(Vec::new())?.run(|config| keys::file::run(config, command))
                }
                keys::Command::Service(command) => block_on(keys::service::run(command)),
            },
            Command::Health(arguments) => block_on(health::run(arguments)),
            Command::Calibrate(arguments) => block_on(calibrate::run(arguments)),
            Command::Import(arguments) => block_on(import::run(arguments)),
            Command::Census(arguments) => block_on(census::run(arguments)),
            Command::User(arguments) => block_on(admin::user::run(arguments)),
            Command::Device(arguments) => block_on(admin::device::run(arguments)),
            Command::Integration(arguments) => block_on(admin::integration::run(arguments)),
            Command::Tenant(arguments) => block_on(admin::tenant::run(arguments)),
            Command::Caller(arguments) => block_on(admin::caller::run(arguments)),
            Command::Policy(arguments) => block_on(admin::policy::run(arguments)),
            Command::Audit(arguments) => block_on(admin::audit::run(arguments)),
            Command::Job(arguments) => block_on(admin::job::run(arguments)),
            Command::Blocklist(arguments) => blocklist::run(arguments),
            Command::Completions(arguments) => completions::run(&arguments),
        }
    }
}

impl Global {
    /// Settings gathered and checked, and the log begun.
    fn start(self, mut flags: Flags) -> Result<Started, Failure> {
        flags.extend(self.data_dir.map(|value| ("data_dir", value)));
        if let Some(url) = self.database_url {
            flags.extend([("database.url", url), ("database.url_file", String::new())]);
        }
        flags.extend(self.log_level.map(|value| ("log.level", value)));
        flags.extend(self.log_format.map(|value| ("log.format", value)));
        let environment = env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let config = Config::load(&Sources { file: self.config, environment, flags })?;
        telemetry::start(&config.log).map_err(|cause| Failure::new(Exit::Failed, cause))?;
        Ok(Started { config })
    }
}

/// What a command runs with.
struct Started {
    config: Config,
}

impl Started {
    fn run<F: Future<Output = Result<(), Failure>>>(self, command: impl FnOnce(Config) -> F) -> Result<(), Failure> {
        block_on(command(self.config))
    }
}

fn block_on(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        Runtime::new().map_err(|cause| Failure::new(Exit::Failed, format!("cannot start threads: {cause}")))?;
    let result = runtime.block_on(command);
    // What still runs was given its time to end.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// Settings that flags set.
type Flags = Vec<(&'static str, String)>;

/// A flag that says where to listen.
fn listen_flag(setting: &'static str, address: Option<SocketAddr>) -> Flags {
    address.map(|address| (setting, address.to_string())).into_iter().collect()
}
