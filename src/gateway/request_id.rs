//! The name of one request, in the answer, in both logs, and in the service's records.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};
use uuid::Uuid;

/// Where it travels, in requests, answers and metadata.
pub(super) const NAME: &str = "x-request-id";
pub(super) const HEADER: HeaderName = HeaderName::from_static(NAME);

const MAX_LENGTH: usize = 128;

/// A request's id: the caller's own where it is 1 to 128 printing ASCII characters, else a new one.
#[derive(Clone, Debug)]
pub(super) struct RequestId(String);

impl RequestId {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(HEADER).iter();
        match (given.next().and_then(legal), given.next()) {
            (Some(id), None) => Self(id.to_owned()),
            (Some(_) | None, _) => Self(Uuid::new_v4().to_string()),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a header's value; an id holds nothing that a header cannot.
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn legal(value: &HeaderValue) -> Option<&str> {
    value
        .to_str()
        .ok()
        .filter(|id| (1..=MAX_LENGTH).contains(&id.len()) && id.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> RequestId {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        RequestId::of(&headers)
    }

    #[test]
    fn a_printing_id_of_up_to_128_characters_is_kept() {
        assert_eq!(of(&["trace 1/2"]).as_str(), "trace 1/2");
        assert_eq!(of(&[&"x".repeat(128)]).as_str().len(), 128);
    }

    #[test]
    fn an_id_that_is_absent_long_doubled_or_not_ascii_is_replaced() {
        let long = "x".repeat(129);
        for values in [&[][..], &[""], &[&long], &["one", "two"], &["ü"], &["a\tb"]] {
            let made = of(values);
            assert!(Uuid::parse_str(made.as_str()).is_ok(), "{made}");
        }
    }
}
