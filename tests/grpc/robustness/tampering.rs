//! Rows that somebody altered behind the service's back.

use tonic::{Code, Status};

use super::{
    database::Raw,
    world::{
        DEVICE_PASSWORD, USER_PASSWORD, create_device, create_user, credentials, populate, reset_device, reveal_device,
        reveal_integration, revealed, verifies, verify_password,
    },
};
use crate::common::rekey::{Clients, Rekey, reason};

fn payload_of(id: &str, version: i64) -> String {
    let subject = format!("(SELECT uid FROM subject WHERE external_id = '{id}')");
    format!("subject_uid = {subject} AND slot = 'password' AND version = {version}")
}

async fn set_payload(raw: &Raw, id: &str, version: i64, payload: &[u8]) {
    let hex = data_encoding::HEXLOWER.encode(payload);
    raw.run(&format!("UPDATE secret SET payload = X'{hex}' WHERE {}", payload_of(id, version))).await;
}

async fn payload(raw: &Raw, id: &str, version: i64) -> Vec<u8> {
    raw.bytes(&format!("SELECT payload FROM secret WHERE {}", payload_of(id, version))).await
}

/// An error that says nothing of what is wrong.
fn fails_closed(what: &str, status: &Status) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::Internal, "INTERNAL"), "{what}: {status:?}");
    for told in [DEVICE_PASSWORD, USER_PASSWORD, "tag", "decrypt", "key_id", "sqlite", "secret "] {
        assert!(!format!("{status:?}").contains(told), "{what} tells {told}: {status:?}");
    }
}

async fn reveal(clients: &Clients, id: &str) -> Status {
    clients.clone().devices.reveal_authentication(reveal_device(id)).await.expect_err("what was altered is not shown")
}

#[tokio::test]
async fn a_secret_that_was_moved_or_altered_is_shown_to_nobody() {
    let rekey = Rekey::start().await;
    let mut clients = populate(&rekey).await;
    for id in ["d2", "d3", "d4", "d5", "d6"] {
        clients.devices.create_device(create_device(id)).await.unwrap();
    }
    let stopped = rekey.pause().await;
    let raw = Raw::open(&stopped.options).await;
    let kept = payload(&raw, "d5", 1).await;
    let rekey = stopped.start().await;
    rekey.admin().devices.reset_authentication(reset_device("d5")).await.unwrap();
    rekey.admin().devices.reset_authentication(reset_device("d6")).await.unwrap();
    let stopped = rekey.pause().await;

    // Two changed places; one bit; an older version pasted over a newer one; a revoked one put back into force.
    let (first, second) = (payload(&raw, "d1", 1).await, payload(&raw, "d2", 1).await);
    set_payload(&raw, "d1", 1, &second).await;
    set_payload(&raw, "d2", 1, &first).await;
    set_payload(&raw, "d5", 2, &kept).await;
    raw.run(&format!("DELETE FROM secret WHERE {}", payload_of("d6", 2))).await;
    raw.run(&format!("UPDATE secret SET stage = 'current' WHERE {}", payload_of("d6", 1))).await;

    let rekey = stopped.start().await;
    let clients = rekey.admin();
    for id in ["d1", "d2", "d5", "d6"] {
        fails_closed(id, &reveal(&clients, id).await);
    }
    let whole = payload(&raw, "d3", 1).await;
    for byte in 0..whole.len() {
        let mut altered = whole.clone();
        altered[byte] ^= 1 << (byte % 8);
        set_payload(&raw, "d3", 1, &altered).await;
        fails_closed("one bit", &reveal(&clients, "d3").await);
    }
    for length in [0, 1, 12, whole.len() - 1] {
        set_payload(&raw, "d3", 1, &whole[..length]).await;
        fails_closed("cut short", &reveal(&clients, "d3").await);
    }
    set_payload(&raw, "d3", 1, &whole).await;
    assert_eq!(revealed(&clients, "d3").await.password, DEVICE_PASSWORD, "as it was, it is shown");
    assert_eq!(revealed(&clients, "d4").await.password, DEVICE_PASSWORD, "others are not touched");
    assert!(credentials(&clients).await.settings.contains_key("endpoint"));

    // A reset heals.
    let healed = clients.clone().devices.reset_authentication(reset_device("d1")).await.unwrap().into_inner();
    assert_eq!(revealed(&clients, "d1").await, healed.authentication.unwrap());

    // Settings in the place of a password.
    let slots = "UPDATE secret SET payload = (SELECT payload FROM secret WHERE slot = 'settings')
                 WHERE subject_uid = (SELECT uid FROM subject WHERE external_id = 'i1') AND slot = 'password'";
    raw.run(slots).await;
    let status = clients.clone().integrations.reveal_integration(reveal_integration()).await.unwrap_err();
    fails_closed("another slot's", &status);
}

#[tokio::test]
async fn a_verifier_of_somebody_else_opens_no_door() {
    let rekey = Rekey::start().await;
    let mut clients = populate(&rekey).await;
    let known = "a phrase that the thief knows";
    clients.users.create_user(create_user("thief", Some(known))).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    let (own, victims) = (payload(&raw, "thief", 1).await, payload(&raw, "ada", 1).await);
    set_payload(&raw, "ada", 1, &own).await;
    let request = verify_password("ada@acme.example", known);
    fails_closed("the thief's", &clients.users.verify_password(request).await.unwrap_err());
    set_payload(&raw, "ada", 1, &victims).await;
    assert!(verifies(&clients, "ada", USER_PASSWORD).await);
    assert!(verifies(&clients, "thief", known).await);
}

#[tokio::test]
async fn a_token_whose_digest_was_altered_or_moved_lets_nobody_in() {
    let rekey = Rekey::start().await;
    populate(&rekey).await;
    let strong = rekey.make_caller("acme", &["users:get", "users:resetPassword"]).await;
    let weak = rekey.make_caller("acme", &["users:get"]).await;
    let raw = Raw::open(&rekey.options).await;
    // The thief's digest in the strong token's row: neither token is worth anything there.
    let row = |token: &str| format!("lookup_key = 'token/{}'", token.split('_').nth(1).unwrap());
    let digest = raw.bytes(&format!("SELECT payload FROM secret WHERE {}", row(&weak))).await;
    let hex = data_encoding::HEXLOWER.encode(&digest);
    raw.run(&format!("UPDATE secret SET payload = X'{hex}' WHERE {}", row(&strong))).await;
    let get = super::world::get_user("ada");
    let refused = rekey.clients(&strong).users.get_user(get.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"));
    rekey.clients(&weak).users.get_user(get).await.unwrap();
}
