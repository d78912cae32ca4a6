//! Requests that their sender signed (`SDK-HMAC-SHA256`). The signature covers the HTTP request, which nobody but the
//! gateway has seen: it brings the request into the canonical form and asks the service, as itself, whose signature that
//! is. It checks nothing and keeps no key.

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use http::{HeaderName, header::AUTHORIZATION};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use tonic::metadata::MetadataValue;

use crate::{
    gateway::{
        exchange::{BodyError, Exchange},
        failure::Failure,
        path::percent_decoded,
        upstream::Call,
    },
    proto::{ErrorReason as R, ExchangeSignatureRequest, token_service_client::TokenServiceClient},
};

const SCHEME: &str = "SDK-HMAC-SHA256";
const DATE: &str = "x-sdk-date";

/// What is not escaped (RFC 3986 section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Why a signed request is not let in.
#[derive(Debug)]
pub(super) enum Refused {
    /// The signature is not right, or cannot be.
    Signature,
    /// The body is too large or did not arrive, so there is nothing to check the signature against.
    Body(BodyError),
    /// The service says so, and not because of the signature.
    Service(Failure),
}

/// Whether a request comes signed so.
pub(super) fn is_signed(exchange: &Exchange) -> bool {
    let value = exchange.headers().get(AUTHORIZATION);
    value.is_some_and(|value| value.as_bytes().starts_with(SCHEME.as_bytes()))
}

/// Calls under the credential of who signed the request.
pub(super) async fn call(exchange: &mut Exchange) -> Result<Call, Refused> {
    // Without a credential of its own the gateway has nobody to ask: no signature is right.
    let identity = exchange.identity().ok_or(Refused::Signature)?;
    let body = exchange.body().await.map_err(Refused::Body)?;
    let request = signature(exchange, &body).ok_or(Refused::Signature)?;
    let bare = || exchange.call(&[]).map_err(|_illegal| Refused::Signature);
    let asking = bare()?.under(identity);
    let mut client = TokenServiceClient::new(asking.channel());
    let issued = asking.wait(client.exchange_signature(asking.request(request))).await.map_err(refused)?;
    let authorization = MetadataValue::try_from(format!("Bearer {}", issued.access_token));
    Ok(bare()?.under(authorization.map_err(|_illegal| Refused::Signature)?))
}

fn refused(failure: Failure) -> Refused {
    let of_the_signature = [
        R::FieldsInvalid,
        R::SignatureMalformed,
        R::SignatureDateSkewed,
        R::ApiKeyUnknown,
        R::ApiKeyRevoked,
        R::SignatureMismatch,
    ];
    if of_the_signature.contains(&failure.reason) {
        return Refused::Signature;
    }
    if matches!(failure.reason, R::CredentialInvalid | R::CredentialExpired | R::PermissionMissing) {
        tracing::error!(reason = ?failure.reason, "the service refuses the gateway's own credential: see gateway.token_file");
    }
    Refused::Service(failure)
}

/// The signature and what it should be of; `None` where the headers cannot be read in one way.
fn signature(exchange: &Exchange, body: &[u8]) -> Option<ExchangeSignatureRequest> {
    let header = |name: &str| -> Option<&str> {
        let mut values = exchange.headers().get_all(HeaderName::from_bytes(name.as_bytes()).ok()?).iter();
        let value = str::from_utf8(values.next()?.as_bytes()).ok()?;
        values.next().is_none().then_some(value.trim_matches(' '))
    };
    let given = header("authorization")?.strip_prefix(SCHEME)?;
    let (mut access_key, mut signed_headers, mut signature) = (None, None, None);
    for parameter in given.split(',') {
        let (name, value) = parameter.trim_matches(' ').split_once('=')?;
        let place = match name {
            "Access" => &mut access_key,
            "SignedHeaders" => &mut signed_headers,
            "Signature" => &mut signature,
            _ => return None,
        };
        if place.replace(value.to_owned()).is_some() {
            return None;
        }
    }
    let (access_key, signed_headers) = (access_key?, signed_headers?);
    let mut lines = vec![exchange.method().as_str().to_owned(), path(exchange.path())?, query(exchange.query())?];
    for name in signed_headers.split(';') {
        // Over HTTP/2 there is no header of this name.
        let value = if name == "host" { exchange.host() } else { header(name) };
        lines.push(format!("{name}:{}", value?));
    }
    lines.extend([String::new(), signed_headers, HEXLOWER.encode(digest::digest(&digest::SHA256, body).as_ref())]);
    Some(ExchangeSignatureRequest {
        access_key,
        date: header(DATE)?.to_owned(),
        canonical_request: lines.join("\n").into_bytes(),
        signature: signature?,
    })
}

fn escaped(text: &str) -> Option<String> {
    Some(utf8_percent_encode(&percent_decoded(text)?, ESCAPED).to_string())
}

/// Each segment escaped in one way, with a `/` at the end.
fn path(path: &str) -> Option<String> {
    let segments: Option<Vec<String>> = path.split('/').map(escaped).collect();
    let mut path = segments?.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    Some(path)
}

/// Names and values escaped in one way, in order.
fn query(query: Option<&str>) -> Option<String> {
    let pairs = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let pairs: Option<Vec<(String, String)>> = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((percent_decoded(name)?, percent_decoded(value)?))
        })
        .collect();
    let mut pairs = pairs?;
    // By what they say: that is how the vendor's clients sort them.
    pairs.sort();
    let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
    let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    Some(pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_have_one_form() {
        assert_eq!(path("/v2/a%20b/~c").as_deref(), Some("/v2/a%20b/~c/"));
        assert_eq!(path("/v2/a%2fb/%7e/").as_deref(), Some("/v2/a%2Fb/~/"));
        assert_eq!(path("/%zz"), None);
        assert_eq!(query(None).as_deref(), Some(""));
        assert_eq!(query(Some("b=2&a=%7e&&c&a=1%2f")).as_deref(), Some("a=1%2F&a=~&b=2&c="));
    }
}
