//! Acts and their records.

use std::{collections::BTreeMap, fs};

use rekey::proto::{
    ChangePasswordRequest, CreateCallerRequest, CreateSigningKeyRequest, CreateTenantRequest, CreateUserRequest,
    ExplainPermissionRequest, ListAuditRecordsRequest, ResetPasswordRequest, RevokeApiTokenRequest,
    RevokeSigningKeyRequest, Tenant, VerifyAuthenticationRequest, change_password_request,
    verify_authentication_request,
};
use tonic::{Code, Response, Status};

use super::{
    database::Raw,
    world::{
        DEVICE_PASSWORD, INTEGRATION_PASSWORD, TENANT, USER_PASSWORD, create_caller, create_device, create_integration,
        create_token, create_user, credentials, named, populate, reset_device, reset_integration, reset_password,
        reveal_device, reveal_integration, revealed, update_integration, user, verifies, verify_password,
    },
};
use crate::common::rekey::Rekey;

const NEW_PASSWORD: &str = "a wholly new phrase of some length";

fn change_password(current: &str, new: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(change_password_request::Subject::UserId("ada".to_owned())),
        current_password: current.to_owned(),
        new_password: new.to_owned(),
        ..Default::default()
    }
}

fn signing_key(api_key: &str) -> CreateSigningKeyRequest {
    CreateSigningKeyRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "ops".to_owned(),
        api_key: api_key.to_owned(),
        ..CreateSigningKeyRequest::default()
    }
}

fn revoke_token(token_id: &str) -> RevokeApiTokenRequest {
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    RevokeApiTokenRequest { tenant_id, caller_id, token_id: token_id.to_owned(), ..Default::default() }
}

fn revoke_key(api_key: &str) -> RevokeSigningKeyRequest {
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    RevokeSigningKeyRequest { tenant_id, caller_id, api_key: api_key.to_owned(), ..Default::default() }
}

fn tenant(tenant_id: &str) -> CreateTenantRequest {
    CreateTenantRequest {
        tenant: Some(Tenant { tenant_id: tenant_id.to_owned(), ..Tenant::default() }),
        ..Default::default()
    }
}

fn verify_device(password: &str) -> VerifyAuthenticationRequest {
    VerifyAuthenticationRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("d1".to_owned())),
        password: password.to_owned(),
    }
}

pub(super) async fn without_its_record_nothing_is_changed_or_shown(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let mut callers = clients.callers.clone();
    let token = callers.create_api_token(create_token("ops")).await.unwrap().into_inner();
    callers.create_signing_key(signing_key("signing-key-1")).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    let before = (raw.state().await, user(&clients, "ada").await, revealed(&clients, "d1").await);

    raw.forbid_records().await;
    let mut refused = Vec::new();
    let mut fails = |what: &'static str, outcome: Result<(), Status>| {
        let status = outcome.expect_err(what);
        assert_eq!(status.code(), Code::Internal, "{what}: {status:?}");
        assert!(!format!("{status:?}").contains("forbidden"), "{what} tells of the database: {status:?}");
        refused.push(what);
    };
    for _ in 0..3 {
        let mut c = clients.clone();
        let revealing = rekey::proto::ResetAuthenticationRequest {
            user_name: Some("renamed".to_owned()),
            secret_source: None,
            return_current_password: true,
            ..reset_device("d1")
        };
        let update = rekey::proto::UpdateIntegrationRequest { return_credentials: true, ..update_integration("x") };
        fails("CreateTenant", c.tenants.create_tenant(tenant("other")).await.map(drop));
        fails("CreateUser", c.users.create_user(create_user("eve", Some(NEW_PASSWORD))).await.map(drop));
        fails("ResetPassword", c.users.reset_password(reset_password("ada", NEW_PASSWORD)).await.map(drop));
        let change = change_password(USER_PASSWORD, NEW_PASSWORD);
        fails("ChangePassword", c.users.change_password(change).await.map(drop));
        fails("CreateDevice", c.devices.create_device(create_device("d2")).await.map(drop));
        fails("ResetAuthentication", c.devices.reset_authentication(reset_device("d1")).await.map(drop));
        fails("ResetAuthentication, shown", c.devices.reset_authentication(revealing).await.map(drop));
        fails("RevealAuthentication", c.devices.reveal_authentication(reveal_device("d1")).await.map(drop));
        fails("CreateIntegration", c.integrations.create_integration(create_integration("i2")).await.map(drop));
        fails("UpdateIntegration", c.integrations.update_integration(update_integration("x")).await.map(drop));
        fails("UpdateIntegration, shown", c.integrations.update_integration(update).await.map(drop));
        fails("ResetIntegration", c.integrations.reset_integration(reset_integration()).await.map(drop));
        fails("RevealIntegration", c.integrations.reveal_integration(reveal_integration()).await.map(drop));
        fails("CreateCaller", c.callers.create_caller(create_caller("new")).await.map(drop));
        fails("CreateApiToken", c.callers.create_api_token(create_token("ops")).await.map(drop));
        fails("CreateSigningKey", c.callers.create_signing_key(signing_key("signing-key-2")).await.map(drop));
        fails("RevokeApiToken", c.callers.revoke_api_token(revoke_token(&token.token_id)).await.map(drop));
        fails("RevokeSigningKey", c.callers.revoke_signing_key(revoke_key("signing-key-1")).await.map(drop));
    }
    assert_eq!(refused.len(), 3 * 18);
    assert_eq!(raw.state().await, before.0);
    assert!(verifies(&clients, "ada", USER_PASSWORD).await, "checks go on");

    raw.allow_records().await;
    assert_eq!((user(&clients, "ada").await, revealed(&clients, "d1").await), (before.1, before.2));
    clients.clone().users.change_password(change_password(USER_PASSWORD, NEW_PASSWORD)).await.unwrap();
    callers.revoke_api_token(revoke_token(&token.token_id)).await.unwrap();
    assert!(verifies(&clients, "ada", NEW_PASSWORD).await);
}

