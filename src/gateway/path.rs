//! Paths: split first, decoded after, each variable exactly once, so that no escape can move a boundary.

use percent_encoding::percent_decode_str;

/// The raw segments after the leading `/`; `None` for what has none (`*`).
pub(super) fn segments(path: &str) -> Option<Vec<&str>> {
    Some(path.strip_prefix('/')?.split('/').collect())
}

/// Whether a raw segment can stand in a path that has one reading only.
pub(super) fn is_plain(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

/// A segment's text. `None` for broken escapes, and for what would mean something else further on: slashes, control
/// characters, `.` and `..`, nothing at all.
pub(super) fn decode(segment: &str) -> Option<String> {
    let text = percent_decoded(segment)?;
    let harmless = |letter: char| !letter.is_control() && letter != '/' && letter != '\\';
    (is_plain(&text) && text.chars().all(harmless)).then_some(text)
}

/// Text with its escapes decoded once; `None` where one is broken or the result is not UTF-8.
pub(super) fn percent_decoded(text: &str) -> Option<String> {
    let mut escapes = text.split('%');
    escapes.next();
    let whole = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !escapes.all(whole) {
        return None;
    }
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_segment_is_decoded_exactly_once() {
        assert_eq!(decode("a%20b").as_deref(), Some("a b"));
        assert_eq!(decode("applivery%3Aacme").as_deref(), Some("applivery:acme"));
        assert_eq!(decode("%252f").as_deref(), Some("%2f"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for segment in [
            "", ".", "..", "%2e", "%2E%2e", "a%2fb", "a%5Cb", "a\\b", "%00", "%0d%0a", "%7f", "%", "a%2", "%zz", "%+1",
            "%ff", "%c2%85",
        ] {
            assert_eq!(decode(segment), None, "{segment}");
        }
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(text in "[^/\\\\\\p{Cc}]{1,20}") {
            prop_assume!(is_plain(&text));
            let encoded = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
            prop_assert_eq!(decode(&encoded), Some(text));
        }
    }
}
