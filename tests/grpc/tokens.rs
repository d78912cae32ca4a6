//! Callers that come with JWTs, and with signatures over the date.

use std::time::Duration;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der, PublicKeyX509Der},
    hmac,
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};
use data_encoding::BASE64;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rekey::proto::{
    ChangePasswordRequest, CreateCallerRequest, CreateSigningKeyRequest, CreateUserRequest, GetTenantRequest,
    GetUserRequest, JwtIssuer, PermissionAlias, PolicyPreset, ResetPasswordRequest, RevokeSigningKeyRequest,
    ScopeGrant, SecretPolicy, Tenant, UpdateTenantRequest, WhoAmIRequest, change_password_request, create_user_request,
    reset_password_request,
};
use serde_json::{Value, json};
use tonic::{Code, Request, metadata::MetadataMap};

use crate::common::rekey::{Rekey, START, fields, reason};

const ADA: &str = "507f191e810c19729de860ea";
const EVE: &str = "507f191e810c19729de860eb";
const PASSWORD: &str = "a first long enough phrase";

struct Issuer {
    key: EncodingKey,
    public_pem: String,
}

impl Issuer {
    fn make() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let pem =
            |kind: &str, der: &[u8]| format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", BASE64.encode(der));
        let key = EncodingKey::from_rsa_pem(pem("PRIVATE KEY", private.as_ref()).as_bytes()).unwrap();
        Self { key, public_pem: pem("PUBLIC KEY", public.as_ref()) }
    }

    fn sign(&self, claims: &Value) -> String {
        encode(&Header::new(Algorithm::RS256), claims, &self.key).unwrap()
    }
}

fn claims(sub: &str, sub_type: &str, scope: &str) -> Value {
    json!({"sub": sub, "sub_type": sub_type, "iss": "ocariot", "iat": START, "exp": START + 86_400, "scope": scope})
}

async fn with_issuer() -> (Rekey, Issuer) {
    let (rekey, issuer) = (Rekey::start().await, Issuer::make());
    let grant = |scope: &str, permission: &str, own_only| ScopeGrant {
        scope: scope.to_owned(),
        permission: permission.to_owned(),
        own_only,
        subject_types: if own_only { vec!["admin".to_owned(), "educator".to_owned()] } else { Vec::new() },
    };
    let trusted = JwtIssuer {
        issuer: "ocariot".to_owned(),
        public_key_pem: issuer.public_pem.clone(),
        scope_grants: vec![
            grant("users:resetPassword", "users:resetPassword", false),
            grant("educators:update", "users:changePassword", true),
            grant("mine", "users:resetPassword", true),
            grant("look", "users:get", true),
        ],
        ..JwtIssuer::default()
    };
    let tenant_id = "school".to_owned();
    let alias =
        |name: &str, permission: &str| PermissionAlias { name: name.to_owned(), permission: permission.to_owned() };
    let tenant = Tenant {
        tenant_id,
        change_password_allowed: true,
        user_policy: Some(SecretPolicy { preset: PolicyPreset::Ocariot.into(), ..SecretPolicy::default() }),
        jwt_issuers: vec![trusted],
        permission_aliases: vec![alias("accounts.read", "users:get"), alias("educators:update", "users:update")],
        ..Tenant::default()
    };
    rekey.make_tenant(tenant).await;
    for (id, name) in [(ADA, "ada"), (EVE, "eve")] {
        let request = CreateUserRequest {
            tenant_id: "school".to_owned(),
            user_id: id.to_owned(),
            username: name.to_owned(),
            secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
            ..CreateUserRequest::default()
        };
        rekey.admin().users.create_user(request).await.unwrap();
    }
    (rekey, issuer)
}

fn reset(user_id: &str) -> ResetPasswordRequest {
    ResetPasswordRequest {
        tenant_id: "-".to_owned(),
        user_id: user_id.to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned())),
        ..ResetPasswordRequest::default()
    }
}

fn change(user_id: &str) -> ChangePasswordRequest {
    ChangePasswordRequest {
        tenant_id: "-".to_owned(),
        subject: Some(change_password_request::Subject::UserId(user_id.to_owned())),
        current_password: PASSWORD.to_owned(),
        new_password: PASSWORD.to_owned(),
        source: String::new(),
        ..Default::default()
    }
}

