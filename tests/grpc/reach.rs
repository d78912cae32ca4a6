//! Who may do what to whom: roles, ranks, aliases, and why.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_reflect::{DynamicMessage, Kind, Value};
use rekey::{
    access::Access,
    api::rules,
    domain::{Permission, Role as KnownRole, role::MAX_RANK},
    proto::{
        AccessRule, CheckAccessRequest, CreateApiTokenRequest, CreateCallerRequest, CreateSigningKeyRequest,
        CreateTenantRequest, CreateUserRequest, CredentialKind, DESCRIPTORS, ExplainPermissionRequest,
        ExplainPermissionResponse, GetTenantRequest, JwtIssuer, ListCredentialsRequest, PermissionAlias,
        RevokeApiTokenRequest, RevokeSigningKeyRequest, Role, ScopeGrant, Tenant, WhoAmIRequest,
    },
};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::dynamic::{PASSWORD, bearer, call};
use crate::common::rekey::{Clients, Rekey, fields, reason};

const RESET: &str = "rekey.v1.UserService/ResetPassword";
const ROLES: [Role; 5] = [Role::Administrator, Role::Helpdesk, Role::Verifier, Role::Auditor, Role::Gateway];

async fn with_tenants() -> Rekey {
    let rekey = Rekey::start().await;
    for tenant_id in ["acme", "other"] {
        rekey.make_tenant(Tenant { tenant_id: tenant_id.to_owned(), ..Tenant::default() }).await;
    }
    rekey
}

fn caller(tenant_id: &str, permissions: &[&str], roles: &[Role], rank: u32) -> CreateCallerRequest {
    CreateCallerRequest {
        tenant_id: tenant_id.to_owned(),
        permissions: permissions.iter().map(|name| (*name).to_owned()).collect(),
        roles: roles.iter().map(|role| (*role).into()).collect(),
        rank,
        ..CreateCallerRequest::default()
    }
}

async fn make(rekey: &Rekey, tenant_id: &str, permissions: &[&str], roles: &[Role], rank: u32) -> Clients {
    rekey.clients(&rekey.make_caller_as(caller(tenant_id, permissions, roles, rank)).await)
}

fn user(user_id: &str, rank: u32) -> CreateUserRequest {
    CreateUserRequest {
        tenant_id: "acme".to_owned(),
        user_id: user_id.to_owned(),
        username: user_id.to_owned(),
        rank,
        ..CreateUserRequest::default()
    }
}

