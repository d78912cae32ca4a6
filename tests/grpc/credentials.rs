//! Rotation of tokens and signing keys: which versions let their caller in, when, and on which replica.

use std::time::Duration;

use rekey::proto::{
    AtLimit, CallerCredential, CreateApiTokenRequest, CreateCallerRequest, CreateSigningKeyRequest, CredentialKind,
    ExchangeClientCredentialsRequest, ListAuditRecordsRequest, ListCredentialsRequest, PromoteCredentialRequest,
    RevokeApiTokenRequest, RevokeCredentialVersionRequest, RevokeSigningKeyRequest, RollBackCredentialRequest,
    RotateApiTokenRequest, RotateApiTokenResponse, RotateSigningKeyRequest, SecretStage, SecretVersion,
    SwapCredentialRequest, Tenant, WhoAmIRequest, WhoAmIResponse, promote_credential_request as promoting,
    revoke_credential_version_request as revoking, roll_back_credential_request as rolling_back,
    swap_credential_request as swapping,
};
use tonic::{Code, Request, Status, transport::Channel};

use crate::{
    common::rekey::{Clients, Rekey, fields, reason},
    robustness::database::Raw,
    tokens::{date, signed},
};

const TENANT: &str = "acme";
const KEY: &str = "AKEXAMPLE";
const SHARED: &str = "SKEXAMPLE-SKEXAMPLE";
const HOUR: i64 = 3_600;

use SecretStage::{Current, Pending, Previous};

macro_rules! on_both_engines {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(super::Rekey::start().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(rekey) = super::Rekey::start_on_postgres().await {
                    super::$case(rekey).await;
                }
            })*
        }
    };
}

on_both_engines! {
    old_and_new_token_are_good_until_the_deadline,
    without_overlap_the_old_token_is_void_at_once,
    a_pending_token_is_good_for_nothing_until_it_is_promoted,
    a_third_version_is_refused_or_drops_the_oldest,
    a_version_is_revoked_with_care,
    the_version_that_a_call_is_made_with_is_revoked_only_if_that_is_said,
    a_token_that_was_given_is_followed_by_one_that_is_made,
    a_whole_token_is_revoked_by_the_id_of_any_version,
    what_either_shared_key_signs_is_signed_until_the_deadline,
    what_one_replica_rotates_is_good_on_another_at_once,
    what_one_replica_revokes_is_void_on_another_within_a_second,
    of_many_that_rotate_at_once_two_versions_are_left,
    an_older_program_finds_what_it_knows,
    uses_are_shown_by_version,
    deadlines_are_swept_and_ends_are_told_of,
}

/// The caller `svc` with a token and a signing key; the token's id and the token.
async fn populate(rekey: &Rekey) -> (String, String) {
    rekey.make_tenant(Tenant { tenant_id: TENANT.to_owned(), ..Tenant::default() }).await;
    let mut callers = rekey.admin().callers;
    let (tenant_id, caller_id) = (|| TENANT.to_owned(), || "svc".to_owned());
    let permissions = vec!["callers:*".to_owned()];
    let caller =
        CreateCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), permissions, ..Default::default() };
    callers.create_caller(caller).await.unwrap();
    let key = CreateSigningKeyRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        api_key: KEY.to_owned(),
        shared_key: SHARED.to_owned(),
        ..Default::default()
    };
    callers.create_signing_key(key).await.unwrap();
    let token = CreateApiTokenRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
    let made = callers.create_api_token(token).await.unwrap().into_inner();
    (made.token_id, made.token)
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    (seconds > 0).then_some(prost_types::Duration { seconds, nanos: 0 })
}

fn rotation(token_id: &str, overlap: i64) -> RotateApiTokenRequest {
    RotateApiTokenRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        token_id: token_id.to_owned(),
        overlap: seconds(overlap),
        ..Default::default()
    }
}

async fn rotate(clients: &Clients, request: RotateApiTokenRequest) -> Result<RotateApiTokenResponse, Status> {
    clients.clone().callers.rotate_api_token(request).await.map(tonic::Response::into_inner)
}