#[tokio::test]
async fn scopes_allow_what_the_tenant_grants_and_to_oneself_where_it_says_so() {
    let (rekey, issuer) = with_issuer().await;
    let mut admin = rekey.clients(&issuer.sign(&claims(ADA, "admin", "users:delete users:resetPassword"))).users;
    admin.reset_password(reset(EVE)).await.unwrap();
    admin.reset_password(reset(ADA)).await.unwrap();
    assert_eq!(reason(&admin.change_password(change(ADA)).await.unwrap_err()), "PERMISSION_MISSING");

    let mut educator = rekey.clients(&issuer.sign(&claims(ADA, "educator", "educators:update"))).users;
    educator.change_password(change(ADA)).await.unwrap();
    let foreign = educator.change_password(change(EVE)).await.unwrap_err();
    assert_eq!((foreign.code(), reason(&foreign).as_str()), (Code::PermissionDenied, "NOT_OWN_SUBJECT"));
    let nonsense = educator.change_password(change("no such id at all")).await.unwrap_err();
    assert_eq!(nonsense.code(), Code::PermissionDenied, "ownership is looked at before the id's form");

    let mut child = rekey.clients(&issuer.sign(&claims(ADA, "child", "educators:update"))).users;
    assert_eq!(reason(&child.change_password(change(ADA)).await.unwrap_err()), "PERMISSION_MISSING");
}

/// ASVS 7.5.3: what an administrator does may ask for a sign-in of late.
#[tokio::test]
async fn who_signed_in_too_long_ago_only_reads_where_the_issuer_is_set_so() {
    let (rekey, issuer) = with_issuer().await;
    let mut tenants = rekey.admin().tenants;
    let get = GetTenantRequest { tenant_id: "school".to_owned() };
    let mut tenant = tenants.get_tenant(get).await.unwrap().into_inner().tenant.unwrap();
    let mut update = async |seconds: i64| {
        tenant.jwt_issuers[0].max_auth_age = Some(prost_types::Duration { seconds, nanos: 0 });
        let request = UpdateTenantRequest {
            tenant_id: "school".to_owned(),
            tenant: Some(tenant.clone()),
            update_mask: Some(prost_types::FieldMask { paths: vec!["jwt_issuers".to_owned()] }),
            ..UpdateTenantRequest::default()
        };
        tenants.update_tenant(request).await.map(drop)
    };
    for seconds in [-1, 0, 30 * 86_400 + 1] {
        let refused = update(seconds).await.unwrap_err();
        assert_eq!(fields(&refused), ["tenant.jwt_issuers[0].max_auth_age"], "{seconds}");
    }
    update(300).await.unwrap();
    let with = |auth_time: Value| {
        let mut claims = claims(ADA, "admin", "users:resetPassword accounts.read");
        claims["auth_time"] = auth_time;
        rekey.clients(&issuer.sign(&claims)).users
    };
    let read = GetUserRequest { tenant_id: "-".to_owned(), user_id: EVE.to_owned() };
    with(json!(START)).reset_password(reset(EVE)).await.unwrap();
    with(json!(START - 300)).reset_password(reset(EVE)).await.unwrap();
    for late in [json!(START - 301), json!(START + 3_600)] {
        let status = with(late.clone()).reset_password(reset(EVE)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::PermissionDenied, "AUTHENTICATION_TOO_OLD"));
        with(late).get_user(read.clone()).await.unwrap();
    }
    for broken in [json!("1"), json!(1.5), Value::Null] {
        let status = with(broken).get_user(read.clone()).await.unwrap_err();
        assert_eq!(reason(&status), "CREDENTIAL_INVALID");
    }
    let mut unsaid = rekey.clients(&issuer.sign(&claims(ADA, "admin", "users:resetPassword"))).users;
    assert_eq!(reason(&unsaid.reset_password(reset(EVE)).await.unwrap_err()), "AUTHENTICATION_TOO_OLD");
}

#[tokio::test]
async fn a_scope_without_a_grant_is_what_the_tenant_s_alias_says() {
    let (rekey, issuer) = with_issuer().await;
    let who = async |scope: &str| {
        let token = issuer.sign(&claims(ADA, "educator", scope));
        let me = rekey.clients(&token).callers.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
        (me.permissions.join(" "), me.own_permissions.join(" "))
    };
    let text = |permissions: &str, own: &str| (permissions.to_owned(), own.to_owned());
    assert_eq!(who("accounts.read nothing accounts.read").await, text("users:get", ""));
    assert_eq!(who("accounts.reader").await, text("", ""));
    assert_eq!(who("users:get").await, text("", ""), "what is no alias and no grant allows nothing");
    assert_eq!(who("educators:update").await, text("", "users:changePassword"), "a grant comes before an alias");
}