fn why(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

fn known(role: Role) -> KnownRole {
    match role {
        Role::Administrator | Role::Unspecified => KnownRole::Administrator,
        Role::Helpdesk => KnownRole::Helpdesk,
        Role::Verifier => KnownRole::Verifier,
        Role::Auditor => KnownRole::Auditor,
        Role::Gateway => KnownRole::Gateway,
    }
}

async fn explain(
    clients: &Clients,
    caller_id: &str,
    method: &str,
    user_id: &str,
) -> Result<ExplainPermissionResponse, Status> {
    let request = ExplainPermissionRequest {
        tenant_id: "acme".to_owned(),
        caller_id: caller_id.to_owned(),
        method: method.to_owned(),
        user_id: user_id.to_owned(),
    };
    clients.callers.clone().explain_permission(request).await.map(tonic::Response::into_inner)
}

fn steps(answer: &ExplainPermissionResponse) -> Vec<(&str, bool)> {
    answer.rules.iter().map(|AccessRule { rule, passed, .. }| (rule.as_str(), *passed)).collect()
}

#[tokio::test]
async fn a_role_is_its_permissions_and_what_is_explained_is_what_is_decided() {
    let rekey = with_tenants().await;
    for role in ROLES {
        let clients = make(&rekey, "acme", &[], &[role], 0).await;
        let me = clients.callers.clone().who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
        let permissions: Vec<_> = known(role).permissions().iter().map(|held| held.as_str().to_owned()).collect();
        assert_eq!((me.permissions, me.rank), (permissions, known(role).rank()), "{role:?}");
        assert_eq!(me.roles, [i32::from(role)]);
        for (path, rule) in rules::all() {
            let expected = match rule.access {
                Access::Holding(permission) => known(role).allows(permission),
                Access::AnyCaller | Access::Anybody => true,
            };
            let method = path.trim_start_matches('/').to_owned();
            let answer = explain(&clients, "", &method, "").await.unwrap();
            assert_eq!(answer.allowed, expected, "{role:?} {path}: {answer:?}");
            assert_eq!(answer.rules.last().unwrap().passed, expected, "the last rule decides");
            assert!(answer.rules.iter().all(|rule| !rule.explanation.is_empty()));
            let check = CheckAccessRequest { method, ..Default::default() };
            let decided = clients.callers.clone().check_access(check).await;
            assert_eq!(decided.is_ok(), expected, "{role:?} {path}");
        }
    }
    // Besides what one has of one's own, each permission once.
    let both = make(&rekey, "acme", &["users:verify", "devices:*"], &[Role::Verifier, Role::Helpdesk], 7).await;
    let me = both.callers.clone().who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!(me.permissions.len(), me.permissions.iter().collect::<BTreeSet<_>>().len());
    assert_eq!((me.rank, &me.permissions[..2]), (7, &["users:verify".to_owned(), "devices:*".to_owned()][..]));
    let reveal = explain(&both, "", "rekey.v1.DeviceService/RevealAuthentication", "").await.unwrap();
    assert!(reveal.allowed && reveal.rules[2].explanation.contains("devices:*"), "{reveal:?}");
    // An administrator's everything ends at its tenant.
    let administrator = make(&rekey, "acme", &[], &[Role::Administrator], 0).await;
    let elsewhere = GetTenantRequest { tenant_id: "other".to_owned() };
    let refused = administrator.tenants.clone().get_tenant(elsewhere).await.unwrap_err();
    assert_eq!(why(&refused), (Code::NotFound, "TENANT_NOT_FOUND".to_owned()));
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_hold() {
    let rekey = with_tenants().await;
    let own = ["callers:*", "users:get", "users:verify", "devices:verify", "integrations:verify"];
    let weak = make(&rekey, "acme", &own, &[], 50).await;
    let (missing, low) = ("PERMISSION_MISSING", "RANK_TOO_LOW");
    for (request, expected) in [
        (caller("acme", &["users:get"], &[], 50), ""),
        (caller("acme", &["callers:create"], &[Role::Verifier], 0), ""),
        (caller("acme", &["users:update"], &[], 0), missing),
        (caller("acme", &["users:*"], &[], 0), missing),
        (caller("acme", &["*"], &[], 0), missing),
        (caller("acme", &[], &[Role::Administrator], 0), missing),
        (caller("acme", &[], &[Role::Helpdesk], 0), missing),
        (caller("acme", &[], &[Role::Verifier, Role::Auditor], 0), missing),
        (caller("acme", &["users:get"], &[], 51), low),
        // Whether one may comes before whether there is such a tenant.
        (caller("nowhere", &["users:update"], &[], 0), missing),
        (caller("nowhere", &[], &[], 51), low),
        (caller("other", &[], &[], 0), "TENANT_NOT_FOUND"),
    ] {
        let answer = weak.callers.clone().create_caller(request.clone()).await;
        let told = answer.err().map(|status| reason(&status)).unwrap_or_default();
        assert_eq!(told, expected, "{request:?}");
    }
    // Holding everything is the highest rank only where no other was set.
    let lowered = make(&rekey, "acme", &["*"], &[], 50).await;
    let full = lowered.callers.clone().create_caller(caller("acme", &["*"], &[], 0)).await.unwrap_err();
    assert_eq!(why(&full), (Code::PermissionDenied, low.to_owned()));
    lowered.callers.clone().create_caller(caller("acme", &["*"], &[], 50)).await.unwrap();

    let mut bad = caller("acme", &["users:get", "a b", ""], &[], 1_001);
    bad.roles = vec![Role::Verifier.into(), 99];
    let refused = rekey.admin().callers.create_caller(bad).await.unwrap_err();
    assert_eq!(fields(&refused), ["permissions[1]", "permissions[2]", "roles[1]", "rank"]);
    let twice = caller("acme", &["users:get", "fly", "users:get"], &[], 0);
    let refused = rekey.admin().callers.create_caller(twice).await.unwrap_err();
    assert_eq!(fields(&refused), ["permissions[1]", "permissions[2]"]);
    let twice = caller("acme", &[], &[Role::Verifier, Role::Verifier], 0);
    assert_eq!(fields(&rekey.admin().callers.create_caller(twice).await.unwrap_err()), ["roles[1]"]);
}

#[tokio::test]
async fn a_caller_of_higher_rank_is_neither_equipped_nor_disarmed() {
    let rekey = with_tenants().await;
    let mut admin = rekey.admin().callers;
    let mut equal = caller("acme", &["users:get"], &[], 50);
    "equal".clone_into(&mut equal.caller_id);
    let mut high = caller("acme", &["users:get"], &[], 51);
    "high".clone_into(&mut high.caller_id);
    let token = |caller_id: &str| CreateApiTokenRequest {
        tenant_id: "acme".to_owned(),
        caller_id: caller_id.to_owned(),
        ..CreateApiTokenRequest::default()
    };
    let key = |caller_id: &str| CreateSigningKeyRequest {
        tenant_id: "acme".to_owned(),
        caller_id: caller_id.to_owned(),
        api_key: format!("key-of-{caller_id}"),
        ..CreateSigningKeyRequest::default()
    };
    let mut ids = Vec::new();
    for request in [equal, high] {
        let caller_id = request.caller_id.clone();
        admin.create_caller(request).await.unwrap();
        ids.push(admin.create_api_token(token(&caller_id)).await.unwrap().into_inner().token_id);
    }
    let revoke = |caller_id: &str, token_id: &str| RevokeApiTokenRequest {
        tenant_id: "acme".to_owned(),
        caller_id: caller_id.to_owned(),
        token_id: token_id.to_owned(),
        ..RevokeApiTokenRequest::default()
    };
    let mut weak = make(&rekey, "acme", &["callers:*", "users:get"], &[], 50).await.callers;
    weak.create_api_token(token("equal")).await.unwrap();
    weak.create_signing_key(key("equal")).await.unwrap();
    weak.revoke_api_token(revoke("equal", &ids[0])).await.unwrap();
    let revoke_key = RevokeSigningKeyRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "high".to_owned(),
        api_key: "no-such-key".to_owned(),
        ..RevokeSigningKeyRequest::default()
    };
    for refused in [
        weak.create_api_token(token("high")).await.map(drop),
        weak.create_signing_key(key("high")).await.map(drop),
        weak.revoke_api_token(revoke("high", &ids[1])).await.map(drop),
        weak.revoke_signing_key(revoke_key).await.map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert_eq!(why(&refused), (Code::PermissionDenied, "RANK_TOO_LOW".to_owned()));
        assert_eq!(refused.get_details_error_info().unwrap().metadata["rank"], "50");
    }
}

/// A request about this user that changes nothing but what it must.
fn about(input: &prost_reflect::MessageDescriptor, user_id: &str) -> DynamicMessage {
    let mut message = DynamicMessage::new(input.clone());
    message.set_field_by_name("tenant_id", Value::String("acme".to_owned()));
    message.set_field_by_name("user_id", Value::String(user_id.to_owned()));
    for field in input.fields() {
        match field.name() {
            "new_password" => message.set_field(&field, Value::String(PASSWORD.to_owned())),
            "update_mask" => {
                let Kind::Message(mask) = field.kind() else { panic!("a mask is a message") };
                let mut mask = DynamicMessage::new(mask);
                mask.set_field_by_name("paths", Value::List(vec![Value::String("labels".to_owned())]));
                message.set_field(&field, Value::Message(mask));
            }
            "user" => {
                let Kind::Message(user) = field.kind() else { panic!("a user is a message") };
                message.set_field(&field, Value::Message(DynamicMessage::new(user)));
            }
            _ => {}
        }
    }
    message
}

#[tokio::test]
async fn every_change_of_a_user_needs_a_higher_rank_and_no_other_call_does() {
    let rekey = with_tenants().await;
    let service = DESCRIPTORS.get_service_by_name("rekey.v1.UserService").unwrap();
    let all: Vec<_> = Permission::all().map(Permission::as_str).collect();
    let mut tokens = Vec::new();
    for (tenant_id, roles, rank) in [
        ("acme", &[][..], 0),
        ("acme", &[], 100),
        ("acme", &[Role::Administrator], 0),
        ("system", &[Role::Administrator], 0),
    ] {
        let permissions: &[&str] = if roles.is_empty() { &all } else { &[] };
        let rank_of = if roles.is_empty() { rank } else { MAX_RANK };
        tokens.push((tenant_id, rank_of, rekey.make_caller_as(caller(tenant_id, permissions, roles, rank)).await));
    }
    let (mut asked, mut number) = (0, 0);
    for method in service.methods() {
        let path = format!("/{}/{}", service.full_name(), method.name());
        let Access::Holding(permission) = rules::of(&path).unwrap().access else { continue };
        // What is done to many passes over those who stand as high.
        if method.is_client_streaming() || method.is_server_streaming() || !permission.is_ranked() {
            continue;
        }
        for rank in [0, 99, 100, 999, 1_000] {
            for (tenant_id, own, token) in &tokens {
                number += 1;
                let user_id = format!("u{number}");
                rekey.admin().users.create_user(user(&user_id, rank)).await.unwrap();
                let message = about(&method.input(), &user_id).encode_to_vec();
                let answer = call(rekey.channel(), &path, &bearer(token), message).await;
                let told = answer.map_or_else(|status| why(&status), |_| (Code::Ok, String::new()));
                let high = rank == 0 || rank < *own || *tenant_id == "system";
                let denied = (Code::PermissionDenied, "RANK_TOO_LOW".to_owned());
                // Enabling who is not disabled and the like is refused for other reasons.
                let as_told = if high { told.0 != Code::PermissionDenied } else { told == denied };
                assert!(as_told, "{path} of rank {own} in {tenant_id} on {rank}: {told:?}");
                assert!(!high || matches!(told.0, Code::Ok | Code::FailedPrecondition), "{path}: {told:?}");
                let explained = explain(&rekey.clients(token), "", path.trim_start_matches('/'), "no-one").await;
                assert_eq!(reason(&explained.unwrap_err()), "USER_NOT_FOUND");
                asked += 1;
            }
        }
    }
    assert!(asked >= 20, "only {asked} calls");
    // To read and to check is no change.
    let mut weak = rekey.clients(&tokens[0].2).users;
    rekey.admin().users.create_user(user("high", 1_000)).await.unwrap();
    let get = rekey::proto::GetUserRequest { tenant_id: "acme".to_owned(), user_id: "high".to_owned() };
    assert_eq!(weak.get_user(get).await.unwrap().into_inner().user.unwrap().rank, 1_000);
    let verify = rekey::proto::VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(rekey::proto::verify_password_request::Subject::UserId("high".to_owned())),
        password: PASSWORD.to_owned(),
        ..Default::default()
    };
    assert!(!weak.verify_password(verify).await.unwrap().into_inner().verified);
}

