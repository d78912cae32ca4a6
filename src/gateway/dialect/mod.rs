//! The dialects: four older systems, answered as they answer. One file each, read from top to bottom: routes, requests,
//! answers, errors. What a file says of bodies is the contract; where the original is silent, so says a comment.
//!
//! A dialect works through the service's own methods, with the caller's own credential. It finds a request's form wrong
//! by itself, but says so only to those whom the service would let in ([`Call::permitted`]).
//!
//! A new one: a file with `Route::find`, `template` and `answer`, and a line in each match below.

mod applivery;
mod licensespring;
mod oauth;
mod ocariot;
mod roma;
mod signed_request;

use http::Method;
use serde_json::{Map, Value};

use super::{
    exchange::{Answer, BodyError, Exchange},
    failure::Failure,
    json::parse_or_empty,
    path,
    upstream::Call,
};

/// A request that belongs to a dialect.
#[derive(Debug)]
pub(super) enum Route {
    Applivery(applivery::Route),
    Licensespring(licensespring::Route),
    Ocariot(ocariot::Route),
    Roma(roma::Route),
}

impl Route {
    /// Whose the path is, if anybody's; the paths of the dialects do not overlap.
    pub(super) fn find(method: &Method, path: &str) -> Option<Self> {
        let segments = path::segments(path)?;
        applivery::Route::find(method, &segments)
            .map(Self::Applivery)
            .or_else(|| licensespring::Route::find(method, &segments).map(Self::Licensespring))
            .or_else(|| ocariot::Route::find(method, &segments).map(Self::Ocariot))
            .or_else(|| roma::Route::find(method, &segments).map(Self::Roma))
    }

    /// For the log: the path without what varies.
    pub(super) fn template(&self) -> &'static str {
        match self {
            Self::Applivery(route) => route.template(),
            Self::Licensespring(route) => route.template(),
            Self::Ocariot(route) => route.template(),
            Self::Roma(route) => route.template(),
        }
    }

    pub(super) async fn answer(self, exchange: Exchange) -> Answer {
        match self {
            Self::Applivery(route) => route.answer(exchange).await,
            Self::Licensespring(route) => route.answer(exchange).await,
            Self::Ocariot(route) => route.answer(exchange).await,
            Self::Roma(route) => route.answer(exchange).await,
        }
    }
}

/// A body that a dialect can do nothing with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unreadable {
    TooLarge,
    NotJson,
}

/// The body as JSON; none at all is an object without members.
async fn json_body(exchange: &mut Exchange) -> Result<Value, Unreadable> {
    let body = exchange.body().await.map_err(|error| match error {
        BodyError::TooLarge => Unreadable::TooLarge,
        BodyError::Incomplete => Unreadable::NotJson,
    })?;
    parse_or_empty(&body).map_err(|_not_json| Unreadable::NotJson)
}

/// A string member's text; `None` for any other type.
fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    members.get(name).and_then(Value::as_str)
}

/// The refusal of a request's form, or of its caller, whichever comes first.
async fn refuse<E>(call: &Call, method: &str, subject_id: &str, refusal: E, error: impl Fn(&Failure) -> E) -> E {
    match call.permitted(method, subject_id).await {
        Ok(()) => refusal,
        Err(failure) => error(&failure),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{gateway::canonical::Routes, proto::DESCRIPTORS};

    fn claims(path: &str) -> Vec<bool> {
        let segments = path::segments(path).unwrap_or_default();
        vec![
            applivery::Route::find(&Method::GET, &segments).is_some(),
            licensespring::Route::find(&Method::GET, &segments).is_some(),
            ocariot::Route::find(&Method::GET, &segments).is_some(),
            roma::Route::find(&Method::GET, &segments).is_some(),
        ]
    }

    proptest! {
        #[test]
        fn a_path_is_at_most_one_dialects_and_then_no_canonical_route(
            head in prop::sample::select(vec!["", "/v1/users", "/v1/organizations", "/api/v4", "/v2/p/link", "/v1/tenants"]),
            rest in prop::collection::vec("password|reset-password|users|[a-z%:./-]{0,6}", 0..6),
        ) {
            let path = format!("{head}/{}", rest.join("/"));
            let claims = claims(&path).into_iter().filter(|claim| *claim).count();
            prop_assert!(claims <= 1);
            prop_assert_eq!(Route::find(&Method::GET, &path).is_some(), claims == 1);
            let canonical = Routes::read(&DESCRIPTORS).find(&Method::GET, &path).is_ok();
            prop_assert!(!canonical || claims == 0);
        }
    }

    #[test]
    fn a_template_for_the_log_holds_nothing_of_the_path() {
        for path in
            ["/v1/organizations/canary/canary", "/v1/users/canary/password", "/api/v4/canary", "/v2/canary/link/canary"]
        {
            let route = Route::find(&Method::GET, path).unwrap();
            assert!(!route.template().contains("canary"), "{path}");
        }
    }
}
