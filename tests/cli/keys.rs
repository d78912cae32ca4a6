//! `rekey keys`: a rotation as an operator does it, beside a service that runs.

use std::fs;

use serde_json::Value;

use crate::{
    mode,
    process::{Ended, Place, Running},
};

fn good(ended: Ended) -> String {
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

fn json(place: &Place, arguments: &[&str]) -> Value {
    let ended = place.run(&[arguments, &["--output", "json"]].concat());
    serde_json::from_str(&good(ended)).unwrap()
}

fn key(keys: &Value, id: &str) -> Value {
    keys["keys"].as_array().unwrap().iter().find(|key| key["key_id"] == id).unwrap().clone()
}

/// The key of a purpose that makes.
fn primary(keys: &Value, purpose: &str) -> String {
    let mut keys = keys["keys"].as_array().unwrap().iter();
    let found = keys.find(|key| key["purpose"] == purpose && key["state"] == "primary").unwrap();
    found["key_id"].as_str().unwrap().to_owned()
}

fn hang_up(service: &mut Running, says: &str) {
    service.signal("-HUP");
    service.wait_for(says);
}

#[test]
fn a_wrapping_key_is_rotated_while_the_service_runs() {
    let place = Place::new();
    fs::write(place.path("token"), place.init()).unwrap();
    let before = json(&place, &["keys", "list"]);
    assert_eq!(before["keys"].as_array().unwrap().len(), 6);
    let old = primary(&before, "wrapping");
    let (mut service, address) = place.serve(&[]);
    let address = format!("http://{address}");
    let remote = ["--address", &address, "--token-file", "token"];

    let added = place.run(&["keys", "add", "--purpose", "wrapping"]);
    assert!(added.stderr.contains("keys promote"), "{}", added.stderr);
    let new = good(added).split_whitespace().next().unwrap().to_owned();
    hang_up(&mut service, "the keyring was read anew");
    let listed = key(&json(&place, &["keys", "list"]), &new);
    assert_eq!((listed["state"].as_str(), listed["known_by"].as_array().map(Vec::len)), (Some("active"), Some(1)));
    let table = good(place.run(&["keys", "list"]));
    assert!(table.lines().next().unwrap().starts_with("KEY ") && table.contains("1 of 1"), "{table}");
    good(place.run(&["keys", "promote", &new]));
    hang_up(&mut service, "the keyring was read anew");
    assert_eq!(mode(&place.path("rekey-data/keyring.json")), 0o600);

    let refused = place.run(&["keys", "retire", &old]);
    assert!(refused.code == 1 && refused.stderr.contains("rekey keys rotate-data"), "{}", refused.stderr);
    let rotated = good(place.run(&[&["keys", "rotate-data"][..], &remote].concat()));
    assert!(rotated.starts_with("rotation 1:") && rotated.contains(" 0 left"), "{rotated}");
    let census = json(&place, &[&["keys", "census"][..], &remote].concat());
    let count = |id: &str| {
        census["keys"].as_array().unwrap().iter().find(|key| key["keyId"] == id).unwrap()["dataKeys"].clone()
    };
    assert_eq!((&count(&old), count(&new) != Value::Null), (&Value::Null, true), "{census}");
    let table = good(place.run(&[&["keys", "census"][..], &remote].concat()));
    assert!(table.contains("1 data keys seal; 0 secrets and 0 answers are still under 1 older ones"), "{table}");

    // Whatever is forced: a data key may just have been wrapped by it, and the file stays as it is.
    let file = fs::read(place.path("rekey-data/keyring.json")).unwrap();
    for arguments in [&["keys", "retire", &old][..], &["keys", "retire", &old, "--force"]] {
        let refused = place.run(arguments);
        assert!(refused.code == 1 && refused.stderr.contains("made something lately"), "{}", refused.stderr);
    }
    let refused = place.run(&["keys", "retire", &new, "--force"]);
    assert!(refused.code == 1 && refused.stderr.contains("primary"), "{}", refused.stderr);
    let unknown = place.run(&["keys", "promote", "none"]);
    assert!(unknown.code == 4 && unknown.stderr.contains("rekey keys list"), "{}", unknown.stderr);
    assert_eq!(fs::read(place.path("rekey-data/keyring.json")).unwrap(), file);
    assert_eq!(service.stop().0, 0);
    assert_eq!(place.serve(&[]).0.stop().0, 0, "and it starts with the keyring as it is now");
}

#[test]
fn a_key_is_not_promoted_before_every_replica_knows_it() {
    let place = Place::new();
    place.init();
    let (service, _) = place.serve(&[]);
    let behind = place.path("behind.json");
    fs::copy(place.path("rekey-data/keyring.json"), &behind).unwrap();
    let mut command = place.command(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    let mut other = Running::new({
        command.env("REKEY_KEYRING__FILE", &behind);
        command
    });
    let address = other.wait_for("ready").address("address").to_string();

    let new = good(place.run(&["keys", "add", "--purpose", "page-token"]));
    let new = new.split_whitespace().next().unwrap();
    let refused = place.run(&["keys", "promote", new]);
    assert!(refused.code == 1 && refused.stderr.contains(&address), "{}", refused.stderr);
    assert!(refused.stderr.contains("does not know the key"), "{}", refused.stderr);
    let listed = place.run(&["keys", "list"]);
    assert!(listed.stderr.contains(&format!("{address} ")), "{}", listed.stderr);

    // A file that is broken is no reason to end, and neither is SIGHUP.
    fs::write(&behind, "{").unwrap();
    hang_up(&mut other, "the keyring's file was refused");
    fs::copy(place.path("rekey-data/keyring.json"), &behind).unwrap();
    hang_up(&mut other, "the keyring was read anew");
    assert_eq!(other.stop().0, 0);
    // Who ended in order is not waited for; the one that is left is told by the file itself.
    assert_eq!(service.stop().0, 0);
    good(place.run(&["keys", "promote", new]));
    assert_eq!(key(&json(&place, &["keys", "list"]), new)["state"], "primary");

    let digest = good(place.run(&["keys", "add", "--purpose", "digest"]));
    let promoted = json(&place, &["keys", "promote", digest.split_whitespace().next().unwrap(), "--accept-days", "7"]);
    assert_eq!(promoted["keys"][0]["state"], "primary");
    let keys = json(&place, &["keys", "list"]);
    let ends = keys["keys"].as_array().unwrap().iter().filter(|key| !key["accept_until_time"].is_null()).count();
    assert_eq!(ends, 1);
    let signing = place.run(&["keys", "add", "--purpose", "wrapping", "--algorithm", "eddsa"]);
    assert!(signing.code == 1 && signing.stderr.contains("token-signing"), "{}", signing.stderr);
    let rotated = good(place.run(&["keys", "rotate", "--purpose", "token-signing", "--algorithm", "eddsa"]));
    assert!(rotated.contains("EdDSA\tprimary"), "{rotated}");
}
