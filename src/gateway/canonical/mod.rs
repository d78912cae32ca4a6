//! The canonical API: every unary method of the protos by its `google.api.http` routes.
//!
//! A tenant stands in a path by its id, by `-`, or by an alias such as `applivery:acme`; an alias with a slash, as `roma`
//! has them, cannot, since no variable spans two segments and `%2f` is refused.

mod error;
mod route;
mod transcode;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use serde_json::{Map, Value};

pub(super) use error::answer as failed;
pub(super) use route::{Matched, NoRoute, Route, Routes};

use super::{
    exchange::{self, Answer, BodyError, Exchange, JSON, allowing},
    failure::Failure,
    json::{NotJson, parse},
};
use crate::proto::ErrorReason;
use tonic::Code;

/// The headers that go on to the service.
const HEADERS: &[&str] = &["authorization", "x-auth-token", "date"];

/// The answer to a request that took a route.
pub(super) async fn answer(matched: &Matched<'_>, mut exchange: Exchange) -> Answer {
    match call(matched, &mut exchange).await {
        Ok(body) => exchange::answer(StatusCode::OK, JSON, body),
        Err(failure) => failed(&failure),
    }
}

/// The answer to one that took none.
pub(super) fn no_route(no_route: &NoRoute) -> Answer {
    match no_route {
        NoRoute::Ambiguous => {
            let message = "the path has an empty segment, or one of dots only";
            failed(&Failure::malformed(ErrorReason::PathInvalid, message))
        }
        NoRoute::Unknown => {
            failed(&Failure::found(Code::NotFound, ErrorReason::RouteNotFound, "no route has this path"))
        }
        NoRoute::Method(methods) => {
            let message = "the path has other methods only; see the header Allow";
            allowing(failed(&Failure::found(Code::Unimplemented, ErrorReason::MethodNotAllowed, message)), methods)
        }
    }
}

async fn call(matched: &Matched<'_>, exchange: &mut Exchange) -> Result<Vec<u8>, Failure> {
    let route = matched.route;
    let call = exchange.call(HEADERS).map_err(Failure::header)?;
    let method = format!("{}/{}", route.method.parent_service().full_name(), route.method.name());
    let message = match message(matched, exchange).await {
        Ok(message) => message,
        Err(refusal) if route.for_anybody => return Err(refusal),
        Err(refusal) => {
            call.permitted(&method, subject(matched)).await?;
            return Err(refusal);
        }
    };
    let encoded = call.unary(&format!("/{method}"), message).await?;
    let unreadable = || Failure::found(Code::Internal, ErrorReason::Internal, "the service's answer cannot be read");
    transcode::response(route, encoded).ok_or_else(unreadable)
}

async fn message(matched: &Matched<'_>, exchange: &mut Exchange) -> Result<Bytes, Failure> {
    let body = if matched.route.has_body { body(exchange).await? } else { Value::Object(Map::new()) };
    transcode::request(matched.route, &matched.variables, exchange.query(), body)
}

async fn body(exchange: &mut Exchange) -> Result<Value, Failure> {
    let body = exchange.body().await.map_err(|error| match error {
        BodyError::TooLarge => Failure::malformed(ErrorReason::BodyTooLarge, "the body is larger than 64 KiB"),
        BodyError::Incomplete => Failure::malformed(ErrorReason::JsonInvalid, "the body did not arrive in whole"),
    })?;
    if body.is_empty() {
        return Ok(Value::Object(Map::new()));
    }
    if !is_json(exchange.headers()) {
        let message = "the body must be declared as application/json, in UTF-8";
        return Err(Failure::malformed(ErrorReason::ContentTypeUnsupported, message));
    }
    parse(&body).map_err(|NotJson| Failure::malformed(ErrorReason::JsonInvalid, NotJson::SENTENCE))
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut declared = headers.get_all(CONTENT_TYPE).iter();
    let (Some(declared), None) = (declared.next().and_then(|value| value.to_str().ok()), declared.next()) else {
        return false;
    };
    let declared = declared.to_ascii_lowercase();
    let mut parts = declared.split(';').map(str::trim);
    let charset = |part: &str| matches!(part, "" | "charset=utf-8" | "charset=\"utf-8\"");
    parts.next() == Some(JSON) && parts.all(charset)
}

/// Whom the request is about: the first variable after the tenant.
fn subject<'a>(matched: &'a Matched<'_>) -> &'a str {
    matched.variables.iter().find(|(name, _)| *name != "tenant_id").map_or("", |(_, raw)| raw)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn json_is_declared_in_any_case_and_spacing_and_in_utf_8_only() {
        let declared =
            |value: &'static str| is_json(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(value))]));
        for value in ["application/json", "Application/JSON ; Charset=UTF-8", "application/json;charset=\"utf-8\""] {
            assert!(declared(value), "{value}");
        }
        for value in [
            "",
            "text/plain",
            "application/json-seq",
            "application/json; charset=utf-16",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!declared(value), "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
