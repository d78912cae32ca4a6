//! Tokens for people: got for a password, checked by anybody, good here as long as the password is.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use rekey::{
    domain::tenant::JwtAlgorithm,
    proto::{
        CreateTenantRequest, CreateUserRequest, IssueTokenRequest, IssueTokenResponse, JwtIssuer, ResetPasswordRequest,
        ScopeGrant, SecretPolicy, SubjectState, Tenant, TokenAlgorithm, TokenIssuer, TokenScopes, WhoAmIRequest,
        create_user_request, issue_token_request::Subject, reset_password_request,
    },
};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::common::rekey::{Rekey, START, Stopped, fields, reason};

/// What a test does to a good issuer.
type Change = Box<dyn Fn(&mut TokenIssuer)>;

pub(crate) const ADA: &str = "507f191e810c19729de860ea";
pub(crate) const PASSWORD: &str = "a first long enough phrase";

/// As `ocariot` has it.
pub(crate) fn issuer(algorithm: TokenAlgorithm) -> TokenIssuer {
    let scopes = |subject_type: &str, scopes: &[&str]| TokenScopes {
        subject_type: subject_type.to_owned(),
        scopes: scopes.iter().map(|scope| (*scope).to_owned()).collect(),
    };
    let grant = |scope: &str, permission: &str, own_only| ScopeGrant {
        scope: scope.to_owned(),
        permission: permission.to_owned(),
        own_only,
        subject_types: Vec::new(),
    };
    TokenIssuer {
        issuer: "ocariot".to_owned(),
        algorithm: algorithm.into(),
        ttl: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
        audience: String::new(),
        subject_type_label: "sub_type".to_owned(),
        scopes: vec![
            scopes("", &["profile"]),
            scopes("educator", &["educators:update", "profile"]),
            scopes("admin", &["users:resetPassword"]),
        ],
        scope_grants: vec![
            grant("users:resetPassword", "users:resetPassword", false),
            grant("educators:update", "users:changePassword", true),
        ],
    }
}

pub(crate) fn school(algorithm: TokenAlgorithm) -> Tenant {
    // So that what an administrator sets is good at once.
    let user_policy = Some(SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() });
    Tenant { tenant_id: "school".to_owned(), token_issuer: Some(issuer(algorithm)), user_policy, ..Tenant::default() }
}

pub(crate) async fn make_user(rekey: &Rekey, id: &str, name: &str, sub_type: &str, state: SubjectState) {
    let request = CreateUserRequest {
        tenant_id: "school".to_owned(),
        user_id: id.to_owned(),
        username: name.to_owned(),
        state: state.into(),
        labels: [("sub_type".to_owned(), sub_type.to_owned())].into(),
        secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
        ..CreateUserRequest::default()
    };
    let user = rekey.admin().users.create_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!(user.labels["sub_type"], sub_type);
}

/// Who sends no credential.
pub(crate) async fn issue(rekey: &Rekey, name: &str, password: &str) -> Result<IssueTokenResponse, Status> {
    let request = IssueTokenRequest {
        tenant_id: "school".to_owned(),
        subject: Some(Subject::Username(name.to_owned())),
        password: password.to_owned(),
        source: "192.0.2.7".to_owned(),
    };
    rekey.clients("").users.issue_token(request).await.map(tonic::Response::into_inner)
}

fn part(token: &str, index: usize) -> Value {
    serde_json::from_slice(&BASE64URL_NOPAD.decode(token.split('.').nth(index).unwrap().as_bytes()).unwrap()).unwrap()
}

async fn who(rekey: &Rekey, token: &str) -> Result<(String, String), String> {
    let who = rekey.clients(token).callers.who_am_i(WhoAmIRequest {}).await.map_err(|status| reason(&status))?;
    Ok((who.get_ref().tenant_id.clone(), who.get_ref().caller_id.clone()))
}

async fn reset(rekey: &Rekey, id: &str) {
    let request = ResetPasswordRequest {
        tenant_id: "school".to_owned(),
        user_id: id.to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned())),
        ..ResetPasswordRequest::default()
    };
    rekey.admin().users.reset_password(request).await.unwrap();
}

