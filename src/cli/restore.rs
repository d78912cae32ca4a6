//! `rekey restore`: an empty database out of a backup; and going on from an older database.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek as _},
    path::{Path, PathBuf},
};

use super::{
    backup::{Bar, failure, keyring, told},
    failure::{Exit, Failure},
    installation, output,
    print::Output,
};
use crate::{
    anchor,
    app::Environment,
    backup::{self, Summary},
    config::Config,
    crypto::Keyring,
    domain::{Installation, Uid},
    store::{Rollback, Store},
};

const HELP: &str = "\
Examples:
  rekey restore --check rekey.backup
  rekey restore rekey.backup --data-dir /var/lib/rekey
  rekey restore rekey.backup --database-url postgres://rekey@db/rekey
  rekey restore --accept-rollback           go on from the database as it is

The keyring must be there; it is not in the backup. The database must be empty: on SQLite a file that is not there, on
PostgreSQL one without tables (createdb). A backup of either engine is taken by either. All of it arrives, or nothing.
From a file it is read twice: nothing is written before it is known to be whole, unaltered and this keyring's.

A backup that is older than what this machine has served is refused with exit code 8, and so is an older copy of the
database by rekey serve. --accept-rollback goes on from it, and records that. Other machines that have seen newer ones
then take it for what it is.";

/// Fill an empty database with a backup
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// The backup; - for standard input. None, with --accept-rollback: the database as it is
    #[arg(required_unless_present = "accept_rollback")]
    file: Option<PathBuf>,
    /// Change nothing: read the backup to its end, and say what it is of
    #[arg(long, requires = "file", conflicts_with = "accept_rollback")]
    check: bool,
    /// Go on from a backup, or from a database, that is older than what this machine has served
    #[arg(long)]
    accept_rollback: bool,
    /// How the summary is printed
    #[arg(long, value_enum, default_value = "table")]
    output: Output,
}

pub(super) async fn run(config: Config, arguments: Arguments) -> Result<(), Failure> {
    let Arguments { file, check, accept_rollback, output } = arguments;
    let keyring = keyring(&config)?;
    let Some(path) = file else { return accept(&config, &keyring).await };
    let mut source = Source::open(&path)?;
    if check {
        let summary = verify(&mut source, &keyring).await?;
        output::line(&told(&summary, &source.name, output));
        return Ok(());
    }
    if source.file.is_some() {
        verify(&mut source, &keyring).await?;
        source.rewind()?;
    }
    restore(&config, &keyring, source, accept_rollback, output).await
}

async fn restore(
    config: &Config,
    keyring: &Keyring,
    mut source: Source,
    accepts: bool,
    output: Output,
) -> Result<(), Failure> {
    let environment = Environment::system();
    let now = environment.clock.now();
    let anchor_file = config.anchor_file();
    let seen = seen(&anchor_file, keyring)?;
    let rollback = |seen: &Installation| Rollback {
        seen: seen.clone(),
        time: now,
        record_uid: Uid::make(now, environment.entropy.as_ref()),
    };
    let rollback = seen.as_ref().filter(|_| accepts).map(rollback);
    installation::make_data_directory(config)?;

    let bar = Bar::rows();
    let (into, name) = (config.store()?, source.name.clone());
    let restored =
        backup::restore(source.reader(), keyring, &into, seen.as_ref(), rollback.as_ref(), now, |progress| {
            bar.show(progress);
        });
    let restored = restored.await;
    bar.end();
    let mut restored = restored.map_err(|error| failure(&error, "nothing was restored"))?;
    for table in &restored.left_out {
        output::say(&format!("The table {table} is none of rekey's, and was left out."));
    }
    if let Some(accepted) = restored.accepted.take() {
        write_down(&anchor_file, keyring, &accepted)?;
        restored.summary.installation = Some(accepted);
    }
    output::line(&told(&restored.summary, &name, output));
    if restored.migrated > 0 {
        output::say(&format!("{} migrations were applied on top.", restored.migrated));
    }
    Ok(())
}

async fn verify(source: &mut Source, keyring: &Keyring) -> Result<Summary, Failure> {
    let bar = Bar::rows();
    let checked = backup::check(source.reader(), keyring, |progress| bar.show(progress)).await;
    bar.end();
    let what = format!("{} is no backup to rely on", source.name);
    checked.map_err(|error| failure(&error, &what))
}

/// Goes on from the database as it is.
async fn accept(config: &Config, keyring: &Keyring) -> Result<(), Failure> {
    let anchor_file = config.anchor_file();
    let Some(seen) = seen(&anchor_file, keyring)? else {
        output::line("there is nothing to accept: this machine has seen no database");
        return Ok(());
    };
    let store = Store::connect(&config.store()?).await.map_err(|error| Failure::database(&error))?;
    let accepted = accept_in(&store, seen).await;
    store.close().await;
    if let Some(accepted) = accepted? {
        write_down(&anchor_file, keyring, &accepted)?;
        let Installation { uid, epoch } = accepted;
        output::line(&format!("installation {uid} goes on from here, with epoch {epoch}"));
    } else {
        output::line("there is nothing to accept: the database is the one that was seen, and no older");
    }
    Ok(())
}

async fn accept_in(store: &Store, seen: Installation) -> Result<Option<Installation>, Failure> {
    let environment = Environment::system();
    let now = environment.clock.now();
    if store.pending_migrations().await.map_err(|error| Failure::database(&error))? > 0 {
        let fix = "the database lacks migrations: run rekey migrate first";
        return Err(Failure::new(Exit::Database, fix));
    }
    let found = store.installation().await.map_err(|error| Failure::database(&error))?;
    if seen.objection(found.as_ref()).is_none() {
        return Ok(None);
    }
    let record_uid = Uid::make(now, environment.entropy.as_ref());
    let accepted = store.accept_rollback(Rollback { seen, time: now, record_uid }).await;
    accepted.map(Some).map_err(|error| Failure::database(&error))
}

fn seen(anchor_file: &Path, keyring: &Keyring) -> Result<Option<Installation>, Failure> {
    anchor::read(anchor_file, keyring).map_err(|sentence| Failure::new(Exit::Rollback, sentence))
}

fn write_down(anchor_file: &Path, keyring: &Keyring, accepted: &Installation) -> Result<(), Failure> {
    anchor::write(anchor_file, keyring, accepted).map_err(|cause| {
        let path = anchor_file.display();
        Failure::new(
            Exit::Failed,
            format!("it was accepted, but the anchor {path} cannot be written: {cause}; remove it"),
        )
    })
}

/// The backup, as a file or as what comes in.
struct Source {
    name: String,
    file: Option<File>,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self { name: "standard input".to_owned(), file: None });
        }
        let name = path.display().to_string();
        let unreadable = |cause| Failure::new(Exit::Failed, format!("cannot read {name}: {cause}"));
        let file = File::open(path).map_err(unreadable)?;
        Ok(Self { name, file: Some(file) })
    }

    fn reader(&mut self) -> Box<dyn Read + '_> {
        match &mut self.file {
            Some(file) => Box::new(BufReader::with_capacity(1 << 20, file)),
            None => Box::new(io::stdin().lock()),
        }
    }

    fn rewind(&mut self) -> Result<(), Failure> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let again = |cause| Failure::new(Exit::Failed, format!("cannot read {} a second time: {cause}", self.name));
        file.rewind().map_err(again)
    }
}
