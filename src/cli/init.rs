//! `rekey init`: a new installation.

use secrecy::ExposeSecret as _;

use super::{
    failure::{Exit, Failure},
    installation, output,
};
use crate::{
    app::{self, Environment},
    config::Config,
};

const HELP: &str = "\
Examples:
  TOKEN=$(rekey init)
  REKEY_DATABASE__URL_FILE=/run/secrets/database rekey init --data-dir /var/lib/rekey

Makes the data directory, the keyring and the tables where they are missing, and the first administrator, whose token is
printed once. An installation that exists is left alone. Keep a copy of the keyring: without it the database is useless.";

/// Make a new installation, and print its first administrator's token
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// End with 0, and print no token, where there is an installation
    #[arg(long)]
    pub(super) if_missing: bool,
}

#[expect(clippy::disallowed_methods, reason = "the one time that the first administrator's token is shown")]
pub(super) async fn run(config: Config, if_missing: bool) -> Result<(), Failure> {
    let options = config.service()?;
    let environment = Environment::system();
    installation::make_data_directory(&config)?;
    if installation::exists(&config).await? {
        if if_missing {
            output::say("There is an installation: it is left alone.");
            return Ok(());
        }
        let sentence =
            "the database holds an installation already: start it with rekey serve, or name another database";
        return Err(Failure::new(Exit::Database, sentence));
    }
    installation::make_keyring(&config, &environment)?;
    let token = app::initialise(&options, &environment).await?;
    output::say(&format!(
        "A new installation, with its keys in {}. The administrator's token is shown this once:",
        options.keyring_file.display()
    ));
    output::line(token.expose_secret());
    Ok(())
}
