//! A service to talk to, and a caller to talk as.

use std::{env, fs, path::PathBuf};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use zeroize::Zeroizing;

use super::{
    failure::{Exit, Failure},
    health::{endpoint, innermost},
};

/// Where the token is when no file is named. Never an argument: other users of a machine can read those.
const TOKEN: &str = "REKEY_TOKEN";

#[derive(clap::Args, Debug)]
pub(super) struct Connection {
    /// The service
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:50051")]
    address: String,
    /// Who vouches for its certificate, PEM
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Whose first line is the caller's API token [default: the environment's `REKEY_TOKEN`]
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) struct Session {
    pub(super) channel: Channel,
    authorization: MetadataValue<Ascii>,
}

impl Connection {
    pub(super) async fn open(&self) -> Result<Session, Failure> {
        let token = self.token()?;
        let authorization = Zeroizing::new(format!("Bearer {}", token.trim())).parse::<MetadataValue<Ascii>>();
        // The error quotes what it could not read.
        let mut authorization =
            authorization.map_err(|_quotes_it| Failure::new(Exit::Config, "the token has characters that none has"))?;
        authorization.set_sensitive(true);
        let endpoint = endpoint(&self.address, self.ca_file.as_deref())?;
        let channel = endpoint.connect().await.map_err(|cause| {
            Failure::new(Exit::Failed, format!("{}: not reached: {}", self.address, innermost(&cause)))
        })?;
        Ok(Session { channel, authorization })
    }

    fn token(&self) -> Result<Zeroizing<String>, Failure> {
        if let Some(file) = &self.token_file {
            let text = fs::read_to_string(file).map(Zeroizing::new).map_err(|cause| {
                Failure::new(Exit::Config, format!("cannot read the token in {}: {cause}", file.display()))
            })?;
            return Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()));
        }
        let token = env::var(TOKEN).map(Zeroizing::new);
        token.map_err(|_absent| Failure::new(Exit::Config, format!("no token: set {TOKEN}, or name a --token-file")))
    }
}

impl Session {
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }
}

/// What a service answered, where that is an error.
pub(super) fn refused(status: &Status) -> Failure {
    Failure::new(Exit::Failed, format!("{:?}: {}", status.code(), status.message()))
}
