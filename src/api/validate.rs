//! What fields must be like. Every violation of a request is collected before any is told.

use std::collections::{BTreeMap, HashMap};

use zeroize::Zeroizing;

use crate::{
    domain::{
        Error, Password, Permission, ResourceId, Result, SubjectRef, SubjectState, TenantRef, Timestamp, Violation,
    },
    ops::{Settings, Source},
    proto,
};

/// The most settings of an integration.
const MAX_SETTINGS: usize = 32;
/// The most characters of one of them.
const MAX_SETTING_LENGTH: usize = 1_024;

/// The most labels of a subject, and the most characters of one's value.
const MAX_LABELS: usize = 64;
const MAX_LABEL_LENGTH: usize = 128;

/// The most checks of a batch.
const MAX_CHECKS: usize = 100;
/// The most characters of where an attempt comes from.
const MAX_SOURCE: usize = 128;

/// The most characters of a reveal's purpose.
pub(super) const MAX_PURPOSE: usize = 256;

/// Collects violations. Each check returns the decoded value, or `None` after noting what is wrong.
#[derive(Debug, Default)]
pub(super) struct Fields(Vec<Violation>);

impl Fields {
    pub(super) fn refuse<T>(&mut self, field: impl Into<String>, rule: impl Into<String>) -> Option<T> {
        self.0.push(Violation::new(field, rule));
        None
    }

    /// The error of one field.
    pub(super) fn of(field: &str, rule: impl Into<String>) -> Error {
        Error::fields(vec![Violation::new(field, rule)])
    }

    /// The error of everything that was noted.
    pub(super) fn error(self) -> Error {
        Error::fields(self.0)
    }