#[tokio::test]
async fn a_password_gets_a_token_that_others_can_check_by_the_published_keys() {
    for (algorithm, name) in [
        (TokenAlgorithm::Rs256, Algorithm::RS256),
        (TokenAlgorithm::Es256, Algorithm::ES256),
        (TokenAlgorithm::Eddsa, Algorithm::EdDSA),
    ] {
        let rekey = Rekey::start_signing().await;
        rekey.make_tenant(school(algorithm)).await;
        make_user(&rekey, ADA, "ada", "educator", SubjectState::Active).await;
        let issued = issue(&rekey, "ada", PASSWORD).await.unwrap();
        assert_eq!((issued.token_type.as_str(), issued.user_id.as_str()), ("Bearer", ADA));
        let token = issued.access_token;

        // Exactly the contract's claims, and no others.
        let claims = part(&token, 1);
        let iat = claims["iat"].as_i64().unwrap();
        assert!((START..START + 60).contains(&iat));
        let wanted = json!({
            "sub": ADA, "sub_type": "educator", "iss": "ocariot", "iat": iat, "exp": iat + 86_400,
            "scope": "profile educators:update",
        });
        assert_eq!(claims, wanted);
        assert_eq!(issued.expire_time.unwrap().seconds, iat + 86_400);
        assert_eq!(part(&token, 0)["typ"], "JWT");

        // As a resource server does it: from the well-known place, by the key's id.
        let answer = reqwest::get(format!("http://{}/.well-known/jwks.json", rekey.http)).await.unwrap();
        assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
        let set: JwkSet = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        assert_eq!(set.keys.len(), 3);
        let key = set.find(part(&token, 0)["kid"].as_str().unwrap()).unwrap();
        let mut validation = Validation::new(name);
        validation.set_issuer(&["ocariot"]);
        validation.validate_exp = false;
        let checked = jsonwebtoken::decode::<Value>(&token, &DecodingKey::from_jwk(key).unwrap(), &validation).unwrap();
        assert_eq!(checked.claims["sub"], ADA);

        // And here: as its user, with what the scopes are granted.
        assert_eq!(who(&rekey, &token).await, Ok(("school".to_owned(), ADA.to_owned())));
        rekey.clock.advance(Duration::from_hours(25));
        assert_eq!(who(&rekey, &token).await, Err("CREDENTIAL_EXPIRED".to_owned()));
    }
}

#[tokio::test]
async fn unknown_wrong_disabled_and_locked_are_refused_alike() {
    let rekey = Rekey::start_signing().await;
    rekey.make_tenant(school(TokenAlgorithm::Eddsa)).await;
    make_user(&rekey, ADA, "ada", "educator", SubjectState::Active).await;
    make_user(&rekey, "disabled", "eve", "educator", SubjectState::Disabled).await;
    make_user(&rekey, "locked", "bob", "educator", SubjectState::Locked).await;
    let mut answers = Vec::new();
    for (name, password) in [("ada", "a wrong phrase"), ("nobody", PASSWORD), ("eve", PASSWORD), ("bob", PASSWORD)] {
        let refused = issue(&rekey, name, password).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "LOGIN_REFUSED"), "{name}");
        answers.push(refused.message().to_owned());
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    // They count as VerifyPassword's do: five, and then the source waits, even with the right one.
    for _ in 0..4 {
        issue(&rekey, "ada", "a wrong phrase").await.unwrap_err();
    }
    assert_eq!(reason(&issue(&rekey, "ada", PASSWORD).await.unwrap_err()), "LOGIN_REFUSED");
    rekey.clock.advance(Duration::from_secs(5));
    issue(&rekey, "ada", PASSWORD).await.unwrap();
}

#[tokio::test]
async fn a_tenant_without_an_issuer_and_none_at_all_look_the_same() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "plain".to_owned(), ..Tenant::default() }).await;
    let mut answers = Vec::new();
    for tenant_id in ["plain", "nowhere", "ocariot:nowhere", "-"] {
        let request = IssueTokenRequest {
            tenant_id: tenant_id.to_owned(),
            subject: Some(Subject::UserId("ada".to_owned())),
            password: PASSWORD.to_owned(),
            source: String::new(),
        };
        let refused = rekey.clients("").users.issue_token(request).await.unwrap_err();
        assert_eq!(reason(&refused), "TOKEN_ISSUER_NOT_SET", "{tenant_id}");
        answers.push((refused.code(), refused.message().to_owned()));
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));

    // And one whose key is missing says what is missing to nobody but the log.
    rekey.make_tenant(school(TokenAlgorithm::Rs256)).await;
    make_user(&rekey, ADA, "ada", "admin", SubjectState::Active).await;
    let refused = issue(&rekey, "ada", PASSWORD).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "TOKEN_ISSUER_NOT_SET"));
}

#[tokio::test]
async fn a_token_dies_with_its_password() {
    let rekey = Rekey::start_signing().await;
    rekey.make_tenant(school(TokenAlgorithm::Es256)).await;
    make_user(&rekey, ADA, "ada", "admin", SubjectState::Active).await;
    let old = issue(&rekey, "ada", PASSWORD).await.unwrap().access_token;
    assert!(who(&rekey, &old).await.is_ok());
    // Within the same second, to the same password: not the time tells, but the version.
    reset(&rekey, ADA).await;
    assert_eq!(who(&rekey, &old).await, Err("CREDENTIAL_INVALID".to_owned()));
    let new = issue(&rekey, "ada", PASSWORD).await.unwrap().access_token;
    assert!(who(&rekey, &new).await.is_ok());
    let mut own = rekey.clients(&new).users;
    let request = ResetPasswordRequest {
        tenant_id: "-".to_owned(),
        user_id: ADA.to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(PASSWORD.to_owned())),
        ..ResetPasswordRequest::default()
    };
    own.reset_password(request.clone()).await.unwrap();
    assert_eq!(reason(&own.reset_password(request).await.unwrap_err()), "CREDENTIAL_INVALID");
}