/// What a record is expected to say: actor, action, target, outcome, reason.
type Said = (String, String, String, String, String);

/// What was done under which id, and every secret that was seen on the way.
#[derive(Default)]
struct Ledger {
    expected: BTreeMap<String, Said>,
    secrets: Vec<String>,
}

impl Ledger {
    /// The next request's id; what its record must say.
    fn under<T>(&mut self, action: &str, target: &str, end: &str, message: T) -> tonic::Request<T> {
        self.by("system/admin", action, target, end, message)
    }

    fn by<T>(&mut self, actor: &str, action: &str, target: &str, end: &str, message: T) -> tonic::Request<T> {
        let id = format!("ledger-{}", self.expected.len());
        let (outcome, reason) = end.split_once(' ').unwrap_or((end, ""));
        let said = [actor, action, target, outcome, reason].map(str::to_owned);
        self.expected.insert(id.clone(), said.into());
        named(&id, message)
    }
}

fn ok<T>(outcome: Result<Response<T>, Status>) -> T {
    outcome.unwrap().into_inner()
}

/// What acts on users.
async fn use_users(rekey: &Rekey, ledger: &mut Ledger) {
    let mut users = rekey.admin().users;
    let [create, reset, change, verify] =
        ["CreateUser", "ResetPassword", "ChangePassword", "VerifyPassword"].map(|name| format!("UserService/{name}"));
    let (given, etag) = (reset_password("ada", NEW_PASSWORD), "stale".to_owned());

    ok(users.create_user(ledger.under(&create, "user:bob", "succeeded", create_user("bob", None))).await);
    let again = ledger.under(&create, "user:bob", "failed ALREADY_EXISTS", create_user("bob", None));
    users.create_user(again).await.unwrap_err();
    ok(users.reset_password(ledger.under(&reset, "user:ada", "succeeded", given.clone())).await);
    let weak = reset_password("ada", "canary-weak");
    let weak = ledger.under(&reset, "user:ada", "failed POLICY_VIOLATED", weak);
    users.reset_password(weak).await.unwrap_err();
    let stale = ResetPasswordRequest { etag, ..given };
    users.reset_password(ledger.under(&reset, "user:ada", "failed ETAG_MISMATCH", stale)).await.unwrap_err();
    let nobody = reset_password("nobody", NEW_PASSWORD);
    users.reset_password(ledger.under(&reset, "user:nobody", "failed USER_NOT_FOUND", nobody)).await.unwrap_err();
    let wrong = change_password("canary-wrong-password", NEW_PASSWORD);
    let wrong = ledger.under(&change, "user:ada", "failed CURRENT_PASSWORD_MISMATCH", wrong);
    users.change_password(wrong).await.unwrap_err();
    let right = change_password(NEW_PASSWORD, USER_PASSWORD);
    ok(users.change_password(ledger.under(&change, "user:ada", "succeeded", right)).await);
    for (name, password, end) in [
        ("ada@acme.example", USER_PASSWORD, "succeeded"),
        ("ada@acme.example", "canary-wrong-password", "failed"),
        ("eve@acme.example", "canary-wrong-password", "failed"),
    ] {
        let request = ledger.under(&verify, &format!("user:{name}"), end, verify_password(name, password));
        assert_eq!(ok(users.verify_password(request).await).verified, end == "succeeded");
    }
    ledger.secrets.extend([NEW_PASSWORD, USER_PASSWORD, "canary-weak", "canary-wrong-password"].map(str::to_owned));

    // Who may not, and who may not here.
    let token = rekey.make_caller(TENANT, &["users:get", "users:verify"]).await;
    let actor = format!("{TENANT}/");
    let limited = ledger.by(&actor, &reset, "", "denied PERMISSION_MISSING", reset_password("ada", NEW_PASSWORD));
    let mut users = rekey.clients(&token).users;
    assert_eq!(users.reset_password(limited).await.unwrap_err().code(), Code::PermissionDenied);
    let token = rekey.make_caller(TENANT, &["users:resetPassword"]).await;
    let mut elsewhere = reset_password("ada", NEW_PASSWORD);
    "system".clone_into(&mut elsewhere.tenant_id);
    let elsewhere = ledger.by(&actor, &reset, "user:ada", "failed TENANT_NOT_FOUND", elsewhere);
    let mut users = rekey.clients(&token).users;
    assert_eq!(users.reset_password(elsewhere).await.unwrap_err().code(), Code::NotFound);

    // Who does not stand high enough, and who asks after others.
    let high = CreateUserRequest { rank: 7, ..create_user("high", None) };
    ok(rekey.admin().users.create_user(ledger.under(&create, "user:high", "succeeded", high)).await);
    let low = ledger.by(&actor, &reset, "user:high", "denied RANK_TOO_LOW", reset_password("high", NEW_PASSWORD));
    assert_eq!(users.reset_password(low).await.unwrap_err().code(), Code::PermissionDenied);
    let explain = ExplainPermissionRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "ops".to_owned(),
        method: "rekey.v1.UserService/GetUser".to_owned(),
        user_id: String::new(),
    };
    let action = "CallerService/ExplainPermission";
    let explain = ledger.by(&actor, action, "caller:ops", "denied PERMISSION_MISSING", explain);
    let mut callers = rekey.clients(&token).callers;
    assert_eq!(callers.explain_permission(explain).await.unwrap_err().code(), Code::PermissionDenied);
    let give = CreateCallerRequest { permissions: vec!["*".to_owned()], ..create_caller("strong") };
    let maker = rekey.make_caller(TENANT, &["callers:create", "audit:list"]).await;
    let action = "CallerService/CreateCaller";
    let give = ledger.by(&actor, action, "caller:strong", "denied PERMISSION_MISSING", give);
    assert_eq!(rekey.clients(&maker).callers.create_caller(give).await.unwrap_err().code(), Code::PermissionDenied);
    // Reading the record leaves none.
    let list = ListAuditRecordsRequest { tenant_id: TENANT.to_owned(), ..ListAuditRecordsRequest::default() };
    ok(rekey.clients(&maker).audit.list_audit_records(named("ledger-list", list)).await);
}

