//! A service to talk to, and a caller to talk as.

use std::{env, error::Error as _, fmt::Write as _, path::PathBuf, str::FromStr as _};

use bytes::Bytes;
use http::uri::PathAndQuery;
use prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use serde_json::Value;
use tonic::{
    Code, Request, Status, Streaming,
    client::Grpc,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_types::StatusExt as _;
use zeroize::Zeroizing;

use super::{
    failure::{Exit, Failure},
    health::{endpoint, innermost},
    profile::Profile,
    prompt,
};
use crate::proto::{BytesCodec, DESCRIPTORS};

/// Where the token is when no file is named. Never an argument: other users of a machine can read those.
const TOKEN: &str = "REKEY_TOKEN";
/// Where a service is when nothing else says so.
const ADDRESS: &str = "http://127.0.0.1:50051";

#[derive(clap::Args, Debug)]
pub(super) struct Connection {
    /// A profile of the client's configuration [default: the one it names]
    #[arg(long, help_heading = "Connection", value_name = "NAME", env = "REKEY_PROFILE")]
    profile: Option<String>,
    /// The service [default: the profile's, or `http://127.0.0.1:50051`]
    #[arg(long, help_heading = "Connection", value_name = "URL", env = "REKEY_ADDRESS")]
    address: Option<String>,
    /// Who vouches for its certificate, PEM [default: the profile's]
    #[arg(long, help_heading = "Connection", value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Whose first line is the caller's API token [default: the environment's `REKEY_TOKEN`, or the profile's file]
    #[arg(long, help_heading = "Connection", value_name = "FILE")]
    token_file: Option<PathBuf>,
}

pub(super) struct Session {
    pub(super) channel: Channel,
    authorization: MetadataValue<Ascii>,
    profile: Profile,
}

impl Connection {
    pub(super) async fn open(&self) -> Result<Session, Failure> {
        let profile = Profile::load(self.profile.as_deref())?;
        let token = self.token(&profile)?;
        let authorization = Zeroizing::new(format!("Bearer {}", token.trim())).parse::<MetadataValue<Ascii>>();
        // The error quotes what it could not read.
        let mut authorization =
            authorization.map_err(|_quotes_it| Failure::new(Exit::Config, "the token has characters that none has"))?;
        authorization.set_sensitive(true);
        let address = self.address.as_deref().or(profile.address.as_deref()).unwrap_or(ADDRESS);
        let authority = self.ca_file.as_deref().or(profile.ca_file.as_deref());
        let endpoint = endpoint(address, authority)?;
        let channel = endpoint
            .connect()
            .await
            .map_err(|cause| Failure::new(Exit::Failed, format!("{address}: not reached: {}", innermost(&cause))))?;
        Ok(Session { channel, authorization, profile })
    }

    fn token(&self, profile: &Profile) -> Result<Zeroizing<String>, Failure> {
        let from_environment = || env::var(TOKEN).ok().filter(|token| !token.is_empty()).map(Zeroizing::new);
        let file = match (&self.token_file, &profile.token_file) {
            (Some(file), _) => file,
            (None, file) => match (from_environment(), file) {
                (Some(token), _) => return Ok(token),
                (None, Some(file)) => file,
                (None, None) if prompt::possible() => return prompt::secret("API token"),
                (None, None) => {
                    let sentence = format!("no token: set {TOKEN}, or name a --token-file");
                    return Err(Failure::new(Exit::Config, sentence));
                }
            },
        };
        prompt::first_line(file, "the token")
    }
}

impl Session {
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.authorization.clone());
        request
    }

    /// The tenant that a command is about: as it says, or as the profile says, or the caller's own.
    pub(super) fn tenant<'a>(&'a self, given: Option<&'a str>) -> &'a str {
        given.or(self.profile.tenant.as_deref()).unwrap_or("-")
    }

    /// Calls a method such as `UserService/GetUser` with a request in JSON.
    pub(super) async fn call(&self, method: &str, request: Value) -> Result<DynamicMessage, Failure> {
        let (mut client, descriptor, path, message) = self.prepare(method, request).await?;
        let answer = client.unary(message, path, BytesCodec).await.map_err(|status| refused(&status))?;
        decode(&descriptor, answer.into_inner())
    }

    /// Calls a method such as `JobService/WatchJob` that answers again and again.
    pub(super) async fn stream(&self, method: &str, request: Value) -> Result<Answers, Failure> {
        let (mut client, descriptor, path, message) = self.prepare(method, request).await?;
        let answers = client.server_streaming(message, path, BytesCodec).await.map_err(|status| refused(&status))?;
        Ok(Answers { descriptor, answers: answers.into_inner() })
    }

    async fn prepare(
        &self,
        method: &str,
        request: Value,
    ) -> Result<(Grpc<Channel>, MethodDescriptor, PathAndQuery, Request<Bytes>), Failure> {
        let broken = |cause: String| Failure::new(Exit::Failed, format!("{method}: {cause}"));
        let (service, name) = method.split_once('/').unwrap_or_default();
        let service = DESCRIPTORS.get_service_by_name(&format!("rekey.v1.{service}"));
        let descriptor = service.and_then(|service| service.methods().find(|method| method.name() == name));
        let descriptor = descriptor.ok_or_else(|| broken("there is no such method".to_owned()))?;
        // The parser's own words may quote a value.
        let message = DynamicMessage::deserialize(descriptor.input(), request)
            .map_err(|_quotes_it| broken("a value does not fit the request".to_owned()))?;
        let path = PathAndQuery::from_str(&format!("/rekey.v1.{method}")).map_err(|cause| broken(cause.to_string()))?;
        let mut client = Grpc::new(self.channel.clone());
        client.ready().await.map_err(|cause| broken(innermost(&cause)))?;
        let message = self.request(message.encode_to_vec().into());
        Ok((client, descriptor, path, message))
    }
}

