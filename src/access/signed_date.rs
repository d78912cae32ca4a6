//! Requests signed over their `Date` header:
//! `authorization: algorithm="hmac-sha256",headers="date",signature="<base64>",apiKey="<key>"`.

use std::{fmt, time::Duration};

use data_encoding::BASE64;

use crate::domain::{Error, Reason, Result, Timestamp};

/// A signature as it came, not yet checked.
pub struct SignedDate {
    /// Names the key.
    pub api_key: String,
    /// Raw HMAC-SHA-256.
    pub signature: Vec<u8>,
    date: String,
}

impl SignedDate {
    /// How far the signed date may lie from our clock, both ways.
    pub const WINDOW: Duration = Duration::from_mins(15);

    /// Whether a header value is of this form at all: a name, `=`, and a quote.
    #[must_use]
    pub fn looks_like(value: &str) -> bool {
        parameters(value).is_some_and(|parameters| !parameters.is_empty())
    }

    /// Reads a signature.
    ///
    /// # Errors
    /// Headers missing (no `date`); malformed; parameters missing; algorithm unsupported.
    pub fn read(value: &str, date: Option<&str>) -> Result<Self> {
        let date =
            date.ok_or_else(|| Error::new(Reason::SignatureHeadersMissing, "a signed request needs its Date header"))?;
        let malformed = || Error::new(Reason::SignatureMalformed, "the signature's parameters cannot be read");
        let parameters = parameters(value).ok_or_else(malformed)?;
        let find = |name: &str| {
            let mut found = parameters.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
            let value = found.next().map(|(_, value)| *value).filter(|value| !value.is_empty());
            if found.next().is_some() { Err(malformed()) } else { Ok(value) }
        };
        let names = ["algorithm", "headers", "signature", "apiKey"];
        let [algorithm, headers, signature, api_key] =
            [find("algorithm")?, find("headers")?, find("signature")?, find("apiKey")?];
        let (Some(algorithm), Some(headers), Some(signature), Some(api_key)) = (algorithm, headers, signature, api_key)
        else {
            let values = [algorithm, headers, signature, api_key];
            let absent = names.iter().zip(values).filter(|(_, value)| value.is_none()).map(|(name, _)| *name);
            let absent = absent.collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                Reason::SignatureParametersMissing,
                format!("the signature lacks parameters: {absent}"),
            )
            .with("parameters", absent));
        };
        if !algorithm.eq_ignore_ascii_case("hmac-sha256") {
            return Err(Error::new(Reason::SignatureAlgorithmUnsupported, "the algorithm must be hmac-sha256"));
        }
        if !headers.eq_ignore_ascii_case("date") {
            return Err(malformed());
        }
        // What is not base64 is no signature of anybody's: the answer is that of a wrong one.
        let signature = BASE64.decode(signature.as_bytes()).unwrap_or_default();
        Ok(Self { api_key: api_key.to_owned(), signature, date: date.to_owned() })
    }

    /// What is signed: the header as it was sent, not as it was understood.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        format!("licenseSpring\ndate: {}", self.date).into_bytes()
    }

    /// Checks the date against the clock. Only IMF-fixdate counts: RFC 9110 section 5.6.7 has recipients accept two
    /// obsolete forms as well, but for a signature one form is enough, and safer.
    ///
    /// # Errors
    /// Date skewed.
    pub fn check_date(&self, now: Timestamp) -> Result<()> {
        let skewed = || {
            Error::new(
                Reason::SignatureDateSkewed,
                "the Date header must be an HTTP date of the last or next 15 minutes, such as Tue, 07 Jun 2011 20:51:35 GMT",
            )
        };
        let date =
            httpdate::parse_http_date(&self.date).ok().filter(|date| httpdate::fmt_http_date(*date) == self.date);
        let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()).ok_or_else(skewed)?;
        let date = Timestamp::from_micros(0).plus(date);
        if date.distance(now) > Self::WINDOW { Err(skewed()) } else { Ok(()) }
    }
}

