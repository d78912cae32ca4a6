//! `rekey keys`: what the keyring holds, and new keys for it. Works on the file, beside a service that runs or not.

use super::{
    failure::{Exit, Failure},
    output,
};
use crate::{app::Environment, config::Config, crypto::Keyring, domain::tenant::JwtAlgorithm};

const HELP: &str = "\
Examples:
  rekey keys list
  rekey keys rotate --purpose token-signing
  rekey keys rotate --purpose token-signing --algorithm rs256

A service reads its keyring when it starts. Where several share one, give the new file to all of them before any starts
anew with it: those with the old one refuse the tokens that the new key signs.";

/// Look after the keys of the keyring
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(clap::Subcommand, Debug)]
pub(super) enum Command {
    /// Print a line for each key: its id, what it is for, with which algorithm, and whether it makes or only reads
    List,
    /// Make a new key; the one in its place until then still verifies what it signed
    Rotate(Rotate),
}

#[derive(clap::Args, Debug)]
pub(super) struct Rotate {
    /// What the key is for
    #[arg(long, value_enum)]
    purpose: Purpose,
    /// With what it signs [default: each of them]
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
}

/// What can be rotated here.
#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Purpose {
    TokenSigning,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Algorithm {
    Eddsa,
    Es256,
    Rs256,
}

impl From<Algorithm> for JwtAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Eddsa => Self::EdDSA,
            Algorithm::Es256 => Self::ES256,
            Algorithm::Rs256 => Self::RS256,
        }
    }
}

#[expect(clippy::unused_async, reason = "as all commands are run")]
pub(super) async fn run(config: Config, command: Command) -> Result<(), Failure> {
    match command {
        Command::List => list(&config),
        Command::Rotate(Rotate { purpose: Purpose::TokenSigning, algorithm }) => {
            let algorithms = algorithm.map_or(JwtAlgorithm::ALL.to_vec(), |algorithm| vec![algorithm.into()]);
            for (algorithm, id) in add(&config, &Environment::system(), &algorithms)? {
                output::line(&format!("{id}\ttoken_signing\t{}\tprimary", algorithm.as_str()));
            }
            output::say("It takes effect when the service starts anew. Keep a copy of the keyring.");
            Ok(())
        }
    }
}

fn list(config: &Config) -> Result<(), Failure> {
    let keys = Keyring::list(&config.keyring_file());
    for key in keys.map_err(|cause| Failure::new(Exit::Keyring, cause.to_string()))? {
        let algorithm = key.algorithm.map_or("-", JwtAlgorithm::as_str);
        let state = if key.is_primary { "primary" } else { "active" };
        output::line(&format!("{}\t{}\t{algorithm}\t{state}", key.id, key.purpose));
    }
    Ok(())
}

/// Makes a key for each of these algorithms, with its id.
pub(super) fn add(
    config: &Config,
    environment: &Environment,
    algorithms: &[JwtAlgorithm],
) -> Result<Vec<(JwtAlgorithm, String)>, Failure> {
    let add = |algorithm: &JwtAlgorithm| {
        let (now, entropy) = (environment.clock.now(), environment.entropy.as_ref());
        let id = Keyring::add_signing_key(&config.keyring_file(), *algorithm, now, entropy);
        id.map(|id| (*algorithm, id)).map_err(|cause| Failure::new(Exit::Keyring, cause.to_string()))
    };
    algorithms.iter().map(add).collect()
}
