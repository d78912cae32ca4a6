//! What every handler shares: the call that the gate let in, the way back, and how values look on the wire.

use std::sync::Arc;

use secrecy::{ExposeSecret as _, SecretString};
use tonic::{Code, Request, Response, Status};

use super::error;
use crate::{
    domain::{Error, Password, Result, SubjectState, Timestamp},
    ops::{Call, SoftLock},
    proto,
};

/// Runs a handler on the call that the gate let in. Without one it refuses: no gate, no access.
pub(super) async fn answer<Q, A>(
    request: Request<Q>,
    handler: impl AsyncFnOnce(&Call, Q) -> Result<A>,
) -> Result<Response<A>, Status> {
    let Some(call) = request.extensions().get::<Arc<Call>>().cloned() else {
        return Err(error::status(&Error::internal("a call that passed no gate"), ""));
    };
    match handler(&call, request.into_inner()).await {
        Ok(answer) => Ok(Response::new(answer)),
        Err(failed) => {
            tracing::debug!(reason = ?failed.reason(), "refused");
            Err(error::status(&failed, &call.request_id))
        }
    }
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
    proto::SoftLock { blocked_until: lock.blocked_until.map(timestamp), failures: lock.failures }
}

pub(super) fn state(state: SubjectState) -> proto::SubjectState {
    match state {
        SubjectState::Active => proto::SubjectState::Active,
        SubjectState::Disabled => proto::SubjectState::Disabled,
        SubjectState::Locked => proto::SubjectState::Locked,
    }
}