#[tokio::test]
async fn ranks_of_users_are_given_from_above() {
    let rekey = with_tenants().await;
    let mut number = 0;
    for (rank, roles) in [(0, &[][..]), (100, &[]), (0, &[Role::Administrator][..])] {
        let mut users = make(&rekey, "acme", &["users:create"], roles, rank).await.users;
        let own = if roles.is_empty() { rank } else { MAX_RANK };
        for wanted in [0, 1, 99, 100, 101, 1_000] {
            number += 1;
            let answer = users.create_user(user(&format!("u{number}"), wanted)).await;
            let told = answer.err().map(|status| reason(&status)).unwrap_or_default();
            let may = wanted == 0 || wanted < own || own == MAX_RANK;
            assert_eq!(told, if may { "" } else { "RANK_TOO_LOW" }, "{own} gives {wanted}");
        }
    }
    let over = rekey.admin().users.create_user(user("over", 1_001)).await.unwrap_err();
    assert_eq!(fields(&over), ["rank"]);
}

#[tokio::test]
async fn other_systems_names_for_permissions_are_good_in_their_tenant() {
    let rekey = with_tenants().await;
    let alias =
        |name: &str, permission: &str| PermissionAlias { name: name.to_owned(), permission: permission.to_owned() };
    let reset = alias("mdm.integration.harmonyMobile.reset", "integrations:reset");
    let aliases = vec![reset.clone(), alias("people", "users:*"), alias("users:get", "users:get")];
    let tenant = Tenant { tenant_id: "mdm".to_owned(), permission_aliases: aliases.clone(), ..Tenant::default() };
    assert_eq!(rekey.make_tenant(tenant).await.permission_aliases, aliases);
    let get = GetTenantRequest { tenant_id: "mdm".to_owned() };
    let kept = rekey.admin().tenants.get_tenant(get).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(kept.permission_aliases, aliases);

    let mut admin = rekey.admin().callers;
    let made = admin.create_caller(caller("mdm", &[&reset.name, "users:get"], &[], 0)).await.unwrap().into_inner();
    assert_eq!(made.caller.unwrap().permissions, ["integrations:reset", "users:get"], "kept as what they stand for");
    let foreign = admin.create_caller(caller("acme", &["users:get", &reset.name], &[], 0)).await.unwrap_err();
    assert_eq!(fields(&foreign), ["permissions[1]"]);
    let same = admin.create_caller(caller("mdm", &["integrations:reset", &reset.name], &[], 0)).await.unwrap_err();
    assert_eq!(fields(&same), ["permissions[1]"]);
    // By an alias nobody gives more either.
    let mut weak = make(&rekey, "mdm", &["callers:create", "users:get"], &[], 0).await.callers;
    let refused = weak.create_caller(caller("mdm", &["people"], &[], 0)).await.unwrap_err();
    assert_eq!(why(&refused), (Code::PermissionDenied, "PERMISSION_MISSING".to_owned()));

    let create = |permission_aliases, grants: &[(&str, bool)]| {
        let grant = |(permission, own_only): &(&str, bool)| ScopeGrant {
            scope: "s".to_owned(),
            permission: (*permission).to_owned(),
            own_only: *own_only,
            ..ScopeGrant::default()
        };
        let jwt_issuers = vec![JwtIssuer {
            issuer: "i".to_owned(),
            public_key_pem: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEANmT1ikPv+tYz8VH2e2QO0vnpFu5Wt+ILqOIrkppyQ1A=\n-----END PUBLIC KEY-----\n".to_owned(),
            scope_grants: grants.iter().map(grant).collect(),
            ..JwtIssuer::default()
        }];
        CreateTenantRequest {
            tenant: Some(Tenant { permission_aliases, jwt_issuers, ..Tenant::default() }),
            ..Default::default()
        }
    };
    let mut tenants = rekey.admin().tenants;
    tenants.create_tenant(create(vec![reset.clone()], &[(&reset.name, false), ("users:get", true)])).await.unwrap();
    let bad = vec![
        reset.clone(),
        reset.clone(),
        alias("users:get", "users:delete"),
        alias("a b", "users:get"),
        alias("x", "y"),
    ];
    let refused = tenants.create_tenant(create(bad, &[])).await.unwrap_err();
    let told: Vec<_> = fields(&refused).iter().map(|field| field.replace("tenant.permission_aliases", "")).collect();
    assert_eq!(told, ["[1].name", "[2].name", "[3].name", "[4].permission"]);
    let many = (0..65).map(|number| alias(&format!("a{number}"), "users:get")).collect();
    assert_eq!(fields(&tenants.create_tenant(create(many, &[])).await.unwrap_err()), ["tenant.permission_aliases"]);
    // Held for oneself only can be what looks at whom it is about.
    let own = [(reset.name.as_str(), true), ("*", true), ("users:*", true), ("devices:get", true), ("nothing", false)];
    let refused = tenants.create_tenant(create(vec![reset.clone()], &own)).await.unwrap_err();
    let expected: Vec<_> =
        (0..5).map(|grant| format!("tenant.jwt_issuers[0].scope_grants[{grant}].permission")).collect();
    assert_eq!(fields(&refused), expected);
}