async fn rotate_key(clients: &Clients, overlap: i64) -> String {
    let request = RotateSigningKeyRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        api_key: KEY.to_owned(),
        overlap: seconds(overlap),
        ..Default::default()
    };
    let made = clients.clone().callers.rotate_signing_key(request).await.unwrap().into_inner();
    assert_eq!(made.api_key, KEY);
    made.shared_key
}

async fn promote(
    clients: &Clients,
    token_id: &str,
    overlap: i64,
    allow_own: bool,
) -> Result<Vec<SecretVersion>, String> {
    let request = PromoteCredentialRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        credential: Some(promoting::Credential::TokenId(token_id.to_owned())),
        overlap: seconds(overlap),
        allow_own,
        ..Default::default()
    };
    let answer = clients.clone().callers.promote_credential(request).await;
    answer.map(|answer| answer.into_inner().versions).map_err(|status| reason(&status))
}

async fn roll_back(clients: &Clients, token_id: &str, allow_own: bool) -> Result<Vec<SecretVersion>, String> {
    let request = RollBackCredentialRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        credential: Some(rolling_back::Credential::TokenId(token_id.to_owned())),
        allow_own,
        ..Default::default()
    };
    let answer = clients.clone().callers.roll_back_credential(request).await;
    answer.map(|answer| answer.into_inner().versions).map_err(|status| reason(&status))
}

async fn swap(clients: &Clients, token_id: &str) -> Result<Vec<SecretVersion>, String> {
    let request = SwapCredentialRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        credential: Some(swapping::Credential::TokenId(token_id.to_owned())),
        ..Default::default()
    };
    let answer = clients.clone().callers.swap_credential(request).await;
    answer.map(|answer| answer.into_inner().versions).map_err(|status| reason(&status))
}

fn revocation(token_id: &str, version: i64) -> RevokeCredentialVersionRequest {
    RevokeCredentialVersionRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        credential: Some(revoking::Credential::TokenId(token_id.to_owned())),
        version,
        ..Default::default()
    }
}

async fn revoke(clients: &Clients, request: RevokeCredentialVersionRequest) -> Result<Vec<SecretVersion>, String> {
    let answer = clients.clone().callers.revoke_credential_version(request).await;
    answer.map(|answer| answer.into_inner().versions).map_err(|status| reason(&status))
}

async fn who(clients: &Clients) -> Result<WhoAmIResponse, String> {
    let answer = clients.clone().callers.who_am_i(WhoAmIRequest {}).await;
    answer.map(tonic::Response::into_inner).map_err(|status| reason(&status))
}

/// The stage of the version that a token is, or why it is refused.
async fn at(rekey: &Rekey, token: &str) -> Result<SecretStage, String> {
    who(&rekey.clients(token)).await.map(|me| me.credential_stage())
}

fn stages(versions: &[SecretVersion]) -> Vec<SecretStage> {
    versions.iter().map(SecretVersion::stage).collect()
}

/// A credential as it is listed.
async fn shown(rekey: &Rekey, id: &str, show_revoked: bool) -> CallerCredential {
    let (tenant_id, caller_id) = (TENANT.to_owned(), "svc".to_owned());
    let request = ListCredentialsRequest { tenant_id, caller_id, show_revoked };
    let credentials = rekey.admin().callers.list_credentials(request).await.unwrap().into_inner().credentials;
    assert_eq!(credentials.len(), 2, "a token and a key");
    credentials.into_iter().find(|shown| shown.credential_id == id).unwrap()
}

/// What a signature over the date proves: which version signed.
async fn sign(channel: Channel, now: i64, shared_key: &str) -> Result<WhoAmIResponse, String> {
    let mut request = Request::new(WhoAmIRequest {});
    *request.metadata_mut() = signed(KEY, shared_key, &date(now));
    let answer = Clients::on(&channel, "").callers.who_am_i(request).await;
    answer.map(tonic::Response::into_inner).map_err(|status| reason(&status))
}

fn refused<T>(why: &str) -> Result<T, String> {
    Err(why.to_owned())
}

