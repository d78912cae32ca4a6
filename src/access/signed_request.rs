//! Signed HTTP requests of `roma` (`SDK-HMAC-SHA256`), as the gateway that saw one hands it on: its canonical form, a
//! line each of method, path and query, the signed headers, an empty one, the headers' names, the body's digest.
//!
//! What the signature covers is not for its maker to choose: method, path, query and body are in every canonical request,
//! and the host and the date must be.

use std::{fmt, time::Duration};

use data_encoding::HEXLOWER;

use crate::domain::{Error, Reason, Result, Timestamp};

/// A signed request as it came, not yet checked.
pub struct SignedRequest {
    /// Names the key.
    pub access_key: String,
    /// Raw HMAC-SHA-256.
    pub signature: Vec<u8>,
    /// `X-Sdk-Date`, as it was sent.
    pub date: String,
    canonical: String,
}

impl SignedRequest {
    /// How far its date may lie from our clock, both ways.
    pub const WINDOW: Duration = Duration::from_mins(15);
    /// How long after its first use a signature may come again. A client whose dates have seconds signs two requests of
    /// one second that are the same otherwise with the same signature, and both are its own.
    pub const REPEATED_WITHIN: Duration = Duration::from_secs(2);

    /// Reads a signed request.
    ///
    /// # Errors
    /// Malformed, also where it leaves out what must be signed.
    pub fn read(access_key: String, date: String, canonical: &[u8], signature: &str) -> Result<Self> {
        let malformed = |what: &'static str| Error::new(Reason::SignatureMalformed, what);
        let text = str::from_utf8(canonical).ok().filter(|text| !text.contains('\r'));
        let canonical = text.ok_or_else(|| malformed("the canonical request is not text"))?.to_owned();
        let lines: Vec<&str> = canonical.split('\n').collect();
        let [method, path, _query, headers @ .., "", names, digest] = lines.as_slice() else {
            return Err(malformed("the canonical request has too few lines"));
        };
        let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).ok().filter(|bytes| bytes.len() == 32);
        let signed: Option<Vec<(&str, &str)>> = headers.iter().map(|line| line.split_once(':')).collect();
        let signed = signed.ok_or_else(|| malformed("a signed header has no colon"))?;
        let is_method = !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase());
        if !is_method || !path.starts_with('/') || !path.ends_with('/') || hex(digest).is_none() {
            return Err(malformed("the canonical request has no method, path or digest"));
        }
        if signed.iter().map(|(name, _)| *name).ne(names.split(';')) || !are_sorted(names) {
            return Err(malformed("the signed headers are not those that are named, each once and in order"));
        }
        let value = |wanted: &str| signed.iter().find(|(name, _)| *name == wanted).map(|(_, value)| *value);
        if value("host").is_none() || value("x-sdk-date") != Some(date.as_str()) {
            return Err(malformed("host and x-sdk-date must be signed, the latter as it was sent"));
        }
        // What is not hex is no signature of anybody's: the answer is that of a wrong one.
        let signature = hex(signature).unwrap_or_default();
        Ok(Self { access_key, signature, date, canonical })
    }

    /// What is hashed.
    #[must_use]
    pub fn canonical(&self) -> &[u8] {
        self.canonical.as_bytes()
    }

    /// What is signed, by the digest of what was hashed.
    #[must_use]
    pub fn message(&self, digest: &[u8]) -> Vec<u8> {
        format!("SDK-HMAC-SHA256\n{}\n{}", self.date, HEXLOWER.encode(digest)).into_bytes()
    }

    /// Whether it is to change something.
    #[must_use]
    pub fn writes(&self) -> bool {
        !["GET\n", "HEAD\n"].iter().any(|reading| self.canonical.starts_with(reading))
    }

    /// Checks the date against the clock.
    ///
    /// # Errors
    /// Date skewed.
    pub fn check_date(&self, now: Timestamp) -> Result<()> {
        let near = parse_date(&self.date).is_some_and(|date| date.distance(now) <= Self::WINDOW);
        let rule = "X-Sdk-Date must be of the last or next 15 minutes, such as 20240102T030405Z";
        if near { Ok(()) } else { Err(Error::new(Reason::SignatureDateSkewed, rule)) }
    }
}

/// Without the signature, which is a credential while its date is young.
impl fmt::Debug for SignedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequest")
            .field("access_key", &self.access_key)
            .field("date", &self.date)
            .finish_non_exhaustive()
    }
}

/// Whether they are lower-case names between semicolons, each once, sorted by bytes.
fn are_sorted(names: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let names: Vec<&str> = names.split(';').collect();
    names.iter().all(|name| !name.is_empty() && name.bytes().all(legal)) && names.is_sorted_by(|one, next| one < next)
}