#[tokio::test]
async fn it_is_explained_who_may_what_to_those_who_may_know() {
    let rekey = with_tenants().await;
    rekey.admin().users.create_user(user("boss", 500)).await.unwrap();
    rekey.admin().users.create_user(user("clerk", 0)).await.unwrap();
    let mut desk = caller("acme", &[], &[Role::Helpdesk], 0);
    "desk".clone_into(&mut desk.caller_id);
    let desk = rekey.clients(&rekey.make_caller_as(desk).await);
    let passed = [("state", true), ("method", true), ("role", true), ("read_only", true), ("tenant", true)];

    let answer = explain(&desk, "", RESET, "").await.unwrap();
    assert_eq!(
        (answer.allowed, answer.permission.as_str(), steps(&answer)),
        (true, "users:resetPassword", passed.to_vec())
    );
    let answer = explain(&desk, "", RESET, "clerk").await.unwrap();
    assert_eq!((answer.allowed, steps(&answer)), (true, [&passed[..], &[("rank", true)]].concat()));
    let answer = explain(&desk, "", RESET, "boss").await.unwrap();
    assert_eq!((answer.allowed, steps(&answer)), (false, [&passed[..], &[("rank", false)]].concat()));
    assert!(!format!("{answer:?}").contains("500"), "how high somebody stands is not told");
    let answer = explain(&desk, "", "rekey.v1.UserService/DeleteUser", "boss").await.unwrap();
    assert_eq!(steps(&answer), [("state", true), ("method", true), ("permission", false)]);
    // Nobody learns here who there is: before a rule that refuses no user is looked for, and checks have no rank.
    for (method, user_id) in [
        ("rekey.v1.UserService/DeleteUser", "clerk"),
        ("rekey.v1.UserService/DeleteUser", "nobody"),
        ("rekey.v1.UserService/VerifyPassword", "nobody"),
    ] {
        let answer = explain(&desk, "", method, user_id).await.unwrap();
        assert_eq!(steps(&answer).last(), Some(&("permission", false)), "{method}");
    }
    let verifier = make(&rekey, "acme", &["users:verify"], &[], 0).await;
    let [there, absent] = ["clerk", "nobody"];
    let method = "rekey.v1.UserService/VerifyPassword";
    assert_eq!(
        explain(&verifier, "", method, there).await.unwrap(),
        explain(&verifier, "", method, absent).await.unwrap()
    );
    let answer = explain(&desk, "", "rekey.v1.UserService/Fly", "").await.unwrap();
    assert_eq!((answer.allowed, steps(&answer)), (false, vec![("state", true), ("method", false)]));
    let answer = explain(&desk, "", "rekey.v1.CallerService/WhoAmI", "").await.unwrap();
    assert_eq!((answer.allowed, answer.permission.as_str()), (true, ""));

    // About others.
    assert_eq!(reason(&explain(&desk, "desk", RESET, "").await.unwrap_err()), "PERMISSION_MISSING");
    let reader = make(&rekey, "acme", &["callers:get"], &[], 0).await;
    let answer = explain(&reader, "desk", RESET, "").await.unwrap();
    let others: Vec<_> = passed.into_iter().filter(|(rule, _)| *rule != "read_only").collect();
    assert_eq!((answer.allowed, steps(&answer)), (true, others.clone()));
    assert_eq!(reason(&explain(&reader, "desk", RESET, "boss").await.unwrap_err()), "PERMISSION_MISSING");
    let auditor = make(&rekey, "acme", &[], &[Role::Auditor], 0).await;
    let answer = explain(&auditor, "desk", RESET, "boss").await.unwrap();
    assert_eq!((answer.allowed, steps(&answer)), (false, [&others[..], &[("rank", false)]].concat()));
    assert_eq!(reason(&explain(&auditor, "nobody", RESET, "").await.unwrap_err()), "CALLER_NOT_FOUND");
    assert_eq!(reason(&explain(&auditor, "desk", RESET, "nobody").await.unwrap_err()), "USER_NOT_FOUND");
    // Another tenant is not there.
    let foreign = make(&rekey, "other", &["*"], &[], 0).await;
    for caller_id in ["", "desk"] {
        assert_eq!(reason(&explain(&foreign, caller_id, RESET, "boss").await.unwrap_err()), "TENANT_NOT_FOUND");
    }
    for method in ["", "Fly", "a b/c", "rekey.v1.UserService/Get/User", &format!("a/{}", "b".repeat(300))] {
        assert_eq!(fields(&explain(&desk, "", method, "").await.unwrap_err()), ["method"], "{method}");
    }
}

