//! Which installation a database holds, and how far it has come.

use super::Uid;

/// An installation, as its database knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    /// Made with the database's first start, and kept by every copy.
    pub uid: Uid,
    /// How far it has come.
    pub epoch: Epoch,
}

impl Installation {
    /// Why a database that says this of itself is not the one that was seen so, or an older copy of it; `None` where it
    /// goes on from there.
    #[must_use]
    pub fn objection(&self, found: Option<&Self>) -> Option<String> {
        let Self { uid, epoch } = self;
        match found {
            Some(found) if found.uid != *uid => Some(format!(
                "it is of installation {}, and {uid} was seen here: they do not belong together",
                found.uid
            )),
            Some(found) if found.epoch < *epoch => Some(format!(
                "it is an older copy: of epoch {}, where {epoch} was seen here; what was changed since is not in it",
                found.epoch
            )),
            Some(_) => None,
            None => Some(format!(
                "it is from before there were marks, and epoch {epoch} of installation {uid} was seen here"
            )),
        }
    }
}

/// A mark that only grows: it is raised while changes happen, so that of two copies of a database the one with the lower
/// mark is the older one.
///
/// The upper half counts how often somebody accepted an older copy: whatever was raised before, on whichever machine, is
/// below what is raised from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(i64);

impl Epoch {
    /// That of a database which was never served.
    pub const FIRST: Self = Self(0);

    /// A mark that was kept.
    #[must_use]
    pub const fn from_stored(number: i64) -> Self {
        Self(number)
    }

    /// The mark as it is kept.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }

    /// The first mark of a line that goes on from an older copy, past all that the other line can have reached.
    #[must_use]
    pub const fn next_line(self) -> Self {
        Self(((self.0 >> 32).saturating_add(1)) << 32)
    }
}

/// `2.17`: accepted rollbacks, and how often it was raised since.
impl std::fmt::Display for Epoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_is_older_or_of_another_is_objected_to() {
        let at = |uid: &str, number| Installation { uid: Uid::from_stored(uid), epoch: Epoch::from_stored(number) };
        let seen = at("a", 7);
        assert_eq!(seen.objection(Some(&at("a", 7))), None);
        assert_eq!(seen.objection(Some(&at("a", 8))), None);
        assert!(seen.objection(Some(&at("a", 6))).unwrap().contains("older copy: of epoch 0.6, where 0.7 was seen"));
        assert!(seen.objection(Some(&at("b", 9))).unwrap().contains("do not belong together"));
        assert!(seen.objection(None).is_some());
    }

    #[test]
    fn an_accepted_rollback_is_past_everything_of_the_line_before() {
        let seen = Epoch::from_stored((3 << 32) | 0x11);
        assert_eq!(seen.to_string(), "3.17");
        assert_eq!(seen.next_line().to_string(), "4.0");
        assert!(Epoch::from_stored((3 << 32) | 0xffff_ffff) < seen.next_line());
        assert!(Epoch::FIRST < Epoch::FIRST.next_line());
    }
}
