//! What the protos must say: rules, routes, comments, and what is secret.

use std::collections::BTreeSet;

use prost_reflect::{
    DynamicMessage, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, MethodDescriptor, ServiceDescriptor,
    Value,
};
use rekey::{domain::Permission, proto::DESCRIPTORS};

const PACKAGE: &str = "rekey.v1";

/// What messages of credentials hold that is no secret.
const LOGINS: [&str; 2] = ["username", "user_name"];

pub(crate) fn messages() -> impl Iterator<Item = MessageDescriptor> {
    DESCRIPTORS.all_messages().filter(|message| message.package_name() == PACKAGE && !message.is_map_entry())
}

pub(crate) fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").and_then(|value| value.as_bool()).unwrap_or(false)
}

fn services() -> impl Iterator<Item = ServiceDescriptor> {
    DESCRIPTORS.services().filter(|service| service.package_name() == PACKAGE)
}

pub(crate) fn methods() -> Vec<MethodDescriptor> {
    services().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// An option of ours or Google's, where it is set.
fn option(options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = DESCRIPTORS.get_extension_by_name(name).unwrap();
    options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned())
}

/// The names of `google.api.field_behavior`.
fn behaviours(field: &FieldDescriptor) -> BTreeSet<String> {
    let values = option(&field.options(), "google.api.field_behavior");
    let names = DESCRIPTORS.get_enum_by_name("google.api.FieldBehavior").unwrap();
    let values = values.as_ref().and_then(Value::as_list).unwrap_or_default();
    values.iter().map(|value| names.get_value(value.as_enum_number().unwrap()).unwrap().name().to_owned()).collect()
}

/// Every route of a method: its verb, its path and its body.
pub(crate) fn routes(method: &MethodDescriptor) -> Vec<(String, String, String)> {
    fn read(rule: &DynamicMessage, routes: &mut Vec<(String, String, String)>) {
        let text = |name: &str| rule.get_field_by_name(name).unwrap().as_str().unwrap().to_owned();
        let verbs = ["get", "put", "post", "delete", "patch"];
        let verb = verbs.into_iter().find(|verb| rule.has_field_by_name(verb)).expect("a route has a verb");
        routes.push((verb.to_owned(), text(verb), text("body")));
        let more = rule.get_field_by_name("additional_bindings").unwrap();
        for rule in more.as_list().unwrap() {
            read(rule.as_message().unwrap(), routes);
        }
    }
    let mut routes = Vec::new();
    if let Some(Value::Message(rule)) = option(&method.options(), "google.api.http") {
        read(&rule, &mut routes);
    }
    routes
}

/// The permission that a method asks for, where its rule has one.
pub(crate) fn permission(method: &MethodDescriptor) -> Option<Permission> {
    let rule = option(&method.options(), "rekey.v1.rule")?;
    let permission = rule.as_message()?.get_field_by_name("permission")?.as_str()?.to_owned();
    Permission::parse(&permission)
}

/// The names between a template's braces.
fn bound(path: &str) -> Vec<&str> {
    path.split('{').skip(1).map(|rest| rest.split(['}', '=']).next().unwrap()).collect()
}

/// Every field that a message can carry, at any depth.
fn reach(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    fn walk(message: &MessageDescriptor, seen: &mut BTreeSet<String>, fields: &mut Vec<FieldDescriptor>) {
        if !seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            fields.push(field.clone());
            if let Kind::Message(inner) = field.kind() {
                walk(&inner, seen, fields);
            }
        }
    }
    let mut fields = Vec::new();
    walk(message, &mut BTreeSet::new(), &mut fields);
    fields.retain(|field| field.parent_message().package_name() == PACKAGE && !field.parent_message().is_map_entry());
    fields
}

#[test]
fn every_method_has_a_rule_and_every_permission_a_method() {
    let mut asked = BTreeSet::new();
    for method in methods() {
        let rule =
            option(&method.options(), "rekey.v1.rule").unwrap_or_else(|| panic!("{}: no rule", method.full_name()));
        let rule = rule.as_message().unwrap();
        if rule.has_field_by_name("permission") {
            let permission = rule.get_field_by_name("permission").unwrap();
            let permission = Permission::parse(permission.as_str().unwrap());
            let permission = permission.unwrap_or_else(|| panic!("{}: an unknown permission", method.full_name()));
            assert_ne!(permission, Permission::EVERYTHING, "{}", method.full_name());
            asked.insert(permission);
        } else {
            let says = |name: &str| rule.get_field_by_name(name).unwrap().as_bool() == Some(true);
            assert!(says("any_caller") || says("anybody"), "{}: a rule that says nothing", method.full_name());
        }
    }
    let known: BTreeSet<_> = Permission::all().collect();
    assert_eq!(asked, known, "the permissions that methods ask for, and those that there are");
}