/// Without the signature, which is a credential while its date is young.
impl fmt::Debug for SignedDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedDate").field("api_key", &self.api_key).field("date", &self.date).finish_non_exhaustive()
    }
}

/// `name="value"`, separated by commas, spaces around them; `None` where it is not that.
fn parameters(value: &str) -> Option<Vec<(&str, &str)>> {
    let mut parameters = Vec::new();
    let mut rest = value.trim_matches(' ');
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let (content, after) = after.trim_start_matches(' ').strip_prefix('"')?.split_once('"')?;
        let name = name.trim_matches(' ');
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
            return None;
        }
        parameters.push((name, content));
        let after = after.trim_start_matches(' ');
        rest = match after.strip_prefix(',') {
            Some(next) => next.trim_start_matches(' '),
            None if after.is_empty() => after,
            None => return None,
        };
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUE: &str = r#"algorithm="hmac-sha256",headers="date",signature="UDysfR6MndUZReo07Y9r+vErn8vSxrnQ5ulit18iJ/Q=",apiKey="key""#;
    const DATE: &str = "Tue, 07 Jun 2011 20:51:35 GMT";

    fn reason(value: &str, date: Option<&str>) -> Reason {
        SignedDate::read(value, date).unwrap_err().reason()
    }

    #[test]
    fn parameters_are_read_in_any_order_case_and_spacing() {
        let value = r#" APIKEY = "key" , signature="AAAA",headers="date",algorithm="hmac-sha256""#;
        assert_eq!(SignedDate::read(value, Some(DATE)).unwrap().api_key, "key");
        assert_eq!(
            SignedDate::read(VALUE, Some(DATE)).unwrap().message(),
            b"licenseSpring\ndate: Tue, 07 Jun 2011 20:51:35 GMT"
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert_eq!(reason(VALUE, None), Reason::SignatureHeadersMissing);
        assert_eq!(
            reason(r#"algorithm="hmac-sha256",headers="date host",signature="A",apiKey="k""#, Some(DATE)),
            Reason::SignatureMalformed
        );
        assert_eq!(
            reason(r#"algorithm="hmac-sha1",headers="date",signature="A",apiKey="k""#, Some(DATE)),
            Reason::SignatureAlgorithmUnsupported
        );
        let missing = SignedDate::read(r#"algorithm="hmac-sha256",headers="date""#, Some(DATE)).unwrap_err();
        assert_eq!(missing.reason(), Reason::SignatureParametersMissing);
        assert_eq!(missing.metadata(), [("parameters", "signature, apiKey".to_owned())]);
        let twice = format!("{VALUE},apiKey=\"other\"");
        assert_eq!(reason(&twice, Some(DATE)), Reason::SignatureMalformed);
        for odd in ["", "Basic abc", "a=b", "=\"x\"", "a=\"b\"c", "a=\"b"] {
            assert!(!SignedDate::looks_like(odd), "{odd}");
        }
    }

    #[test]
    fn the_date_must_be_near_and_in_the_one_form() {
        let at = |date: &str, seconds: i64| {
            let now = Timestamp::from_micros((1_307_479_895 + seconds) * 1_000_000);
            SignedDate::read(VALUE, Some(date)).unwrap().check_date(now).is_ok()
        };
        assert!(at(DATE, 0) && at(DATE, 900) && at(DATE, -900));
        assert!(!at(DATE, 901) && !at(DATE, -901));
        for obsolete in [
            "Tuesday, 07-Jun-11 20:51:35 GMT",
            "Tue Jun  7 20:51:35 2011",
            "tue, 07 jun 2011 20:51:35 gmt",
            "Tue, 07 Jun 2011 20:51:35 UTC",
            "",
        ] {
            assert!(!at(obsolete, 0), "{obsolete}");
        }
    }
}
