//! Access tokens: got for an API key and its shared key, or for the signature of a request; good for Rekey alone.

use std::time::Duration;

use aws_lc_rs::{digest, hmac};
use data_encoding::HEXLOWER;
use rekey::proto::{
    CreateCallerRequest, CreateSigningKeyRequest, CredentialKind, ExchangeClientCredentialsRequest,
    ExchangeSignatureRequest, GetUserRequest, RevokeSigningKeyRequest, Tenant, WhoAmIRequest,
};
use tonic::{Code, Status};

use crate::common::rekey::{Clients, Rekey, reason};

const KEY: &str = "AKEXAMPLE";
const SECRET: &str = "SKEXAMPLE-SKEXAMPLE";

async fn with_key(permissions: &[&str]) -> Rekey {
    let rekey = Rekey::start_signing().await;
    for (tenant_id, api_key) in [("acme", KEY), ("other", "ANOTHERKEY")] {
        let tenant_id = tenant_id.to_owned();
        rekey.make_tenant(Tenant { tenant_id: tenant_id.clone(), ..Tenant::default() }).await;
        let request = CreateCallerRequest {
            tenant_id: tenant_id.clone(),
            caller_id: "svc".to_owned(),
            permissions: permissions.iter().map(|permission| (*permission).to_owned()).collect(),
            ..CreateCallerRequest::default()
        };
        rekey.admin().callers.create_caller(request).await.unwrap();
        make_key(&rekey, &tenant_id, api_key).await;
    }
    rekey
}

async fn make_key(rekey: &Rekey, tenant_id: &str, api_key: &str) {
    let request = CreateSigningKeyRequest {
        tenant_id: tenant_id.to_owned(),
        caller_id: "svc".to_owned(),
        api_key: api_key.to_owned(),
        shared_key: SECRET.to_owned(),
        ..CreateSigningKeyRequest::default()
    };
    rekey.admin().callers.create_signing_key(request).await.unwrap();
}

async fn revoke(rekey: &Rekey) {
    let request = RevokeSigningKeyRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "svc".to_owned(),
        api_key: KEY.to_owned(),
        ..Default::default()
    };
    rekey.admin().callers.revoke_signing_key(request).await.unwrap();
}

async fn exchange(rekey: &Rekey, id: &str, secret: &str) -> Result<String, Status> {
    let request = ExchangeClientCredentialsRequest { client_id: id.to_owned(), client_secret: secret.to_owned() };
    let answer = rekey.clients("").tokens.exchange_client_credentials(request).await?.into_inner();
    assert_eq!(answer.ttl.unwrap().seconds, 3_600);
    Ok(answer.access_token)
}

async fn who(rekey: &Rekey, token: &str) -> Result<(String, String, CredentialKind), String> {
    let who = rekey.clients(token).callers.who_am_i(WhoAmIRequest {}).await.map_err(|status| reason(&status))?;
    let who = who.into_inner();
    Ok((who.tenant_id.clone(), who.caller_id.clone(), who.credential_kind()))
}

#[tokio::test]
async fn client_credentials_get_a_token_for_what_the_caller_may() {
    let rekey = with_key(&["users:get"]).await;
    let token = exchange(&rekey, KEY, SECRET).await.unwrap();
    let is = ("acme".to_owned(), "svc".to_owned(), CredentialKind::AccessToken);
    assert_eq!(who(&rekey, &token).await, Ok(is));
    let get = GetUserRequest { tenant_id: "-".to_owned(), user_id: "ada".to_owned() };
    let unknown = rekey.clients(&token).users.get_user(get.clone()).await.unwrap_err();
    assert_eq!(reason(&unknown), "USER_NOT_FOUND");
    let foreign = GetUserRequest { tenant_id: "other".to_owned(), ..get };
    assert_eq!(reason(&rekey.clients(&token).users.get_user(foreign).await.unwrap_err()), "TENANT_NOT_FOUND");
    rekey.clock.advance(Duration::from_mins(61));
    assert_eq!(who(&rekey, &token).await, Err("CREDENTIAL_EXPIRED".to_owned()));
}

