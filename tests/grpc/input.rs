//! What comes in: every field of every request with what it should not hold, and messages that are none.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestRunner},
};
use prost::Message as _;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};
use rekey::proto::{
    CreateCallerRequest, CreateIntegrationRequest, CreateTenantRequest, CreateUserRequest, GetUserRequest, JwtIssuer,
    PolicyPreset, ResetPasswordRequest, SecretPolicy, Tenant, TenantAlias, VerifyPasswordRequest, create_user_request,
    reset_password_request, verify_password_request,
};
use tonic::{Code, Status, metadata::MetadataMap};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use super::dynamic::{Method, PASSWORD, bearer, call, furnish, good, is_required, mend, methods};
use crate::common::rekey::{Rekey, fields, reason};

/// The way to a string: fields from the request inwards.
type Way = Vec<FieldDescriptor>;

async fn furnished() -> (Rekey, MetadataMap) {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let metadata = bearer(&rekey.admin_token);
    (rekey, metadata)
}

async fn is_well(rekey: &Rekey) {
    let answer = HealthClient::new(rekey.channel()).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
}

fn is_redacted(field: &FieldDescriptor) -> bool {
    field.options().get_field_by_name("debug_redact").unwrap().as_bool().unwrap()
}

/// The ways to every string and map of a request.
fn ways(message: &MessageDescriptor, before: &[FieldDescriptor], ways: &mut Vec<Way>) {
    for field in message.fields() {
        let way: Way = before.iter().cloned().chain([field.clone()]).collect();
        match field.kind() {
            Kind::String => ways.push(way),
            _ if field.is_map() => ways.push(way),
            Kind::Message(inner) if inner.package_name() == "rekey.v1" => self::ways(&inner, &way, ways),
            _ => {}
        }
    }
}

/// Puts a string at the end of a way.
fn put(message: &mut DynamicMessage, way: &[FieldDescriptor], text: &str) {
    let (field, rest) = way.split_first().unwrap();
    if field.is_map() {
        let map = [(MapKey::String("name".to_owned()), Value::String(text.to_owned()))];
        return message.set_field(field, Value::Map(map.into()));
    }
    let value = match field.kind() {
        Kind::Message(inner) => {
            let mut inner = good(&inner, "acme");
            put(&mut inner, rest, text);
            Value::Message(inner)
        }
        _ => Value::String(text.to_owned()),
    };
    message.set_field(field, if field.is_list() { Value::List(vec![value]) } else { value });
}

/// A request that is good but for the string at the end of one way.
fn spoilt(method: &Method, way: &[FieldDescriptor], text: &str) -> Vec<u8> {
    let mut message = method.request("acme");
    put(&mut message, way, text);
    message.encode_to_vec()
}

/// Whether it is in what an update takes over only where its mask names it: the good ones name `labels`, or nothing.
fn is_unnamed(method: &Method, way: &[FieldDescriptor]) -> bool {
    let update = method.descriptor.input().get_field_by_name("update_mask");
    update.is_some_and(|mask| match way {
        [resource, field, ..] => resource.name() != "settings" && field.name() != "labels",
        [field] => !is_required(&mask) && ["username", "labels"].contains(&field.name()),
        [] => false,
    })
}

fn holds(bytes: &[u8], part: &str) -> bool {
    bytes.windows(part.len()).any(|window| window == part.as_bytes())
}

fn assert_told_right(status: &Status, what: &str) {
    let faults = [Code::Internal, Code::Unknown, Code::Unavailable, Code::ResourceExhausted, Code::DeadlineExceeded];
    assert!(!faults.contains(&status.code()), "{what}: {status:?}");
    assert!(!reason(status).is_empty(), "{what}: no reason: {status:?}");
}