    /// Fine so far?
    pub(super) fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(self.error()) }
    }

    pub(super) fn tenant(&mut self, value: &str) -> Option<TenantRef> {
        TenantRef::parse(value).or_else(|| self.refuse("tenant_id", TenantRef::RULE))
    }

    pub(super) fn id(&mut self, field: &str, value: &str) -> Option<ResourceId> {
        ResourceId::parse(value).or_else(|| self.refuse(field, ResourceId::RULE))
    }

    /// An id that may be left empty, to have one made.
    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    pub(super) fn new_id(&mut self, field: &str, value: &str) -> Option<Option<ResourceId>> {
        if value.is_empty() { Some(None) } else { self.id(field, value).map(Some) }
    }

    /// Text of 1 to `most` characters, none of them a control.
    pub(super) fn text(&mut self, field: &str, value: String, most: usize) -> Option<String> {
        if value.is_empty() {
            return self.refuse(field, "must not be empty");
        }
        self.short_text(field, value, most)
    }

    /// Text of at most `most` characters, none of them a control.
    pub(super) fn short_text(&mut self, field: &str, value: String, most: usize) -> Option<String> {
        if value.chars().count() > most {
            return self.refuse(field, format!("must have at most {most} characters"));
        }
        if value.chars().any(char::is_control) {
            return self.refuse(field, "must not contain control characters");
        }
        Some(value)
    }

    /// A device's user name: 1 to 64 letters, digits and `-`.
    pub(super) fn user_name(&mut self, value: String) -> Option<String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if (1..=64).contains(&value.len()) && value.bytes().all(legal) {
            return Some(value);
        }
        self.refuse("user_name", "must be 1 to 64 letters, digits and -")
    }

    /// Printing ASCII, `least` to `most` of it.
    pub(super) fn printing(&mut self, field: &str, value: &str, least: usize, most: usize) -> Option<()> {
        if (least..=most).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Some(());
        }
        self.refuse(field, format!("must be {least} to {most} printing ASCII characters without spaces"))
    }

    /// An API key: 8 to 128 of `[A-Za-z0-9._~-]`.
    pub(super) fn api_key(&mut self, value: String) -> Option<String> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte);
        if (8..=128).contains(&value.len()) && value.bytes().all(legal) {
            return Some(value);
        }
        self.refuse("api_key", "must be 8 to 128 of A-Z a-z 0-9 . _ ~ -")
    }

    /// Where an attempt comes from: printing ASCII, at most 128 of it; nowhere in particular where empty.
    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    pub(super) fn source_of(&mut self, value: String) -> Option<Option<String>> {
        self.source_in("", value)
    }

    /// The same, below a path such as `checks[3].`.
    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    pub(super) fn source_in(&mut self, path: &str, value: String) -> Option<Option<String>> {
        if value.is_empty() {
            return Some(None);
        }
        self.printing(&format!("{path}source"), &value, 1, MAX_SOURCE).map(|()| Some(value))
    }

    pub(super) fn password(&mut self, field: &str, value: String) -> Option<Password> {
        match Password::parse(value) {
            Ok(password) => Some(password),
            Err(rule) => self.refuse(field, rule),
        }
    }

    /// Where a secret comes from, out of a oneof of two.
    pub(super) fn source(&mut self, field: &'static str, source: Either) -> Option<Source> {
        match source {
            Either::Given(value) => self.password(field, value).map(|password| Source::Given(password, field)),
            Either::Generate(generate) => Some(Source::Generate((generate.length > 0).then_some(generate.length))),
        }
    }

    /// A subject by id or login. An impossible login is nobody's, and is looked up like any other.
    pub(super) fn subject(&mut self, id_field: &str, subject: Option<ByIdOrLogin>) -> Option<SubjectRef> {
        self.subject_in("", id_field, subject)
    }

    /// The same within a message whose fields' names begin so.
    pub(super) fn subject_in(&mut self, path: &str, id: &str, subject: Option<ByIdOrLogin>) -> Option<SubjectRef> {
        match subject {
            Some(ByIdOrLogin::Id(value)) => self.id(&format!("{path}{id}"), &value).map(SubjectRef::Id),
            Some(ByIdOrLogin::Login(field, login)) => {
                self.text(&format!("{path}{field}"), login, 256).map(SubjectRef::Login)
            }
            None => self.refuse(format!("{path}subject"), "must be given"),
        }
    }

    /// What a batch asks for, each by the rules of its message, whose fields' names begin with the path.
    pub(super) fn checks<Q, A>(
        &mut self,
        checks: Vec<Q>,
        rules: impl Fn(&mut Self, Q, &str) -> Option<A>,
    ) -> Option<Vec<A>> {
        if !(1..=MAX_CHECKS).contains(&checks.len()) {
            return self.refuse("checks", format!("must be 1 to {MAX_CHECKS}"));
        }
        // Each is looked at, so that everything wrong is told at once.
        let decoded: Vec<_> = checks
            .into_iter()
            .enumerate()
            .map(|(place, check)| rules(self, check, &format!("checks[{place}].")))
            .collect();
        decoded.into_iter().collect()
    }

    pub(super) fn state(&mut self, value: i32) -> Option<SubjectState> {
        match proto::SubjectState::try_from(value) {
            Ok(proto::SubjectState::Unspecified | proto::SubjectState::Active) => Some(SubjectState::Active),
            Ok(proto::SubjectState::Disabled) => Some(SubjectState::Disabled),
            Ok(proto::SubjectState::Locked) => Some(SubjectState::Locked),
            Err(_) => self.refuse("state", "must be a SubjectState"),
        }
    }

    pub(super) fn permissions(&mut self, names: &[String]) -> Option<Vec<Permission>> {
        let mut permissions = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            match Permission::parse(name) {
                Some(permission) if permissions.contains(&permission) => {
                    self.refuse::<()>(format!("permissions[{index}]"), "stands twice");
                }
                Some(permission) => permissions.push(permission),
                None => {
                    self.refuse::<()>(format!("permissions[{index}]"), "is no permission of Rekey's");
                }
            }
        }
        (permissions.len() == names.len()).then_some(permissions)
    }

    #[expect(clippy::option_option, reason = "not valid, or valid and absent")]
    pub(super) fn time(&mut self, field: &str, value: Option<prost_types::Timestamp>) -> Option<Option<Timestamp>> {
        let Some(value) = value else { return Some(None) };
        // Years 0001 to 9999, as google.protobuf.Timestamp has it.
        let known = (-62_135_596_800..=253_402_300_799).contains(&value.seconds);
        match u32::try_from(value.nanos) {
            Ok(nanos @ 0..1_000_000_000) if known => {
                let micros = value.seconds * 1_000_000 + i64::from(nanos / 1_000);
                Some(Some(Timestamp::from_micros(micros)))
            }
            Ok(_) | Err(_) => self.refuse(field, "must be a time from the year 1 to 9999"),
        }
    }

    /// Labels: at most 64 of them.
    pub(super) fn labels(&mut self, field: &str, labels: HashMap<String, String>) -> Option<BTreeMap<String, String>> {
        let before = self.0.len();
        if labels.len() > MAX_LABELS {
            self.refuse::<()>(field, format!("must be at most {MAX_LABELS}"));
        }
        // In an order, for whoever reads the violations.
        let labels: BTreeMap<String, String> = labels.into_iter().collect();
        for (name, value) in &labels {
            let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
            let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
            if !begins || !name.bytes().all(legal) || name.len() > 63 {
                self.refuse::<()>(field, "names must be [a-z][a-z0-9_.-]{0,62}");
            } else if value.chars().count() > MAX_LABEL_LENGTH || value.chars().any(char::is_control) {
                let rule = format!("must be at most {MAX_LABEL_LENGTH} characters, none of them a control");
                self.refuse::<()>(format!("{field}[{name}]"), rule);
            }
        }
        (self.0.len() == before).then_some(labels)
    }

    pub(super) fn settings(&mut self, settings: HashMap<String, String>) -> Option<Settings> {
        let before = self.0.len();
        if settings.len() > MAX_SETTINGS {
            self.refuse::<()>("settings", format!("must be at most {MAX_SETTINGS}"));
        }
        let mut kept = Settings::default();
        for (name, value) in settings {
            let value = Zeroizing::new(value);
            let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic());
            let legal = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
            if !begins || !legal || name.len() > 64 {
                self.refuse::<()>("settings", "names must be [A-Za-z][A-Za-z0-9_.-]{0,63}");
            } else if value.is_empty() || value.chars().count() > MAX_SETTING_LENGTH || value.contains('\0') {
                let rule = format!("must be 1 to {MAX_SETTING_LENGTH} characters without U+0000");
                self.refuse::<()>(format!("settings[{name}]"), rule);
            }
            kept.0.insert(name, value);
        }
        // The map had them in no order; whoever reads the violations should find one.
        if let Some(new) = self.0.get_mut(before..) {
            new.sort_by(|one, other| one.field.cmp(&other.field));
        }
        (self.0.len() == before).then_some(kept)
    }
}

/// The two members of a `secret_source`.
pub(super) enum Either {
    Given(String),
    Generate(proto::GenerateSecret),
}

/// The two members of a `subject`; a login with the name of its field.
pub(super) enum ByIdOrLogin {
    Id(String),
    Login(&'static str, String),
}

/// An etag, where one is given.
pub(super) fn etag(value: String) -> Option<String> {
    (!value.is_empty()).then_some(value)
}