/// What a method answers again and again.
pub(super) struct Answers {
    descriptor: MethodDescriptor,
    answers: Streaming<Bytes>,
}

impl Answers {
    /// The next; `None` at the end.
    pub(super) async fn next(&mut self) -> Result<Option<DynamicMessage>, Failure> {
        let answer = self.answers.message().await.map_err(|status| refused(&status))?;
        answer.map(|answer| decode(&self.descriptor, answer)).transpose()
    }
}

fn decode(method: &MethodDescriptor, answer: Bytes) -> Result<DynamicMessage, Failure> {
    let unreadable = |cause| Failure::new(Exit::Failed, format!("{}: {cause}", method.full_name()));
    DynamicMessage::decode(method.output(), answer).map_err(unreadable)
}

/// What a service answered, where that is an error: the sentence, a line for each field that is wrong, and what helps.
pub(super) fn refused(status: &Status) -> Failure {
    let details = status.get_error_details();
    let reason = details.error_info().map(|info| info.reason.clone());
    // What the service did not say has a source on this side: the connection.
    let broke = status.source().map(|cause| format!("the connection broke: {}", innermost(&cause)));
    let code = reason.unwrap_or_else(|| format!("{:?}", status.code()));
    let mut sentence = broke.unwrap_or_else(|| format!("{code}: {}", status.message()));
    for violation in details.bad_request().into_iter().flat_map(|request| &request.field_violations) {
        let _ = write!(sentence, "\n  {}: {}", violation.field, violation.description);
    }
    if let Some(delay) = details.retry_info().and_then(|info| info.retry_delay) {
        let _ = write!(sentence, "\n  try again in {} s", delay.as_secs().max(1));
    }
    if matches!(status.code(), Code::Internal | Code::Unknown)
        && let Some(request) = details.request_info()
    {
        let _ = write!(sentence, "\n  the server's log has the cause under the request id {}", request.request_id);
    }
    Failure::new(Exit::Failed, sentence)
}