#[tokio::test]
async fn wrong_client_credentials_are_refused_alike() {
    let rekey = with_key(&["users:get"]).await;
    let mut answers = Vec::new();
    for (id, secret) in
        [(KEY, "wrong"), ("unknown", SECRET), ("ANOTHERKEY", KEY), ("%", SECRET), ("' OR 1=1 --", SECRET)]
    {
        let refused = exchange(&rekey, id, secret).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"), "{id}");
        answers.push(refused.message().to_owned());
    }
    let token = exchange(&rekey, KEY, SECRET).await.unwrap();
    revoke(&rekey).await;
    answers.push(exchange(&rekey, KEY, SECRET).await.unwrap_err().message().to_owned());
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    // And what was got for the key is void with it.
    assert_eq!(who(&rekey, &token).await, Err("CREDENTIAL_INVALID".to_owned()));
}

const DATE: &str = "20260101T000001Z";

fn canonical(method: &str, body: &str) -> String {
    let digest = digest::digest(&digest::SHA256, body.as_bytes());
    let digest = HEXLOWER.encode(digest.as_ref());
    format!("{method}\n/v2/p/\n\nhost:h\nx-sdk-date:{DATE}\n\nhost;x-sdk-date\n{digest}")
}

fn signed(canonical: &str, secret: &str) -> ExchangeSignatureRequest {
    let digest = HEXLOWER.encode(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
    let message = format!("SDK-HMAC-SHA256\n{DATE}\n{digest}");
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), message.as_bytes());
    ExchangeSignatureRequest {
        access_key: KEY.to_owned(),
        date: DATE.to_owned(),
        canonical_request: canonical.as_bytes().to_vec(),
        signature: HEXLOWER.encode(signature.as_ref()),
    }
}

async fn ask(mut clients: Clients, request: &ExchangeSignatureRequest) -> Result<String, String> {
    let answer = clients.tokens.exchange_signature(request.clone()).await;
    answer.map(|answer| answer.into_inner().access_token).map_err(|status| reason(&status))
}

#[tokio::test]
async fn a_signature_gets_a_minute_for_its_signer() {
    let rekey = with_key(&["users:get"]).await;
    let gateway = rekey.make_caller("system", &["tokens:exchangeSignature"]).await;
    let good = signed(&canonical("PUT", "{}"), SECRET);
    let token = ask(rekey.clients(&gateway), &good).await.unwrap();
    let is = ("acme".to_owned(), "svc".to_owned(), CredentialKind::AccessToken);
    assert_eq!(who(&rekey, &token).await, Ok(is));
    rekey.clock.advance(Duration::from_secs(61));
    assert_eq!(who(&rekey, &token).await, Err("CREDENTIAL_EXPIRED".to_owned()));

    // A gateway of one tenant learns nothing of another's keys.
    for (tenant_id, answer) in [("acme", None), ("other", Some("API_KEY_UNKNOWN"))] {
        let gateway = rekey.make_caller(tenant_id, &["tokens:exchangeSignature"]).await;
        let reading = signed(&canonical("GET", ""), SECRET);
        assert_eq!(ask(rekey.clients(&gateway), &reading).await.err().as_deref(), answer, "{tenant_id}");
    }
    let weak = rekey.make_caller("system", &["users:get"]).await;
    assert_eq!(ask(rekey.clients(&weak), &good).await, Err("PERMISSION_MISSING".to_owned()));
    assert_eq!(ask(rekey.clients(""), &good).await, Err("CREDENTIAL_MISSING".to_owned()));
}

