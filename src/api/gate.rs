//! What every call passes before its handler: a request id, a place among the running calls, a caller, its rate, a
//! permission.
//!
//! `UNAUTHENTICATED` comes before `PERMISSION_DENIED`, and both before anybody looks at the message.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Request, Response};
use tokio::sync::Semaphore;
use tonic::{Status, body::Body};
use tower::{Layer, Service, ServiceExt as _};
use tracing::Instrument as _;

use super::{error, rules};
use crate::{
    access::Credential,
    domain::{Error, Reason, Result},
    ops::{Call, Ops},
};

/// The longest request id that is taken over, in printing ASCII characters.
const REQUEST_ID_LENGTH: usize = 128;

/// Puts a [`Gate`] before the services.
#[derive(Clone, Debug)]
pub struct GateLayer {
    ops: Ops,
    places: Arc<Semaphore>,
}

impl GateLayer {
    /// A gate that lets `calls` be worked on at once.
    #[must_use]
    pub fn new(ops: Ops, calls: usize) -> Self {
        Self { ops, places: Arc::new(Semaphore::new(calls)) }
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { ops: self.ops.clone(), places: Arc::clone(&self.places), inner }
    }
}

/// Lets calls in, with their [`Call`] in the request's extensions, or answers in the handler's stead.
#[derive(Clone, Debug)]
pub struct Gate<S> {
    ops: Ops,
    places: Arc<Semaphore>,
    inner: S,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: From<Infallible> + Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // The one that is ready goes with the call; its clone waits for the next.
        let clone = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, clone);
        let path = request.uri().path();
        // Health and reflection are for everybody.
        if path.starts_with("/grpc.") {
            return Box::pin(inner.oneshot(request));
        }
        let Some(rule) = rules::of(path) else {
            return Box::pin(std::future::ready(Ok(refusal(error::unimplemented()))));
        };
        let request_id = request_id(request.headers());
        let span = tracing::info_span!("call", method = %rule.action, request_id);
        let (ops, places) = (self.ops.clone(), Arc::clone(&self.places));
        let call = async move {
            let Ok(_place) = places.try_acquire_owned() else {
                let busy = Error::new(Reason::Overloaded, "the server is busy");
                return Ok(refusal(error::status(&busy, &request_id)));
            };
            match let_in(&ops, request.headers(), rule, &request_id).await {
                Ok(call) => {
                    request.extensions_mut().insert(Arc::new(call));
                    inner.oneshot(request).await
                }
                Err(refused) => {
                    tracing::debug!(reason = ?refused.reason(), "not let in");
                    Ok(refusal(error::status(&refused, &request_id)))
                }
            }
        };
        Box::pin(call.instrument(span))
    }
}

async fn let_in(ops: &Ops, headers: &HeaderMap, rule: &'static rules::Rule, request_id: &str) -> Result<Call> {
    let credential = Credential::read(
        header(headers, "x-auth-token")?,
        header(headers, "authorization")?,
        header(headers, "date")?,
    )?;
    let caller = ops.authenticate(credential).await?;
    tracing::debug!(caller = caller.name(), "authenticated");
    ops.limit_caller(&caller)?;
    ops.authorise(&caller, rule.access, None, &rule.action, request_id).await
}

/// A header's value, once: two of a name could be read two ways.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    match value.to_str() {
        Ok(value) if values.next().is_none() => Ok(Some(value)),
        Ok(_) | Err(_) => Err(crate::access::credential::invalid()),
    }
}

fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let good =
        |id: &&str| (1..=REQUEST_ID_LENGTH).contains(&id.len()) && id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    given.filter(good).map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

fn refusal(status: Status) -> Response<Body> {
    status.into_http()
}
