//! `rekey backup` and `rekey restore`.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    mode,
    process::{Ended, Place},
};

/// What an administrator's command says.
fn admin(place: &Place, address: SocketAddr, arguments: &[&str]) -> Ended {
    let mut command: Command = place.command(arguments);
    command.args(["--address", &format!("http://{address}"), "--token-file", "token"]);
    command.env("HOME", place.path(".")).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
    Ended::from(command.output().unwrap())
}

fn make_tenant(place: &Place, address: SocketAddr, id: &str) {
    let ended = admin(place, address, &["tenant", "create", "--id", id]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
}

fn tenants(place: &Place, address: SocketAddr) -> String {
    let ended = admin(place, address, &["tenant", "list", "--all"]);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    ended.stdout
}

/// Another machine with the same keyring and the same token, and nothing else.
fn another_machine(place: &Place) -> Place {
    let other = Place::new();
    fs::create_dir(other.path("rekey-data")).unwrap();
    fs::copy(place.path("rekey-data/keyring.json"), other.path("rekey-data/keyring.json")).unwrap();
    fs::copy(place.path("token"), other.path("token")).unwrap();
    other
}

fn init(place: &Place) {
    let token = place.init();
    fs::write(place.path("token"), token).unwrap();
}

#[test]
fn a_backup_of_a_service_that_runs_is_restored_on_another_machine() {
    let place = Place::new();
    init(&place);
    let (running, address) = place.serve(&[]);
    make_tenant(&place, address, "acme");
    let made = place.run(&["backup", "rekey.backup", "--output", "json"]);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert!(made.stderr.contains("keyring is not in it"), "{}", made.stderr);
    let summary: Value = serde_json::from_str(&made.stdout).unwrap();
    assert!(summary["rows"].as_u64().unwrap() > 5 && summary["tables"]["tenant"] == 2, "{summary}");
    let file = place.path("rekey.backup");
    assert_eq!(mode(&file), 0o600);
    assert_eq!(summary["bytes"], fs::metadata(&file).unwrap().len());
    assert_eq!(running.stop().0, 0);

    let other = another_machine(&place);
    let file = file.to_str().unwrap();
    let checked = other.run(&["restore", "--check", file, "--output", "json"]);
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    assert_eq!(serde_json::from_str::<Value>(&checked.stdout).unwrap()["installation"], summary["installation"]);
    assert!(!other.path("rekey-data/rekey.db").exists(), "checking changes nothing");

    let restored = other.run(&["restore", file]);
    assert_eq!(restored.code, 0, "{}", restored.stderr);
    assert!(restored.stdout.contains(summary["installation"].as_str().unwrap()), "{}", restored.stdout);
    assert_eq!(mode(&other.path("rekey-data/rekey.db")), 0o600);
    let (running, address) = other.serve(&[]);
    assert!(tenants(&other, address).contains("acme"));

    // A second time it is not empty.
    let again = other.run(&["restore", file, "--accept-rollback"]);
    assert_eq!(again.code, 5, "{}", again.stderr);
    assert!(again.stderr.contains("not empty"), "{}", again.stderr);
    assert!(tenants(&other, address).contains("acme"));
    assert_eq!(running.stop().0, 0);
}

#[test]
fn a_backup_goes_through_pipes() {
    let place = Place::new();
    init(&place);
    let made = place.command(&["backup", "-"]).output().unwrap();
    assert!(made.status.success());
    assert!(made.stdout.starts_with(b"rekey backup"));

    let other = another_machine(&place);
    let feed = |bytes: &[u8]| {
        let mut command = other.command(&["restore", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // It may have seen enough before the end.
        let _ = child.stdin.take().unwrap().write_all(bytes);
        Ended::from(child.wait_with_output().unwrap())
    };
    let cut = feed(&made.stdout[..made.stdout.len() - 40]);
    assert_eq!(cut.code, 1, "{}", cut.stderr);
    assert!(cut.stderr.contains("cut off") && cut.stderr.contains("nothing was restored"), "{}", cut.stderr);
    assert!(!other.path("rekey-data/rekey.db").exists());
    let whole = feed(&made.stdout);
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    assert_eq!(other.serve(&[]).0.stop().0, 0);
}

#[test]
fn what_cannot_be_restored_is_said_with_its_fix() {
    let place = Place::new();
    let nothing = place.run(&["backup", "rekey.backup"]);
    assert_eq!(nothing.code, 4, "{}", nothing.stderr);
    init(&place);
    assert_eq!(place.run(&["backup", "rekey.backup"]).code, 0);
    let file = place.path("rekey.backup");

    let stranger = Place::new();
    init(&stranger);
    fs::remove_file(stranger.path("rekey-data/rekey.db")).unwrap();
    let foreign = stranger.run(&["restore", file.to_str().unwrap()]);
    assert_eq!(foreign.code, 4, "{}", foreign.stderr);
    assert!(foreign.stderr.contains("lacks its digest key"), "{}", foreign.stderr);
    let empty = stranger.run(&["backup", "rekey.backup"]);
    assert_eq!(empty.code, 5, "{}", empty.stderr);
    assert!(!stranger.path("rekey-data/rekey.db").exists() && !stranger.path("rekey.backup").exists());

    let other = another_machine(&place);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, &bytes).unwrap();
    for arguments in [&["restore", file.to_str().unwrap()][..], &["restore", "--check", file.to_str().unwrap()]] {
        let altered = other.run(arguments);
        assert_eq!(altered.code, 1, "{}", altered.stderr);
        assert!(altered.stderr.contains("was altered"), "{}", altered.stderr);
    }
    assert!(!other.path("rekey-data/rekey.db").exists());
    assert_eq!(other.run(&["restore"]).code, 2);
    assert_eq!(other.run(&["restore", "nowhere.backup"]).code, 1);
}

#[test]
fn an_older_database_ends_with_8_until_it_is_accepted() {
    let place = Place::new();
    init(&place);
    assert_eq!(place.run(&["backup", "rekey.backup"]).code, 0);
    assert_eq!(place.serve(&[]).0.stop().0, 0);
    let database = place.path("rekey-data/rekey.db");
    let older = fs::read(&database).unwrap();
    let (running, address) = place.serve(&[]);
    make_tenant(&place, address, "acme");
    assert_eq!(running.stop().0, 0);

    fs::write(&database, &older).unwrap();
    let refused = place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    assert_eq!(refused.code, 8, "{}", refused.stderr);
    assert!(
        refused.stderr.contains("older copy") && refused.stderr.contains("--accept-rollback"),
        "{}",
        refused.stderr
    );

    fs::remove_file(&database).unwrap();
    let refused = place.run(&["restore", "rekey.backup"]);
    assert_eq!(refused.code, 8, "{}", refused.stderr);
    assert!(!database.exists());
    let accepted = place.run(&["restore", "rekey.backup", "--accept-rollback"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert!(accepted.stdout.contains("epoch 1.0"), "{}", accepted.stdout);
    let (running, address) = place.serve(&[]);
    assert!(!tenants(&place, address).contains("acme"));
    assert_eq!(running.stop().0, 0);

    // A copy of the file, accepted as it is.
    fs::write(&database, &older).unwrap();
    assert_eq!(place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]).code, 8);
    let accepted = place.run(&["restore", "--accept-rollback"]);
    assert_eq!(accepted.code, 0, "{}", accepted.stderr);
    assert!(accepted.stdout.contains("epoch 2.0"), "{}", accepted.stdout);
    assert_eq!(place.serve(&[]).0.stop().0, 0);
    let nothing = place.run(&["restore", "--accept-rollback"]);
    assert!(nothing.code == 0 && nothing.stdout.contains("nothing to accept"), "{}", nothing.stdout);
}