async fn old_and_new_token_are_good_until_the_deadline(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let first = who(&rekey.clients(&old)).await.unwrap();
    assert_eq!((first.credential_id.as_str(), first.credential_stage()), (id.as_str(), Current));
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    assert_eq!(made.token_id, id, "the same token");
    let inner = made.token.split('_').nth(1).unwrap().to_owned();
    assert_ne!(inner, id, "which is found by an id of its own");
    assert_eq!(stages(&made.versions), [Current, Previous]);
    assert_eq!(made.versions[0].version, made.version);
    let deadline = made.versions[1].expire_time.unwrap().seconds;
    assert!((rekey.clock.seconds() + HOUR - deadline).abs() <= 1);

    let (before, after) = (who(&rekey.clients(&old)).await.unwrap(), who(&rekey.clients(&made.token)).await.unwrap());
    assert_eq!((before.credential_stage(), after.credential_stage()), (Previous, Current));
    assert_eq!((before.credential_id, after.credential_id), (id.clone(), id.clone()));
    assert_eq!((before.credential_version, after.credential_version), (first.credential_version, made.version));
    assert_eq!(before.expire_time.unwrap().seconds, deadline);
    // It goes by either id.
    let token = shown(&rekey, &id, false).await;
    assert_eq!((token.credential_id.as_str(), token.kind()), (id.as_str(), CredentialKind::ApiToken));
    assert_eq!((stages(&token.versions), token.expire_time), (vec![Current, Previous], None));
    let again = rotate(&rekey.admin(), rotation(&inner, HOUR)).await.unwrap_err();
    assert_eq!((again.code(), reason(&again).as_str()), (Code::FailedPrecondition, "TWO_SECRETS_LIVE"));

    rekey.clock.advance(Duration::from_secs(3_590));
    assert_eq!(at(&rekey, &old).await, Ok(Previous));
    rekey.clock.advance(Duration::from_secs(11));
    assert_eq!(at(&rekey, &old).await, refused("CREDENTIAL_EXPIRED"));
    assert_eq!(at(&rekey, &made.token).await, Ok(Current));
    assert_eq!(roll_back(&rekey.admin(), &id, false).await, refused("NO_PREVIOUS_SECRET"));
    let token = shown(&rekey, &id, false).await;
    assert_eq!(stages(&token.versions), [Current]);

    // Bounds, all at once.
    let mut bad = rotation(&id, 91 * 24 * HOUR);
    bad.expire_time = Some(prost_types::Timestamp { seconds: rekey.clock.seconds() - 1, nanos: 0 });
    assert_eq!(fields(&rotate(&rekey.admin(), bad).await.unwrap_err()), ["expire_time", "overlap"]);
    let both = RotateApiTokenRequest { pending: true, ..rotation("no id!", 1) };
    assert_eq!(fields(&rotate(&rekey.admin(), both).await.unwrap_err()), ["token_id", "overlap"]);
    let unknown = rotate(&rekey.admin(), rotation("unknown", 0)).await.unwrap_err();
    assert_eq!(reason(&unknown), "CREDENTIAL_NOT_FOUND");
}

async fn without_overlap_the_old_token_is_void_at_once(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    assert_eq!(at(&rekey, &old).await, Ok(Current));
    // A caller that may, does it to its own.
    let made = rotate(&rekey.clients(&old), rotation(&id, 0)).await.unwrap();
    assert_eq!(at(&rekey, &old).await, refused("CREDENTIAL_INVALID"));
    assert_eq!(at(&rekey, &made.token).await, Ok(Current));
    assert_eq!(stages(&made.versions), [Current]);

    // Only prepared, and of no effect where it is only checked.
    let check = RotateApiTokenRequest { validate_only: true, ..rotation(&id, 0) };
    let checked = rotate(&rekey.admin(), check).await.unwrap();
    assert!(checked.token.is_empty());
    assert_eq!(at(&rekey, &made.token).await, Ok(Current));
    // The same request again is the same token.
    let same = RotateApiTokenRequest { request_id: "once".to_owned(), ..rotation(&id, 0) };
    let (one, two) = (rotate(&rekey.admin(), same.clone()).await.unwrap(), rotate(&rekey.admin(), same).await.unwrap());
    assert_eq!(one.token, two.token);
    assert_eq!(at(&rekey, &one.token).await, Ok(Current));
}

