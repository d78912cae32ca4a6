//! `rekey init`: a new installation.

use secrecy::ExposeSecret as _;

use super::{failure::Failure, installation, output};
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
pub(super) struct Arguments {}

#[expect(clippy::disallowed_methods, reason = "the one time that the first administrator's token is shown")]
pub(super) async fn run(config: Config) -> Result<(), Failure> {
    let options = config.service()?;
    let environment = Environment::system();
    let keyring = installation::prepare(&config, &environment)?;
    let token = match app::initialise(&options, &environment).await {
        Ok(token) => token,
        Err(error) => {
            // A new keyring beside an old database would only look like the right one.
            keyring.take_back();
            return Err(error.into());
        }
    };
    output::say(&format!(
        "A new installation, with its keys in {}. The administrator's token is shown this once:",
        options.keyring_file.display()
    ));
    output::line(token.expose_secret());
    Ok(())
}
