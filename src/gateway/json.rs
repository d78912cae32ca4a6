//! JSON read strictly: what two parsers could read differently is not read at all.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Far deeper than any message of ours, far shallower than any stack.
const MAX_DEPTH: u8 = 32;

/// Why a body is refused. One sentence for all causes: serde's own quote the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson;

impl NotJson {
    pub(super) const SENTENCE: &str =
        "the body is not JSON in UTF-8, repeats a member, or is nested more than 32 levels deep";
}

/// The one JSON value that the bytes are (RFC 8259). Refused: members that repeat at any depth, deep nesting, anything
/// after the value, a byte order mark, bytes that are not UTF-8.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, NotJson> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: MAX_DEPTH }.deserialize(&mut deserializer);
    let end = deserializer.end();
    value.and_then(|value| end.map(|()| value)).map_err(|_quotes_the_body| NotJson)
}

/// As [`parse`], where no body at all counts as an object without members.
pub(super) fn parse_or_empty(bytes: &[u8]) -> Result<Value, NotJson> {
    if bytes.is_empty() { Ok(Value::Object(Map::new())) } else { parse(bytes) }
}

#[derive(Clone, Copy)]
struct Strict {
    depth: u8,
}

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        self.depth.checked_sub(1).map(|depth| Self { depth }).ok_or_else(|| E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number of JSON"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let within = self.deeper()?;
        let mut array = Vec::new();
        while let Some(element) = elements.next_element_seed(within)? {
            array.push(element);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let within = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let value = members.next_value_seed(within)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a member repeats"));
            }
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_json_is_read() {
        let text = br#" {"a": [1, -2, 2.5, "x\u00e9", true, null], "b": {"a": {}}} "#;
        assert_eq!(parse(text), Ok(json!({"a": [1, -2, 2.5, "xé", true, null], "b": {"a": {}}})));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
        let cases: &[&[u8]] = &[
            b"",
            b" ",
            b"{",
            b"nul",
            b"{\"a\":1}x",
            b"{}{}",
            b"{\"a\":1,}",
            b"{'a':1}",
            b"{\"a\":1,\"a\":1}",
            b"{\"b\":[{\"a\":1,\"\\u0061\":2}]}",
            b"\xef\xbb\xbf{}",
            b"\"\xff\"",
            b"\"\\ud800\"",
            b"\"\n\"",
            b"NaN",
            b"1e999",
            b"01",
            deep.as_bytes(),
        ];
        for case in cases {
            assert_eq!(parse(case), Err(NotJson), "{}", String::from_utf8_lossy(case));
        }
        assert!(parse(format!("{}1{}", "[".repeat(32), "]".repeat(32)).as_bytes()).is_ok());
    }

    #[test]
    fn no_body_is_an_object_without_members() {
        assert_eq!(parse_or_empty(b""), Ok(json!({})));
        assert_eq!(parse_or_empty(b" "), Err(NotJson));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn it_agrees_with_serde_on_what_it_accepts(text in r#"[\[\]{}",:0-9a-e.\\ -]{0,40}"#) {
            if let Ok(value) = parse(text.as_bytes()) {
                prop_assert_eq!(Some(value), serde_json::from_str(&text).ok());
            }
        }
    }
}