#[tokio::test]
async fn no_string_in_any_field_is_more_than_refused_or_told_again_where_it_is_secret() {
    let (rekey, metadata) = furnished().await;
    let mut asked = 0;
    for method in methods() {
        let mut all = Vec::new();
        ways(&method.descriptor.input(), &[], &mut all);
        for way in all {
            let last = way.last().unwrap();
            let mark = "zq-mark-zq";
            for text in [
                String::new(),
                mark.repeat(1_000),
                format!("{mark}\0{mark}"),
                format!("\0{mark}"),
                format!("{mark}\r\n{mark}"),
                format!("{mark}\u{1b}[31m"),
                format!("{mark}\u{7f}"),
                format!("{mark}\u{85}"),
                format!("{mark}\u{202e}\u{feff}"),
                format!("{mark}\u{fffe}"),
                format!("{mark}\u{10ffff}"),
                format!("{mark}'; DROP TABLE tenant; --"),
                format!("../../{mark}"),
                format!("%00{mark}%s%n{{}}"),
            ] {
                let begin: String = text.chars().take(20).collect();
                let what = format!("{} in {}: {begin:?}", last.full_name(), method.path);
                asked += 1;
                let message = spoilt(&method, &way, &text);
                let Err(status) = call(rekey.channel(), &method.path, &metadata, message).await else {
                    mend(&rekey, &method, "acme").await;
                    // Nobody has an impossible login, and that is an answer.
                    let asked_for = last.containing_oneof().is_some_and(|oneof| oneof.name() == "subject");
                    // Output only, or only ever compared.
                    let ignored = ["etag", "source", "subject_id"].contains(&last.name());
                    let words = ["alias", "audience", "display_name", "issuer", "name", "purpose", "scope", "username"];
                    let words = [&words[..], &["subject_types", "labels", "words", "request_id"]].concat();
                    let tame = text.chars().count() < 128 && !text.chars().any(char::is_control);
                    let free = ignored || (tame && words.contains(&last.name()));
                    let may = free || is_unnamed(&method, &way) || asked_for || is_redacted(last) || text.is_empty();
                    assert!(may, "{what} was taken");
                    continue;
                };
                assert_told_right(&status, &what);
                let rotates = ["/Promote", "/RollBack", "/Swap"].iter().any(|verb| method.path.contains(verb));
                let expected = match last.name() {
                    // Nothing is prepared, and nothing overlaps.
                    "etag" if rotates && !method.path.contains("Credential") => {
                        &[Code::Aborted, Code::FailedPrecondition][..]
                    }
                    _ if rotates => &[Code::InvalidArgument, Code::NotFound, Code::FailedPrecondition],
                    // What is not there is looked for first.
                    "etag"
                        if ["/Revoke", "/Rotate", "Credential", "/CancelJob"]
                            .iter()
                            .any(|word| method.path.contains(word)) =>
                    {
                        &[Code::Aborted, Code::NotFound][..]
                    }
                    "etag" => &[Code::Aborted][..],
                    // Nobody's key, whatever it is like; and a tenant that issues no tokens.
                    _ if method.path.contains("/Exchange") => &[Code::InvalidArgument, Code::Unauthenticated],
                    _ if method.path.ends_with("/IssueToken") => &[Code::InvalidArgument, Code::FailedPrecondition],
                    // Whether an impossible name is refused or is nobody's.
                    _ => &[Code::InvalidArgument, Code::NotFound, Code::AlreadyExists],
                };
                assert!(expected.contains(&status.code()), "{what}: {status:?}");
                if is_redacted(last) {
                    let told = holds(status.details(), mark) || status.message().contains(mark);
                    assert!(!told, "{what} was told again: {status:?}");
                }
                assert!(status.details().len() < 4_096, "{what}: an error of {} bytes", status.details().len());
            }
        }
    }
    assert!(asked > 1_000, "only {asked} calls");
    is_well(&rekey).await;
}

