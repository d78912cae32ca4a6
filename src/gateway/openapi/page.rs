//! The page: a viewer that is part of the binary (`viewer/`, where its version and licence are), and nothing from
//! anywhere else.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{
        ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY,
        X_FRAME_OPTIONS,
    },
};

use crate::gateway::exchange::{self, Answer};

/// Scripts, styles and requests of our own alone, in no frame. Styles that scripts set on elements are the viewer's;
/// images in `data:` are its icons.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What never changes under its name.
const LASTING: &str = "public, max-age=86400, immutable";

/// A part of the page.
#[derive(Debug)]
pub(in crate::gateway) struct File {
    pub(super) path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    /// Other people's: compressed when it was taken in, and named by its version.
    vendored: bool,
}

static FILES: [File; 6] = [
    File {
        path: "/docs",
        content_type: "text/html; charset=utf-8",
        body: include_bytes!("viewer/index.html"),
        vendored: false,
    },
    File {
        path: "/docs/page.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("viewer/page.js"),
        vendored: false,
    },
    File {
        path: "/docs/page.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("viewer/page.css"),
        vendored: false,
    },
    File {
        path: "/docs/icon.svg",
        content_type: "image/svg+xml",
        body: include_bytes!("viewer/icon.svg"),
        vendored: false,
    },
    File {
        path: "/docs/swagger-ui-5.35.0.js",
        content_type: "text/javascript; charset=utf-8",
        body: include_bytes!("viewer/swagger-ui-5.35.0.js.gz"),
        vendored: true,
    },
    File {
        path: "/docs/swagger-ui-5.35.0.css",
        content_type: "text/css; charset=utf-8",
        body: include_bytes!("viewer/swagger-ui-5.35.0.css.gz"),
        vendored: true,
    },
];

impl File {
    pub(super) fn find(path: &str) -> Option<&'static Self> {
        // With a slash at its end it is the same page.
        let path = if path == "/docs/" { "/docs" } else { path };
        FILES.iter().find(|file| file.path == path)
    }

    #[cfg(test)]
    pub(super) fn paths() -> impl Iterator<Item = &'static str> {
        FILES.iter().map(|file| file.path)
    }

    pub(super) fn answer(&self, request: &HeaderMap) -> Answer {
        if self.vendored && !takes_gzip(request) {
            let sentence = "this file is kept compressed: send Accept-Encoding: gzip\n";
            return exchange::answer(StatusCode::NOT_ACCEPTABLE, "text/plain; charset=utf-8", sentence);
        }
        let mut answer = exchange::answer(StatusCode::OK, self.content_type, self.body);
        let headers = answer.headers_mut();
        let mut set = |name: HeaderName, value: &'static str| headers.insert(name, HeaderValue::from_static(value));
        set(CONTENT_SECURITY_POLICY, POLICY);
        set(X_FRAME_OPTIONS, "DENY");
        set(REFERRER_POLICY, "no-referrer");
        set(HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
        set(HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
        if self.vendored {
            set(CONTENT_ENCODING, "gzip");
            set(VARY, "accept-encoding");
            set(CACHE_CONTROL, LASTING);
        }
        answer
    }
}

/// RFC 9110 section 12.5.3: what is not asked about may be had.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut codings = headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|coding| coding.trim().to_ascii_lowercase())
        .peekable();
    if codings.peek().is_none() {
        return true;
    }
    let mut any = false;
    for coding in codings {
        let (name, weight) = coding.split_once(';').unwrap_or((&coding, "q=1"));
        let weight: f32 = weight.trim().trim_start_matches("q=").parse().unwrap_or(0.0);
        match name.trim() {
            "gzip" | "x-gzip" => return weight > 0.0,
            "*" => any = weight > 0.0,
            _ => {}
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_taken_as_the_header_says() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        assert!(takes_gzip(&HeaderMap::new()));
        for value in ["gzip", "gzip, deflate, br, zstd", "br;q=1.0, gzip;q=0.8", "*", "GZIP"] {
            assert!(takes(value), "{value}");
        }
        for value in ["identity", "br", "gzip;q=0", "*;q=1, gzip;q=0", "*;q=0"] {
            assert!(!takes(value), "{value}");
        }
    }
}