#[tokio::test]
async fn a_jwt_stands_as_high_as_its_user_and_one_need_not_stand_above_oneself() {
    let (rekey, issuer) = with_issuer().await;
    let (boss, clerk) = ("607f191e810c19729de860ea", "607f191e810c19729de860eb");
    for (id, rank) in [(boss, 500), (clerk, 100)] {
        let request = CreateUserRequest {
            tenant_id: "school".to_owned(),
            user_id: id.to_owned(),
            username: id.to_owned(),
            rank,
            ..CreateUserRequest::default()
        };
        rekey.admin().users.create_user(request).await.unwrap();
    }
    let of = |sub: &str, scope: &str| rekey.clients(&issuer.sign(&claims(sub, "educator", scope)));
    let general = "users:resetPassword";
    for (sub, scope, user_id, expected) in [
        (boss, general, clerk, ""),
        (boss, general, ADA, ""),
        (clerk, general, boss, "RANK_TOO_LOW"),
        (clerk, general, clerk, "RANK_TOO_LOW"),
        ("somebody", general, clerk, "RANK_TOO_LOW"),
        ("somebody", general, ADA, ""),
        (clerk, "mine", clerk, ""),
        (clerk, "mine", ADA, "NOT_OWN_SUBJECT"),
    ] {
        let answer = of(sub, scope).users.reset_password(reset(user_id)).await;
        let told = answer.err().map(|status| reason(&status)).unwrap_or_default();
        assert_eq!(told, expected, "{sub} by {scope} resets {user_id}");
    }
    let me = of(boss, "").callers.who_am_i(WhoAmIRequest {}).await.unwrap().into_inner();
    assert_eq!((me.rank, me.roles.len()), (500, 0));
    // Who may look at himself only, does.
    let get = |user_id: &str| GetUserRequest { tenant_id: "-".to_owned(), user_id: user_id.to_owned() };
    of(clerk, "look").users.get_user(get(clerk)).await.unwrap();
    let other = of(clerk, "look").users.get_user(get(boss)).await.unwrap_err();
    assert_eq!((other.code(), reason(&other).as_str()), (Code::PermissionDenied, "NOT_OWN_SUBJECT"));
}