#[test]
fn every_unary_method_has_routes_that_bind_what_there_is() {
    for method in methods() {
        let name = method.full_name();
        let routes = routes(&method);
        if method.is_client_streaming() || method.is_server_streaming() {
            assert!(routes.is_empty(), "{name}: a stream has no route");
            continue;
        }
        assert!(!routes.is_empty(), "{name}: no google.api.http");
        for (verb, path, body) in routes {
            assert!(path.starts_with("/v1/"), "{name}: {path}");
            assert_eq!(body, if ["get", "delete"].contains(&&*verb) { "" } else { "*" }, "{name}: {verb} {path}");
            for field in bound(&path) {
                let field = method.input().get_field_by_name(field).unwrap_or_else(|| panic!("{name}: {path}"));
                assert!(matches!(field.kind(), Kind::String | Kind::Enum(_)), "{name}: {path}");
                // What a path cannot do without is required, unless another path has another member of its oneof.
                let required = behaviours(&field).contains("REQUIRED");
                assert_eq!(required, field.containing_oneof().is_none(), "{}", field.full_name());
            }
        }
    }
}

#[test]
fn no_secret_is_part_of_a_url() {
    for method in methods() {
        for (_, path, body) in routes(&method) {
            for field in bound(&path) {
                let field = method.input().get_field_by_name(field).unwrap();
                assert!(!is_redacted(&field), "{}: a secret in {path}", method.full_name());
            }
            // Where there is no body, or the body is one field, the rest is the query.
            if body != "*" {
                let secret = reach(&method.input()).into_iter().find(is_redacted);
                assert!(secret.is_none(), "{}: {secret:?} in the query of {path}", method.full_name());
            }
        }
    }
}

#[test]
fn what_sounds_like_a_secret_is_redacted() {
    let innocent = ["page_token", "next_page_token", "token_id", "token_type"];
    let mut found = 0;
    for message in messages() {
        for field in
            message.fields().filter(|field| field.is_map() || matches!(field.kind(), Kind::String | Kind::Bytes))
        {
            let name = field.name();
            let sounds =
                ["password", "secret", "token", "shared_key", "private"].iter().any(|word| name.contains(word));
            let of_credentials = ["Credentials", "Authentication"].iter().any(|word| message.name().ends_with(word));
            let secret = (sounds && !innocent.contains(&name)) || (of_credentials && !LOGINS.contains(&name));
            if secret {
                assert!(is_redacted(&field), "{} must be marked debug_redact", field.full_name());
                found += 1;
            }
        }
    }
    assert!(found > 10, "only {found} secrets");
}

#[test]
fn the_behaviour_of_fields_is_said_and_makes_sense() {
    // The access rule is no message of the wire.
    for message in messages().filter(|message| message.name() != "Rule") {
        for field in message.fields() {
            assert!(!behaviours(&field).is_empty(), "{} has no google.api.field_behavior", field.full_name());
        }
    }
    for method in methods() {
        for field in reach(&method.input()) {
            let behaviours = behaviours(&field);
            let has = |name: &str| behaviours.contains(name);
            assert!(!is_redacted(&field) || has("INPUT_ONLY"), "{} is a secret of a request", field.full_name());
            assert!(!(has("REQUIRED") && has("OUTPUT_ONLY")), "{}", field.full_name());
            assert!(!(has("REQUIRED") && field.containing_oneof().is_some()), "{}", field.full_name());
            assert!(!(has("INPUT_ONLY") && has("OUTPUT_ONLY")), "{}", field.full_name());
        }
        for field in method.output().fields().filter(|_| !method.is_server_streaming()) {
            assert!(behaviours(&field).contains("OUTPUT_ONLY"), "{}: an answer is all output", field.full_name());
        }
        for field in reach(&method.output()) {
            assert!(!behaviours(&field).contains("INPUT_ONLY"), "{} is in an answer", field.full_name());
        }
    }
    for message in messages() {
        for field in message.fields().filter(|field| ["etag", "create_time", "update_time"].contains(&field.name())) {
            let output = behaviours(&field).contains("OUTPUT_ONLY");
            assert_eq!(output, !message.name().ends_with("Request"), "{}", field.full_name());
        }
    }
}

#[test]
fn everything_has_a_comment() {
    fn commented(file: &FileDescriptor, path: &[i32], name: &str, missing: &mut Vec<String>) {
        let information = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
        let location = information.location.iter().find(|location| location.path == path);
        if location.is_none_or(|location| location.leading_comments().trim().is_empty()) {
            missing.push(name.to_owned());
        }
    }
    let mut missing = Vec::new();
    for service in services() {
        commented(&service.parent_file(), service.path(), service.full_name(), &mut missing);
        for method in service.methods() {
            commented(&service.parent_file(), method.path(), method.full_name(), &mut missing);
        }
    }
    for message in messages() {
        commented(&message.parent_file(), message.path(), message.full_name(), &mut missing);
        for field in message.fields() {
            commented(&message.parent_file(), field.path(), field.full_name(), &mut missing);
        }
        for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
            commented(&message.parent_file(), oneof.path(), oneof.full_name(), &mut missing);
        }
    }
    for known in DESCRIPTORS.all_enums().filter(|known| known.package_name() == PACKAGE) {
        commented(&known.parent_file(), known.path(), known.full_name(), &mut missing);
        for value in known.values() {
            commented(&known.parent_file(), value.path(), value.full_name(), &mut missing);
        }
    }
    assert!(missing.is_empty(), "without a comment: {missing:?}");
}

#[test]
fn nothing_hints_at_a_password() {
    // NIST SP 800-63B-4 section 3.1.1.2: no hints, and no questions about a first pet.
    for message in messages() {
        for field in message.fields() {
            let hints = ["hint", "question", "answer", "reminder"];
            assert!(!hints.iter().any(|word| field.name().contains(word)), "{}", field.full_name());
        }
    }
}
