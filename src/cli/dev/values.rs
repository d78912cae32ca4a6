//! What the demo is made of, and the file that a shell can source.

use std::{fmt, fs, io::ErrorKind, path::Path};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::{
    failure::{Exit, Failure},
    private_file,
};
use crate::{
    app::Environment,
    domain::{Entropy, Uid},
};

const HEADER: &str = "# Made by `rekey dev`. Whoever reads this may do everything in this installation.\n";
const SEEDED: &str = "# The demo tenants are made.\n";

/// The values; each is a variable of `demo.env`, by its name in capitals.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) struct Values {
    pub(super) rekey_grpc: String,
    pub(super) rekey_http: String,
    pub(super) rekey_admin_token: String,
    pub(super) applivery_organization_id: String,
    pub(super) applivery_token: String,
    pub(super) ocariot_admin_token: String,
    pub(super) ocariot_user_id: String,
    pub(super) ocariot_username: String,
    pub(super) ocariot_password: String,
    pub(super) licensespring_api_key: String,
    pub(super) licensespring_shared_key: String,
    pub(super) licensespring_username: String,
    pub(super) licensespring_password: String,
    pub(super) roma_token: String,
    pub(super) roma_ak: String,
    pub(super) roma_sk: String,
    pub(super) roma_project_id: String,
    pub(super) roma_instance_id: String,
    pub(super) roma_device_id: String,
    pub(super) roma_user_name: String,
    pub(super) roma_password: String,
    pub(super) roma_product_id: String,
    pub(super) rekey_gateway_token: String,
    /// Whether the tenants were made; a comment in the file.
    #[serde(skip)]
    pub(super) seeded: bool,
}

impl fmt::Debug for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Values").field("seeded", &self.seeded).finish_non_exhaustive()
    }
}

impl Values {
    /// New ones; what only a running service can tell stays empty.
    pub(super) fn make(environment: &Environment) -> Self {
        let entropy = environment.entropy.as_ref();
        let uid = || Uid::make(environment.clock.now(), entropy).to_string();
        // A digit, both cases and a symbol, whatever the rest is: the strictest of the four asks for them.
        let password = || format!("Rk1-{}", random(entropy, 12));
        Self {
            rekey_grpc: String::new(),
            rekey_http: String::new(),
            rekey_admin_token: String::new(),
            applivery_organization_id: uid(),
            applivery_token: random(entropy, 32),
            ocariot_admin_token: String::new(),
            ocariot_user_id: uid(),
            ocariot_username: "educator01".to_owned(),
            ocariot_password: password(),
            licensespring_api_key: random(entropy, 16),
            licensespring_shared_key: random(entropy, 20),
            licensespring_username: "user@example.com".to_owned(),
            licensespring_password: password(),
            roma_token: random(entropy, 32),
            roma_ak: random(entropy, 10),
            roma_sk: random(entropy, 20),
            roma_project_id: "proj01".to_owned(),
            roma_instance_id: "inst01".to_owned(),
            roma_device_id: "4711".to_owned(),
            roma_user_name: "device01".to_owned(),
            roma_password: password(),
            roma_product_id: "815".to_owned(),
            rekey_gateway_token: random(entropy, 32),
            seeded: false,
        }
    }

    /// Those of an earlier start, where there was one.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, Failure> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(Failure::new(Exit::Failed, format!("cannot read {}: {cause}", path.display()))),
        };
        let assignments = text.lines().filter_map(|line| line.split_once('='));
        let variables: Map<_, _> =
            assignments.map(|(name, value)| (name.to_owned(), Value::String(unquoted(value)))).collect();
        let mut values: Self = serde_json::from_value(Value::Object(variables)).map_err(|cause| {
            let sentence =
                format!("{} is not what rekey dev wrote: {cause}; delete its directory to start anew", path.display());
            Failure::new(Exit::Failed, sentence)
        })?;
        values.seeded = text.contains(SEEDED);
        Ok(Some(values))
    }

    /// Keeps them: mode 0600, whole or not at all.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let failure = |cause: String| Failure::new(Exit::Failed, format!("cannot write {}: {cause}", path.display()));
        let variables = serde_json::to_value(self).map_err(|cause| failure(cause.to_string()))?;
        let mut text = HEADER.to_owned();
        for (name, value) in variables.as_object().into_iter().flatten() {
            text.extend([name, "=", &quoted(value.as_str().unwrap_or_default()), "\n"]);
        }
        if self.seeded {
            text += SEEDED;
        }
        private_file::write(path, &text).map_err(|cause| failure(cause.to_string()))
    }
}

fn random(entropy: &dyn Entropy, length: usize) -> String {
    let mut bytes = vec![0; length];
    entropy.fill(&mut bytes);
    HEXLOWER.encode(&bytes)
}

/// As one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn unquoted(word: &str) -> String {
    let inner = word.strip_prefix('\'').and_then(|word| word.strip_suffix('\''));
    inner.map_or_else(|| word.to_owned(), |inner| inner.replace(r"'\''", "'"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn what_was_written_is_read_again_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.env");
        assert!(Values::read(&path).unwrap().is_none());

        let mut values = Values::make(&Environment::system());
        values.roma_password = "it's $HOME `id` \"=#".to_owned();
        values.write(&path).unwrap();
        let read = Values::read(&path).unwrap().unwrap();
        assert!(!read.seeded);
        assert_eq!(read.roma_password, values.roma_password);
        assert_eq!(read.applivery_organization_id, values.applivery_organization_id);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        values.seeded = true;
        values.write(&path).unwrap();
        assert!(Values::read(&path).unwrap().unwrap().seeded);
    }

    #[test]
    fn a_shell_reads_the_values_as_they_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.env");
        let mut values = Values::make(&Environment::system());
        values.roma_password = "it's $HOME `id` \"=#".to_owned();
        values.write(&path).unwrap();
        let script = format!(". {}; printf %s \"$ROMA_PASSWORD\"", quoted(path.to_str().unwrap()));
        let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), values.roma_password);
    }

    #[test]
    fn a_file_that_lacks_a_value_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("demo.env");
        fs::write(&path, "REKEY_GRPC='x'\n").unwrap();
        let failure = Values::read(&path).unwrap_err().to_string();
        assert!(failure.contains("start anew"), "{failure}");
    }

    #[test]
    fn debug_shows_no_value() {
        let values = Values::make(&Environment::system());
        assert_eq!(format!("{values:?}"), "Values { seeded: false, .. }");
    }
}
