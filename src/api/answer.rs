//! What every handler shares: the call that the gate let in, the way back, and how values look on the wire.

use std::{mem, sync::Arc};

use prost::Message;
use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Code, Request, Response, Status};
use zeroize::Zeroizing;

use super::{error, validate::Fields};
use crate::{
    domain::{Error, Password, Result, SubjectState, Timestamp},
    ops::{Call, Ops, SoftLock},
    proto::{self, Answered, Asked},
};

/// Runs a handler on the call that the gate let in. Without one it refuses: no gate, no access.
///
/// A request with a `request_id` gets the answer of an earlier one that was the same; one with `validate_only` changes
/// nothing (see `ops::repeat`), and its answer holds no secret: there is none yet, and none may be shown that nobody
/// recorded. The handler may be run again where a change came between.
pub(super) async fn answer<Q, A>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(&Call, Q) -> Result<A> + Clone,
) -> Result<Response<A>, Status>
where
    Q: Asked + Message + Clone,
    A: Answered + Message + Default,
{
    let (Some(call), Some(ops)) = (let_in(&request), request.extensions().get::<Arc<Ops>>().cloned()) else {
        return Err(no_gate());
    };
    let mut request = request.into_inner();
    let request_id = request.request_id().map(mem::take).unwrap_or_default();
    // What a handler's future holds is large, and would be moved about.
    let answered = if request_id.is_empty() && !request.validate_only() {
        Box::pin(handler(&call, request)).await
    } else {
        Box::pin(answer_with_care(&ops, &call, &request_id, request, handler)).await
    };
    response(&call, answered)
}

async fn answer_with_care<Q, A>(
    ops: &Ops,
    call: &Call,
    request_id: &str,
    request: Q,
    handler: impl AsyncFnOnce(&Call, Q) -> Result<A> + Clone,
) -> Result<A>
where
    Q: Asked + Message + Clone,
    A: Answered + Message + Default,
{
    let mut fields = Fields::default();
    if !request_id.is_empty() && fields.request_id(request_id).is_none() {
        return Err(fields.error());
    }
    if request.validate_only() {
        let mut answer = Box::pin(handler(&call.validating(), request)).await?;
        answer.clear_secrets();
        return Ok(answer);
    }
    // Maps are sorted and the id is not in it: the same content has the same bytes.
    let content = Zeroizing::new(request.encode_to_vec());
    let mut repeatable = ops.repeatable(call, request_id, &content).await?;
    let mut answered = repeatable.take_earlier();
    loop {
        if let Some(answer) = answered {
            // The first one's too, so that both are the same.
            return A::decode(answer.as_slice()).map_err(Error::internal);
        }
        let answer = Box::pin(handler.clone()(repeatable.call(), request.clone())).await;
        let answer = answer.map(|answer| Zeroizing::new(answer.encode_to_vec()));
        answered = ops.conclude(&mut repeatable, answer).await?;
    }
}

/// The same for a call whose messages come and go as streams: there is no repeating it.
pub(super) async fn answer_stream<Q, A>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(&Call, Q) -> Result<A>,
) -> Result<Response<A>, Status> {
    let Some(call) = let_in(&request) else { return Err(no_gate()) };
    let answered = handler(&call, request.into_inner()).await;
    response(&call, answered)
}

fn let_in<Q>(request: &Request<Q>) -> Option<Arc<Call>> {
    request.extensions().get::<Arc<Call>>().cloned()
}

fn no_gate() -> Status {
    error::status(&Error::internal("a call that passed no gate"), "")
}

fn response<A>(call: &Call, answered: Result<A>) -> Result<Response<A>, Status> {
    answered.map(Response::new).map_err(|failed| {
        tracing::debug!(reason = ?failed.reason(), "refused");
        error::status(&failed, &call.request_id)
    })
}

/// One outcome of a batch, and whether it is none because there was too much to do: then only this one is to be asked
/// again. Any other failure is the whole call's.
pub(super) fn unless_overloaded<T>(outcome: Result<Option<T>>) -> Result<(Option<T>, bool)> {
    match outcome {
        Ok(found) => Ok((found, false)),
        Err(failed) if error::row(failed.reason()).0 == Code::ResourceExhausted => Ok((None, true)),
        Err(failed) => Err(failed),
    }
}

/// A secret on its way to the one who may have it.
#[expect(clippy::disallowed_methods, reason = "leaves by the front door")]
pub(super) fn secret_text(password: &Password) -> String {
    password.secret().expose_secret().to_owned()
}

/// A token on its way to the one it was made for.
#[expect(clippy::disallowed_methods, reason = "leaves by the front door, once")]
pub(super) fn token_text(token: &SecretString) -> String {
    token.expose_secret().to_owned()
}

pub(super) fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    let nanos = time.micros().rem_euclid(1_000_000) * 1_000;
    prost_types::Timestamp { seconds: time.seconds(), nanos: i32::try_from(nanos).unwrap_or_default() }
}

pub(super) fn soft_lock(lock: SoftLock) -> proto::SoftLock {
    proto::SoftLock { blocked_until: lock.blocked_until.map(timestamp), failures: lock.failures, stopped: lock.stopped }
}

pub(super) fn state(state: SubjectState) -> proto::SubjectState {
    match state {
        SubjectState::Active => proto::SubjectState::Active,
        SubjectState::Disabled => proto::SubjectState::Disabled,
        SubjectState::Locked => proto::SubjectState::Locked,
    }
}
