//! Accounts with the tokens of their own issuer.

use std::time::Duration;

use data_encoding::BASE64;
use rekey::proto::{JwtIssuer, PolicyPreset, ScopeGrant, SubjectState, Tenant};
use serde_json::json;

use super::{is, make_user, policy, short, tenant, verifies};
use crate::{
    common::rekey::{Rekey, START},
    wire::send,
};

/// Signs JWTs as `ocariot` does, but for the algorithm.
struct Issuer(jsonwebtoken::EncodingKey);

impl Issuer {
    fn new() -> (Self, String) {
        use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new()).unwrap();
        let public = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap().public_key().as_ref().to_vec();
        // RFC 8410 section 4.
        let spki =
            [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], public.as_slice()].concat();
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", BASE64.encode(&spki));
        (Self(jsonwebtoken::EncodingKey::from_ed_der(pkcs8.as_ref())), pem)
    }

    fn token(&self, sub: &str, sub_type: &str, scope: &str) -> String {
        let claims = json!({"sub": sub, "sub_type": sub_type, "iss": "ocariot", "iat": START, "exp": START + 86_400, "scope": scope});
        jsonwebtoken::encode(&jsonwebtoken::Header::new(jsonwebtoken::Algorithm::EdDSA), &claims, &self.0).unwrap()
    }
}

