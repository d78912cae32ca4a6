//! Calls to the service: with the caller's own credential, a deadline, and nothing else of what came in.

use std::{fmt, str::FromStr as _, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, uri::PathAndQuery};
use tonic::{
    Code, Request, Response, Status,
    client::Grpc,
    metadata::{Ascii, MetadataMap, MetadataValue},
    transport::Channel,
};

use super::{
    failure::Failure,
    request_id::{self, RequestId},
};
use crate::proto::{BytesCodec, CheckAccessRequest, ErrorReason, caller_service_client::CallerServiceClient};

/// How long the service may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long beyond it the gateway waits for the service to say so itself.
const GRACE: Duration = Duration::from_millis(500);

/// The headers of one caller that go on to the service, and the way there.
pub(super) struct Call {
    channel: Channel,
    metadata: MetadataMap,
}

impl Call {
    /// Takes on the named headers; a caller's other headers never reach the service, whatever they are called.
    ///
    /// # Errors
    /// The name of a header that is there twice, or holds anything but printing ASCII characters.
    pub(super) fn new(
        channel: Channel,
        headers: &HeaderMap,
        names: &[&'static str],
        request_id: &RequestId,
    ) -> Result<Self, &'static str> {
        let mut metadata = MetadataMap::new();
        for name in names {
            if let Some(mut value) = the_one(headers, name)? {
                // Not to be shown by anybody's Debug, nor kept in HPACK's table.
                value.set_sensitive(true);
                metadata.insert(*name, value);
            }
        }
        // Not about who calls: what is not a trace is left behind without a word.
        if let Ok(Some(trace)) = the_one(headers, "traceparent") {
            metadata.insert("traceparent", trace);
        }
        if let Ok(id) = MetadataValue::try_from(request_id.as_str()) {
            metadata.insert(request_id::NAME, id);
        }
        Ok(Self { channel, metadata })
    }

    /// The same under this credential in the place of the caller's.
    pub(super) fn under(mut self, mut authorization: MetadataValue<Ascii>) -> Self {
        authorization.set_sensitive(true);
        self.metadata.insert("authorization", authorization);
        self
    }

    /// The way to the service, for a typed client.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A message under the caller's credential.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.metadata.clone();
        request.set_timeout(DEADLINE);
        request
    }

    /// Waits for a call to end, but not for ever.
    ///
    /// # Errors
    /// What the service answered, or that it did not.
    pub(super) async fn wait<T>(&self, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
        match tokio::time::timeout(DEADLINE + GRACE, call).await {
            Ok(answer) => Ok(answer?.into_inner()),
            Err(_elapsed) => Err(Failure::too_late()),
        }
    }

    /// Calls a method that is known by its descriptor only. Path: `/rekey.v1.UserService/GetUser`.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub(super) async fn unary(&self, path: &str, message: Bytes) -> Result<Bytes, Failure> {
        let unreachable = || {
            Failure::found(
                Code::Unavailable,
                ErrorReason::ServiceUnreachable,
                "the service cannot be reached; try again",
            )
        };
        let path = PathAndQuery::from_str(path).map_err(|_never| unreachable())?;
        let mut client = Grpc::new(self.channel());
        client.ready().await.map_err(|_our_network| unreachable())?;
        self.wait(client.unary(self.request(message), path, BytesCodec)).await
    }

    /// Asks whether the caller would be let in: before a request's form is complained of, which only those may learn.
    ///
    /// # Errors
    /// Why not; or that the service cannot say.
    pub(super) async fn permitted(&self, method: &str, subject_id: &str) -> Result<(), Failure> {
        let question = CheckAccessRequest { method: method.to_owned(), subject_id: subject_id.to_owned() };
        let mut client = CallerServiceClient::new(self.channel());
        match self.wait(client.check_access(self.request(question))).await {
            Err(failure) if failure.comes_before_the_form() => Err(failure),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// A header's only value.
fn the_one(headers: &HeaderMap, name: &'static str) -> Result<Option<MetadataValue<Ascii>>, &'static str> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let legal = value.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte));
    if !legal || values.next().is_some() {
        return Err(name);
    }
    MetadataValue::try_from(value.as_bytes()).map(Some).map_err(|_illegal| name)
}