/// What acts on devices and integrations.
async fn use_things(rekey: &Rekey, ledger: &mut Ledger) {
    let mut devices = rekey.admin().devices;
    let of = |name: &str| format!("DeviceService/{name}");
    let create = ledger.under(&of("CreateDevice"), "device:d2", "succeeded", create_device("d2"));
    ok(devices.create_device(create).await);
    let reset = ledger.under(&of("ResetAuthentication"), "device:d1", "succeeded", reset_device("d1"));
    let password = ok(devices.reset_authentication(reset).await).authentication.unwrap().password;
    let action = of("RevealAuthentication");
    ok(devices.reveal_authentication(ledger.under(&action, "device:d1", "succeeded", reveal_device("d1"))).await);
    let nobody = ledger.under(&action, "device:d9", "failed DEVICE_NOT_FOUND", reveal_device("d9"));
    devices.reveal_authentication(nobody).await.unwrap_err();
    for (password, end) in [(&*password, "succeeded"), (DEVICE_PASSWORD, "failed")] {
        let request = ledger.under(&of("VerifyAuthentication"), "device:d1", end, verify_device(password));
        assert_eq!(ok(devices.verify_authentication(request).await).verified, end == "succeeded");
    }
    ledger.secrets.extend([password, DEVICE_PASSWORD.to_owned()]);

    let mut integrations = rekey.admin().integrations;
    let of = |name: &str| format!("IntegrationService/{name}");
    let create = ledger.under(&of("CreateIntegration"), "integration:i2", "succeeded", create_integration("i2"));
    ok(integrations.create_integration(create).await);
    let update = update_integration("canary-setting");
    let update = ledger.under(&of("UpdateIntegration"), "integration:i1", "succeeded", update);
    ok(integrations.update_integration(update).await);
    let reveal = ledger.under(&of("RevealIntegration"), "integration:i1", "succeeded", reveal_integration());
    ok(integrations.reveal_integration(reveal).await);
    let reset = ledger.under(&of("ResetIntegration"), "integration:i1", "succeeded", reset_integration());
    let made = ok(integrations.reset_integration(reset).await).credentials.unwrap().password;
    ledger.secrets.extend([made, INTEGRATION_PASSWORD.to_owned(), "canary-setting".to_owned()]);
}