#[tokio::test]
async fn a_caller_s_credentials_are_listed_without_what_is_secret() {
    let rekey = with_tenants().await;
    let mut admin = rekey.admin().callers;
    let mut ops = caller("acme", &[], &[], 0);
    "ops".clone_into(&mut ops.caller_id);
    admin.create_caller(ops).await.unwrap();
    let (tenant_id, caller_id) = ("acme".to_owned(), "ops".to_owned());
    let token = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
    let token = admin.create_api_token(token).await.unwrap().into_inner();
    let (tenant_id, caller_id) = ("acme".to_owned(), "ops".to_owned());
    let expire_time = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let api_key = "a-key-of-ops".to_owned();
    let key =
        CreateSigningKeyRequest { tenant_id, caller_id, api_key, expire_time, read_only: true, ..Default::default() };
    let key = admin.create_signing_key(key).await.unwrap().into_inner();

    let list = async |show_revoked| {
        let (tenant_id, caller_id) = ("acme".to_owned(), "ops".to_owned());
        let request = ListCredentialsRequest { tenant_id, caller_id, show_revoked };
        let answer = rekey.admin().callers.list_credentials(request).await.unwrap().into_inner();
        let text = String::from_utf8_lossy(&answer.encode_to_vec()).into_owned();
        assert!(!text.contains(&token.token) && !text.contains(&key.shared_key));
        answer.credentials
    };
    let both = list(false).await;
    let ids: Vec<_> = both.iter().map(|one| (one.kind(), one.credential_id.as_str())).collect();
    let expected = [(CredentialKind::SignedDate, "a-key-of-ops"), (CredentialKind::ApiToken, token.token_id.as_str())];
    assert_eq!(ids, expected, "the newest first");
    assert_eq!((both[0].read_only, both[0].expire_time, both[0].revoked), (true, expire_time, false));
    assert_eq!((both[1].read_only, both[1].expire_time, both[1].create_time.is_some()), (false, None, true));

    let (tenant_id, caller_id) = ("acme".to_owned(), "ops".to_owned());
    let token_id = token.token_id.clone();
    let revoke = RevokeApiTokenRequest { tenant_id, caller_id, token_id, ..Default::default() };
    admin.revoke_api_token(revoke).await.unwrap();
    assert_eq!(list(false).await, both[..1]);
    let all = list(true).await;
    assert_eq!(all.iter().map(|one| one.revoked).collect::<Vec<_>>(), [false, true]);

    let request = |tenant_id: &str, caller_id: &str| ListCredentialsRequest {
        tenant_id: tenant_id.to_owned(),
        caller_id: caller_id.to_owned(),
        show_revoked: false,
    };
    let mut foreign = make(&rekey, "other", &["*"], &[], 0).await.callers;
    let hidden = foreign.list_credentials(request("acme", "ops")).await.unwrap_err();
    assert_eq!(reason(&hidden), "TENANT_NOT_FOUND");
    let nobody = admin.list_credentials(request("acme", "nobody")).await.unwrap_err();
    assert_eq!(reason(&nobody), "CALLER_NOT_FOUND");
}
