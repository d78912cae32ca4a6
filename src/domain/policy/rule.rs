//! The rules of a policy, each with its kind and its sentence: what is explained beforehand is what is said afterwards.

use secrecy::ExposeSecret as _;

use super::{CharacterClass, Policy};
use crate::domain::{Password, SubjectKind, common::Candidate};

/// The kinds of rule, in the order in which they are checked; the documented values of the API's `PolicyRuleKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "documented in proto/rekey/v1/policy.proto")]
pub enum RuleKind {
    MinLength,
    MaxLength,
    Digit,
    Upper,
    Lower,
    Symbol,
    Common,
    Context,
    Breached,
    Strength,
    History,
    Characters,
}

impl RuleKind {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::MinLength,
        Self::MaxLength,
        Self::Digit,
        Self::Upper,
        Self::Lower,
        Self::Symbol,
        Self::Common,
        Self::Context,
        Self::Breached,
        Self::Strength,
        Self::History,
        Self::Characters,
    ];

    /// The name that errors have: that of `PolicyRuleKind` without its prefix.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MinLength => "MIN_LENGTH",
            Self::MaxLength => "MAX_LENGTH",
            Self::Digit => "DIGIT",
            Self::Upper => "UPPER",
            Self::Lower => "LOWER",
            Self::Symbol => "SYMBOL",
            Self::Common => "COMMON",
            Self::Context => "CONTEXT",
            Self::Breached => "BREACHED",
            Self::Strength => "STRENGTH",
            Self::History => "HISTORY",
            Self::Characters => "CHARACTERS",
        }
    }
}

impl From<CharacterClass> for RuleKind {
    fn from(class: CharacterClass) -> Self {
        match class {
            CharacterClass::Digit => Self::Digit,
            CharacterClass::Upper => Self::Upper,
            CharacterClass::Lower => Self::Lower,
            CharacterClass::Symbol => Self::Symbol,
        }
    }
}

/// A rule, and how it is told: `must have at least 15 characters`. Never with the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Which.
    pub kind: RuleKind,
    /// For a person.
    pub sentence: String,
}

impl Policy {
    /// A rule of this policy in words.
    #[must_use]
    pub fn rule(&self, kind: RuleKind) -> Rule {
        let Self { min_length, max_length, symbols, min_strength, history, .. } = self;
        let sentence = match kind {
            RuleKind::MinLength => format!("must have at least {min_length} characters"),
            RuleKind::MaxLength => format!("must have at most {max_length} characters"),
            RuleKind::Digit => "must have at least one digit".to_owned(),
            RuleKind::Upper => "must have at least one upper-case letter from A to Z".to_owned(),
            RuleKind::Lower => "must have at least one lower-case letter from a to z".to_owned(),
            RuleKind::Symbol => format!("must have at least one of {symbols}"),
            RuleKind::Common => "must not be a common password, a simple sequence or repetition".to_owned(),
            RuleKind::Context => "must not be a name of its user, tenant or service".to_owned(),
            RuleKind::Breached => "must not be on the list of passwords that leaked elsewhere".to_owned(),
            RuleKind::Strength => {
                format!("must be harder to guess: {min_strength} or more on a scale from 0 to 4 (zxcvbn)")
            }
            RuleKind::History => match history {
                0 | 1 => "must not be the password that it replaces".to_owned(),
                history => format!("must not be one of the last {history} passwords of its user"),
            },
            RuleKind::Characters => "must not contain U+0000 or code points that Unicode has not assigned".to_owned(),
        };
        Rule { kind, sentence }
    }

    /// What is asked of the secrets of a kind of subject, in the order in which it is checked.
    #[must_use]
    pub fn rules(&self, of: SubjectKind) -> Vec<Rule> {
        let asks = |kind: &RuleKind| match kind {
            RuleKind::MinLength | RuleKind::MaxLength | RuleKind::Characters => true,
            RuleKind::Digit => self.required_classes.contains(&CharacterClass::Digit),
            RuleKind::Upper => self.required_classes.contains(&CharacterClass::Upper),
            RuleKind::Lower => self.required_classes.contains(&CharacterClass::Lower),
            RuleKind::Symbol => self.required_classes.contains(&CharacterClass::Symbol),
            RuleKind::Common => self.blocklist,
            RuleKind::Context => self.blocklist || !self.words.is_empty(),
            RuleKind::Breached => self.breached,
            RuleKind::Strength => self.min_strength > 0,
            RuleKind::History => self.history > 0 && of == SubjectKind::User,
        };
        RuleKind::ALL.into_iter().filter(asks).map(|kind| self.rule(kind)).collect()
    }

    /// Every rule that the secret breaks, of those that need nothing but the secret and its `context`: words that must
    /// not be the whole of it (the subject's login, the tenant's name).
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "rules are about cleartext")]
    pub fn violations(&self, password: &Password, context: &[&str]) -> Vec<Rule> {
        let secret = password.secret().expose_secret();
        let length = password.length();
        let mut broken = Vec::new();
        if length < self.min_length as usize {
            broken.push(RuleKind::MinLength);
        }
        if length > self.max_length as usize {
            broken.push(RuleKind::MaxLength);
        }
        broken.extend(self.missing_classes(secret).map(RuleKind::from));
        if let Some(candidate) = Candidate::new(secret) {
            if self.blocklist && candidate.is_common() {
                broken.push(RuleKind::Common);
            }
            let names = if self.blocklist { context } else { &[] };
            let mut words = names.iter().copied().chain(self.words.iter().map(String::as_str));
            if (self.blocklist && candidate.is_own()) || words.any(|word| candidate.is_word(word)) {
                broken.push(RuleKind::Context);
            }
        }
        broken.into_iter().map(|kind| self.rule(kind)).collect()
    }

    /// Whether a secret breaks no rule but perhaps that of length; the generator's condition.
    pub(in crate::domain) fn accepts_characters(&self, secret: &str) -> bool {
        let is_refused = |candidate: Candidate| {
            self.blocklist && (candidate.is_common() || candidate.is_own())
                || self.words.iter().any(|word| candidate.is_word(word))
        };
        self.missing_classes(secret).next().is_none() && !Candidate::new(secret).is_some_and(is_refused)
    }

    fn missing_classes(&self, secret: &str) -> impl Iterator<Item = CharacterClass> {
        self.classes().filter(|class| !secret.contains(|character| self.members(*class).contains(character)))
    }
}