async fn a_pending_token_is_good_for_nothing_until_it_is_promoted(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let admin = rekey.admin();
    assert_eq!(promote(&admin, &id, 0, false).await, refused("NO_PENDING_SECRET"));
    let made = rotate(&admin, RotateApiTokenRequest { pending: true, ..rotation(&id, 0) }).await.unwrap();
    assert_eq!(stages(&made.versions), [Pending, Current]);
    assert_eq!(at(&rekey, &made.token).await, refused("CREDENTIAL_INVALID"));
    assert_eq!(at(&rekey, &old).await, Ok(Current));
    assert_eq!(swap(&admin, &id).await, refused("NO_PREVIOUS_SECRET"));

    assert_eq!(stages(&promote(&admin, &id, HOUR, false).await.unwrap()), [Current, Previous]);
    assert_eq!((at(&rekey, &made.token).await, at(&rekey, &old).await), (Ok(Current), Ok(Previous)));
    assert_eq!(stages(&swap(&admin, &id).await.unwrap()), [Previous, Current]);
    assert_eq!((at(&rekey, &made.token).await, at(&rekey, &old).await), (Ok(Previous), Ok(Current)));
    swap(&admin, &id).await.unwrap();
    assert_eq!(stages(&roll_back(&admin, &id, false).await.unwrap()), [Current]);
    assert_eq!((at(&rekey, &made.token).await, at(&rekey, &old).await), (refused("CREDENTIAL_INVALID"), Ok(Current)));
}

async fn a_third_version_is_refused_or_drops_the_oldest(rekey: Rekey) {
    let (id, first) = populate(&rekey).await;
    let admin = rekey.admin();
    let second = rotate(&admin, rotation(&id, HOUR)).await.unwrap().token;
    for pending in [false, true] {
        let request = RotateApiTokenRequest { pending, ..rotation(&id, if pending { 0 } else { HOUR }) };
        assert_eq!(reason(&rotate(&admin, request).await.unwrap_err()), "TWO_SECRETS_LIVE");
    }
    let drop = RotateApiTokenRequest { at_limit: AtLimit::DropOldest.into(), ..rotation(&id, HOUR) };
    let third = rotate(&admin, drop).await.unwrap();
    assert_eq!(stages(&third.versions), [Current, Previous]);
    assert_eq!(at(&rekey, &first).await, refused("CREDENTIAL_INVALID"));
    assert_eq!((at(&rekey, &second).await, at(&rekey, &third.token).await), (Ok(Previous), Ok(Current)));
    // Without overlap there is no limit: all else goes.
    let fourth = rotate(&admin, rotation(&id, 0)).await.unwrap();
    assert_eq!(stages(&fourth.versions), [Current]);
    let token = shown(&rekey, &id, true).await;
    assert_eq!(token.versions.len(), 4);
    assert!(!token.revoked);
}