/// What acts on tenants and callers.
async fn use_callers(rekey: &Rekey, ledger: &mut Ledger) {
    let made = ledger.under("TenantService/CreateTenant", "tenant:other", "succeeded", tenant("other"));
    ok(rekey.admin().tenants.create_tenant(made).await);
    let mut callers = rekey.admin().callers;
    let of = |name: &str| format!("CallerService/{name}");
    let create = ledger.under(&of("CreateCaller"), "caller:c2", "succeeded", create_caller("c2"));
    ok(callers.create_caller(create).await);
    let token = ledger.under(&of("CreateApiToken"), "caller:ops", "succeeded", create_token("ops"));
    let token = ok(callers.create_api_token(token).await);
    let key = ledger.under(&of("CreateSigningKey"), "caller:ops", "succeeded", signing_key("signing-key-1"));
    let key = ok(callers.create_signing_key(key).await);
    let revoke = revoke_token(&token.token_id);
    ok(callers.revoke_api_token(ledger.under(&of("RevokeApiToken"), "caller:ops", "succeeded", revoke)).await);
    let revoke = ledger.under(&of("RevokeSigningKey"), "caller:ops", "succeeded", revoke_key("signing-key-1"));
    ok(callers.revoke_signing_key(revoke).await);
    ledger.secrets.extend([token.token, key.shared_key, rekey.admin_token.clone()]);
}

pub(super) async fn every_act_leaves_one_record_and_no_secret(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let mut ledger = Ledger::default();
    use_users(&rekey, &mut ledger).await;
    use_things(&rekey, &mut ledger).await;
    use_callers(&rekey, &mut ledger).await;
    // Reading leaves none.
    clients.clone().users.get_user(named("ledger-read", super::world::get_user("ada"))).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    let stopped = rekey.pause().await;

    let mut found = BTreeMap::new();
    let rows = "SELECT request_id, actor, action, coalesce(target_kind || ':' || target_id, ''), outcome,
                       coalesce(reason, '') FROM audit WHERE request_id LIKE 'ledger-%'";
    for row in raw.rows(rows).await {
        let [id, actor, action, target, outcome, reason] =
            [0, 1, 2, 3, 4, 5].map(|column| row.try_get_by_index::<String>(column).unwrap());
        let before = found.insert(id.clone(), (actor, action, target, outcome, reason));
        assert!(before.is_none(), "two records of {id}");
    }
    assert_eq!(found.keys().collect::<Vec<_>>(), ledger.expected.keys().collect::<Vec<_>>());
    for (id, (actor, action, target, outcome, reason)) in ledger.expected {
        let found = &found[&id];
        assert!(found.0.starts_with(&actor), "{id}: {found:?}");
        assert_eq!((&found.1, &found.2, &found.3, &found.4), (&action, &target, &outcome, &reason), "{id}");
    }

    let text = "SELECT uid || tenant_uid || actor || action || coalesce(target_id, '') || coalesce(reason, '')
                       || request_id || detail FROM audit";
    let text = raw.texts(text).await.join("\n");
    for secret in &ledger.secrets {
        assert!(secret.len() > 8 && !text.contains(secret.as_str()), "a record holds a secret");
    }
    if raw.is_sqlite() {
        // Nor does the file, in whatever table or journal.
        for entry in fs::read_dir(stopped.directory.path()).unwrap() {
            let bytes = fs::read(entry.unwrap().path()).unwrap();
            for secret in &ledger.secrets {
                let holds = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!holds, "a file holds a secret in clear");
            }
        }
    }
    let rekey = stopped.start().await;
    assert!(!credentials(&rekey.admin()).await.password.is_empty());
}