#[tokio::test]
async fn a_rotated_key_still_verifies_and_a_new_one_signs() {
    let rekey = Rekey::start_signing().await;
    rekey.make_tenant(school(TokenAlgorithm::Eddsa)).await;
    make_user(&rekey, ADA, "ada", "admin", SubjectState::Active).await;
    let old = issue(&rekey, "ada", PASSWORD).await.unwrap().access_token;
    let stopped: Stopped = rekey.pause().await;
    let id = stopped.add_signing_key(JwtAlgorithm::EdDSA);
    let rekey = stopped.start().await;
    let new = issue(&rekey, "ada", PASSWORD).await.unwrap().access_token;
    assert_eq!(part(&new, 0)["kid"], id);
    assert_ne!(part(&old, 0)["kid"], id);
    for token in [old, new] {
        assert!(who(&rekey, &token).await.is_ok());
    }
    let set = rekey.clients("").tokens.get_key_set(rekey::proto::GetKeySetRequest {}).await.unwrap().into_inner();
    assert_eq!(set.keys.len(), 4);
    assert!(set.keys.iter().all(|key| key.r#use == "sig" && !key.kid.is_empty()));
}

#[tokio::test]
async fn an_issuer_is_one_tenants_alone_and_of_good_form() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(school(TokenAlgorithm::Es256)).await;
    let create = async |tenant: Tenant| {
        let request = CreateTenantRequest { tenant: Some(tenant), ..Default::default() };
        rekey.admin().tenants.create_tenant(request).await
    };
    // What was put in comes out.
    let get = rekey::proto::GetTenantRequest { tenant_id: "school".to_owned() };
    let read = rekey.admin().tenants.get_tenant(get).await;
    assert_eq!(read.unwrap().into_inner().tenant.unwrap().token_issuer, Some(issuer(TokenAlgorithm::Es256)));

    let other = Tenant { tenant_id: "other".to_owned(), ..school(TokenAlgorithm::Eddsa) };
    let taken = create(other.clone()).await.unwrap_err();
    assert_eq!((taken.code(), reason(&taken).as_str()), (Code::AlreadyExists, "ALREADY_EXISTS"));

    let with = |change: &dyn Fn(&mut TokenIssuer)| {
        let mut tenant = other.clone();
        let issuer = tenant.token_issuer.as_mut().unwrap();
        issuer.issuer = "https://issuer.example".to_owned();
        change(issuer);
        tenant
    };
    let ttl = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
    let changes: Vec<(&str, Change)> = vec![
        ("issuer", Box::new(|issuer| issuer.issuer = String::new())),
        ("issuer", Box::new(|issuer| issuer.issuer = "rekey:access".to_owned())),
        ("algorithm", Box::new(|issuer| issuer.algorithm = 9)),
        ("ttl", Box::new(move |issuer| issuer.ttl = ttl(59, 0))),
        ("ttl", Box::new(move |issuer| issuer.ttl = ttl(604_801, 0))),
        ("ttl", Box::new(move |issuer| issuer.ttl = ttl(-60, 0))),
        ("ttl", Box::new(move |issuer| issuer.ttl = ttl(60, 1))),
        ("audience", Box::new(|issuer| issuer.audience = "x".repeat(129))),
        ("subject_type_label", Box::new(|issuer| issuer.subject_type_label = "x".repeat(129))),
        ("scopes[0].scopes[0]", Box::new(|issuer| issuer.scopes[0].scopes = vec!["a b".to_owned()])),
        ("scopes", Box::new(|issuer| issuer.scopes = vec![TokenScopes::default(); 65])),
        ("scope_grants[0].permission", Box::new(|issuer| issuer.scope_grants[0].permission = "nothing".to_owned())),
    ];
    for (field, change) in changes {
        let refused = create(with(&*change)).await.unwrap_err();
        assert_eq!(fields(&refused), [format!("tenant.token_issuer.{field}")], "{field}");
    }
    let mut trusting = with(&|_| {});
    trusting.jwt_issuers = vec![JwtIssuer {
        issuer: "https://issuer.example".to_owned(),
        public_key_pem: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEANmT1ikPv+tYz8VH2e2QO0vnpFu5Wt+ILqOIrkppyQ1A=\n-----END PUBLIC KEY-----\n".to_owned(),
        ..JwtIssuer::default()
    }];
    assert_eq!(fields(&create(trusting).await.unwrap_err()), ["tenant.token_issuer.issuer"]);
    create(with(&|_| {})).await.unwrap();
}