#[tokio::test]
async fn whatever_is_covered_cannot_be_changed() {
    let rekey = with_key(&["users:get"]).await;
    let text = canonical("GET", "");
    let good = signed(&text, SECRET);
    ask(rekey.admin(), &good).await.unwrap();
    for (from, to) in
        [("GET", "PUT"), ("/v2/p/", "/v2/q/"), ("\n\nhost:h", "\na=1\nhost:h"), ("host:h", "host:i"), ("e3b0", "e3b1")]
    {
        let changed = ExchangeSignatureRequest { canonical_request: text.replacen(from, to, 1).into(), ..good.clone() };
        assert_eq!(ask(rekey.admin(), &changed).await, Err("SIGNATURE_MISMATCH".to_owned()), "{from} to {to}");
    }
    let other = |change: &dyn Fn(&mut ExchangeSignatureRequest)| {
        let mut request = good.clone();
        change(&mut request);
        request
    };
    for (request, wanted) in [
        (other(&|request| request.access_key = "ANOTHERKEX".to_owned()), "API_KEY_UNKNOWN"),
        (other(&|request| request.date = "20260101T000002Z".to_owned()), "SIGNATURE_MALFORMED"),
        (other(&|request| request.signature = String::new()), "SIGNATURE_MISMATCH"),
        (other(&|request| request.signature = request.signature.to_uppercase()), "SIGNATURE_MISMATCH"),
        (other(&|request| request.signature.truncate(62)), "SIGNATURE_MISMATCH"),
        (other(&|request| request.canonical_request = vec![0xff]), "SIGNATURE_MALFORMED"),
        (other(&|request| request.canonical_request = vec![b'a'; 33 * 1024]), "FIELDS_INVALID"),
        (signed(&text, "another secret key"), "SIGNATURE_MISMATCH"),
        (signed(&text.replace("host;", ""), SECRET), "SIGNATURE_MALFORMED"),
    ] {
        assert_eq!(ask(rekey.admin(), &request).await, Err(wanted.to_owned()), "{request:?}");
    }
    // Of many altered signatures none is taken for the right one; of all with one wrong bit, see crypto::signature.
    let mut bytes = [0_u8; 32];
    HEXLOWER.decode_mut(good.signature.as_bytes(), &mut bytes).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"noise");
    for round in 0..500_u32 {
        let noise = hmac::sign(&key, &round.to_be_bytes());
        let mut altered = bytes;
        altered[usize::from(noise.as_ref()[0]) % 32] ^= noise.as_ref()[1].max(1);
        let request = ExchangeSignatureRequest { signature: HEXLOWER.encode(&altered), ..good.clone() };
        assert_eq!(ask(rekey.admin(), &request).await, Err("SIGNATURE_MISMATCH".to_owned()));
    }
    rekey.clock.advance(Duration::from_mins(16));
    assert_eq!(ask(rekey.admin(), &good).await, Err("SIGNATURE_DATE_SKEWED".to_owned()));
    revoke(&rekey).await;
    rekey.clock.set_back(Duration::from_mins(16));
    assert_eq!(ask(rekey.admin(), &good).await, Err("API_KEY_REVOKED".to_owned()));
}

#[tokio::test]
async fn a_signature_of_a_write_is_used_once_on_every_replica_and_over_a_restart() {
    let rekey = with_key(&["users:get"]).await;
    let writing = signed(&canonical("PUT", "{}"), SECRET);
    let reading = signed(&canonical("GET", ""), SECRET);
    let used = Err("SIGNATURE_MISMATCH".to_owned());
    ask(rekey.admin(), &writing).await.unwrap();
    ask(rekey.admin(), &reading).await.unwrap();
    // Two requests of one second that are the same have the same signature, and both are the client's own.
    ask(rekey.admin(), &writing).await.unwrap();
    rekey.clock.advance(Duration::from_secs(3));
    assert_eq!(ask(rekey.admin(), &writing).await, used);
    ask(rekey.admin(), &reading).await.unwrap();
    let replica = rekey.replica().await;
    assert_eq!(ask(replica.clients(&rekey.admin_token), &writing).await, used);
    replica.stop().await;
    let rekey = rekey.pause().await.start().await;
    rekey.clock.advance(Duration::from_mins(10));
    assert_eq!(ask(rekey.admin(), &writing).await, used);
    // With another body it is another one.
    ask(rekey.admin(), &signed(&canonical("PUT", "[]"), SECRET)).await.unwrap();
}
