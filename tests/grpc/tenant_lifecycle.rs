//! Tenants changed, put out of use, and deleted with everything in them.

use rekey::proto::{
    CreateCallerRequest, CreateUserRequest, DeleteTenantRequest, DisableTenantRequest, EnableTenantRequest,
    GetTenantRequest, GetUserRequest, JwtIssuer, ListUsersRequest, ResetPasswordRequest, ScopeGrant, SubjectState,
    Tenant, TenantAlias, UpdateTenantRequest, VerifyPasswordRequest, WhoAmIRequest, reset_password_request,
    verify_password_request,
};
use tonic::{Code, Status};

use super::dynamic::{PASSWORD, PUBLIC_KEY, furnish};
use crate::common::rekey::{Rekey, fields, reason};

fn disable(tenant_id: &str) -> DisableTenantRequest {
    DisableTenantRequest { tenant_id: tenant_id.to_owned(), ..DisableTenantRequest::default() }
}

fn enable(tenant_id: &str) -> EnableTenantRequest {
    EnableTenantRequest { tenant_id: tenant_id.to_owned(), ..EnableTenantRequest::default() }
}

fn delete(tenant_id: &str, force: bool) -> DeleteTenantRequest {
    DeleteTenantRequest { tenant_id: tenant_id.to_owned(), force, ..DeleteTenantRequest::default() }
}

fn update(tenant: Tenant, paths: &[&str]) -> UpdateTenantRequest {
    UpdateTenantRequest {
        tenant_id: "acme".to_owned(),
        tenant: Some(tenant),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..UpdateTenantRequest::default()
    }
}

fn told(status: &Status) -> (Code, String) {
    (status.code(), reason(status))
}

#[tokio::test]
async fn a_disabled_tenant_lets_nobody_in_and_verifies_nothing_but_can_be_read() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let mut own = rekey.clients(&rekey.make_caller("acme", &["*"]).await);
    let mut admin = rekey.admin();
    let off = admin.tenants.disable_tenant(disable("acme")).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(off.state(), SubjectState::Disabled);
    let again = admin.tenants.disable_tenant(disable("acme")).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(again, off, "nothing changes");

    let refused = own.callers.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unauthenticated, "CREDENTIAL_INVALID".to_owned()));
    let verify = VerifyPasswordRequest {
        tenant_id: "acme".to_owned(),
        subject: Some(verify_password_request::Subject::UserId("ada".to_owned())),
        password: PASSWORD.to_owned(),
        source: String::new(),
    };
    let reset = ResetPasswordRequest {
        tenant_id: "acme".to_owned(),
        user_id: "ada".to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned())),
        ..ResetPasswordRequest::default()
    };
    let create = CreateUserRequest { tenant_id: "acme".to_owned(), username: "x".to_owned(), ..Default::default() };
    for status in [
        admin.users.verify_password(verify.clone()).await.map(drop).unwrap_err(),
        admin.users.reset_password(reset).await.map(drop).unwrap_err(),
        admin.users.create_user(create).await.map(drop).unwrap_err(),
        admin.tenants.update_tenant(update(Tenant::default(), &["labels"])).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(told(&status), (Code::FailedPrecondition, "TENANT_DISABLED".to_owned()));
    }
    let get = GetUserRequest { tenant_id: "acme".to_owned(), user_id: "ada".to_owned() };
    admin.users.get_user(get).await.unwrap();
    let list = ListUsersRequest { tenant_id: "acme".to_owned(), ..ListUsersRequest::default() };
    assert_eq!(admin.users.list_users(list).await.unwrap().into_inner().users.len(), 1);
    let get = GetTenantRequest { tenant_id: "acme".to_owned() };
    assert_eq!(admin.tenants.get_tenant(get).await.unwrap().into_inner().tenant.unwrap(), off);

    let stale = EnableTenantRequest { etag: "stale".to_owned(), ..enable("acme") };
    assert_eq!(reason(&admin.tenants.enable_tenant(stale).await.unwrap_err()), "ETAG_MISMATCH");
    admin.tenants.enable_tenant(EnableTenantRequest { etag: off.etag, ..enable("acme") }).await.unwrap();
    own.callers.who_am_i(WhoAmIRequest {}).await.unwrap();
    assert!(admin.users.verify_password(verify).await.unwrap().into_inner().verified);
}