#[tokio::test]
async fn strings_that_are_not_utf_8_are_the_sender_s_fault() {
    let (rekey, metadata) = furnished().await;
    for method in methods() {
        let mut all = Vec::new();
        ways(&method.descriptor.input(), &[], &mut all);
        for way in all {
            // A mark of three bytes is made no UTF-8 where it lies.
            let mut bytes = spoilt(&method, &way, "zq\u{20ac}zq");
            let place = bytes.windows(3).position(|window| window == "\u{20ac}".as_bytes()).unwrap();
            bytes[place + 1] = 0xff;
            let status = call(rekey.channel(), &method.path, &metadata, bytes).await.unwrap_err();
            let field = way.last().unwrap().full_name();
            assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"), "{field}");
            assert!(!status.message().contains("zq") && !holds(status.details(), "zq"), "{field}: {status:?}");
        }
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_what_is_unknown_in_one_is_passed_over() {
    let (rekey, metadata) = furnished().await;
    for method in methods() {
        let good = method.request("acme").encode_to_vec();
        // Field 1 as a varint where a string or message is; nothing but length-delimited fields have number 1.
        let first = method.descriptor.input().get_field(1);
        let wrong_type = first.filter(|field| matches!(field.kind(), Kind::String | Kind::Message(_)));
        let wrong_type = wrong_type.map(|_| vec![0x08, 0x01]);
        let truncated = (!good.is_empty()).then(|| good[..good.len() - 1].to_vec());
        let endless = vec![0xff; 11];
        let group = vec![0x0b; 4_096];
        let too_long = vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f];
        let bad = [wrong_type, truncated, Some(endless), Some(group), Some(too_long)];
        for bytes in bad.into_iter().flatten() {
            let status = call(rekey.channel(), &method.path, &metadata, bytes.clone()).await;
            let status = status.err().unwrap_or_else(|| panic!("{} took {bytes:x?}", method.path));
            let told = (status.code(), reason(&status));
            assert_eq!(told, (Code::InvalidArgument, "FIELDS_INVALID".to_owned()), "{} {bytes:x?}", method.path);
        }
        // Field 15,999: a string of three bytes. Then the answer is what it is without it, or comes of being asked twice.
        let known = call(rekey.channel(), &method.path, &metadata, good.clone()).await;
        mend(&rekey, &method, "acme").await;
        let unknown = [good.as_slice(), &[0xfa, 0xe7, 0x07, 0x03, b'a', b'b', b'c']].concat();
        let unknown = call(rekey.channel(), &method.path, &metadata, unknown).await;
        mend(&rekey, &method, "acme").await;
        let code = |answer: &Result<_, Status>| answer.as_ref().map_or_else(Status::code, |_| Code::Ok);
        let again = code(&unknown) == Code::AlreadyExists;
        assert!(code(&known) == code(&unknown) || again, "{}: {known:?} {unknown:?}", method.path);
    }
    is_well(&rekey).await;
}

#[tokio::test]
async fn a_message_over_the_limit_is_refused_and_one_at_it_is_read() {
    let (rekey, metadata) = furnished().await;
    let limit = rekey::api::MAX_REQUEST_BYTES;
    for method in methods() {
        for (length, codes) in [
            (limit, &[Code::InvalidArgument][..]),
            (limit + 1, &[Code::OutOfRange, Code::ResourceExhausted]),
            (8 * limit, &[Code::OutOfRange, Code::ResourceExhausted]),
        ] {
            let status = call(rekey.channel(), &method.path, &metadata, vec![0xff; length]).await.unwrap_err();
            assert!(codes.contains(&status.code()), "{} of {length} bytes: {status:?}", method.path);
        }
    }
    is_well(&rekey).await;
}

#[tokio::test]
async fn every_field_that_is_wrong_is_told_at_once_by_its_path() {
    let (rekey, _) = furnished().await;
    let mut admin = rekey.admin();
    let text = str::to_owned;
    let tenant = Tenant {
        tenant_id: text("a/b"),
        display_name: "x".repeat(129),
        aliases: vec![TenantAlias { dialect: text("cobol"), alias: text("a b") }],
        user_policy: Some(SecretPolicy { preset: 99, ..SecretPolicy::default() }),
        device_policy: Some(SecretPolicy { required_classes: vec![1, 77], ..SecretPolicy::default() }),
        integration_policy: Some(SecretPolicy { symbols: Some(text("abc")), ..SecretPolicy::default() }),
        jwt_issuers: vec![JwtIssuer { public_key_pem: text("no key"), ..JwtIssuer::default() }],
        ..Tenant::default()
    };
    let status = admin
        .tenants
        .create_tenant(CreateTenantRequest { tenant: Some(tenant), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
    let told: BTreeSet<String> = fields(&status).into_iter().collect();
    let expected = [
        "tenant.aliases[0].alias",
        "tenant.aliases[0].dialect",
        "tenant.device_policy.required_classes[1]",
        "tenant.display_name",
        "tenant.integration_policy.symbols",
        "tenant.jwt_issuers[0].issuer",
        "tenant.jwt_issuers[0].public_key_pem",
        "tenant.tenant_id",
        "tenant.user_policy.preset",
    ];
    assert_eq!(told, expected.map(text).into());

    let user = CreateUserRequest {
        tenant_id: text("x:y"),
        user_id: text("a b"),
        username: text("tab\there"),
        state: 17,
        secret_source: Some(create_user_request::SecretSource::Password(text("\0"))),
        ..Default::default()
    };
    let status = admin.users.create_user(user).await.unwrap_err();
    assert_eq!(fields(&status), ["tenant_id", "user_id", "username", "state", "password"]);

    let caller = CreateCallerRequest {
        tenant_id: text("acme"),
        permissions: ["users:get", "users:fly", "users:get"].map(text).into(),
        ..CreateCallerRequest::default()
    };
    let status = admin.callers.create_caller(caller).await.unwrap_err();
    assert_eq!(fields(&status), ["permissions[1]", "permissions[2]"]);

    let settings = [("1st", "x"), ("empty", ""), ("good", "fine"), ("nul", "a\0b")];
    let integration = CreateIntegrationRequest {
        tenant_id: text("acme"),
        settings: settings.map(|(name, value)| (text(name), text(value))).into(),
        ..CreateIntegrationRequest::default()
    };
    let status = admin.integrations.create_integration(integration).await.unwrap_err();
    assert_eq!(fields(&status), ["settings", "settings[empty]", "settings[nul]"]);
}

#[tokio::test]
async fn each_policy_has_its_own_idea_of_a_good_password() {
    let rekey = Rekey::start().await;
    let admin = rekey.admin();
    for (preset, bad, good) in [
        (PolicyPreset::Nist, "fourteen chars", "fifteen letters"),
        (PolicyPreset::Applivery, "7 chars", "8 chars."),
        (PolicyPreset::Ocariot, "", "1"),
        (PolicyPreset::Licensespring, "7 chars", "8 chars."),
        (PolicyPreset::Roma, "no upper case-42", "Upper Case 42 (!)"),
    ] {
        let tenant_id = format!("{preset:?}");
        let policy = SecretPolicy { preset: preset.into(), ..SecretPolicy::default() };
        let tenant = Tenant { tenant_id: tenant_id.clone(), user_policy: Some(policy), ..Tenant::default() };
        rekey.make_tenant(tenant).await;
        let create = |password: &str| {
            let request = CreateUserRequest {
                tenant_id: tenant_id.clone(),
                username: "ada@example".to_owned(),
                secret_source: Some(create_user_request::SecretSource::Password(password.to_owned())),
                ..CreateUserRequest::default()
            };
            let mut users = admin.users.clone();
            async move { users.create_user(request).await }
        };
        let refused = create(bad).await.unwrap_err();
        let expected = if bad.is_empty() { "FIELDS_INVALID" } else { "POLICY_VIOLATED" };
        assert_eq!(
            (reason(&refused).as_str(), fields(&refused)),
            (expected, vec!["password".to_owned()]),
            "{preset:?}"
        );
        create(good).await.unwrap_or_else(|status| panic!("{preset:?}: {status:?}"));
    }
}

#[tokio::test]
async fn who_is_not_there_is_not_found_and_nobody_s_password_is_wrong() {
    let (rekey, _) = furnished().await;
    furnish(&rekey, "other").await;
    let mut admin = rekey.admin();
    let only_here = CreateUserRequest {
        tenant_id: "other".to_owned(),
        user_id: "eve".to_owned(),
        username: "eve@other.example".to_owned(),
        secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
        ..CreateUserRequest::default()
    };
    admin.users.create_user(only_here).await.unwrap();
    for (tenant, user, expected) in [
        ("nowhere", "ada", "TENANT_NOT_FOUND"),
        ("roma:nowhere", "ada", "TENANT_NOT_FOUND"),
        ("acme", "nobody", "USER_NOT_FOUND"),
        ("acme", "eve", "USER_NOT_FOUND"),
        ("acme", "cam", "USER_NOT_FOUND"),
        ("acme", "svc", "USER_NOT_FOUND"),
    ] {
        let (tenant_id, user_id) = (tenant.to_owned(), user.to_owned());
        let get = GetUserRequest { tenant_id: tenant_id.clone(), user_id: user_id.clone() };
        let status = admin.users.get_user(get).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, expected), "{tenant} {user}");
        let secret_source = Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned()));
        let reset = ResetPasswordRequest { tenant_id, user_id, secret_source, ..ResetPasswordRequest::default() };
        let status = admin.users.reset_password(reset).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, expected), "{tenant} {user}");
    }
    for user in ["nobody", "eve", "cam"] {
        let verify = VerifyPasswordRequest {
            source: String::new(),
            tenant_id: "acme".to_owned(),
            subject: Some(verify_password_request::Subject::UserId(user.to_owned())),
            password: PASSWORD.to_owned(),
        };
        assert!(!admin.users.verify_password(verify).await.unwrap().into_inner().verified, "{user}");
    }
}

