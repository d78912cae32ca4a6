//! What every call passes before its handler: a request id, a bound on its time, a place among the running calls, a
//! caller, its rate, a permission.
//!
//! `UNAUTHENTICATED` comes before `PERMISSION_DENIED`, and both before anybody looks at the message.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use http::{HeaderMap, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::{Code, Status, body::Body, service::Routes};
use tower::Service as _;
use tracing::Instrument as _;
use uuid::Uuid;

use super::{error, rules};
use crate::{
    access::{Access, Caller, Credential},
    domain::{Error, Reason, Result},
    metrics::Calls,
    ops::{Call, Ops},
};

/// The longest request id that is taken over, in printing ASCII characters.
const REQUEST_ID_LENGTH: usize = 128;

/// Lets calls in to the services, with their [`Call`] and the use cases in the request's extensions, or answers in their
/// stead.
#[derive(Clone, Debug)]
pub struct Gate(Arc<Shared>);

/// What all calls have in common.
#[derive(Debug)]
struct Shared {
    ops: Arc<Ops>,
    calls: Calls,
    request_ids: RequestIds,
    places: Places,
    timeout: Duration,
    routes: Routes,
}

/// Places among the running calls. A flood of one method leaves others theirs.
#[derive(Debug)]
struct Places {
    all: Arc<Semaphore>,
    by_method: HashMap<&'static str, Arc<Semaphore>>,
}

impl Places {
    fn take(&self, method: &str) -> Option<[OwnedSemaphorePermit; 2]> {
        let of_method = Arc::clone(self.by_method.get(method)?).try_acquire_owned().ok()?;
        Some([of_method, Arc::clone(&self.all).try_acquire_owned().ok()?])
    }
}

impl Gate {
    /// A gate that lets so many calls be worked on at once, and half as many of one method, each for so long, and counts
    /// them all.
    #[must_use]
    pub fn new(ops: Ops, calls: Calls, routes: Routes, places: usize, timeout: Duration) -> Self {
        let of_method = |rule: &'static rules::Rule| (rule.action.as_str(), Arc::new(Semaphore::new(places / 2)));
        let by_method = rules::all().map(|(_, rule)| of_method(rule)).collect();
        let places = Places { all: Arc::new(Semaphore::new(places)), by_method };
        let (ops, routes) = (Arc::new(ops), routes.prepare());
        Self(Arc::new(Shared { ops, calls, request_ids: RequestIds::new(), places, timeout, routes }))
    }

    /// Answers one call. Every call passes here.
    pub async fn answer(self, mut request: Request<Body>) -> Response<Body> {
        let shared = &*self.0;
        let path = request.uri().path();
        // Health and reflection are for everybody.
        if path.starts_with("/grpc.") {
            return shared.pass_on(request).await;
        }
        let Some(rule) = rules::of(path) else { return refusal(error::unimplemented()) };
        let request_id = given_request_id(request.headers()).unwrap_or_else(|| shared.request_ids.make());
        let span = tracing::info_span!("call", method = %rule.action, request_id);
        let running = shared.calls.begin(&rule.action);
        let asked = request.headers().get("grpc-timeout").and_then(|value| timeout(value.to_str().ok()?));
        let call = async {
            let Some(_places) = shared.places.take(&rule.action) else {
                let busy = Error::new(Reason::Overloaded, "the server is busy");
                return refusal(error::status(&busy, &request_id));
            };
            match let_in(&shared.ops, request.headers(), rule, &request_id).await {
                Ok(mut call) => {
                    call.deadline = asked.and_then(from_now);
                    request.extensions_mut().insert(Arc::new(call));
                    request.extensions_mut().insert(Arc::clone(&shared.ops));
                    shared.pass_on(request).await
                }
                Err(refused) => {
                    tracing::debug!(reason = ?refused.reason(), "not let in");
                    refusal(error::status(&refused, &request_id))
                }
            }
        };
        let bound = asked.map_or(shared.timeout, |asked| asked.min(shared.timeout));
        // It is large, and would be moved on its way into the bound.
        let mut answer = within(bound, &request_id, Box::pin(call)).instrument(span).await;
        // Different each time: among the headers that both ends remember (RFC 7541 section 2.3.2) it would only push
        // others out.
        if let Some(details) = answer.headers_mut().get_mut("grpc-status-details-bin") {
            details.set_sensitive(true);
        }
        running.end(code_name(&answer));
        answer
    }
}

impl Shared {
    async fn pass_on(&self, request: Request<Body>) -> Response<Body> {
        // Routes are always ready.
        let Ok(answer) = self.routes.clone().call(request).await;
        answer
    }
}

