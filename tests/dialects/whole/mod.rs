//! The dialects before a real service: what callers of the four systems see.

mod applivery;
mod licensespring;
mod ocariot;
mod roma;
mod signing_in;

use rekey::proto::{
    CreateApiTokenRequest, CreateCallerRequest, CreateUserRequest, PolicyPreset, SecretPolicy, SubjectState, Tenant,
    TenantAlias, VerifyPasswordRequest, create_user_request, verify_password_request,
};

use crate::{
    common::rekey::{Rekey, START},
    wire::Reply,
};

fn tenant(id: &str, dialect: &str, alias: &str) -> Tenant {
    let aliases = vec![TenantAlias { dialect: dialect.to_owned(), alias: alias.to_owned() }];
    Tenant { tenant_id: id.to_owned(), aliases, change_password_allowed: true, ..Tenant::default() }
}

fn policy(preset: PolicyPreset) -> SecretPolicy {
    SecretPolicy { preset: preset.into(), ..SecretPolicy::default() }
}

async fn make_user(rekey: &Rekey, tenant_id: &str, user_id: &str, username: &str, state: SubjectState) {
    let request = CreateUserRequest {
        tenant_id: tenant_id.to_owned(),
        user_id: user_id.to_owned(),
        username: username.to_owned(),
        state: state.into(),
        secret_source: Some(create_user_request::SecretSource::Password("the old phrase".to_owned())),
        ..Default::default()
    };
    rekey.admin().users.create_user(request).await.unwrap();
}

async fn verifies(rekey: &Rekey, tenant_id: &str, user_id: &str, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: tenant_id.to_owned(),
        subject: Some(verify_password_request::Subject::UserId(user_id.to_owned())),
        password: password.to_owned(),
        source: String::new(),
    };
    rekey.admin().users.verify_password(request).await.unwrap().into_inner().verified
}

fn short(reply: Reply) -> (u16, String) {
    (reply.status, reply.body)
}

fn is(status: u16, body: &str) -> (u16, String) {
    (status, body.to_owned())
}

/// A token of a caller that may do everything in a tenant, for an hour.
async fn expiring_token(rekey: &Rekey, tenant_id: &str) -> String {
    let mut callers = rekey.admin().callers;
    let request = CreateCallerRequest {
        tenant_id: tenant_id.to_owned(),
        permissions: vec!["*".to_owned()],
        ..Default::default()
    };
    let caller_id = callers.create_caller(request).await.unwrap().into_inner().caller.unwrap().caller_id;
    let expire_time = Some(prost_types::Timestamp { seconds: START + 3_600, nanos: 0 });
    let request =
        CreateApiTokenRequest { tenant_id: tenant_id.to_owned(), caller_id, expire_time, ..Default::default() };
    callers.create_api_token(request).await.unwrap().into_inner().token
}
