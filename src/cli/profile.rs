//! The client's configuration: under which names which services are known.

use std::{
    collections::BTreeMap,
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::failure::{Exit, Failure};

/// What stands at the end of the help of every command that talks to a service.
pub(super) const HELP: &str = "\
A service is named by --address and --token-file (or REKEY_ADDRESS and REKEY_TOKEN), or by a profile in
~/.config/rekey/client.toml ($XDG_CONFIG_HOME, or the file that REKEY_CLIENT_CONFIG names):

  default = \"prod\"
  [profiles.prod]
  address = \"https://rekey.internal:50051\"
  ca_file = \"/etc/rekey/ca.pem\"
  token_file = \"/home/me/.config/rekey/prod.token\"
  tenant = \"acme\"

Flags stand above the environment, and both above the profile. Secrets are read from a prompt or a file, never from
arguments, which other users of a machine can read.";

/// One service, and who one is there. Never the token itself: only where it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) address: Option<String>,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) tenant: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    default: Option<String>,
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

impl Profile {
    /// The profile of this name, or the default one; where there is no file and no name, an empty one.
    pub(super) fn load(name: Option<&str>) -> Result<Self, Failure> {
        let Some(file) = file() else { return Self::choose(Profiles::default(), name, Path::new("no home directory")) };
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => String::new(),
            Err(cause) => return Err(unusable(&file, &cause.to_string())),
        };
        let profiles = toml::from_str(&text).map_err(|cause| unusable(&file, cause.message()))?;
        Self::choose(profiles, name, &file)
    }

    fn choose(Profiles { default, mut profiles }: Profiles, name: Option<&str>, file: &Path) -> Result<Self, Failure> {
        let Some(name) = name.or(default.as_deref()) else { return Ok(Self::default()) };
        profiles.remove(name).ok_or_else(|| {
            let known = profiles.into_keys().collect::<Vec<_>>().join(", ");
            let known = if known.is_empty() { "none".to_owned() } else { known };
            unusable(file, &format!("there is no profile {name}; there are: {known}"))
        })
    }
}

fn unusable(file: &Path, cause: &str) -> Failure {
    Failure::new(Exit::Config, format!("{}: {cause}", file.display()))
}

fn file() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("REKEY_CLIENT_CONFIG").or_else(|| {
        let directory = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")))?;
        Some(directory.join("rekey").join("client.toml"))
    })
}
