//! An integration from its activation to its reset.

use std::time::Duration;

use serde_json::Value;

use super::{expiring_token, is, short, tenant};
use crate::{common::rekey::Rekey, wire::send};

#[tokio::test]
async fn an_integration_is_activated_updated_read_and_reset() {
    const PATH: &str = "/v1/organizations/acme-corp/integrations/harmony-mobile/";
    let rekey = Rekey::start().await;
    rekey.make_tenant(tenant("acme", "applivery", "acme-corp")).await;
    rekey.make_tenant(tenant("other", "applivery", "other-corp")).await;
    let token = rekey
        .make_caller(
            "acme",
            &["integrations:create", "integrations:update", "integrations:reset", "integrations:reveal"],
        )
        .await;
    let weak = rekey.make_caller("acme", &["integrations:get"]).await;
    let call = async |token: &str, method: &str, path: &str, body: &str| {
        short(send(rekey.http, method, path, &[("authorization", &format!("Bearer {token}"))], body).await)
    };
    let data = |reply: &(u16, String)| serde_json::from_str::<Value>(&reply.1).unwrap()["data"].clone();
    let not_found = is(404, r#"{"status":false,"error":{"code":3001,"message":"Entity not found"}}"#);
    let forbidden = is(
        403,
        r#"{"status":false,"error":{"code":4003,"message":"Forbidden - You are not allowed to perform this action"}}"#,
    );

    assert_eq!(call(&token, "DELETE", PATH, "").await, not_found);
    let made = call(&token, "POST", &format!("{PATH}activate"), "").await;
    let (username, password) = (data(&made)["username"].clone(), data(&made)["password"].clone());
    assert_eq!(made, is(200, &format!(r#"{{"status":true,"data":{{"username":{username},"password":{password}}}}}"#)));
    assert_eq!(
        call(&token, "POST", &format!("{PATH}activate"), "").await,
        is(409, r#"{"status":false,"error":{"code":5001,"message":"Conflict"}}"#)
    );

    let all = format!(
        r#"{{"status":true,"data":{{"username":{username},"password":{password},"token":"t","portalAccountId":"p","gwAddress":"g"}}}}"#
    );
    assert_eq!(
        call(&token, "PUT", PATH, r#"{"token":"t","portalAccountId":"p","gwAddress":"g"}"#).await,
        is(200, &all)
    );
    assert_eq!(call(&token, "GET", PATH, "").await, is(200, &all));
    let reset = call(&token, "DELETE", PATH, "").await;
    let new = data(&reset)["password"].clone();
    assert_ne!(new, password);
    let cleared = is(200, &format!(r#"{{"status":true,"data":{{"username":{username},"password":{new}}}}}"#));
    assert_eq!(reset, cleared);
    assert_eq!(call(&token, "GET", PATH.trim_end_matches('/'), "").await, cleared);

    assert_eq!(call(&token, "DELETE", &PATH.replace("acme", "other"), "").await, not_found);
    assert_eq!(call(&token, "DELETE", &PATH.replace("acme", "nobody"), "").await, not_found);
    assert_eq!(call(&weak, "DELETE", PATH, "").await, forbidden);
    assert_eq!(call(&weak, "PUT", PATH, "{").await, forbidden);

    let no_token = is(401, r#"{"status":false,"error":{"code":4002,"message":"No auth token"}}"#);
    assert_eq!(short(send(rekey.http, "DELETE", PATH, &[], "").await), no_token);
    assert_eq!(short(send(rekey.http, "DELETE", PATH, &[("x-auth-token", &token)], "").await), no_token);
    assert_eq!(short(send(rekey.http, "PUT", PATH, &[("authorization", "Basic eDp5")], "{").await), no_token);
    assert_eq!(
        call("nonsense", "DELETE", PATH, "").await,
        is(401, r#"{"status":false,"error":{"code":4004,"message":"Invalid Token"}}"#)
    );
    let expired = expiring_token(&rekey, "acme").await;
    rekey.clock.advance(Duration::from_hours(2));
    assert_eq!(
        call(&expired, "DELETE", PATH, "").await,
        is(401, r#"{"status":false,"error":{"code":4005,"message":"Token Expired"}}"#)
    );
}
