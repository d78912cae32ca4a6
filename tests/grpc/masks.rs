//! Masks: of every field of every message, only those that the protos list change, and nothing else with them.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message;
use prost_reflect::{DynamicMessage, MapKey, MessageDescriptor, ReflectMessage as _, Value};
use rekey::proto::{
    DESCRIPTORS, RevealAuthenticationRequest, RevealIntegrationRequest, Role, UpdateCallerRequest, UpdateUserRequest,
    User,
};
use tonic::Code;

use super::dynamic::{Method, bearer, call, furnish, methods};
use crate::common::rekey::{Rekey, fields, reason};

/// The fields that the comment of `update_mask` names, before "or `*`".
fn documented(input: &MessageDescriptor) -> BTreeSet<String> {
    let field = input.get_field_by_name("update_mask").unwrap();
    let file = input.parent_file();
    let information = file.file_descriptor_proto().source_code_info.as_ref().unwrap();
    let comment = information.location.iter().find(|location| location.path == field.path()).unwrap();
    let comment = comment.leading_comments().split_once("or `*`").unwrap().0.to_owned();
    comment.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn text(value: &str) -> Value {
    Value::String(value.to_owned())
}

/// Another good value than [`furnish`] gives.
fn other(message: &str, field: &str) -> Option<Value> {
    let map = |name: &str| Value::Map([(MapKey::String(name.to_owned()), text("blue"))].into());
    let policy = || {
        let descriptor = DESCRIPTORS.get_message_by_name("rekey.v1.SecretPolicy").unwrap();
        let mut policy = DynamicMessage::new(descriptor);
        policy.set_field_by_name("max_length", Value::U32(64));
        Value::Message(policy)
    };
    Some(match (message, field) {
        (_, "labels") => map("team"),
        (_, "settings") => map("token"),
        (_, "username" | "user_name") => text("renamed"),
        (_, "display_name") => text("Renamed"),
        (_, "rank") => Value::U32(7),
        (_, "permissions") => Value::List(vec![text("users:get")]),
        (_, "roles") => Value::List(vec![Value::EnumNumber(Role::Verifier.into())]),
        (_, "change_password_allowed") => Value::Bool(false),
        (_, "user_policy" | "device_policy" | "integration_policy") => policy(),
        (_, "state") => Value::EnumNumber(2),
        (_, "aliases") => {
            let mut alias = DynamicMessage::new(DESCRIPTORS.get_message_by_name("rekey.v1.TenantAlias").unwrap());
            alias.set_field_by_name("dialect", text("roma"));
            alias.set_field_by_name("alias", text("p/i"));
            Value::List(vec![Value::Message(alias)])
        }
        (_, "jwt_issuers") => {
            let descriptor = DESCRIPTORS.get_message_by_name("rekey.v1.JwtIssuer").unwrap();
            Value::List(vec![Value::Message(super::dynamic::good(&descriptor, "acme"))])
        }
        (_, "permission_aliases") => {
            let descriptor = DESCRIPTORS.get_message_by_name("rekey.v1.PermissionAlias").unwrap();
            Value::List(vec![Value::Message(super::dynamic::good(&descriptor, "acme"))])
        }
        (_, "token_issuer") => {
            let mut own = DynamicMessage::new(DESCRIPTORS.get_message_by_name("rekey.v1.TokenIssuer").unwrap());
            own.set_field_by_name("issuer", text("https://own.example"));
            Value::Message(own)
        }
        (_, "limits") => {
            let mut limits = DynamicMessage::new(DESCRIPTORS.get_message_by_name("rekey.v1.TenantLimits").unwrap());
            limits.set_field_by_name("free_failures", Value::U32(3));
            Value::Message(limits)
        }
        (_, "tenant_id" | "user_id" | "device_id" | "integration_id" | "caller_id" | "etag") => text("other"),
        _ => return None,
    })
}

/// A resource as it is read, field by field, and its secrets where they can be shown.
async fn read(rekey: &Rekey, noun: &str) -> BTreeMap<String, String> {
    let get = methods().into_iter().find(|method| method.path.ends_with(&format!("/Get{noun}"))).unwrap();
    let message = get.request("acme").encode_to_vec();
    let answer = call(rekey.channel(), &get.path, &bearer(&rekey.admin_token), message).await.unwrap();
    let answer = DynamicMessage::decode(get.descriptor.output(), answer).unwrap();
    let resource = answer.get_field_by_name(&noun.to_lowercase()).unwrap().into_owned();
    let resource = resource.as_message().unwrap();
    let descriptor = resource.descriptor();
    let fields = descriptor.fields().map(|field| {
        let value = resource.get_field(&field);
        // A map tells itself in no order.
        (
            field.name().to_owned(),
            value
                .as_map()
                .map_or_else(|| format!("{value:?}"), |map| format!("{:?}", map.iter().collect::<BTreeMap<_, _>>())),
        )
    });
    let mut fields: BTreeMap<_, _> = fields.collect();
    let mut admin = rekey.admin();
    let tenant_id = "acme".to_owned();
    if noun == "Device" {
        let request = RevealAuthenticationRequest { tenant_id, device_id: "cam".to_owned(), ..Default::default() };
        let shown = admin.devices.reveal_authentication(request).await.unwrap().into_inner().authentication.unwrap();
        fields.insert("password".to_owned(), shown.password);
    } else if noun == "Integration" {
        let request = RevealIntegrationRequest { tenant_id, integration_id: "mdm".to_owned(), ..Default::default() };
        let shown = admin.integrations.reveal_integration(request).await.unwrap().into_inner().credentials.unwrap();
        fields.insert("password".to_owned(), shown.password);
        fields.insert("settings".to_owned(), format!("{:?}", shown.settings.into_iter().collect::<BTreeMap<_, _>>()));
    }
    fields
}

fn update(method: &Method, noun: &str, paths: &[&str]) -> Vec<u8> {
    let mut request = method.request("acme");
    let resource = noun.to_lowercase();
    let within = method.descriptor.input().get_field_by_name(&resource).is_some();
    let mut filled = if within {
        request.get_field_by_name(&resource).unwrap().as_message().unwrap().clone()
    } else {
        request.clone()
    };
    // Everything that could be smuggled in is there.
    let descriptor = filled.descriptor();
    for field in descriptor.fields() {
        let own = !within && ["tenant_id", "integration_id", "etag"].contains(&field.name());
        if let Some(value) = other(noun, field.name()).filter(|_| !own) {
            filled.set_field(&field, value);
        }
    }
    if within {
        request.set_field_by_name(&resource, Value::Message(filled));
    } else {
        request = filled;
    }
    let mut mask = DynamicMessage::new(DESCRIPTORS.get_message_by_name("google.protobuf.FieldMask").unwrap());
    mask.set_field_by_name("paths", Value::List(paths.iter().map(|path| text(path)).collect()));
    request.set_field_by_name("update_mask", Value::Message(mask));
    request.encode_to_vec()
}

#[tokio::test]
async fn of_every_field_only_the_documented_ones_change_and_nothing_else_with_them() {
    let rekey = Rekey::start().await;
    let metadata = bearer(&rekey.admin_token);
    let mut asked = 0;
    for noun in ["User", "Device", "Integration", "Caller", "Tenant"] {
        let method = methods().into_iter().find(|method| method.path.ends_with(&format!("/Update{noun}"))).unwrap();
        let documented = documented(&method.descriptor.input());
        assert!(documented.contains("labels"), "{noun}: {documented:?}");
        let resource = DESCRIPTORS.get_message_by_name(&format!("rekey.v1.{noun}")).unwrap();
        let mut paths: BTreeSet<String> = resource.fields().map(|field| field.name().to_owned()).collect();
        for field in resource.fields() {
            paths.extend([field.json_name().to_owned(), field.name().to_uppercase()]);
            paths.extend([
                format!("{}.x", field.name()),
                format!(" {}", field.name()),
                format!("{}.{}", noun.to_lowercase(), field.name()),
            ]);
        }
        paths.extend(documented.iter().cloned());
        paths.extend(
            [
                "password",
                "password_hash",
                "uid",
                "tenant_uid",
                "version",
                "created_by",
                "",
                ".",
                "**",
                "`labels`",
                "labels,state",
            ]
            .map(str::to_owned),
        );
        for path in paths {
            asked += 1;
            if asked == 1 || documented.contains(&path) {
                // From the beginning each time something was changed.
                renew(&rekey).await;
            }
            let before = read(&rekey, noun).await;
            let answer = call(rekey.channel(), &method.path, &metadata, update(&method, noun, &[path.as_str()])).await;
            let after = read(&rekey, noun).await;
            let differs = after.iter().filter(|(name, value)| before[*name] != **value).map(|(name, _)| name.clone());
            let differs: BTreeSet<String> = differs.collect();
            if documented.contains(&path) {
                answer.unwrap_or_else(|status| panic!("{noun} {path}: {status:?}"));
                let mut expected: BTreeSet<String> = ["etag", "update_time"].map(str::to_owned).into();
                expected.insert(path.clone());
                if path == "settings" {
                    expected.insert("configured".to_owned());
                }
                assert_eq!(differs, expected, "{noun} {path}");
                renew(&rekey).await;
            } else {
                let status = answer.err().unwrap_or_else(|| panic!("{noun} {path:?} was taken"));
                assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
                assert_eq!(fields(&status), ["update_mask"], "{noun} {path}");
                assert_eq!(differs, BTreeSet::new(), "{noun} {path}");
                // All or nothing.
                let both = update(&method, noun, &["labels", path.as_str()]);
                call(rekey.channel(), &method.path, &metadata, both).await.unwrap_err();
                assert_eq!(read(&rekey, noun).await, before, "{noun} {path}");
            }
        }
    }
    assert!(asked > 200, "only {asked}");
}

/// `acme` as [`furnish`] makes it.
async fn renew(rekey: &Rekey) {
    let request = rekey::proto::DeleteTenantRequest {
        tenant_id: "acme".to_owned(),
        force: true,
        allow_missing: true,
        ..Default::default()
    };
    rekey.admin().tenants.delete_tenant(request).await.unwrap();
    furnish(rekey, "acme").await;
}

#[tokio::test]
async fn values_of_an_update_are_checked_and_named_by_their_paths() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let mut admin = rekey.admin();
    let mask =
        |paths: &[&str]| Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() });
    let long = "x".repeat(10_000);
    let labels = [("Team".to_owned(), "x".to_owned()), ("team".to_owned(), long.clone())].into();
    let user = User { username: long.clone(), labels, rank: 1_001, ..User::default() };
    let request = UpdateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        user: Some(user),
        update_mask: mask(&["*"]),
        ..UpdateUserRequest::default()
    };
    let status = admin.users.update_user(request.clone()).await.unwrap_err();
    assert_eq!(fields(&status), ["user.username", "user.labels", "user.labels[team]", "user.rank"]);
    // What is not named is not looked at.
    let named = UpdateUserRequest { update_mask: mask(&["labels"]), ..request.clone() };
    assert_eq!(fields(&admin.users.update_user(named).await.unwrap_err()), ["user.labels", "user.labels[team]"]);
    for (paths, what) in [
        (vec![], "none"),
        (vec!["rank", "rank"], "twice"),
        (vec!["*", "rank"], "all and one"),
        (vec!["rank"; 65], "many"),
        (vec![long.as_str()], "long"),
    ] {
        let user = Some(User::default());
        let request = UpdateUserRequest { update_mask: mask(&paths), user, ..request.clone() };
        let status = admin.users.update_user(request).await.unwrap_err();
        assert_eq!(fields(&status), ["update_mask"], "{what}");
        assert!(status.details().len() < 2_048, "{what}");
    }
    let nothing = UpdateUserRequest { user: None, update_mask: None, user_id: "a b".to_owned(), ..request };
    assert_eq!(fields(&admin.users.update_user(nothing).await.unwrap_err()), ["user_id", "update_mask", "user"]);

    let caller = rekey::proto::Caller {
        permissions: vec!["users:get".to_owned(), "users:fly".to_owned()],
        roles: vec![1, 99, 1],
        ..Default::default()
    };
    let request = UpdateCallerRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "svc".to_owned(),
        caller: Some(caller),
        update_mask: mask(&["permissions", "roles"]),
        ..UpdateCallerRequest::default()
    };
    let status = admin.callers.update_caller(request.clone()).await.unwrap_err();
    assert_eq!(fields(&status), ["caller.roles[1]", "caller.roles[2]"]);
    // What a name stands for, only the tenant knows.
    let named = UpdateCallerRequest { update_mask: mask(&["permissions"]), ..request };
    assert_eq!(fields(&admin.callers.update_caller(named).await.unwrap_err()), ["caller.permissions[1]"]);
}