#[tokio::test]
async fn passwords_are_reset_and_changed_by_whom_the_scopes_let() {
    const ID: &str = "507f191e810c19729de860ea";
    const OTHER: &str = "507f191e810c19729de860eb";
    let rekey = Rekey::start().await;
    let (issuer, public_key_pem) = Issuer::new();
    let own = |scope: &str| ScopeGrant {
        scope: scope.to_owned(),
        permission: "users:changePassword".to_owned(),
        own_only: true,
        subject_types: ["admin", "family", "educator", "healthprofessional"].map(str::to_owned).to_vec(),
    };
    let reset = ScopeGrant {
        scope: "users:resetPassword".to_owned(),
        permission: "users:resetPassword".to_owned(),
        ..ScopeGrant::default()
    };
    let jwt_issuers = vec![JwtIssuer {
        issuer: "ocariot".to_owned(),
        public_key_pem,
        scope_grants: vec![reset, own("educators:update"), own("families:update")],
        audience: String::new(),
        ..Default::default()
    }];
    let user_policy = Some(policy(PolicyPreset::Ocariot));
    rekey.make_tenant(Tenant { jwt_issuers, user_policy, ..tenant("ocariot", "ocariot", "main") }).await;
    make_user(&rekey, "ocariot", ID, "jo", SubjectState::Active).await;
    make_user(&rekey, "ocariot", OTHER, "al", SubjectState::Active).await;
    let admin = issuer.token(ID, "admin", "users:delete users:resetPassword educators:update");
    let family = issuer.token(ID, "family", "families:update");
    let child = issuer.token(ID, "child", "families:update");
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        short(send(rekey.http, method, path, &[("authorization", &format!("Bearer {token}"))], body).await)
    };
    let reset_of = |id: &str| format!("/v1/users/{id}/reset-password");
    let change_of = |id: &str| format!("/v1/users/{id}/password");
    let forbidden = is(
        403,
        r#"{"code":403,"message":"FORBIDDEN","description":"Authorization failed due to insufficient permissions."}"#,
    );
    let not_found = is(
        404,
        r#"{"code":404,"message":"User not found!","description":"User not found or already removed. A new operation for the same resource is not required."}"#,
    );
    let new = r#"{"new_password":"x"}"#;

    assert_eq!(call(&admin, "POST", &reset_of(OTHER), new).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", OTHER, "x").await);
    assert_eq!(call(&admin, "POST", &reset_of(ID), r#"{"new_password":" padded "}"#).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", ID, " padded ").await);
    assert_eq!(call(&admin, "POST", &reset_of(&ID.replace('e', "f")), new).await, not_found);
    assert_eq!(call(&admin, "POST", &reset_of(&ID.to_uppercase()), new).await, not_found);

    let both = r#"{"old_password":" padded ","new_password":"y"}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), both).await, is(204, ""));
    assert!(verifies(&rekey, "ocariot", ID, "y").await);
    assert_eq!(call(&admin, "PUT", &change_of(ID), r#"{"old_password":"y","new_password":"y"}"#).await, is(204, ""));
    let mismatch = r#"{"code":400,"message":"Password does not match!","description":"The old password parameter does not match with the actual user password."}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), both).await, is(400, mismatch));

    // Scope, then ownership, then JSON, then the id, then the fields.
    for (token, path) in [(&family, reset_of(ID)), (&family, reset_of("nonsense")), (&child, reset_of(ID))] {
        assert_eq!(call(token, "POST", &path, "{").await, forbidden, "{path}");
    }
    for (token, path) in [
        (&family, change_of(OTHER)),
        (&family, change_of("nonsense")),
        (&child, change_of(ID)),
        (&admin, change_of(OTHER)),
    ] {
        assert_eq!(call(token, "PUT", &path, "{").await, forbidden, "{path}");
        assert_eq!(call(token, "PUT", &path, both).await, forbidden, "{path}");
    }
    let not_json = r#"{"code":400,"message":"Unable to process request body!","description":"Please verify that the JSON provided in the request body has a valid format and try again."}"#;
    let no_id = r#"{"code":400,"message":"Parameter {user_id} is not in valid format!","description":"A 24-byte hex ID similar to this: 507f191e810c19729de860ea is expected."}"#;
    let missing =
        r#"{"code":400,"message":"Required field not provided...","description":"new_password is required!"}"#;
    assert_eq!(call(&admin, "POST", &reset_of("nonsense"), "{").await, is(400, not_json));
    assert_eq!(call(&admin, "POST", &reset_of("nonsense"), "{}").await, is(400, no_id));
    assert_eq!(call(&admin, "POST", &reset_of(ID), "{}").await, is(400, missing));
    let missing = r#"{"code":400,"message":"Required fields were not provided...","description":"old_password, new_password are required!"}"#;
    assert_eq!(call(&family, "PUT", &change_of(ID), "{}").await, is(400, missing));

    let lack = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed for lack of authentication credentials.","redirect_link":"/auth"}"#;
    for headers in [
        &[][..],
        &[("authorization", "Basic eDp5")],
        &[("authorization", "Bearer ")],
        &[("x-auth-token", admin.as_str())],
    ] {
        assert_eq!(short(send(rekey.http, "POST", &reset_of("nonsense"), headers, "{").await), is(401, lack));
        assert_eq!(short(send(rekey.http, "POST", &reset_of(ID), headers, new).await), is(401, lack));
    }
    let token_issues = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed due to access token issues.","redirect_link":"/auth"}"#;
    let (stranger, _) = Issuer::new();
    for token in ["garbage", &admin[..admin.len() - 2], &stranger.token(ID, "admin", "users:resetPassword")] {
        assert_eq!(call(token, "POST", &reset_of(ID), new).await, is(401, token_issues));
    }
    rekey.clock.advance(Duration::from_hours(25));
    let expired = r#"{"code":401,"message":"UNAUTHORIZED","description":"Authentication failed because access token is expired.","redirect_link":"/auth"}"#;
    assert_eq!(call(&admin, "POST", &reset_of(ID), new).await, is(401, expired));
}

#[tokio::test]
async fn a_stricter_tenant_of_ocariot_says_what_its_policy_is() {
    let rekey = Rekey::start().await;
    rekey
        .make_tenant(Tenant {
            user_policy: Some(policy(PolicyPreset::Applivery)),
            ..tenant("strict", "ocariot", "strict")
        })
        .await;
    make_user(&rekey, "strict", "507f191e810c19729de860ea", "jo", SubjectState::Active).await;
    let token = rekey.make_caller("strict", &["users:resetPassword"]).await;
    let headers = [("authorization", &*format!("Bearer {token}"))];
    let reply = send(
        rekey.http,
        "POST",
        "/v1/users/507f191e810c19729de860ea/reset-password",
        &headers,
        r#"{"new_password":"q7"}"#,
    )
    .await;
    let body = r#"{"code":400,"message":"One or more request fields are invalid...","description":"new_password must have at least 8 characters"}"#;
    assert_eq!(
        (reply.header("content-type"), (reply.status, reply.body.as_str())),
        ("application/json; charset=utf-8", (400, body))
    );
}
