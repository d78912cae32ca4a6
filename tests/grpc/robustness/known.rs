//! What is remembered of who calls: void at once after a change by the same process, and within a second after one by
//! another.

use std::time::Duration;

use rekey::proto::{CreateCallerRequest, RevokeApiTokenRequest};
use tonic::Status;

use super::{
    database::Raw,
    world::{TENANT, create_token, eventually, get_user, populate},
};
use crate::common::rekey::{Clients, Rekey, reason};

/// A call that the caller `ops` may make.
async fn get(clients: &Clients) -> Result<(), Status> {
    clients.clone().users.get_user(get_user("ada")).await.map(drop)
}

/// A token of the caller `ops`, and its id.
async fn token(admin: &mut Clients) -> (String, String) {
    let made = admin.callers.create_api_token(create_token("ops")).await.unwrap().into_inner();
    (made.token, made.token_id)
}

async fn revoke(admin: &mut Clients, token_id: String) {
    let (tenant_id, caller_id) = (TENANT.to_owned(), "ops".to_owned());
    let revoke = RevokeApiTokenRequest { tenant_id, caller_id, token_id, ..RevokeApiTokenRequest::default() };
    admin.callers.revoke_api_token(revoke).await.unwrap();
}

/// Any command that is more than bookkeeping.
async fn change_anything(admin: &mut Clients) {
    let caller = CreateCallerRequest { tenant_id: TENANT.to_owned(), ..CreateCallerRequest::default() };
    admin.callers.create_caller(caller).await.unwrap();
}

pub(super) async fn a_revoked_token_is_refused_at_once(rekey: Rekey) {
    let mut admin = populate(&rekey).await;
    for _ in 0..3 {
        let (token, id) = token(&mut admin).await;
        let clients = rekey.clients(&token);
        get(&clients).await.unwrap();
        get(&clients).await.unwrap();
        revoke(&mut admin, id).await;
        assert_eq!(reason(&get(&clients).await.unwrap_err()), "CREDENTIAL_INVALID");
    }
}

pub(super) async fn another_process_notices_a_revocation_within_a_second(rekey: Rekey) {
    let mut admin = populate(&rekey).await;
    let replica = rekey.replica().await;
    let (token, id) = token(&mut admin).await;
    let there = replica.clients(&token);
    get(&there).await.unwrap();
    revoke(&mut admin, id).await;
    assert_eq!(reason(&get(&rekey.clients(&token)).await.unwrap_err()), "CREDENTIAL_INVALID", "here at once");
    // What is looked at again behind this answer is known no longer by it.
    rekey.clock.advance(Duration::from_millis(900));
    get(&there).await.unwrap();
    rekey.clock.advance(Duration::from_millis(100));
    assert_eq!(reason(&get(&there).await.unwrap_err()), "CREDENTIAL_INVALID");
    replica.stop().await;
}

pub(super) async fn what_others_change_is_noticed_within_a_second(rekey: Rekey) {
    let mut admin = populate(&rekey).await;
    let (token, _) = token(&mut admin).await;
    let clients = rekey.clients(&token);
    let raw = Raw::open(&rekey.options).await;

    // The caller is disabled, as another process would do it.
    let set = async |state: &str| {
        raw.run(&format!("UPDATE subject SET state = '{state}' WHERE external_id = 'ops'")).await;
    };
    get(&clients).await.unwrap();
    set("disabled").await;
    rekey.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(&get(&clients).await.unwrap_err()), "CREDENTIAL_INVALID");
    set("active").await;
    rekey.clock.advance(Duration::from_secs(1));
    get(&clients).await.unwrap();

    // Its permissions are taken away.
    raw.run("UPDATE subject SET attributes = '{}' WHERE external_id = 'ops'").await;
    rekey.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(&get(&clients).await.unwrap_err()), "PERMISSION_MISSING");
    raw.run("UPDATE subject SET attributes = '{\"permissions\":[\"users:get\"]}' WHERE external_id = 'ops'").await;
    rekey.clock.advance(Duration::from_secs(1));
    get(&clients).await.unwrap();

    // A command of this process makes it look, whatever it was about.
    set("disabled").await;
    change_anything(&mut admin).await;
    assert_eq!(reason(&get(&clients).await.unwrap_err()), "CREDENTIAL_INVALID");
    set("active").await;
    rekey.clock.advance(Duration::from_secs(1));
    get(&clients).await.unwrap();

    // The tenant is renamed.
    get(&rekey.admin()).await.unwrap();
    raw.run(&format!("UPDATE tenant SET external_id = 'elsewhere' WHERE external_id = '{TENANT}'")).await;
    rekey.clock.advance(Duration::from_secs(1));
    assert_eq!(reason(&get(&rekey.admin()).await.unwrap_err()), "TENANT_NOT_FOUND");
    raw.run(&format!("UPDATE tenant SET external_id = '{TENANT}' WHERE external_id = 'elsewhere'")).await;
    get(&rekey.admin()).await.expect("what was not found is not remembered");

    // A clock that is set back makes nothing last longer.
    set("disabled").await;
    rekey.clock.set_back(Duration::from_hours(1));
    assert_eq!(reason(&get(&clients).await.unwrap_err()), "CREDENTIAL_INVALID");
}

/// In use it is read again before its time is over, so that nobody waits for it; nobody has to come after that time for
/// a change to be noticed.
pub(super) async fn what_is_in_use_is_read_again_behind_an_answer(rekey: Rekey) {
    let mut admin = populate(&rekey).await;
    let (token, _) = token(&mut admin).await;
    let clients = rekey.clients(&token);
    get(&clients).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    raw.run("UPDATE subject SET state = 'disabled' WHERE external_id = 'ops'").await;
    rekey.clock.advance(Duration::from_millis(600));
    eventually("the change is noticed", async || get(&clients).await.is_err()).await;
}