async fn a_version_is_revoked_with_care(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let admin = rekey.admin();
    let made = rotate(&admin, rotation(&id, HOUR)).await.unwrap();
    let (new, before) = (made.versions[0].version, made.versions[1].version);
    assert_eq!(revoke(&admin, revocation(&id, new)).await, refused("PREVIOUS_SECRET_LIVE"));
    assert_eq!(revoke(&admin, revocation(&id, new + 7)).await, refused("SECRET_VERSION_NOT_FOUND"));
    assert_eq!(revoke(&admin, revocation(&id, 0)).await, refused("FIELDS_INVALID"));
    assert_eq!(stages(&revoke(&admin, revocation(&id, before)).await.unwrap()), [Current]);
    assert_eq!(at(&rekey, &old).await, refused("CREDENTIAL_INVALID"));
    assert_eq!(revoke(&admin, revocation(&id, before)).await, refused("SECRET_VERSION_NOT_FOUND"));
    assert_eq!(revoke(&admin, revocation(&id, new)).await, refused("LAST_SECRET"));
    let last = RevokeCredentialVersionRequest { allow_last: true, ..revocation(&id, new) };
    assert_eq!(revoke(&admin, last).await, Ok(Vec::new()));
    assert_eq!(at(&rekey, &made.token).await, refused("CREDENTIAL_INVALID"));
    let rotated = rotate(&admin, rotation(&id, 0)).await.unwrap_err();
    assert_eq!(reason(&rotated), "CREDENTIAL_NOT_FOUND", "what is revoked does not come back");
    let none = RevokeCredentialVersionRequest { credential: None, ..revocation(&id, new) };
    let none = admin.clone().callers.revoke_credential_version(none).await.unwrap_err();
    assert_eq!(fields(&none), ["credential"]);
}

async fn the_version_that_a_call_is_made_with_is_revoked_only_if_that_is_said(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    let (by_old, by_new) = (rekey.clients(&old), rekey.clients(&made.token));
    assert_eq!(roll_back(&by_new, &id, false).await, refused("OWN_CREDENTIAL"));
    let own = revocation(&id, made.versions[1].version);
    assert_eq!(revoke(&by_old, own.clone()).await, refused("OWN_CREDENTIAL"));
    assert_eq!(at(&rekey, &old).await, Ok(Previous));
    // By the other one it may, and by its own where it is said.
    assert_eq!(stages(&revoke(&by_new, own).await.unwrap()), [Current]);
    let own = revocation(&id, made.version);
    let own = RevokeCredentialVersionRequest { allow_last: true, ..own };
    assert_eq!(revoke(&by_new, own.clone()).await, refused("OWN_CREDENTIAL"));
    assert_eq!(revoke(&by_new, RevokeCredentialVersionRequest { allow_own: true, ..own }).await, Ok(Vec::new()));
    assert_eq!(at(&rekey, &made.token).await, refused("CREDENTIAL_INVALID"));
}

async fn a_token_that_was_given_is_followed_by_one_that_is_made(rekey: Rekey) {
    populate(&rekey).await;
    let given = "a-token-of-another-system";
    let request = CreateApiTokenRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        token: given.to_owned(),
        ..Default::default()
    };
    let id = rekey.admin().callers.create_api_token(request).await.unwrap().into_inner().token_id;
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    assert_eq!((made.token_id, &made.token[..3]), (id.clone(), "rk_"));
    assert_eq!((at(&rekey, given).await, at(&rekey, &made.token).await), (Ok(Previous), Ok(Current)));
    swap(&rekey.admin(), &id).await.unwrap();
    assert_eq!((at(&rekey, given).await, at(&rekey, &made.token).await), (Ok(Current), Ok(Previous)));
}

async fn a_whole_token_is_revoked_by_the_id_of_any_version(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    let inner = made.token.split('_').nth(1).unwrap().to_owned();
    let revoke = |token_id: &str| RevokeApiTokenRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        token_id: token_id.to_owned(),
        ..Default::default()
    };
    rekey.admin().callers.revoke_api_token(revoke(&inner)).await.unwrap();
    for token in [&old, &made.token] {
        assert_eq!(at(&rekey, token).await, refused("CREDENTIAL_INVALID"));
    }
    rekey.admin().callers.revoke_api_token(revoke(&id)).await.unwrap();
    let token = shown(&rekey, &id, true).await;
    assert!(token.revoked && token.versions.len() == 2);
}

