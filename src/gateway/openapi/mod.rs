//! What the gateway says of itself: an OpenAPI 3.1 document of the canonical API, read off the descriptors; one of the
//! dialects, written by hand after their contracts; and a page to read and try both.
//!
//! Where it is switched off, its paths are as unknown as any other.

mod canonical;
mod comments;
mod dialects;
mod errors;
mod page;
mod schema;

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::X_CONTENT_TYPE_OPTIONS};
use serde_json::{Value, json};

use super::{
    canonical::failed,
    exchange::{self, Answer, JSON, allowing},
    failure::Failure,
};
use crate::proto::{DESCRIPTORS, ErrorReason};
use tonic::Code;

static CANONICAL: LazyLock<Bytes> = LazyLock::new(|| encoded(&canonical::document(&DESCRIPTORS)));
static DIALECTS: LazyLock<Bytes> = LazyLock::new(|| encoded(&dialects::document()));

fn encoded(document: &Value) -> Bytes {
    // Serializing fails for maps with keys other than strings, of which there are none.
    serde_json::to_vec(document).unwrap_or_default().into()
}

/// What a path asks for.
#[derive(Debug, Clone, Copy)]
pub(in crate::gateway) enum Route {
    Canonical,
    Dialects,
    Page(&'static page::File),
}

impl Route {
    /// Whether the path is one of ours.
    pub(super) fn find(path: &str) -> Option<Self> {
        match path {
            "/openapi.json" => Some(Self::Canonical),
            "/openapi-dialects.json" => Some(Self::Dialects),
            path => page::File::find(path).map(Self::Page),
        }
    }

    /// For the log.
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Canonical => "/openapi.json",
            Self::Dialects => "/openapi-dialects.json",
            Self::Page(file) => file.path,
        }
    }

    pub(super) fn answer(self, method: &Method, headers: &HeaderMap) -> Answer {
        if *method != Method::GET && *method != Method::HEAD {
            let message = "the path has other methods only; see the header Allow";
            let refusal = Failure::found(Code::Unimplemented, ErrorReason::MethodNotAllowed, message);
            return allowing(failed(&refusal), "GET, HEAD");
        }
        let mut answer = match self {
            Self::Canonical => exchange::answer(StatusCode::OK, JSON, CANONICAL.clone()),
            Self::Dialects => exchange::answer(StatusCode::OK, JSON, DIALECTS.clone()),
            Self::Page(file) => file.answer(headers),
        };
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

/// The headers that answers of both documents have.
fn headers() -> Value {
    json!({
        "X-Request-Id": {
            "description": "The request's id: the caller's own, where it is 1 to 128 printing ASCII characters, or a new one.",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "Retry-After": {
            "description": "When to come back, in seconds.",
            "required": true,
            "schema": {"type": "integer", "minimum": 1},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{
        canonical::{NoRoute, Routes},
        dialect,
    };

    #[test]
    fn its_paths_are_nobody_elses() {
        let routes = Routes::read(&DESCRIPTORS);
        for path in ["/openapi.json", "/openapi-dialects.json"].into_iter().chain(page::File::paths()) {
            assert!(Route::find(path).is_some(), "{path}");
            assert!(dialect::Route::find(&Method::GET, path).is_none(), "{path}");
            let canonical = routes.find(&Method::GET, path).map(|_| ());
            assert!(matches!(canonical, Err(NoRoute::Unknown | NoRoute::Ambiguous)), "{path}");
        }
    }

    #[test]
    fn every_route_of_the_dialects_that_is_described_is_one() {
        let document = dialects::document();
        for (path, operations) in document["paths"].as_object().unwrap() {
            let path = path.replace(['{', '}'], "");
            for verb in operations.as_object().unwrap().keys() {
                let method = Method::from_bytes(verb.to_uppercase().as_bytes()).unwrap();
                assert!(dialect::Route::find(&method, &path).is_some(), "{method} {path}");
            }
        }
    }
}