#[tokio::test]
async fn a_tenant_is_deleted_empty_or_by_force_and_made_anew_as_another() {
    for rekey in [Some(Rekey::start().await), Rekey::start_on_postgres().await].into_iter().flatten() {
        furnish(&rekey, "acme").await;
        furnish(&rekey, "other").await;
        let own = rekey.make_caller("acme", &["*"]).await;
        let mut admin = rekey.admin().tenants;
        let full = admin.delete_tenant(delete("acme", false)).await.unwrap_err();
        assert_eq!(told(&full), (Code::FailedPrecondition, "TENANT_NOT_EMPTY".to_owned()));
        let get = || GetTenantRequest { tenant_id: "acme".to_owned() };
        let before = admin.get_tenant(get()).await.unwrap().into_inner().tenant.unwrap();
        let stale = DeleteTenantRequest { etag: "stale".to_owned(), ..delete("acme", true) };
        assert_eq!(reason(&admin.delete_tenant(stale).await.unwrap_err()), "ETAG_MISMATCH");
        admin.delete_tenant(DeleteTenantRequest { etag: before.etag.clone(), ..delete("acme", true) }).await.unwrap();
        assert_eq!(reason(&admin.get_tenant(get()).await.unwrap_err()), "TENANT_NOT_FOUND");
        let gone = rekey.clients(&own).callers.who_am_i(WhoAmIRequest {}).await.unwrap_err();
        assert_eq!(reason(&gone), "CREDENTIAL_INVALID");
        assert_eq!(reason(&admin.delete_tenant(delete("acme", true)).await.unwrap_err()), "TENANT_NOT_FOUND");
        let missing = DeleteTenantRequest { allow_missing: true, ..delete("acme", true) };
        admin.delete_tenant(missing).await.unwrap();

        // Under the same name with everything in it: no key, alias or API key was left behind.
        furnish(&rekey, "acme").await;
        let after = admin.get_tenant(get()).await.unwrap().into_inner().tenant.unwrap();
        assert_ne!(after.etag, before.etag);
        let stale = DisableTenantRequest { etag: before.etag, ..disable("acme") };
        assert_eq!(reason(&admin.disable_tenant(stale).await.unwrap_err()), "ETAG_MISMATCH");
        let get = GetUserRequest { tenant_id: "other".to_owned(), user_id: "ada".to_owned() };
        rekey.admin().users.get_user(get).await.unwrap();

        rekey.make_tenant(Tenant { tenant_id: "empty".to_owned(), ..Tenant::default() }).await;
        admin.delete_tenant(delete("empty", false)).await.unwrap();
    }
}

#[tokio::test]
async fn the_tenant_of_the_platform_stays_and_only_its_callers_put_others_out_of_use() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let mut admin = rekey.admin().tenants;
    for tenant in ["system", "-"] {
        for status in [
            admin.disable_tenant(disable(tenant)).await.map(drop).unwrap_err(),
            admin.delete_tenant(delete(tenant, true)).await.map(drop).unwrap_err(),
        ] {
            assert_eq!(told(&status), (Code::FailedPrecondition, "INDISPENSABLE".to_owned()), "{tenant}");
        }
    }
    let mut own = rekey.clients(&rekey.make_caller("acme", &["*"]).await).tenants;
    for status in [
        own.disable_tenant(disable("-")).await.map(drop).unwrap_err(),
        own.enable_tenant(enable("acme")).await.map(drop).unwrap_err(),
        own.delete_tenant(delete("acme", true)).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(told(&status), (Code::PermissionDenied, "PERMISSION_MISSING".to_owned()));
    }
    for tenant in ["system", "nowhere"] {
        let status = own.delete_tenant(DeleteTenantRequest { allow_missing: false, ..delete(tenant, true) }).await;
        assert_eq!(told(&status.unwrap_err()), (Code::NotFound, "TENANT_NOT_FOUND".to_owned()), "{tenant}");
    }
}