/// `YYYYMMDDTHHMMSSZ`, which is one form of ISO 8601; `None` for a time that there is not. There are no leap seconds.
fn parse_date(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let all_digits = |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(date, 8) || !all_digits(time, 6) {
        return None;
    }
    let number = |text: Option<&str>| text?.parse::<i64>().ok();
    let (year, month, day) = (number(date.get(..4))?, number(date.get(4..6))?, number(date.get(6..))?);
    let (hour, minute, second) = (number(time.get(..2))?, number(time.get(2..4))?, number(time.get(4..))?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    // Years that begin in March have their odd day at the end.
    let (shifted, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = shifted.div_euclid(4) - shifted.div_euclid(100) + shifted.div_euclid(400);
    let days = shifted * 365 + leap_days + (153 * from_march + 2) / 5 + day - 1 - 719_468;
    Some(Timestamp::from_micros((days * 86_400 + hour * 3_600 + minute * 60 + second) * 1_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "content-type:application/json;charset=utf-8\nhost:127.0.0.1:8080\nuser-agent:ua/1\n\
                           x-project-id:proj01\nx-sdk-date:20240102T030405Z\n\n\
                           content-type;host;user-agent;x-project-id;x-sdk-date\n";
    const DATE: &str = "20240102T030405Z";
    const SIGNATURE: &str = "757deaa832f9d8525bf03622c3ae17ec80907a79c227010fb65e6f1b9f888dff";

    fn canonical(method: &str) -> String {
        let digest = "0".repeat(64);
        format!("{method}\n/v2/proj01/link/instances/inst01/devices/4711/authentication/\n\n{HEADERS}{digest}")
    }

    fn read(canonical: &str, date: &str) -> Result<SignedRequest> {
        SignedRequest::read("AKEXAMPLE".to_owned(), date.to_owned(), canonical.as_bytes(), SIGNATURE)
    }

    #[test]
    fn a_canonical_request_is_read_and_tells_whether_it_writes() {
        for (method, writes) in [("PUT", true), ("DELETE", true), ("GET", false), ("HEAD", false), ("GETS", true)] {
            assert_eq!(read(&canonical(method), DATE).unwrap().writes(), writes, "{method}");
        }
        let request = read(&canonical("PUT"), DATE).unwrap();
        assert_eq!(request.message(&[0xab; 2]), b"SDK-HMAC-SHA256\n20240102T030405Z\nabab");
        assert!(!format!("{request:?}").contains("757deaa8"));
    }

    #[test]
    fn what_leaves_out_what_must_be_signed_or_has_two_readings_is_malformed() {
        let good = canonical("PUT");
        let changes: [(&str, &str); 12] = [
            ("host:127.0.0.1:8080\n", ""),
            ("host;", ""),
            ("host:127.0.0.1:8080\n", "host:127.0.0.1:8080\nhost:other\n"),
            ("x-sdk-date:20240102T030405Z", "x-sdk-date:20240102T030406Z"),
            (";x-sdk-date\n", "\n"),
            ("content-type;host", "host;content-type"),
            ("content-type;host", "Content-Type;host"),
            ("PUT\n", "put\n"),
            ("PUT\n", "\n"),
            ("/authentication/\n", "/authentication\n"),
            ("\n\ncontent-type;", "\ncontent-type;"),
            ("user-agent:", "user-agent"),
        ];
        for (from, to) in changes {
            assert!(good.contains(from), "{from:?}");
            let refused = read(&good.replacen(from, to, 1), DATE).unwrap_err();
            assert_eq!(refused.reason(), Reason::SignatureMalformed, "{from:?} to {to:?}");
        }
        for other in
            ["", "PUT", "\n\n\n\n\n\n", &good[..good.len() - 1], &format!("{good}\n"), &good.replace('\n', "\r\n")]
        {
            assert!(read(other, DATE).is_err(), "{other:?}");
        }
    }

    #[test]
    fn a_date_is_of_the_one_form_a_time_that_there_is_and_near() {
        let at = |date: &str, seconds: i64| {
            let canonical = canonical("PUT").replace(DATE, date);
            let now = Timestamp::from_micros((1_704_164_645 + seconds) * 1_000_000);
            read(&canonical, date).unwrap().check_date(now).is_ok()
        };
        assert!(at(DATE, 0) && at(DATE, 900) && at(DATE, -900));
        assert!(!at(DATE, 901) && !at(DATE, -901));
        for odd in [
            "2024-01-02T03:04:05Z",
            "20240102T030405",
            "20240102t030405z",
            "20240102T030405z",
            "20240102T0304050Z",
            "20240102T030465Z",
            "20240102T030460Z",
            "20240102T032460+",
            "20240102 030405Z",
            "+0240102T030405Z",
            "20240132T030405Z",
            "20241302T030405Z",
            "20240002T030405Z",
            "20240100T030405Z",
            "",
            "Z",
        ] {
            assert!(!at(odd, 0), "{odd}");
        }
    }

    #[test]
    fn the_calendar_is_right() {
        for (text, seconds) in [
            ("19700101T000000Z", 0),
            ("20000229T000000Z", 951_782_400),
            ("20240229T120000Z", 1_709_208_000),
            ("20240301T000000Z", 1_709_251_200),
            ("20991231T235959Z", 4_102_444_799),
        ] {
            assert_eq!(parse_date(text).map(Timestamp::seconds), Some(seconds), "{text}");
        }
        for none in ["20230229T000000Z", "21000229T000000Z", "20240431T000000Z", "20240230T000000Z"] {
            assert_eq!(parse_date(none), None, "{none}");
        }
    }
}