async fn what_either_shared_key_signs_is_signed_until_the_deadline(rekey: Rekey) {
    populate(&rekey).await;
    let sign = async |shared_key: &str| {
        let signed = sign(rekey.channel(), rekey.clock.seconds(), shared_key).await;
        signed.map(|me| (me.caller_id.clone(), me.credential_id.clone(), me.credential_stage()))
    };
    let is = |stage| Ok(("svc".to_owned(), KEY.to_owned(), stage));
    assert_eq!(sign(SHARED).await, is(Current));
    let second = rotate_key(&rekey.admin(), HOUR).await;
    assert_eq!((sign(SHARED).await, sign(&second).await), (is(Previous), is(Current)));
    assert_eq!(sign("neither of the two").await, refused("SIGNATURE_MISMATCH"));
    rekey.clock.advance(Duration::from_secs(3_601));
    assert_eq!((sign(SHARED).await, sign(&second).await), (refused("SIGNATURE_MISMATCH"), is(Current)));
    let third = rotate_key(&rekey.admin(), 0).await;
    assert_eq!((sign(&second).await, sign(&third).await), (refused("SIGNATURE_MISMATCH"), is(Current)));
    let request = RevokeSigningKeyRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: "svc".to_owned(),
        api_key: KEY.to_owned(),
        ..Default::default()
    };
    rekey.admin().callers.revoke_signing_key(request).await.unwrap();
    assert_eq!(sign(&third).await, refused("API_KEY_REVOKED"));
}

async fn what_one_replica_rotates_is_good_on_another_at_once(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let replica = rekey.replica().await;
    let there = |token: &str| replica.clients(token);
    // What the other one knows of them is a moment old at most, and in use.
    who(&there(&old)).await.unwrap();
    sign(replica.channel(), rekey.clock.seconds(), SHARED).await.unwrap();

    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    assert_eq!(who(&there(&made.token)).await.unwrap().credential_version, made.version);
    who(&there(&old)).await.unwrap();
    let second = rotate_key(&rekey.admin(), HOUR).await;
    for shared_key in [second.as_str(), SHARED] {
        assert_eq!(sign(replica.channel(), rekey.clock.seconds(), shared_key).await.unwrap().caller_id, "svc");
    }

    // What was tried there while it was pending is promoted here.
    rotate(&rekey.admin(), rotation(&id, 0)).await.unwrap();
    let pending = RotateApiTokenRequest { pending: true, ..rotation(&id, 0) };
    let pending = rotate(&rekey.admin(), pending).await.unwrap().token;
    assert_eq!(who(&there(&pending)).await.map(|me| me.caller_id), refused("CREDENTIAL_INVALID"));
    promote(&rekey.admin(), &id, 0, false).await.unwrap();
    assert_eq!(who(&there(&pending)).await.unwrap().credential_stage(), Current);
    replica.stop().await;
}

async fn what_one_replica_revokes_is_void_on_another_within_a_second(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let replica = rekey.replica().await;
    let there = |token: &str| replica.clients(token);
    let now = || rekey.clock.seconds();
    who(&there(&old)).await.unwrap();
    sign(replica.channel(), now(), SHARED).await.unwrap();
    rotate(&rekey.admin(), rotation(&id, 0)).await.unwrap();
    rotate_key(&rekey.admin(), 0).await;
    assert_eq!(at(&rekey, &old).await, refused("CREDENTIAL_INVALID"), "here at once");
    assert_eq!(sign(rekey.channel(), now(), SHARED).await.map(|me| me.caller_id), refused("SIGNATURE_MISMATCH"));
    rekey.clock.advance(Duration::from_secs(1));
    assert_eq!(who(&there(&old)).await.map(|me| me.caller_id), refused("CREDENTIAL_INVALID"));
    assert_eq!(sign(replica.channel(), now(), SHARED).await.map(|me| me.caller_id), refused("SIGNATURE_MISMATCH"));
    replica.stop().await;
}