#[tokio::test]
async fn a_tenant_changes_by_mask_with_its_names() {
    let rekey = Rekey::start().await;
    furnish(&rekey, "acme").await;
    let mut admin = rekey.admin().tenants;
    let alias = |alias: &str| TenantAlias { dialect: "roma".to_owned(), alias: alias.to_owned() };
    let issuer = |permission: &str| JwtIssuer {
        issuer: "https://issuer.example".to_owned(),
        public_key_pem: PUBLIC_KEY.to_owned(),
        scope_grants: vec![ScopeGrant {
            scope: "s".to_owned(),
            permission: permission.to_owned(),
            ..ScopeGrant::default()
        }],
        ..JwtIssuer::default()
    };
    let tenant = Tenant {
        display_name: "Acme".to_owned(),
        aliases: vec![alias("p/one"), alias("p/two")],
        jwt_issuers: vec![issuer("*")],
        ..Tenant::default()
    };
    let paths = ["display_name", "aliases", "jwt_issuers"];
    let changed = admin.update_tenant(update(tenant.clone(), &paths)).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!((changed.display_name.as_str(), &changed.aliases), ("Acme", &tenant.aliases));
    assert!(changed.change_password_allowed, "what is not named stays");
    let again = admin.update_tenant(update(tenant, &paths)).await.unwrap().into_inner().tenant.unwrap();
    assert_eq!(again, changed);
    let get = |name: &str| GetTenantRequest { tenant_id: name.to_owned() };
    assert_eq!(admin.get_tenant(get("roma:p/two")).await.unwrap().into_inner().tenant.unwrap(), changed);
    let fewer = Tenant { aliases: vec![alias("p/one")], ..Tenant::default() };
    admin.update_tenant(update(fewer, &["aliases"])).await.unwrap();
    assert_eq!(admin.get_tenant(get("roma:p/two")).await.unwrap_err().code(), Code::NotFound);

    rekey.make_tenant(Tenant { tenant_id: "b".to_owned(), aliases: vec![alias("p/b")], ..Tenant::default() }).await;
    let others = Tenant { aliases: vec![alias("p/b")], ..Tenant::default() };
    let status = admin.update_tenant(update(others, &["aliases"])).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::AlreadyExists, "tenant.aliases is taken"));
    admin.get_tenant(get("roma:p/one")).await.unwrap();
    let stale = UpdateTenantRequest { etag: changed.etag, ..update(Tenant::default(), &["labels"]) };
    assert_eq!(reason(&admin.update_tenant(stale).await.unwrap_err()), "ETAG_MISMATCH");
    let wrong = Tenant { display_name: "x".repeat(10_000), aliases: vec![alias("a b")], ..Tenant::default() };
    let status = admin.update_tenant(update(wrong, &["display_name", "aliases"])).await.unwrap_err();
    assert_eq!(fields(&status), ["tenant.display_name", "tenant.aliases[0].alias"]);

    // Through the scopes of a token nobody gives what they do not hold; what was given before stays given.
    let token = rekey.make_caller("acme", &["tenants:update", "users:get"]).await;
    // Whose keys are trusted says who may be anybody: that takes the highest rank besides.
    let tenant = Tenant { jwt_issuers: vec![issuer("users:get")], ..Tenant::default() };
    let status = rekey.clients(&token).tenants.update_tenant(update(tenant, &["jwt_issuers"])).await.unwrap_err();
    assert_eq!(reason(&status), "RANK_TOO_LOW");
    let high = CreateCallerRequest {
        tenant_id: "acme".to_owned(),
        permissions: ["tenants:update", "users:get"].map(str::to_owned).into(),
        rank: 1_000,
        ..CreateCallerRequest::default()
    };
    let token = rekey.make_caller_as(high).await;
    let mut own = rekey.clients(&token).tenants;
    for (permission, good) in [("*", true), ("users:get", true), ("users:resetPassword", false), ("*", false)] {
        let tenant = Tenant { jwt_issuers: vec![issuer(permission)], ..Tenant::default() };
        let outcome = own.update_tenant(update(tenant, &["jwt_issuers"])).await.map_err(|status| reason(&status));
        assert_eq!(outcome.map(drop), if good { Ok(()) } else { Err("PERMISSION_MISSING".to_owned()) }, "{permission}");
    }
}
