//! Time, as an argument.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point in time: microseconds since 1970-01-01T00:00:00Z, which is what the database keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The time that RFC 3339 writes so, with `T` and `Z` in upper case, and whether that is exactly it: digits past the
    /// microsecond are cut off. No leap seconds.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<(Self, bool)> {
        let number = |from: usize, to: usize| -> Option<i64> {
            let digits = text.get(from..to)?;
            digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
        };
        let is = |place: usize, mark: u8| (text.as_bytes().get(place) == Some(&mark)).then_some(());
        let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
        let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
        [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .into_iter()
            .try_for_each(|(at, mark)| is(at, mark))?;
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        if year < 1 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }

        let mut at = 19;
        let (mut micros, mut exact) = (0, true);
        if is(at, b'.').is_some() {
            let digits = text.get(at + 1..)?;
            let digits = digits.get(..digits.bytes().take_while(u8::is_ascii_digit).count())?;
            if !(1..=9).contains(&digits.len()) {
                return None;
            }
            let nanos: i64 = format!("{digits:0<9}").parse().ok()?;
            (micros, exact) = (nanos / 1_000, nanos % 1_000 == 0);
            at += 1 + digits.len();
        }
        let offset = match text.get(at..)? {
            "Z" => 0,
            zone if zone.len() == 6 => {
                is(at + 3, b':')?;
                let (hours, minutes) = (number(at + 1, at + 3)?, number(at + 4, at + 6)?);
                let sign = match text.as_bytes().get(at)? {
                    b'+' => 1,
                    b'-' => -1,
                    _ => return None,
                };
                (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60)?
            }
            _ => return None,
        };

        // Days since the epoch, counted from March on, so that a leap day is the last of its year.
        let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 719_469;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second - offset;
        Some((Self(seconds * 1_000_000 + micros), exact))
    }

    /// As RFC 3339 writes it, to the second.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        let (days, second) = (self.seconds().div_euclid(86_400), self.seconds().rem_euclid(86_400));
        // The way back from days counted from March on, so that a leap day is the last of its year.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (year, month) = if month < 10 { (era * 400 + year, month + 3) } else { (era * 400 + year + 1, month - 9) };
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }

    /// This much later; the end of time where it would lie beyond.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros))
    }

    /// This much earlier; the beginning of time where it would lie before.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros))
    }

    /// How far two points lie apart, whichever is the later.
    #[must_use]
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_micros(self.0.abs_diff(other.0))
    }
}

/// Tells the time: the system's in service, one that tests set.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Hears from the database, which replicas share, that its time is between these now. Whoever heeds it is no further
    /// from the others than that, however their machines' clocks are set.
    fn agree(&self, _earliest: Timestamp, _latest: Timestamp) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn micros(text: &str) -> Option<(i64, bool)> {
        Timestamp::parse_rfc3339(text).map(|(time, exact)| (time.micros(), exact))
    }

    #[test]
    fn times_are_read_as_rfc_3339_writes_them() {
        assert_eq!(micros("1970-01-01T00:00:00Z"), Some((0, true)));
        assert_eq!(micros("2026-01-01T00:00:00Z"), Some((1_767_225_600_000_000, true)));
        assert_eq!(micros("2026-01-01T02:30:00.5+02:30"), Some((1_767_225_600_500_000, true)));
        assert_eq!(micros("2025-12-31T23:00:00.000001-01:00"), Some((1_767_225_600_000_001, true)));
        assert_eq!(micros("2026-01-01T00:00:00.000000999Z"), Some((1_767_225_600_000_000, false)));
        assert_eq!(micros("2024-02-29T12:00:00Z"), Some((1_709_208_000_000_000, true)));
        assert_eq!(micros("0001-01-01T00:00:00Z"), Some((-62_135_596_800_000_000, true)));
        assert_eq!(micros("9999-12-31T23:59:59Z"), Some((253_402_300_799_000_000, true)));
        for bad in [
            "",
            "2026",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "2026-01-01t00:00:00z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "2026-01-01T00:00:00.Z",
            "2026-01-01T00:00:00.0000000001Z",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+0100",
            "2026-01-01T00:00:00ZZ",
            "+026-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "2026-01-01T00:00:00Z ",
            "２026-01-01T00:00:00Z",
        ] {
            assert_eq!(micros(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same_second(seconds in -62_135_596_800..=253_402_300_799_i64, rest in 0..1_000_000_i64) {
            let text = Timestamp::from_micros(seconds * 1_000_000 + rest).to_rfc3339();
            prop_assert_eq!(micros(&text), Some((seconds * 1_000_000, true)), "{}", text);
        }

        #[test]
        fn nothing_makes_it_panic(text in "[0-9TZ:.+é-]{0,32}") {
            let _ = micros(&text);
        }
    }
}
