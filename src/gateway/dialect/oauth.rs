//! The other way in for callers of `licensespring`: an access token for their API key and shared key (OAuth 2.0 client
//! credentials, RFC 6749 section 4.4).

use std::{collections::BTreeMap, net::IpAddr};

use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::licensespring::{Error, error};
use crate::{
    gateway::{
        exchange::{Answer, Exchange, json, retrying},
        failure::Failure,
        path::percent_decoded,
    },
    proto::{ErrorReason as R, ExchangeClientCredentialsRequest, token_service_client::TokenServiceClient},
};

pub(super) const TOKEN_PATH: &str = "/api/v4/oauth_token";
const GRANT: &str = "client_credentials";

/// Where tokens are had. The gateway itself speaks no TLS, but nobody is told to send a secret over a network without:
/// only on the machine itself it is `http`.
pub(super) fn url(exchange: &Exchange) -> Result<Answer, Error> {
    let login = form(exchange.query().unwrap_or_default().as_bytes());
    if login.as_ref().and_then(|login| login.get("login_type")).map(String::as_str) != Some(GRANT) {
        return Err(error(400, "validation_error", "login_type must be client_credentials"));
    }
    let legal = |host: &&str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte));
    let host = exchange.host().filter(|host| !host.is_empty()).filter(legal);
    let host = host.ok_or_else(|| error(400, "missing_headers", "Some headers are missing"))?;
    let scheme = if is_loopback(host) { "http" } else { "https" };
    Ok(json(StatusCode::OK, &serde_json::json!({ "url": format!("{scheme}://{host}{TOKEN_PATH}") })))
}

fn is_loopback(host: &str) -> bool {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or(rest, |(address, _)| address),
        None => host.split_once(':').map_or(host, |(name, _)| name),
    };
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// RFC 6749 section 5.1.
#[derive(Serialize)]
struct Granted {
    access_token: String,
    expires_in: i64,
    token_type: &'static str,
}

/// Why there is no token (RFC 6749 section 5.2).
#[derive(Serialize)]
struct Refusal {
    error: &'static str,
    error_description: &'static str,
}

fn refusal(status: StatusCode, error: &'static str, error_description: &'static str) -> Answer {
    json(status, &Refusal { error, error_description })
}

/// A token for the client that the form names.
pub(super) async fn token(mut exchange: Exchange) -> Answer {
    let malformed = |what| refusal(StatusCode::BAD_REQUEST, "invalid_request", what);
    let Ok(call) = exchange.call(&[]) else { return malformed("a header of the request is invalid") };
    let body: Bytes = match exchange.body().await {
        Ok(body) => body,
        Err(_) => return malformed("the body is larger than 64 KiB or did not arrive in whole"),
    };
    let Some(mut form) = form(&body) else {
        return malformed("the body must be a form (application/x-www-form-urlencoded) with each field once");
    };
    match form.get("grant_type").map(String::as_str) {
        Some(GRANT) => {}
        Some(_) => {
            return refusal(StatusCode::BAD_REQUEST, "unsupported_grant_type", "grant_type must be client_credentials");
        }
        None => return malformed("grant_type is missing"),
    }
    let (Some(client_id), Some(client_secret)) = (form.remove("client_id"), form.remove("client_secret")) else {
        return invalid_client();
    };
    let mut client = TokenServiceClient::new(call.channel());
    let request = ExchangeClientCredentialsRequest { client_id, client_secret };
    match call.wait(client.exchange_client_credentials(call.request(request))).await {
        Ok(issued) => {
            let expires_in = issued.ttl.map_or(0, |ttl| ttl.seconds);
            json(StatusCode::OK, &Granted { access_token: issued.access_token, expires_in, token_type: "Bearer" })
        }
        Err(failure) => refused(&failure),
    }
}

fn refused(failure: &Failure) -> Answer {
    if matches!(failure.reason, R::CredentialInvalid | R::FieldsInvalid) {
        return invalid_client();
    }
    if matches!(failure.reason, R::Overloaded | R::RateLimited) {
        let answer = refusal(StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable", "too many requests");
        return retrying(answer, failure.retry_after());
    }
    refusal(StatusCode::INTERNAL_SERVER_ERROR, "server_error", "Server-side error: Internal error")
}

fn invalid_client() -> Answer {
    refusal(StatusCode::UNAUTHORIZED, "invalid_client", "client id or client secret is wrong")
}

/// The fields of a form; `None` where it cannot be read, or a field is there twice.
fn form(text: &[u8]) -> Option<BTreeMap<String, String>> {
    let mut fields = BTreeMap::new();
    for pair in str::from_utf8(text).ok()?.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| percent_decoded(&text.replace('+', " "));
        if fields.insert(decode(name)?, decode(value)?).is_some() {
            return None;
        }
    }
    Some(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_read_once_and_in_one_way() {
        let read = form(b"grant_type=client_credentials&client_id=a%2Bb&client_secret=c+d%26&e").unwrap();
        assert_eq!(read["client_id"], "a+b");
        assert_eq!(read["client_secret"], "c d&");
        assert_eq!(read["e"], "");
        for bad in [&b"a=1&a=2"[..], b"a=1&%61=2", b"a=%", b"a=%zz", b"a=%ff", b"\xff"] {
            assert!(form(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_machine_itself_is_reached_in_plaintext() {
        for host in ["localhost", "localhost:8080", "127.0.0.1", "127.8.9.1:80", "[::1]:8080", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["example.com", "localhost.example.com:80", "10.0.0.1", "[2001:db8::1]:80", "[::1.example.com"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}