/// An answer in this time, of a stream its beginning; or else that it took too long.
async fn within(timeout: Duration, request_id: &str, call: impl Future<Output = Response<Body>>) -> Response<Body> {
    tokio::time::timeout(timeout, call).await.unwrap_or_else(|_elapsed| {
        let message = "the call took longer than its deadline or the server allows; a change may have happened or not";
        refusal(error::status(&Error::new(Reason::TookTooLong, message), request_id))
    })
}

async fn let_in(ops: &Ops, headers: &HeaderMap, rule: &'static rules::Rule, request_id: &str) -> Result<Call> {
    // A credential that is sent all the same is not looked at: who asks for a token may still send the last one.
    if rule.access == Access::Anybody {
        let grant = Arc::new(Caller::nobody()).authorise(rule.access)?;
        return Ok(Call::new(grant, &rule.action, request_id.to_owned()));
    }
    let credential = Credential::read(
        header(headers, "x-auth-token")?,
        header(headers, "authorization")?,
        header(headers, "date")?,
    )?;
    let caller = ops.authenticate(&credential).await?;
    tracing::debug!(caller = caller.name(), "authenticated");
    ops.limit_caller(&caller)?;
    ops.authorise(&caller, rule.access, None, &rule.action, request_id).await
}

#[expect(clippy::disallowed_methods, reason = "the one place where a client's deadline begins")]
fn from_now(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// How long a client waits, by the gRPC protocol's `TimeoutValue TimeoutUnit`. One that nobody can read is none.
fn timeout(text: &str) -> Option<Duration> {
    let digits = text.get(..text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse().ok()?;
    Some(match text.as_bytes().last()? {
        b'H' => Duration::from_secs(value * 3_600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
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

fn given_request_id(headers: &HeaderMap) -> Option<String> {
    let given = headers.get("x-request-id").and_then(|value| value.to_str().ok());
    let good =
        |id: &&str| (1..=REQUEST_ID_LENGTH).contains(&id.len()) && id.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    given.filter(good).map(str::to_owned)
}

/// Makes request ids: UUIDs of version 8 (RFC 9562 section 5.8), each a random number of this process and a count. No call
/// waits for randomness by them, and nobody is to keep one secret.
#[derive(Debug)]
struct RequestIds {
    process: u64,
    made: AtomicU64,
}

impl RequestIds {
    fn new() -> Self {
        Self { process: Uuid::new_v4().as_u64_pair().0, made: AtomicU64::new(0) }
    }

    fn make(&self) -> String {
        let bytes = Uuid::from_u64_pair(self.process, self.made.fetch_add(1, Ordering::Relaxed)).into_bytes();
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

fn refusal(status: Status) -> Response<Body> {
    status.into_http()
}

/// An answer's code, as google.rpc.Code spells it. Without one in the headers it is in the trailers, and good.
fn code_name(answer: &Response<Body>) -> &'static str {
    match answer.headers().get("grpc-status").map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes())) {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use tonic_types::StatusExt as _;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_is_told_so_under_its_request_id() {
        let within = async |call: Duration| {
            let call = async move {
                tokio::time::sleep(call).await;
                Response::new(Body::empty())
            };
            within(Duration::from_secs(10), "r1", call).await
        };
        assert_eq!(code_name(&within(Duration::from_secs(9)).await), "OK");
        let answer = within(Duration::from_secs(11)).await;
        assert_eq!(code_name(&answer), "DEADLINE_EXCEEDED");
        let status = Status::from_header_map(answer.headers()).unwrap();
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "TOOK_TOO_LONG");
        assert_eq!(details.request_info().unwrap().request_id, "r1");
    }

    #[test]
    fn no_request_id_is_made_twice() {
        let (ours, theirs) = (RequestIds::new(), RequestIds::new());
        let made: HashSet<_> = (0..1_000).flat_map(|_| [ours.make(), theirs.make()]).collect();
        assert_eq!(made.len(), 2_000);
        assert!(made.iter().all(|id| Uuid::parse_str(id).is_ok_and(|id| id.get_version_num() == 8)));
    }

    #[test]
    fn a_timeout_is_read_as_the_protocol_writes_it() {
        for good in ["1H", "1M", "20S", "99999999m", "5u", "0n"] {
            assert!(timeout(good).is_some(), "{good}");
        }
        for bad in ["", "S", "5", "5s", "-5S", "+5S", "100000000n", "5 S", "5é", "é"] {
            assert!(timeout(bad).is_none(), "{bad}");
        }
        assert!(timeout("1H").unwrap() > timeout("1M").unwrap());
    }
}
