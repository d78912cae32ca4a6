//! One request under way, and how answers are made.

use std::{fmt, net::IpAddr, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CONTENT_TYPE, HOST, RETRY_AFTER},
    request::Parts,
    uri::Authority,
};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use super::{request_id::RequestId, upstream::Call};

/// What goes back.
pub(super) type Answer = Response<Full<Bytes>>;

/// The largest body.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// How long a body may take to arrive.
const BODY_WITHIN: Duration = Duration::from_secs(10);

pub(super) const JSON: &str = "application/json";

/// A request under way.
pub(super) struct Exchange {
    parts: Parts,
    body: Body,
    upstream: Upstream,
    /// Its name.
    pub(super) request_id: RequestId,
}

/// The way to the service, and what is known of the way to us.
pub(super) struct Upstream {
    pub(super) channel: Channel,
    /// The gateway's own credential.
    pub(super) identity: Option<MetadataValue<Ascii>>,
    /// Who sent the request, or the last proxy before us.
    pub(super) peer: IpAddr,
}

enum Body {
    Unread(Incoming),
    Read(Result<Bytes, BodyError>),
}

/// Why there is no body to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// More than [`MAX_BODY`].
    TooLarge,
    /// It broke off, or did not come in time.
    Incomplete,
}

impl Exchange {
    pub(super) fn new(request: http::Request<Incoming>, upstream: Upstream, request_id: RequestId) -> Self {
        let (parts, body) = request.into_parts();
        Self { parts, body: Body::Unread(body), upstream, request_id }
    }

    /// Who sent it, or the last proxy before us.
    pub(super) fn peer(&self) -> IpAddr {
        self.upstream.peer
    }

    /// The gateway's own credential.
    pub(super) fn identity(&self) -> Option<MetadataValue<Ascii>> {
        self.upstream.identity.clone()
    }

    /// The host that was asked, as it was named.
    pub(super) fn host(&self) -> Option<&str> {
        let named = self.parts.headers.get(HOST).map(|value| value.to_str().ok());
        named.unwrap_or_else(|| self.parts.uri.authority().map(Authority::as_str))
    }

    pub(super) fn method(&self) -> &Method {
        &self.parts.method
    }

    /// As sent, nothing decoded.
    pub(super) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// As sent, nothing decoded.
    pub(super) fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// A call to the service that carries these headers on.
    ///
    /// # Errors
    /// The name of a header that cannot be carried on.
    pub(super) fn call(&self, headers: &[&'static str]) -> Result<Call, &'static str> {
        Call::new(self.upstream.channel.clone(), &self.parts.headers, headers, &self.request_id)
    }

    /// The whole body, however often it is asked for.
    pub(super) async fn body(&mut self) -> Result<Bytes, BodyError> {
        let body = match std::mem::replace(&mut self.body, Body::Read(Err(BodyError::Incomplete))) {
            Body::Unread(body) => read(body).await,
            Body::Read(body) => body,
        };
        self.body = Body::Read(body.clone());
        body
    }
}

async fn read(body: Incoming) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(BODY_WITHIN, Limited::new(body, MAX_BODY).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) | Err(_) => Err(BodyError::Incomplete),
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

/// An answer of one content type.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// An answer in JSON.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Answer {
    // Serializing fails for maps with keys other than strings, of which there are none.
    answer(status, JSON, serde_json::to_vec(body).unwrap_or_default())
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Says which methods there are.
pub(super) fn allowing(mut answer: Answer, methods: &str) -> Answer {
    if let Ok(methods) = HeaderValue::from_str(methods) {
        answer.headers_mut().insert(ALLOW, methods);
    }
    answer
}

/// Says when to come back, in seconds.
pub(super) fn retrying(mut answer: Answer, seconds: Option<u64>) -> Answer {
    if let Some(seconds) = seconds {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}
