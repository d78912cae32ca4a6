//! The hashing pool from outside: who is served under a flood, what batches answer, what metrics tell.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod batch;
#[path = "../common/mod.rs"]
mod common;
mod flood;
mod metrics;

use rekey::proto::{
    CreateUserRequest, Tenant, VerifyPasswordRequest, create_user_request::SecretSource, verify_password_request,
};

use crate::common::rekey::Rekey;

const PASSWORD: &str = "a first long enough phrase";

/// Makes a tenant with a user of this password.
async fn make(rekey: &Rekey, tenant_id: &str, user_id: &str) {
    let tenant_id = tenant_id.to_owned();
    rekey.make_tenant(Tenant { tenant_id: tenant_id.clone(), ..Tenant::default() }).await;
    let user = CreateUserRequest {
        tenant_id,
        user_id: user_id.to_owned(),
        username: format!("{user_id}@example.org"),
        secret_source: Some(SecretSource::Password(PASSWORD.to_owned())),
        ..CreateUserRequest::default()
    };
    rekey.admin().users.create_user(user).await.unwrap();
}

fn verify(tenant_id: &str, user_id: &str) -> VerifyPasswordRequest {
    VerifyPasswordRequest {
        source: String::new(),
        tenant_id: tenant_id.to_owned(),
        subject: Some(verify_password_request::Subject::UserId(user_id.to_owned())),
        password: PASSWORD.to_owned(),
    }
}