#[tokio::test]
async fn only_the_issuers_own_fresh_and_whole_tokens_are_believed() {
    let (rekey, issuer) = with_issuer().await;
    let who = async |token: String| {
        let answer = rekey.clients(&token).callers.who_am_i(WhoAmIRequest {}).await;
        answer.map(|answer| answer.into_inner().caller_id).map_err(|status| reason(&status))
    };
    let good = claims(ADA, "admin", "");
    assert_eq!(who(issuer.sign(&good)).await, Ok(ADA.to_owned()));

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    let bad = [
        with("exp", json!("never")),
        with("exp", json!(1e300)),
        with("exp", Value::Null),
        with("nbf", json!((START + 3_600).to_string())),
        with("nbf", json!(START + 3_600)),
        with("iat", json!(START + 3_600)),
        with("iss", json!("other")),
        with("sub", json!("")),
        without("exp"),
        without("iss"),
        without("sub"),
    ];
    for claims in bad {
        assert_eq!(who(issuer.sign(&claims)).await, Err("CREDENTIAL_INVALID".to_owned()), "{claims}");
    }
    assert_eq!(who(issuer.sign(&with("exp", json!(START)))).await, Err("CREDENTIAL_EXPIRED".to_owned()));

    let token = issuer.sign(&good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (_, payload) = signed.split_once('.').unwrap();
    let header = |json: &str| data_encoding::BASE64URL_NOPAD.encode(json.as_bytes());
    let symmetric = EncodingKey::from_secret(issuer.public_pem.as_bytes());
    let forged = [
        format!("{signed}."),
        format!("{signed}.{}", signature.chars().rev().collect::<String>()),
        format!("{}.{payload}.", header(r#"{"alg":"none"}"#)),
        format!("{}.{payload}.{signature}", header(r#"{"alg":"nOnE"}"#)),
        format!("{}.{payload}.{signature}", header(r#"{"alg":"RS512"}"#)),
        encode(&Header::new(Algorithm::HS256), &good, &symmetric).unwrap(),
        Issuer::make().sign(&good),
        "a.b.c".to_owned(),
        "garbage".to_owned(),
    ];
    for token in forged {
        assert_eq!(who(token.clone()).await, Err("CREDENTIAL_INVALID".to_owned()), "{token}");
    }
}

#[tokio::test]
async fn an_issuer_that_is_trusted_no_more_is_noticed_within_a_second() {
    let (rekey, issuer) = with_issuer().await;
    let clients = rekey.clients(&issuer.sign(&claims(ADA, "admin", "")));
    let who = async || clients.clone().callers.who_am_i(WhoAmIRequest {}).await.map(drop);
    who().await.unwrap();
    let raw = crate::common::sql::connect(&rekey.options.store.url).await;
    let delete = "DELETE FROM jwt_issuer";
    sea_orm::ConnectionTrait::execute_unprepared(&raw, delete).await.unwrap();
    rekey.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(&who().await.unwrap_err()), "CREDENTIAL_INVALID");
}

/// What `licensespring`'s clients send.
pub(crate) fn signed(api_key: &str, shared_key: &str, date: &str) -> MetadataMap {
    let key = hmac::Key::new(hmac::HMAC_SHA256, shared_key.as_bytes());
    let signature = BASE64.encode(hmac::sign(&key, format!("licenseSpring\ndate: {date}").as_bytes()).as_ref());
    let value = format!(r#"algorithm="hmac-sha256",headers="date",signature="{signature}",apiKey="{api_key}""#);
    let mut metadata = MetadataMap::new();
    metadata.insert("authorization", value.parse().unwrap());
    metadata.insert("date", date.parse().unwrap());
    metadata
}

pub(crate) fn date(seconds: i64) -> String {
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs()))
}

async fn whom(rekey: &Rekey, metadata: MetadataMap) -> Result<String, String> {
    let mut request = Request::new(WhoAmIRequest {});
    *request.metadata_mut() = metadata;
    let answer = rekey.clients("").callers.who_am_i(request).await;
    answer.map(|answer| answer.into_inner().caller_id).map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_signed_date_proves_its_caller_within_fifteen_minutes() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "company".to_owned(), ..Tenant::default() }).await;
    let request = CreateCallerRequest {
        tenant_id: "company".to_owned(),
        caller_id: "sdk".to_owned(),
        permissions: vec!["users:changePassword".to_owned()],
        ..CreateCallerRequest::default()
    };
    let mut admin = rekey.admin().callers;
    admin.create_caller(request).await.unwrap();
    let request = |api_key: &str, read_only| CreateSigningKeyRequest {
        tenant_id: "company".to_owned(),
        caller_id: "sdk".to_owned(),
        api_key: api_key.to_owned(),
        read_only,
        ..CreateSigningKeyRequest::default()
    };
    let made = admin.create_signing_key(request("11111111-2222", false)).await.unwrap().into_inner();
    assert_eq!((made.api_key.as_str(), made.shared_key.len()), ("11111111-2222", 43));
    let (api_key, shared_key) = (made.api_key.as_str(), made.shared_key.as_str());
    let now = rekey.clock.seconds();

    assert_eq!(whom(&rekey, signed(api_key, shared_key, &date(now))).await, Ok("sdk".to_owned()));
    assert_eq!(whom(&rekey, signed(api_key, shared_key, &date(now - 890))).await, Ok("sdk".to_owned()));
    let refused = [
        (signed(api_key, shared_key, &date(now - 902)), "SIGNATURE_DATE_SKEWED"),
        (signed(api_key, shared_key, &date(now + 902)), "SIGNATURE_DATE_SKEWED"),
        (signed(api_key, shared_key, "yesterday"), "SIGNATURE_DATE_SKEWED"),
        (signed(api_key, "another shared key", &date(now)), "SIGNATURE_MISMATCH"),
        (signed("99999999-2222", shared_key, &date(now)), "API_KEY_UNKNOWN"),
    ];
    for (metadata, expected) in refused {
        assert_eq!(whom(&rekey, metadata).await, Err(expected.to_owned()));
    }
    let mut moved = signed(api_key, shared_key, &date(now));
    moved.insert("date", date(now + 1).parse().unwrap());
    assert_eq!(whom(&rekey, moved).await, Err("SIGNATURE_MISMATCH".to_owned()));
    let mut undated = signed(api_key, shared_key, &date(now));
    undated.remove("date");
    assert_eq!(whom(&rekey, undated).await, Err("SIGNATURE_HEADERS_MISSING".to_owned()));

    let reader = admin.create_signing_key(request("reader-key", true)).await.unwrap().into_inner();
    let mut change = Request::new(ChangePasswordRequest::default());
    *change.metadata_mut() = signed(&reader.api_key, &reader.shared_key, &date(now));
    let refused = rekey.clients("").users.change_password(change).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "API_KEY_READ_ONLY"));

    let revoke = RevokeSigningKeyRequest {
        tenant_id: "company".to_owned(),
        caller_id: "sdk".to_owned(),
        api_key: api_key.to_owned(),
        ..Default::default()
    };
    admin.revoke_signing_key(revoke).await.unwrap();
    assert_eq!(whom(&rekey, signed(api_key, shared_key, &date(now))).await, Err("API_KEY_REVOKED".to_owned()));
    let again = admin.create_signing_key(request("reader-key", true)).await.unwrap_err();
    assert_eq!(again.message(), "api_key is taken");
}