/// Bytes that are no protobuf, and pieces that are: keys of small fields, with what should follow them.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..16),
        (1_u8..=8, prop::collection::vec(any::<u8>(), 0..100)).prop_map(|(number, bytes)| {
            let length = u8::try_from(bytes.len()).unwrap();
            [vec![(number << 3) | 2, length], bytes].concat()
        }),
        (1_u8..=8, "[a-z]{0,8}").prop_map(|(number, text)| {
            let length = u8::try_from(text.len()).unwrap();
            [vec![(number << 3) | 2, length], text.into_bytes()].concat()
        }),
        (1_u8..=8, any::<u8>()).prop_map(|(number, value)| vec![number << 3, value & 0x7f]),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

#[test]
fn no_bytes_are_a_fault_of_the_server() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (rekey, metadata) = runtime.block_on(furnished());
    let methods = methods();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) };
    let result = TestRunner::new(config).run(&messages(), |bytes| {
        for method in &methods {
            let answer = runtime.block_on(call(rekey.channel(), &method.path, &metadata, bytes.clone()));
            if let Err(status) = answer {
                let faults = [Code::Internal, Code::Unknown, Code::Unavailable, Code::DeadlineExceeded];
                if faults.contains(&status.code()) || reason(&status).is_empty() {
                    return Err(TestCaseError::fail(format!("{}: {status:?}", method.path)));
                }
            }
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    runtime.block_on(is_well(&rekey));
}
