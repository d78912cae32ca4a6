//! Failures in the canonical API: a `google.rpc.Status` in JSON, details included.

use http::{HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use prost_reflect::DynamicMessage;
use prost_types::Any;
use serde::Serialize;
use serde_json::Value;

use crate::{
    gateway::{
        exchange::{Answer, json, retrying},
        failure::Failure,
    },
    proto::DESCRIPTORS,
};

#[derive(Serialize)]
struct Status<'a> {
    code: i32,
    message: &'a str,
    details: Vec<Value>,
}

/// The answer to a call that failed.
pub(in crate::gateway) fn answer(failure: &Failure) -> Answer {
    let status = &failure.status;
    let details = status.details.iter().filter_map(detail).collect();
    let http = failure.http_status();
    let mut answer = json(http, &Status { code: status.code, message: &status.message, details });
    if http == StatusCode::UNAUTHORIZED {
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    retrying(answer, failure.retry_after())
}

/// A detail with its `@type`; `None` for a type that this build does not know.
fn detail(any: &Any) -> Option<Value> {
    let (_, name) = any.type_url.rsplit_once('/')?;
    let message = DynamicMessage::decode(DESCRIPTORS.get_message_by_name(name)?, any.value.as_slice()).ok()?;
    let mut value = serde_json::to_value(message).ok()?;
    value.as_object_mut()?.insert("@type".to_owned(), any.type_url.clone().into());
    Some(value)
}
