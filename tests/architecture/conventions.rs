//! What the methods have in common, so that who knows one knows all: names, routes, and the fields that AIP-131 to 136,
//! 154, 155, 158 and 163 give to requests and answers.

use std::collections::BTreeSet;

use prost_reflect::{Kind, MessageDescriptor, MethodDescriptor};
use rekey::domain::Permission;

use crate::descriptors::{methods, permission, routes};

/// Lists that are short by their nature: a caller has a handful of credentials, a keyring of keys.
const SHORT: [&str; 2] = ["ListCredentials", "ListKeys"];

fn has(message: &MessageDescriptor, field: &str, is: impl Fn(&Kind) -> bool) -> bool {
    message.get_field_by_name(field).is_some_and(|field| is(&field.kind()))
}

fn text(kind: &Kind) -> bool {
    *kind == Kind::String
}

fn truth(kind: &Kind) -> bool {
    *kind == Kind::Bool
}

/// Whether a method changes something that lasts. Showing a secret, checking one and giving out a token do not; and what
/// sealed it before is nothing that anybody sees change.
fn changes(method: &MethodDescriptor) -> bool {
    let reveals = ["Reveal", "Exchange", "Import", "RotateKeys"].iter().any(|verb| method.name().starts_with(verb));
    !reveals && permission(method).is_some_and(|permission| !Permission::only_reads(permission))
}

#[test]
fn requests_and_answers_are_named_after_their_method_and_nobody_elses() {
    let mut seen = BTreeSet::new();
    for method in methods() {
        let name = method.name();
        assert_eq!(method.input().name(), format!("{name}Request"));
        assert_eq!(method.output().name(), format!("{name}Response"));
        assert!(method.parent_service().name().ends_with("Service"), "{}", method.full_name());
        assert!(seen.insert(name.to_owned()), "{name} is the name of two methods");
    }
}

#[test]
fn standard_methods_have_the_standard_routes() {
    for method in methods() {
        let name = method.name();
        for (verb, path, _) in routes(&method) {
            let last = path.rsplit('/').next().unwrap();
            let (last, custom) = last.split_once(':').map_or((last, None), |(last, custom)| (last, Some(custom)));
            let wanted = ["Get", "List", "Create", "Update", "Delete"].into_iter().find(|verb| name.starts_with(verb));
            let standard = match (wanted, custom) {
                // What is counted is read too.
                (Some("Get"), _) => verb == "get",
                (Some("List"), None) => verb == "get" && !last.starts_with('{'),
                (Some("Create"), None) => verb == "post" && !last.starts_with('{'),
                (Some("Update"), None) => verb == "patch" && last.starts_with('{'),
                (Some("Delete"), None) => verb == "delete" && last.starts_with('{'),
                // So is what is explained; every other custom method is a POST (AIP-136).
                (None, Some(custom)) if name.starts_with("Explain") && custom == "explain" => verb == "get",
                (None, Some(custom)) => {
                    verb == "post" && custom.starts_with(|letter: char| letter.is_ascii_lowercase())
                }
                (None, None) => name == "WhoAmI" && verb == "get",
                (Some(_), _) => false,
            };
            assert!(standard, "{name}: {verb} {path}");
            let segments = path.split('/').filter(|segment| !segment.is_empty()).flat_map(|part| part.split(':'));
            for segment in segments.filter(|segment| !segment.starts_with('{')) {
                let camel = segment.bytes().all(|byte| byte.is_ascii_alphanumeric());
                assert!(camel && !segment.starts_with(|letter: char| letter.is_uppercase()), "{name}: {path}");
            }
        }
    }
}

#[test]
fn what_changes_something_can_be_repeated_and_can_be_made_conditional() {
    let mut found = 0;
    for method in methods().into_iter().filter(changes) {
        let (name, input) = (method.full_name(), method.input());
        assert!(has(&input, "request_id", text), "{name} has no request_id (AIP-155)");
        let begins = |verbs: &[&str]| verbs.iter().any(|verb| method.name().starts_with(verb));
        let of_a_caller = begins(&["CreateApiToken", "CreateSigningKey"]);
        let makes = begins(&["Create"]) && !of_a_caller;
        // What changes many at once is conditional on what its dry run answered.
        let many = method.is_server_streaming();
        let conditional = !makes && !many;
        assert_eq!(has(&input, "etag", text), conditional, "{name}: an etag is of what is there already (AIP-154)");
        assert_eq!(has(&input, "confirmation", text), many, "{name}: what is done to many is confirmed");
        assert!(!many || has(&input, "validate_only", truth), "{name} has no dry run");
        if begins(&["Create", "Update", "Reset", "Change"]) {
            assert!(has(&input, "validate_only", truth), "{name} has no validate_only (AIP-163)");
        }
        if begins(&["Update"]) {
            let mask =
                |kind: &Kind| matches!(kind, Kind::Message(mask) if mask.full_name() == "google.protobuf.FieldMask");
            assert!(has(&input, "update_mask", mask), "{name} has no update_mask (AIP-134)");
        }
        found += 1;
    }
    assert!(found > 30, "only {found} methods change something");
    for method in methods().into_iter().filter(|method| !changes(method)) {
        assert!(!has(&method.input(), "request_id", text), "{}: nothing to repeat", method.full_name());
    }
}

#[test]
fn lists_come_in_pages() {
    let mut found = 0;
    for method in methods().into_iter().filter(|method| method.name().starts_with("List")) {
        if SHORT.contains(&method.name()) {
            continue;
        }
        let (name, input, output) = (method.full_name(), method.input(), method.output());
        assert!(has(&input, "page_size", |kind| *kind == Kind::Int32), "{name} has no page_size (AIP-158)");
        for field in ["page_token", "filter"] {
            assert!(has(&input, field, text), "{name} has no {field}");
        }
        assert!(has(&output, "next_page_token", text), "{name} has no next_page_token (AIP-158)");
        let counts = has(&input, "count_total", truth);
        assert_eq!(counts, output.get_field_by_name("total_size").is_some(), "{name}: counted by accident");
        let first = output.fields().min_by_key(prost_reflect::FieldDescriptor::number).unwrap();
        assert!(first.is_list(), "{name}: the page itself comes first");
        found += 1;
    }
    assert!(found >= 6, "only {found} lists");
}
