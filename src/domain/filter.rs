//! Filters of lists: the part of AIP-160 that an index answers. Comparisons joined by `AND`, and nothing else:
//!
//! ```text
//! filter     = comparison *( " AND " comparison )
//! comparison = "state" "=" ( ACTIVE | DISABLED | LOCKED )
//!            | text "=" quoted              ; a "*" at the end makes it a prefix
//!            | time ( "<" | "<=" | ">" | ">=" ) RFC 3339
//! quoted     = in double quotes, with \" \\ and \* for these characters
//! ```
//!
//! `%` and `_` are characters like any other. What is read here reaches the database as bound values alone.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{SubjectState, Timestamp};

/// The most characters of a filter.
pub const MAX_LENGTH: usize = 2_048;
/// The most comparisons of a filter.
const MAX_COMPARISONS: usize = 16;

/// What all entries of a list have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter(pub Vec<Comparison>);

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// In this state.
    State(SubjectState),
    /// With this text.
    Text(TextField, TextMatch),
    /// With a label of this name.
    Label(String, TextMatch),
    /// On this side of a time.
    Time(TimeField, Bound, Timestamp),
}

/// What has text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextField {
    /// What a subject signs in with.
    Login,
    /// What people call it.
    DisplayName,
}

/// What has a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimeField {
    /// When it was made.
    Create,
    /// When it last changed.
    Update,
}

/// Which text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextMatch {
    /// This and no other.
    Exact(String),
    /// What begins so.
    Prefix(String),
}

/// Which side of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// `<`
    Before,
    /// `<=`
    Until,
    /// `>`
    After,
    /// `>=`
    From,
}

/// What a list can be filtered by.
#[derive(Clone, Copy, Debug)]
pub struct Vocabulary {
    /// Its texts, by their fields' names.
    pub texts: &'static [(&'static str, TextField)],
    /// Its states.
    pub states: &'static [SubjectState],
}

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Characters before the place.
    pub position: usize,
    /// A sentence, without the value.
    pub rule: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at character {}: {}", self.position + 1, self.rule)
    }
}

/// The least text, in the order of bytes, that no text with this prefix reaches; `None` where there is none.
#[must_use]
pub fn after_prefix(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        // The order of UTF-8 is that of code points, in which surrogates are missing.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

impl Filter {
    /// Reads a filter. An empty one lets everything through.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str, vocabulary: Vocabulary) -> Result<Self, Fault> {
        if text.chars().count() > MAX_LENGTH {
            return Err(Fault { position: MAX_LENGTH, rule: format!("must have at most {MAX_LENGTH} characters") });
        }
        let mut reader = Reader { text, at: 0, vocabulary };
        let mut comparisons = Vec::new();
        reader.spaces();
        if reader.rest().is_empty() {
            return Ok(Self(comparisons));
        }
        loop {
            let begin = reader.at;
            comparisons.push(reader.comparison()?);
            if comparisons.len() > MAX_COMPARISONS {
                return Err(reader.fault(begin, format!("at most {MAX_COMPARISONS} comparisons can be joined")));
            }
            let apart = reader.spaces();
            if reader.rest().is_empty() {
                return Ok(Self(comparisons));
            }
            let begin = reader.at;
            if !(apart && reader.word(is_of_name) == "AND" && reader.spaces()) {
                return Err(reader.fault(begin, "comparisons must be joined by AND, with spaces around it"));
            }
        }
    }
}

/// What a name in a filter is made of.
fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '.' | '-')
}

enum Field {
    State,
    Text(TextField),
    Label(String),
    Time(TimeField),
}

