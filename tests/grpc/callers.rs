//! `CallerService`.

use std::time::Duration;

use rekey::proto::{
    CreateApiTokenRequest, CreateApiTokenResponse, CreateCallerRequest, CreateSigningKeyRequest, CredentialKind,
    RevokeApiTokenRequest, Tenant, WhoAmIRequest,
};
use tonic::Code;

use crate::common::rekey::{Rekey, START, fields, reason};

async fn with_caller() -> Rekey {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    let request = CreateCallerRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "portal".to_owned(),
        permissions: vec!["users:verify".to_owned()],
        ..CreateCallerRequest::default()
    };
    rekey.admin().callers.create_caller(request).await.unwrap();
    rekey
}

fn token() -> CreateApiTokenRequest {
    CreateApiTokenRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "portal".to_owned(),
        ..CreateApiTokenRequest::default()
    }
}

async fn make(rekey: &Rekey, request: CreateApiTokenRequest) -> CreateApiTokenResponse {
    rekey.admin().callers.create_api_token(request).await.unwrap().into_inner()
}

async fn who(rekey: &Rekey, token: &str) -> Result<String, String> {
    let answer = rekey.clients(token).callers.who_am_i(WhoAmIRequest {}).await;
    answer.map(|answer| answer.into_inner().caller_id).map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_generated_token_proves_its_caller_until_it_is_revoked() {
    let rekey = with_caller().await;
    let made = make(&rekey, token()).await;
    assert!(made.token.starts_with(&format!("rk_{}_", made.token_id)), "{}", made.token_id);
    let mut callers = rekey.clients(&made.token).callers;
    let me = callers.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((me.tenant_id.as_str(), me.caller_id.as_str()), ("acme", "portal"));
    assert_eq!(
        (me.permissions.as_slice(), me.credential_kind()),
        (&["users:verify".to_owned()][..], CredentialKind::ApiToken)
    );

    let request = RevokeApiTokenRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "portal".to_owned(),
        token_id: made.token_id.clone(),
        ..Default::default()
    };
    let mut admin = rekey.admin().callers;
    admin.revoke_api_token(request.clone()).await.unwrap();
    admin.revoke_api_token(request.clone()).await.unwrap();
    assert_eq!(who(&rekey, &made.token).await, Err("CREDENTIAL_INVALID".to_owned()));
    let unknown = RevokeApiTokenRequest { token_id: "none".to_owned(), ..request };
    assert_eq!(reason(&admin.revoke_api_token(unknown).await.unwrap_err()), "CREDENTIAL_NOT_FOUND");
}

#[tokio::test]
async fn a_given_token_proves_its_caller_and_is_taken_once() {
    let rekey = with_caller().await;
    let given = "a-token-that-callers-have.already/+=";
    let made = make(&rekey, CreateApiTokenRequest { token: given.to_owned(), ..token() }).await;
    assert!(made.token.is_empty(), "what the caller knows is not repeated");
    assert_eq!(who(&rekey, given).await, Ok("portal".to_owned()));
    assert_eq!(who(&rekey, &given.to_uppercase()).await, Err("CREDENTIAL_INVALID".to_owned()));
    let again =
        rekey.admin().callers.create_api_token(CreateApiTokenRequest { token: given.to_owned(), ..token() }).await;
    assert_eq!(again.unwrap_err().message(), "token is taken");
    for bad in ["short", "with a space in the middle", "ünicode-is-not-printing-ascii"] {
        let request = CreateApiTokenRequest { token: bad.to_owned(), ..token() };
        let refused = rekey.admin().callers.create_api_token(request).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["token".to_owned()]), "{bad}");
    }
}

#[tokio::test]
async fn an_expired_token_is_told_so_and_when() {
    let rekey = with_caller().await;
    let expire_time = Some(prost_types::Timestamp { seconds: START + 60, nanos: 0 });
    let made = make(&rekey, CreateApiTokenRequest { expire_time, ..token() }).await;
    assert_eq!(who(&rekey, &made.token).await, Ok("portal".to_owned()));
    rekey.clock.advance(Duration::from_mins(2));
    assert_eq!(who(&rekey, &made.token).await, Err("CREDENTIAL_EXPIRED".to_owned()));
    let refused =
        rekey.admin().callers.create_api_token(CreateApiTokenRequest { expire_time, ..token() }).await.unwrap_err();
    assert_eq!(fields(&refused), ["expire_time"], "what has passed cannot be asked for");
}

#[tokio::test]
async fn nobody_gives_what_they_do_not_hold() {
    let rekey = with_caller().await;
    let deputy = rekey.make_caller("acme", &["callers:create", "callers:createCredential", "users:get"]).await;
    let mut deputy = rekey.clients(&deputy).callers;
    let create = |permissions: &[&str]| CreateCallerRequest {
        tenant_id: "-".to_owned(),
        permissions: permissions.iter().map(|permission| (*permission).to_owned()).collect(),
        ..CreateCallerRequest::default()
    };
    deputy.create_caller(create(&["users:get"])).await.unwrap();
    for more in ["users:resetPassword", "*"] {
        let refused = deputy.create_caller(create(&["users:get", more])).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    }
    let refused = deputy.create_api_token(token()).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "portal may do what the deputy may not");
    let key = CreateSigningKeyRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "portal".to_owned(),
        ..CreateSigningKeyRequest::default()
    };
    assert_eq!(deputy.create_signing_key(key).await.unwrap_err().code(), Code::PermissionDenied);
    let unknown = deputy.create_caller(create(&["users:fly", "users:get", "users:get"])).await.unwrap_err();
    assert_eq!(fields(&unknown), ["permissions[0]", "permissions[2]"]);
}
