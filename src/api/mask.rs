//! Field masks (AIP-134, AIP-161): which fields of a message an update changes. What a mask may name is a list; everything
//! else is refused before anything is done.

use std::collections::BTreeSet;

use prost_reflect::Value;
use prost_types::FieldMask;

use super::validate::Fields;
use crate::proto::DESCRIPTORS;

/// The most paths of a mask.
const MAX_PATHS: usize = 64;
/// How many wrong paths are told of.
const TOLD: usize = 8;
/// How much of a wrong path is told again.
const TOLD_LENGTH: usize = 64;
/// All that can be changed.
const EVERYTHING: &str = "*";

/// The fields that change.
#[derive(Clone, Debug, Default)]
pub(super) struct Mask(BTreeSet<&'static str>);

impl Mask {
    /// A mask of these.
    pub(super) fn of(paths: &[&'static str]) -> Self {
        Self(paths.iter().copied().collect())
    }

    /// Whether this field changes.
    pub(super) fn has(&self, path: &str) -> bool {
        self.0.contains(path)
    }
}

impl Fields {
    /// The mask of an update of this message, of whose fields these can be changed.
    pub(super) fn mask(
        &mut self,
        mask: Option<FieldMask>,
        message: &str,
        updatable: &'static [&'static str],
    ) -> Option<Mask> {
        const FIELD: &str = "update_mask";
        let allowed = format!("allowed are {} and *", updatable.join(", "));
        let paths = mask.map(|mask| mask.paths).unwrap_or_default();
        if paths.is_empty() {
            return self.refuse(FIELD, format!("must name what changes: {allowed}"));
        }
        if paths.len() > MAX_PATHS {
            return self.refuse(FIELD, format!("must have at most {MAX_PATHS} paths"));
        }
        if paths == [EVERYTHING] {
            return Some(Mask::of(updatable));
        }
        let mut named = Mask::default();
        let mut wrong = 0;
        for path in &paths {
            let rule = match updatable.iter().find(|known| *known == path) {
                Some(known) if named.0.insert(known) => continue,
                Some(_) => "stands twice",
                None => why_not(path, message),
            };
            wrong += 1;
            if wrong <= TOLD {
                let told: String = path.chars().take(TOLD_LENGTH).collect();
                self.refuse::<()>(FIELD, format!("{told:?} {rule}; {allowed}"));
            }
        }
        (wrong == 0).then_some(named)
    }
}

/// Why a path cannot be named.
fn why_not(path: &str, message: &str) -> &'static str {
    if path == EVERYTHING {
        return "stands for all fields, and so alone";
    }
    let message = DESCRIPTORS.get_message_by_name(&format!("rekey.v1.{message}"));
    let find = |name: &str| message.as_ref().and_then(|message| message.get_field_by_name(name));
    if let Some((whole, _)) = path.split_once('.') {
        return match find(whole) {
            Some(_) => "names a part of a field, which changes as a whole only",
            None => "is no field",
        };
    }
    let Some(field) = find(path) else { return "is no field" };
    let behaviours = DESCRIPTORS.get_extension_by_name("google.api.field_behavior").and_then(|extension| {
        let options = field.options();
        let values = options.get_extension(&extension);
        Some(values.as_list()?.iter().filter_map(Value::as_enum_number).collect::<Vec<_>>())
    });
    let behaviours = behaviours.unwrap_or_default();
    let has = |name: &str| {
        let known =
            DESCRIPTORS.get_enum_by_name("google.api.FieldBehavior").and_then(|known| known.get_value_by_name(name));
        known.is_some_and(|value| behaviours.contains(&value.number()))
    };
    if has("OUTPUT_ONLY") {
        "is output only"
    } else if has("IDENTIFIER") || has("REQUIRED") {
        "is immutable"
    } else {
        "is not changed here"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USER: &[&str] = &["username", "labels", "rank"];

    fn read(paths: &[&str]) -> Result<Vec<&'static str>, Vec<String>> {
        let mut fields = Fields::default();
        let mask = FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() };
        let told = |fields: Fields| {
            let error = fields.error();
            assert!(error.violations().iter().all(|violation| violation.field == "update_mask"));
            error.violations().iter().map(|violation| violation.description.clone()).collect()
        };
        fields.mask(Some(mask), "User", USER).map(|mask| mask.0.into_iter().collect()).ok_or_else(|| told(fields))
    }

    #[test]
    fn a_mask_names_what_changes() {
        assert_eq!(read(&["rank", "username"]), Ok(vec!["rank", "username"]));
        assert_eq!(read(&["*"]), Ok(vec!["labels", "rank", "username"]));
    }

    #[test]
    fn every_wrong_path_is_told_with_what_is_wrong_and_what_is_allowed() {
        for (path, rule) in [
            ("etag", "is output only"),
            ("password_change_time", "is output only"),
            ("tenant_id", "is output only"),
            ("user_id", "is immutable"),
            ("state", "is not changed here"),
            ("password", "is no field"),
            ("password_hash", "is no field"),
            ("userName", "is no field"),
            ("Username", "is no field"),
            (" username", "is no field"),
            ("", "is no field"),
            ("labels.team", "names a part of a field, which changes as a whole only"),
            ("username.x", "names a part of a field, which changes as a whole only"),
            ("soft_lock.failures", "names a part of a field, which changes as a whole only"),
            ("user.username", "is no field"),
            ("username,labels", "is no field"),
            ("*", "stands for all fields, and so alone"),
        ] {
            let told = read(&["rank", path]).unwrap_err();
            assert_eq!(told, [format!("{path:?} {rule}; allowed are username, labels, rank and *")]);
        }
        assert_eq!(read(&["rank", "rank"]).unwrap_err().len(), 1);
        assert_eq!(read(&[]).unwrap_err(), ["must name what changes: allowed are username, labels, rank and *"]);
        assert_eq!(read(&["x"; 65]).unwrap_err(), ["must have at most 64 paths"]);
        let long = "x".repeat(10_000);
        let told = read(&[long.as_str(); 64]).unwrap_err();
        assert!(told.len() == 8 && told.iter().all(|told| told.len() < 200), "{told:?}");
    }
}
