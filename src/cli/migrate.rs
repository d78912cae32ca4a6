//! `rekey migrate`: the database's tables.

use super::{
    failure::{Exit, Failure},
    output,
};
use crate::{config::Config, store::Store};

const HELP: &str = "\
Examples:
  rekey migrate
  rekey migrate --check || echo 'the database is not current'

One process at a time: others wait. The version before and the version after run on the tables side by side.";

/// Bring the database's tables up to date
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// Change nothing; end with 7 where migrations are missing
    #[arg(long)]
    pub(super) check: bool,
}

pub(super) async fn run(config: Config, check: bool) -> Result<(), Failure> {
    let store = Store::connect(&config.store()?).await.map_err(|error| Failure::database(&error))?;
    let result = if check { find(&store).await } else { apply(&store).await };
    store.close().await;
    result
}

async fn find(store: &Store) -> Result<(), Failure> {
    match store.pending_migrations().await.map_err(|error| Failure::database(&error))? {
        0 => {
            output::line("the database is current");
            Ok(())
        }
        pending => {
            let sentence = format!("{pending} migrations are missing: apply them with rekey migrate");
            Err(Failure::new(Exit::Unhealthy, sentence))
        }
    }
}

async fn apply(store: &Store) -> Result<(), Failure> {
    match store.migrate().await.map_err(|error| Failure::database(&error))? {
        0 => output::line("the database was current"),
        applied => output::line(&format!("{applied} migrations applied")),
    }
    Ok(())
}
