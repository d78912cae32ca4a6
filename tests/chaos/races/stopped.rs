//! A replica that stands still for a while, as a machine does that is paused or swaps: what it knew before is not told for
//! new after, and who follows the record of acts misses nothing of it.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rekey::proto::{
    CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateUserRequest, DeleteDeviceRequest,
    GenerateSecret, GetDeviceRequest, ListAuditRecordsRequest, LockUserRequest, ResetAuthenticationRequest,
    ResetPasswordRequest, RevokeApiTokenRequest, VerifyAuthenticationRequest, VerifyPasswordRequest, WhoAmIRequest,
    create_device_request, create_user_request, reset_authentication_request, reset_password_request,
    verify_authentication_request, verify_password_request,
};
use tokio::task::JoinSet;
use tonic::Code;

use super::fleet::{Fleet, Refusal, TENANT, refusal};
use crate::{
    common::rekey::{Clients, reason},
    database::Rows,
    parameters::{rounds, say, seed},
};

const FIRST: &str = "Kq7!0000000000000001xY";
const SECOND: &str = "Kq7!0000000000000002xY";
/// How long a revocation by another process may take to be noticed, as documented.
const NOTICED: Duration = Duration::from_secs(1);
/// How old records are when they are shown, as documented; and a little.
const SETTLED: Duration = Duration::from_secs(11);

async fn create_device(clients: &Clients, id: &str) {
    let secret_source = Some(create_device_request::SecretSource::Password(FIRST.to_owned()));
    let (tenant_id, device_id, user_name) = (TENANT.to_owned(), id.to_owned(), format!("name-{id}"));
    let create = CreateDeviceRequest { tenant_id, device_id, user_name, secret_source, ..Default::default() };
    clients.clone().devices.create_device(create).await.unwrap();
}

async fn create_user(clients: &Clients, id: &str) {
    let secret_source = Some(create_user_request::SecretSource::Password(FIRST.to_owned()));
    let (tenant_id, user_id, username) = (TENANT.to_owned(), id.to_owned(), format!("{id}@acme.example"));
    let create = CreateUserRequest { tenant_id, user_id, username, secret_source, ..Default::default() };
    clients.clone().users.create_user(create).await.unwrap();
}

/// A token of the caller `ops`, and its id.
async fn create_token(clients: &Clients) -> (String, String) {
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    let create = CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() };
    let made = clients.clone().callers.create_api_token(create).await.unwrap().into_inner();
    (made.token, made.token_id)
}

async fn user_verifies(clients: &Clients, id: &str, password: &str) -> bool {
    let subject = Some(verify_password_request::Subject::UserId(id.to_owned()));
    let (tenant_id, password, source) = (TENANT.to_owned(), password.to_owned(), String::new());
    let verify = VerifyPasswordRequest { tenant_id, subject, password, source };
    clients.clone().users.verify_password(verify).await.unwrap().into_inner().verified
}

async fn device_verifies(clients: &Clients, id: &str, password: &str) -> bool {
    let subject = Some(verify_authentication_request::Subject::DeviceId(id.to_owned()));
    let (tenant_id, password, source) = (TENANT.to_owned(), password.to_owned(), String::new());
    let verify = VerifyAuthenticationRequest { tenant_id, subject, password, source };
    clients.clone().devices.verify_authentication(verify).await.unwrap().into_inner().verified
}

/// Resets a device again and again until it is told to end; what went wrong.
async fn keep_busy(clients: Clients, id: String, end: Arc<AtomicBool>) -> Option<String> {
    let mut devices = clients.devices;
    while !end.load(Ordering::SeqCst) {
        let secret_source = Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default()));
        let (tenant_id, device_id) = (TENANT.to_owned(), id.clone());
        let reset = ResetAuthenticationRequest { tenant_id, device_id, secret_source, ..Default::default() };
        match devices.reset_authentication(reset).await.map_err(|status| refusal(&status)) {
            Ok(_) | Err(Ok(Refusal::Shed | Refusal::Unknown | Refusal::Raced)) => {}
            Err(Err(fault)) => return Some(fault),
        }
    }
    None
}