struct Reader<'a> {
    text: &'a str,
    /// In bytes.
    at: usize,
    vocabulary: Vocabulary,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn fault(&self, at: usize, rule: impl Into<String>) -> Fault {
        Fault { position: self.text.get(..at).unwrap_or_default().chars().count(), rule: rule.into() }
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let word = rest.get(..rest.find(|letter| !is_part(letter)).unwrap_or(rest.len())).unwrap_or_default();
        self.at += word.len();
        word
    }

    fn spaces(&mut self) -> bool {
        !self.word(|letter| letter == ' ').is_empty()
    }

    fn comparison(&mut self) -> Result<Comparison, Fault> {
        let field = self.field()?;
        self.spaces();
        let begin = self.at;
        let operator = self.word(|letter| matches!(letter, '<' | '=' | '>' | '!' | ':' | '~'));
        let bound = match operator {
            "=" => None,
            "<" => Some(Bound::Before),
            "<=" => Some(Bound::Until),
            ">" => Some(Bound::After),
            ">=" => Some(Bound::From),
            _ => return Err(self.fault(begin, "must be one of the operators = < <= > >=")),
        };
        self.spaces();
        match (field, bound) {
            (Field::State, None) => self.state().map(Comparison::State),
            (Field::Text(field), None) => Ok(Comparison::Text(field, self.text_match()?)),
            (Field::Label(name), None) => Ok(Comparison::Label(name, self.text_match()?)),
            (Field::Time(field), Some(bound)) => self.time(field, bound),
            (Field::Time(_), None) => Err(self.fault(begin, "times are compared by < <= > >=")),
            (Field::State | Field::Text(_) | Field::Label(_), Some(_)) => {
                Err(self.fault(begin, "only times are compared by < <= > >="))
            }
        }
    }

    fn field(&mut self) -> Result<Field, Fault> {
        let begin = self.at;
        let name = self.word(is_of_name);
        let text = self.vocabulary.texts.iter().find(|(known, _)| *known == name);
        match (name, text) {
            (_, Some((_, field))) => Ok(Field::Text(*field)),
            ("state", None) => Ok(Field::State),
            ("create_time", None) => Ok(Field::Time(TimeField::Create)),
            ("update_time", None) => Ok(Field::Time(TimeField::Update)),
            (_, None) => match name.strip_prefix("labels.") {
                Some(label) if is_label_name(label) => Ok(Field::Label(label.to_owned())),
                Some(_) => Err(self.fault(begin, LABEL_NAMES)),
                None => {
                    let texts = self.vocabulary.texts.iter().map(|(known, _)| format!("{known}, "));
                    let texts = texts.collect::<String>();
                    let rule = format!("known are state, {texts}labels.<name>, create_time and update_time");
                    Err(self.fault(begin, rule))
                }
            },
        }
    }

    fn state(&mut self) -> Result<SubjectState, Fault> {
        let begin = self.at;
        let name = self.bare_or_quoted()?;
        let known = |state: SubjectState| state.as_str().to_ascii_uppercase();
        let found = self.vocabulary.states.iter().find(|state| known(**state) == name);
        found.copied().ok_or_else(|| {
            let names = self.vocabulary.states.iter().map(|state| known(*state)).collect::<Vec<_>>().join(", ");
            self.fault(begin, format!("must be one of {names}"))
        })
    }

    fn time(&mut self, field: TimeField, bound: Bound) -> Result<Comparison, Fault> {
        let begin = self.at;
        let text = self.bare_or_quoted()?;
        let read = Timestamp::parse_rfc3339(&text);
        let (time, exact) =
            read.ok_or_else(|| self.fault(begin, "must be a time such as \"2026-01-01T00:00:00Z\" (RFC 3339)"))?;
        // What is kept is whole microseconds: a time between two of them is before the one and after the other.
        let bound = match bound {
            Bound::Before if !exact => Bound::Until,
            Bound::From if !exact => Bound::After,
            Bound::Before | Bound::Until | Bound::After | Bound::From => bound,
        };
        Ok(Comparison::Time(field, bound, time))
    }

    /// A value that holds no wildcard.
    fn bare_or_quoted(&mut self) -> Result<String, Fault> {
        let begin = self.at;
        if self.rest().starts_with('"') {
            return match self.text_match()? {
                TextMatch::Exact(text) => Ok(text),
                TextMatch::Prefix(_) => Err(self.fault(begin, "must be a whole value, without *")),
            };
        }
        Ok(self.word(|letter| is_of_name(letter) || matches!(letter, ':' | '+')).to_owned())
    }

    fn text_match(&mut self) -> Result<TextMatch, Fault> {
        let begin = self.at;
        let Some(quoted) = self.rest().strip_prefix('"') else {
            return Err(self.fault(begin, "must be a value in double quotes"));
        };
        let mut value = String::new();
        let mut star = None;
        let mut letters = quoted.char_indices();
        while let Some((place, letter)) = letters.next() {
            let at = begin + 1 + place;
            if letter == '"' {
                self.at = at + 1;
                return Ok(if star.is_some() { TextMatch::Prefix(value) } else { TextMatch::Exact(value) });
            }
            if let Some(star) = star {
                return Err(self.fault(star, "* stands at the end only; write \\* for the character"));
            }
            match letter {
                '*' => star = Some(at),
                '\\' => match letters.next() {
                    Some((_, escaped @ ('"' | '\\' | '*'))) => value.push(escaped),
                    Some(_) | None => return Err(self.fault(at, "only \\\", \\\\ and \\* are escapes")),
                },
                control if control.is_control() => {
                    return Err(self.fault(at, "must not contain control characters"));
                }
                other => value.push(other),
            }
        }
        Err(self.fault(begin, "the double quotes are not closed"))
    }
}

/// How labels are named, as a sentence for whoever broke the rule.
pub const LABEL_NAMES: &str = "names of labels must be [a-z][a-z0-9_.-]{0,62}";

/// Whether a label may have this name.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
    name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase()) && name.len() <= 63 && name.bytes().all(legal)
}

#[cfg(test)]
mod tests;