async fn of_many_that_rotate_at_once_two_versions_are_left(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let replica = rekey.replica().await;
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let clients = if number % 2 == 0 { rekey.admin() } else { replica.clients(&rekey.admin_token) };
            let request = rotation(&id, HOUR);
            tokio::spawn(async move { rotate(&clients, request).await })
        })
        .collect();
    let mut made = Vec::new();
    for call in calls {
        match call.await.unwrap() {
            Ok(answer) => made.push(answer.token),
            Err(status) => {
                assert!(["TWO_SECRETS_LIVE", "CONCURRENT_CHANGE"].contains(&reason(&status).as_str()), "{status:?}");
            }
        }
    }
    let [new] = &made[..] else { panic!("{} were made", made.len()) };
    assert_eq!((at(&rekey, new).await, at(&rekey, &old).await), (Ok(Current), Ok(Previous)));

    // Where the oldest may go all but one of them go, and what is left is one of each.
    let calls: Vec<_> = (0..8)
        .map(|number| {
            let clients = if number % 2 == 0 { rekey.admin() } else { replica.clients(&rekey.admin_token) };
            let request = RotateApiTokenRequest { at_limit: AtLimit::DropOldest.into(), ..rotation(&id, HOUR) };
            tokio::spawn(async move { rotate(&clients, request).await })
        })
        .collect();
    for call in calls {
        if let Err(status) = call.await.unwrap() {
            assert_eq!(reason(&status), "CONCURRENT_CHANGE");
        }
    }
    let token = shown(&rekey, &id, false).await;
    assert_eq!(stages(&token.versions), [Current, Previous]);
    replica.stop().await;
}

/// It looks a credential up by its lookup key, of which there must be one, and knows nothing of others in its slot.
async fn an_older_program_finds_what_it_knows(rekey: Rekey) {
    let (id, _) = populate(&rekey).await;
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    rotate_key(&rekey.admin(), HOUR).await;
    let raw = Raw::open(&rekey.options).await;
    let inner = made.token.split('_').nth(1).unwrap().to_owned();
    for (lookup_key, slot, stage) in [
        (format!("token/{id}"), format!("token/{id}"), "previous"),
        (format!("token/{inner}"), format!("token/{id}"), "current"),
        (format!("key/{KEY}"), format!("key/{KEY}"), "previous"),
    ] {
        let rows = format!("SELECT slot || ' ' || stage FROM secret WHERE lookup_key = '{lookup_key}'");
        assert_eq!(raw.texts(&rows).await, [format!("{slot} {stage}")]);
    }
    let count = "SELECT count(*) FROM secret WHERE slot LIKE 'key/%' AND lookup_key IS NULL";
    assert_eq!(raw.number(count).await, 1, "the second version of the key");
}

async fn uses_are_shown_by_version(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    let made = rotate(&rekey.admin(), rotation(&id, HOUR)).await.unwrap();
    for _ in 0..3 {
        who(&rekey.clients(&made.token)).await.unwrap();
    }
    who(&rekey.clients(&old)).await.unwrap();
    let rekey = rekey.pause().await.start().await;
    let token = shown(&rekey, &id, false).await;
    let counts: Vec<_> = token.versions.iter().map(|version| version.use_count).collect();
    assert_eq!((counts, token.use_count), (vec![3, 1], 4));
    assert!(token.versions.iter().all(|version| version.last_used_time.is_some()) && token.last_used_time.is_some());
    let key = shown(&rekey, KEY, false).await;
    assert_eq!((key.use_count, key.last_used_time), (0, None));
    assert_eq!(key.versions.len(), 1);
}