/// Reads the record of acts as it grows, until it is told to end and a while after: the ids of what it read.
async fn follow(clients: Clients, end: Arc<AtomicBool>) -> BTreeSet<String> {
    let mut audit = clients.audit;
    let (mut seen, mut page_token, mut latest) = (BTreeSet::new(), String::new(), None::<Instant>);
    loop {
        let list =
            ListAuditRecordsRequest { tenant_id: TENANT.to_owned(), page_size: 500, page_token, ..Default::default() };
        let page = audit.list_audit_records(list).await.unwrap().into_inner();
        seen.extend(page.records.into_iter().map(|record| record.record_id));
        page_token = page.next_page_token;
        if page.more {
            continue;
        }
        if end.load(Ordering::SeqCst) && latest.get_or_insert_with(Instant::now).elapsed() > SETTLED {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Stops the second of two replicas for so long, while the first changes everything: what does not hold.
async fn stop_for(fleet: Fleet, pause: Duration, follows: bool) -> Vec<String> {
    let (here, there) = (fleet.admin(0), fleet.admin(1));
    for id in ["d1", "d2"] {
        create_device(&here, id).await;
    }
    for id in ["ada", "bob"] {
        create_user(&here, id).await;
    }
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    let create = CreateCallerRequest { tenant_id, caller_id, ..CreateCallerRequest::default() };
    here.clone().callers.create_caller(create).await.unwrap();
    let (token, token_id) = create_token(&here).await;
    let of_token = fleet.servers[1].clients(&token);

    // All of it is known there.
    of_token.clone().callers.who_am_i(WhoAmIRequest::default()).await.unwrap();
    assert!(user_verifies(&there, "ada", FIRST).await && user_verifies(&there, "bob", FIRST).await);
    assert!(device_verifies(&there, "d1", FIRST).await && device_verifies(&there, "d2", FIRST).await);

    let end = Arc::new(AtomicBool::new(false));
    let follower = follows.then(|| tokio::spawn(follow(here.clone(), Arc::clone(&end))));
    let mut busy = JoinSet::new();
    for number in 0..16 {
        let id = format!("busy{number}");
        create_device(&here, &id).await;
        busy.spawn(keep_busy(fleet.admin(1), id, Arc::clone(&end)));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    fleet.servers[1].signal("STOP");
    let stopped = Instant::now();

    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    let revoke = RevokeApiTokenRequest { tenant_id, caller_id, token_id, ..RevokeApiTokenRequest::default() };
    here.clone().callers.revoke_api_token(revoke).await.unwrap();
    let secret_source = Some(reset_password_request::SecretSource::NewPassword(SECOND.to_owned()));
    let (tenant_id, user_id) = (TENANT.to_owned(), "ada".to_owned());
    let reset = ResetPasswordRequest { tenant_id, user_id, secret_source, ..Default::default() };
    here.clone().users.reset_password(reset).await.unwrap();
    let (tenant_id, user_id) = (TENANT.to_owned(), "bob".to_owned());
    here.clone().users.lock_user(LockUserRequest { tenant_id, user_id, ..Default::default() }).await.unwrap();
    let secret_source = Some(reset_authentication_request::SecretSource::Password(SECOND.to_owned()));
    let (tenant_id, device_id) = (TENANT.to_owned(), "d1".to_owned());
    let get = GetDeviceRequest { tenant_id: tenant_id.clone(), device_id: device_id.clone() };
    let before = here.clone().devices.get_device(get).await.unwrap().into_inner().device.unwrap().etag;
    let reset = ResetAuthenticationRequest { tenant_id, device_id, secret_source, ..Default::default() };
    here.clone().devices.reset_authentication(reset).await.unwrap();
    let (tenant_id, device_id) = (TENANT.to_owned(), "d2".to_owned());
    here.clone()
        .devices
        .delete_device(DeleteDeviceRequest { tenant_id, device_id, ..Default::default() })
        .await
        .unwrap();
    tokio::time::sleep(NOTICED).await;

    // Asked while it stands still, answered when it goes on.
    let asked = tokio::spawn(look_for_old(there.clone(), of_token.clone(), before.clone()));
    tokio::time::sleep(pause.saturating_sub(stopped.elapsed())).await;
    fleet.servers[1].signal("CONT");
    let mut violations = asked.await.unwrap();
    violations.extend(look_for_old(there, of_token, before).await);
    end.store(true, Ordering::SeqCst);
    violations.extend(busy.join_all().await.into_iter().flatten());
    let read = match follower {
        Some(follower) => Some(follower.await.unwrap()),
        None => None,
    };

    let (site, faults) = fleet.stop();
    violations.extend(faults);
    let rows = Rows::open(&site.url).await;
    violations.extend(rows.miscounted(TENANT).await);
    if let Some(read) = read {
        let changes = format!(
            "SELECT audit.uid FROM audit JOIN tenant ON tenant.uid = tenant_uid WHERE external_id = '{TENANT}' \
             AND outcome = 'succeeded' AND action LIKE 'DeviceService/ResetAuthentication'"
        );
        let written = rows.texts(&changes).await;
        let missed = written.iter().filter(|uid| !read.contains(*uid)).count();
        say(format_args!("races::stopped: {} changes recorded, {missed} missed by who follows", written.len()));
        if missed > 0 {
            violations.push(format!("who follows the record of acts missed {missed} of {}", written.len()));
        }
    }
    violations
}

/// What is told for new there that is old.
async fn look_for_old(there: Clients, of_token: Clients, etag: String) -> Vec<String> {
    let mut violations = Vec::new();
    let mut expect = |is_so: bool, what: &str| {
        if !is_so {
            violations.push(what.to_owned());
        }
    };
    // First, for it is the one thing that is remembered.
    let who = of_token.clone().callers.who_am_i(WhoAmIRequest::default()).await;
    expect(who.is_err_and(|status| reason(&status) == "CREDENTIAL_INVALID"), "a revoked token is taken");
    expect(!user_verifies(&there, "ada", FIRST).await, "a password is taken that was reset");
    expect(user_verifies(&there, "ada", SECOND).await, "a new password is not taken");
    expect(!user_verifies(&there, "bob", FIRST).await, "a locked user is let in");
    expect(!device_verifies(&there, "d1", FIRST).await, "a device's password is taken that was reset");
    expect(device_verifies(&there, "d1", SECOND).await, "a device's new password is not taken");
    expect(!device_verifies(&there, "d2", FIRST).await, "a device is let in that was deleted");
    let secret_source = Some(reset_authentication_request::SecretSource::Password(FIRST.to_owned()));
    let (tenant_id, device_id) = (TENANT.to_owned(), "d1".to_owned());
    let reset = ResetAuthenticationRequest { tenant_id, device_id, secret_source, etag, ..Default::default() };
    let reset = there.clone().devices.reset_authentication(reset).await;
    expect(reset.is_err_and(|status| status.code() == Code::Aborted), "a change is made by an old etag");
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stood_still_tells_nothing_old() {
    let name = "races::stopped";
    let _ = seed(name);
    let rounds = rounds(1);
    // As long as it is told to be thorough.
    let pause = Duration::from_secs(if rounds > 1 { 30 } else { 3 });
    for round in 0..rounds {
        let Some(fleet) = Fleet::on_postgres(2, None).await else { return };
        let violations = Box::pin(stop_for(fleet, pause, true)).await;
        assert!(violations.is_empty(), "round {round}: {}", violations.join("\n"));
    }
    say(format_args!("{name}: {rounds} stops of {} s", pause.as_secs()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_remembered_for_ever_is_found() {
    let Some(fleet) = Fleet::on_postgres(2, Some("known_for_ever")).await else { return };
    let violations = Box::pin(stop_for(fleet, Duration::from_secs(2), false)).await;
    assert!(
        violations.contains(&"a revoked token is taken".to_owned()),
        "the planted bug was not found: {violations:?}"
    );
}

/// Tokens are made, used, revoked and used again, each at another replica.
async fn tokens(fleet: &Fleet, rounds: u64) -> Vec<String> {
    let admins = fleet.admins();
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    let create = CreateCallerRequest { tenant_id, caller_id, ..CreateCallerRequest::default() };
    admins[0].clone().callers.create_caller(create).await.unwrap();
    let mut violations = Vec::new();
    let mut revoked = Vec::new();
    for round in 0..usize::try_from(rounds).unwrap() {
        let (token, token_id) = create_token(&admins[round % admins.len()]).await;
        let holders: Vec<_> = fleet.servers.iter().map(|server| server.clients(&token)).collect();
        for (replica, holder) in holders.iter().enumerate() {
            if let Err(status) = holder.clone().callers.who_am_i(WhoAmIRequest::default()).await {
                violations.push(format!("replica {replica} does not know a new token: {status:?}"));
            }
        }
        let by = (round + 1) % admins.len();
        let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
        let revoke = RevokeApiTokenRequest { tenant_id, caller_id, token_id, ..RevokeApiTokenRequest::default() };
        admins[by].clone().callers.revoke_api_token(revoke).await.unwrap();
        let at_once = holders[by].clone().callers.who_am_i(WhoAmIRequest::default()).await;
        if at_once.is_ok() {
            violations.push("a token is taken by the process that revoked it".to_owned());
        }
        revoked.extend(holders);
    }
    tokio::time::sleep(NOTICED).await;
    for holder in revoked {
        if holder.clone().callers.who_am_i(WhoAmIRequest::default()).await.is_ok() {
            violations.push("a token is taken a second after it was revoked".to_owned());
        }
    }
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_token_is_good_nowhere_after_a_second() {
    let Some(fleet) = Fleet::on_postgres(4, None).await else { return };
    let violations = tokens(&fleet, rounds(8)).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}
