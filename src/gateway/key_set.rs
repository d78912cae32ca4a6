//! The public keys by which tokens are checked, where resource servers look for them (RFC 7517, RFC 8615).

use http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use serde::Serialize;
use tonic::Code;

use super::{
    canonical::failed,
    exchange::{Answer, Exchange, allowing, json},
    failure::Failure,
};
use crate::proto::{ErrorReason, GetKeySetRequest, JsonWebKey, token_service_client::TokenServiceClient};

pub(super) const PATH: &str = "/.well-known/jwks.json";

/// How long it may be kept: a new key is known everywhere after five minutes.
const MAX_AGE: HeaderValue = HeaderValue::from_static("public, max-age=300");

#[derive(Serialize)]
struct KeySet {
    keys: Vec<Key>,
}

#[derive(Serialize)]
struct Key {
    kty: String,
    #[serde(rename = "use")]
    usage: String,
    alg: String,
    kid: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    n: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    e: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    crv: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    x: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    y: String,
}

impl From<JsonWebKey> for Key {
    fn from(key: JsonWebKey) -> Self {
        let JsonWebKey { kty, kid, alg, r#use: usage, n, e, crv, x, y } = key;
        Self { kty, usage, alg, kid, n, e, crv, x, y }
    }
}

pub(super) async fn answer(exchange: Exchange) -> Answer {
    if *exchange.method() != Method::GET {
        let message = "the path has other methods only; see the header Allow";
        let failure = Failure::found(Code::Unimplemented, ErrorReason::MethodNotAllowed, message);
        return allowing(failed(&failure), "GET");
    }
    // Whoever asks need not be known.
    let call = match exchange.call(&[]) {
        Ok(call) => call,
        Err(name) => return failed(&Failure::header(name)),
    };
    let mut client = TokenServiceClient::new(call.channel());
    match call.wait(client.get_key_set(call.request(GetKeySetRequest {}))).await {
        Ok(set) => {
            let keys = set.keys.into_iter().map(Into::into).collect();
            let mut answer = json(StatusCode::OK, &KeySet { keys });
            answer.headers_mut().insert(CACHE_CONTROL, MAX_AGE);
            answer
        }
        Err(failure) => failed(&failure),
    }
}