async fn deadlines_are_swept_and_ends_are_told_of(rekey: Rekey) {
    let (id, old) = populate(&rekey).await;
    rotate_key(&rekey.admin(), 30 * 24 * HOUR).await;
    let end = Some(prost_types::Timestamp { seconds: rekey.clock.seconds() + 30 * 24 * HOUR, nanos: 0 });
    let made = rotate(&rekey.admin(), RotateApiTokenRequest { expire_time: end, ..rotation(&id, HOUR) }).await.unwrap();
    // Of a deadline, and of an end, that is near.
    rekey.clock.advance(Duration::from_hours(26 * 24));
    // Found at the start.
    let rekey = rekey.pause().await.start().await;
    let records = async |action: &str| {
        let request = ListAuditRecordsRequest {
            tenant_id: TENANT.to_owned(),
            filter: format!("action = \"{action}\""),
            ..Default::default()
        };
        rekey.clock.advance(Duration::from_secs(11));
        let records = rekey.admin().audit.list_audit_records(request).await.unwrap().into_inner().records;
        records.into_iter().map(|record| record.detail).collect::<Vec<_>>()
    };
    let wait = async |action: &str, count: usize| {
        for _ in 0..1_000 {
            let found = records(action).await;
            if found.len() >= count {
                return found;
            }
            tokio::task::yield_now().await;
        }
        panic!("{action}: {:?}", records(action).await);
    };
    let swept = wait("Secret/Expired", 1).await;
    let [swept] = &swept[..] else { panic!("one deadline was over") };
    assert!(swept.contains(&id) && swept.contains("previous"), "{swept}");
    let mut near = wait("Secret/ExpiresSoon", 2).await;
    near.sort();
    assert!(near[0].contains(KEY) && near[0].contains("previous"), "{near:?}");
    assert!(near[1].contains(&id) && near[1].contains("current"), "{near:?}");
    assert_eq!(at(&rekey, &old).await, refused("CREDENTIAL_INVALID"), "it is wiped");
    assert_eq!(at(&rekey, &made.token).await, Ok(Current));
    rekey.clock.advance(Duration::from_hours(4 * 24));
    assert_eq!(at(&rekey, &made.token).await, refused("CREDENTIAL_EXPIRED"));
    // One that has ended can be followed by another all the same.
    let next = rotate(&rekey.admin(), rotation(&id, 0)).await.unwrap();
    assert_eq!(at(&rekey, &next.token).await, Ok(Current));
}

#[tokio::test]
async fn either_shared_key_is_the_secret_of_the_client_and_its_tokens_end_with_it() {
    let rekey = Rekey::start_signing().await;
    populate(&rekey).await;
    let exchange = async |client_secret: &str| {
        let (client_id, client_secret) = (KEY.to_owned(), client_secret.to_owned());
        let request = ExchangeClientCredentialsRequest { client_id, client_secret };
        let answer = rekey.clients("").tokens.exchange_client_credentials(request).await;
        answer.map(|answer| answer.into_inner().access_token).map_err(|status| reason(&status))
    };
    let before = exchange(SHARED).await.unwrap();
    let second = rotate_key(&rekey.admin(), HOUR / 2).await;
    let (old, new) = (exchange(SHARED).await.unwrap(), exchange(&second).await.unwrap());
    for token in [&before, &old, &new] {
        assert_eq!(who(&rekey.clients(token)).await.unwrap().credential_kind(), CredentialKind::AccessToken);
    }
    assert_eq!(exchange("neither of the two").await, refused("CREDENTIAL_INVALID"));
    rekey.clock.advance(Duration::from_mins(31));
    assert_eq!(exchange(SHARED).await, refused("CREDENTIAL_INVALID"));
    // It would have been good for longer, but for its key.
    assert!(who(&rekey.clients(&before)).await.is_err() && who(&rekey.clients(&old)).await.is_err());
    assert_eq!(who(&rekey.clients(&new)).await.unwrap().credential_stage(), Current);
}

#[tokio::test]
async fn who_rotates_must_be_allowed_to_and_give_nothing_that_they_do_not_hold() {
    let rekey = Rekey::start().await;
    let (id, _) = populate(&rekey).await;
    let try_with = async |permissions: &[&str]| {
        let token = rekey.make_caller(TENANT, permissions).await;
        rotate(&rekey.clients(&token), rotation(&id, 0)).await.map(drop).map_err(|status| reason(&status))
    };
    assert_eq!(try_with(&["callers:createCredential"]).await, refused("PERMISSION_MISSING"));
    // `svc` may do more than this one.
    assert_eq!(try_with(&["callers:rotateCredential"]).await, refused("PERMISSION_MISSING"));
    assert_eq!(try_with(&["callers:*"]).await, Ok(()));
    let stale = RotateApiTokenRequest { etag: "\"0\"".to_owned(), ..rotation(&id, 0) };
    assert_eq!(reason(&rotate(&rekey.admin(), stale).await.unwrap_err()), "ETAG_MISMATCH");
}
