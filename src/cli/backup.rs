//! `rekey backup`: the whole database in one file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, IsTerminal as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use indicatif::ProgressBar;

use super::{
    bar,
    failure::{Exit, Failure},
    output,
    print::Output,
};
use crate::{
    app::Environment,
    backup::{self, BackupError, Progress, Summary},
    config::Config,
    crypto::Keyring,
    domain::Timestamp,
    store::{Store, StoreOptions},
};

const HELP: &str = "\
Examples:
  rekey backup rekey.backup
  rekey backup --database-url postgres://rekey@db/rekey /backups/rekey.backup
  rekey backup - | zstd | ssh vault 'cat > rekey.backup.zst'

The database as of one moment, while it is served: nobody waits for it. Run it where the keyring is; a PostgreSQL standby
will do for the database. The file is there when it is whole, in the place of one of the same name, and readable by its
owner alone. What is sealed in the database is sealed in it; names and the record of acts are as legible as there.

The keyring is not in it: without a copy of that, kept elsewhere, the backup is useless. See rekey restore --help.";

/// Write the whole database into one file, while it is served
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Where to; - for standard output
    file: PathBuf,
    /// How the summary is printed
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { file, output } = arguments;
    let streams = file == Path::new("-");
    if streams && io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Failed, "a backup is not for a terminal: name a file, or pipe it on"));
    }
    let keyring = keyring(&config)?;
    let options = config.store()?;
    exists(&options)?;
    let store = Store::connect(&options).await.map_err(|error| Failure::database(&error))?;
    let written = if streams {
        write(&store, &keyring, io::stdout().lock()).await
    } else {
        write_file(&store, &keyring, &file).await
    };
    store.close().await;
    let summary = written?;
    let what = if streams { "standard output".to_owned() } else { file.display().to_string() };
    let said = told(&summary, &what, output);
    if streams {
        output::say(&said);
    } else {
        output::line(&said);
    }
    output::say("The keyring is not in it: keep a copy of that elsewhere.");
    Ok(())
}

/// SQLite would make the file.
fn exists(options: &StoreOptions) -> Result<(), Failure> {
    match options.sqlite_path().map(Path::try_exists) {
        Some(Ok(false)) => {
            let sentence = "there is no database to back up: see --data-dir and database.url";
            Err(Failure::new(Exit::Database, sentence))
        }
        Some(Ok(true) | Err(_)) | None => Ok(()),
    }
}

pub(super) fn keyring(config: &Config) -> Result<Keyring, Failure> {
    Keyring::load(&config.keyring_file()).map_err(|cause| Failure::new(Exit::Keyring, cause.to_string()))
}

async fn write(store: &Store, keyring: &Keyring, to: impl io::Write) -> Result<Summary, Failure> {
    let environment = Environment::system();
    let bar = Bar::rows();
    let (now, entropy) = (environment.clock.now(), environment.entropy.as_ref());
    let buffer = BufWriter::with_capacity(1 << 20, to);
    let written = backup::write(store, keyring, now, entropy, buffer, |progress| bar.show(progress)).await;
    bar.end();
    written.map_err(|error| failure(&error, "the backup was not made"))
}

/// Under another name beside its own until it is whole and on the disk.
async fn write_file(store: &Store, keyring: &Keyring, file: &Path) -> Result<Summary, Failure> {
    let unwritten = |cause: io::Error| {
        Failure::new(Exit::Failed, format!("the backup was not made: cannot write {}: {cause}", file.display()))
    };
    let beside = file.with_added_extension(format!("{}.new", std::process::id()));
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside).map_err(unwritten)?;
    let written = async {
        let summary = write(store, keyring, &new).await?;
        new.sync_all().map_err(unwritten)?;
        fs::rename(&beside, file).map_err(unwritten)?;
        let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(unwritten)?;
        Ok(summary)
    };
    let written = written.await;
    if written.is_err() {
        // Where it was renamed already, there is none.
        let _ = fs::remove_file(&beside);
    }
    written
}

/// What a backup is of, and how much it holds, for people or for programs.
pub(super) fn told(summary: &Summary, what: &str, output: Output) -> String {
    let epoch = summary.installation.as_ref().map(|installation| installation.epoch.to_string());
    let uid = summary.installation.as_ref().map(|installation| installation.uid.to_string());
    let (rows, bytes, schema) = (summary.rows(), summary.bytes, &summary.schema);
    if output == Output::Json {
        let tables: serde_json::Map<_, _> =
            summary.tables.iter().map(|(table, rows)| (table.clone(), (*rows).into())).collect();
        let json = serde_json::json!({
            "file": what, "installation": uid, "epoch": epoch, "timeUnixUs": summary.time.micros(),
            "schema": schema, "digestKeyId": summary.key_id, "rows": rows, "bytes": bytes, "tables": tables,
        });
        return format!("{json:#}");
    }
    let installation = match (uid, epoch) {
        (Some(uid), Some(epoch)) => format!("installation {uid} at epoch {epoch}"),
        _ => "an installation that was never started".to_owned(),
    };
    format!("{what}: {rows} rows, {bytes} bytes, of {installation}, made {}, schema {schema}", seconds(summary.time))
}

fn seconds(time: Timestamp) -> String {
    prost_types::Timestamp { seconds: time.seconds(), nanos: 0 }.to_string()
}

/// An exit code for each kind of failure.
pub(super) fn failure(error: &BackupError, what: &str) -> Failure {
    let exit = match error {
        BackupError::File(_) => Exit::Failed,
        BackupError::Keyring(_) => Exit::Keyring,
        BackupError::Database(_) => Exit::Database,
        BackupError::Rollback(_) => Exit::Rollback,
    };
    Failure::new(exit, format!("{what}: {error}"))
}

/// How far a backup is.
pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn rows() -> Self {
        Self { bar: bar::bar("{wide_bar} {percent}% {msg}, {elapsed} so far, {eta} to go", "0 rows") }
    }

    pub(super) fn show(&self, progress: Progress) {
        let Progress { rows, of, bytes } = progress;
        self.bar.set_length(of);
        self.bar.set_position(rows);
        let elapsed = self.bar.elapsed().as_millis().max(1);
        let (rate, mebibytes) = (u128::from(rows) * 1_000 / elapsed, bytes >> 20);
        self.bar.set_message(format!("{rows} rows, {rate} a second, {mebibytes} MiB"));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}
