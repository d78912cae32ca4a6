//! `rekey import` and `rekey census`: the binary on files as other systems write them.

use std::{
    fs,
    io::{self, ErrorKind, Read as _, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use rekey::proto::SubjectState;

use crate::{OURS, PASSWORD, census, common::rekey::Rekey, get, verifies, with_tenant};

fn fixture(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures").join(name).to_str().unwrap().to_owned()
}

/// Runs the binary as the administrator; exit code, standard output and standard error.
async fn run(rekey: &Rekey, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekey"));
    command.args(arguments).args(["--tenant", "acme", "--address", &format!("http://{}", rekey.grpc)]);
    command.env("REKEY_TOKEN", &rekey.admin_token);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// What a terminal shows of an import of this file, with this before it in the shell; `None` where nothing plays a terminal.
async fn watched(rekey: &Rekey, before: &str, file: &str) -> Option<String> {
    let program = env!("CARGO_BIN_EXE_rekey");
    let import = format!("{before} {program} import {file} --tenant acme --address http://{}", rekey.grpc);
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--command", &import, "/dev/null"]).stdin(Stdio::null());
    terminal.env("REKEY_TOKEN", &rekey.admin_token).env("SHELL", "/bin/sh").env("TERM", "xterm");
    let output = match tokio::task::spawn_blocking(move || terminal.output()).await.unwrap() {
        Err(missing) if missing.kind() == ErrorKind::NotFound => {
            let _ = writeln!(io::stderr(), "skipped: util-linux's `script` was not found");
            return None;
        }
        output => output.unwrap(),
    };
    Some(String::from_utf8(output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_is_shown_how_far_it_is_where_that_can_be_known() {
    let rekey = with_tenant().await;
    let file = fixture("own.jsonl");
    let Some(shown) = watched(&rekey, "", &file).await else { return };
    assert!(shown.contains("% ") && shown.contains(" to go") && shown.contains("created"), "{shown}");
    // Nobody knows how much will come out of a pipe.
    for pipe in ["-", "/dev/stdin"] {
        let shown = watched(&rekey, &format!("cat {file} |"), pipe).await.unwrap();
        assert!(shown.contains(" so far") && shown.contains("skipped"), "{shown}");
        assert!(!shown.contains('%') && !shown.contains("to go"), "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_algorithm_verifies_and_is_replaced_by_ours_on_success() {
    let rekey = with_tenant().await;
    let clients = rekey.admin();
    let file = fixture("own.jsonl");
    let lines = fs::read_to_string(&file).unwrap().lines().count();
    let (code, stdout, stderr) = run(&rekey, &["import", &file]).await;
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert_eq!(stdout.trim(), format!("{lines} created, 0 replaced, 0 skipped, 0 failed"));
    assert!(census(&clients).await.len() > 20);
    for line in fs::read_to_string(&file).unwrap().lines() {
        let user: serde_json::Value = serde_json::from_str(line).unwrap();
        let id = user["user_id"].as_str().unwrap();
        assert!(!verifies(&clients, id, "correct horse").await, "{id}");
        assert!(verifies(&clients, id, PASSWORD).await, "{id}");
    }
    let ours = (OURS.to_owned(), i64::try_from(lines).unwrap());
    while census(&clients).await != [ours.clone()] {}
    let (code, stdout, _) = run(&rekey, &["census"]).await;
    assert_eq!((code, stdout), (0, format!("{lines}\t{OURS}\n")));
    let (_, stdout, _) = run(&rekey, &["census", "--output", "json"]).await;
    let census: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(census["schemes"][0], serde_json::json!({"scheme": OURS, "count": lines.to_string()}));
    let (code, stdout, _) = run(&rekey, &["import", &file]).await;
    assert_eq!((code, stdout.trim()), (0, format!("0 created, 0 replaced, {lines} skipped, 0 failed").as_str()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exports_of_others_are_told_apart_by_what_is_in_them() {
    let config = fixture("firebase-config.txt");
    for (name, more, ada, bob, bobs_name) in [
        ("own.csv", vec![], "ada", "bob", "bob, the second"),
        (
            "keycloak.json",
            vec![],
            "4f7c1b1e-9c4e-4f0c-8a11-0d6b8f1f8a01",
            "4f7c1b1e-9c4e-4f0c-8a11-0d6b8f1f8a02",
            "bob",
        ),
        ("kratos.json", vec![], "c5c7bd77-27a8-4f6f-a8ce-b7f7d3e0a001", "c5c7bd77-27a8-4f6f-a8ce-b7f7d3e0a002", "bob"),
        ("firebase.json", vec!["--firebase-config", &config], "a1", "b1", "+4912345"),
        ("auth0.jsonl", vec![], "60425dc43519d90068f82973", "60425dc43519d90068f82974", "bob@acme.example"),
    ] {
        let rekey = with_tenant().await;
        let clients = rekey.admin();
        let (code, stdout, stderr) = run(&rekey, &[&["import", &fixture(name)], more.as_slice()].concat()).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}: {stdout}");
        let password = if name == "firebase.json" { "user1password" } else { PASSWORD };
        assert!(verifies(&clients, ada, password).await, "{name}");
        assert!(!verifies(&clients, ada, "wrong").await, "{name}");
        let bob = get(&clients, bob).await.unwrap();
        assert_eq!((bob.state(), bob.username.as_str()), (SubjectState::Disabled, bobs_name), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn problems_are_told_by_line_and_do_not_stop_the_rest() {
    let rekey = with_tenant().await;
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let file = write(
        "users.jsonl",
        "{\"username\": \"a\"}\n\nnot json sentinel\n{\"username\": \"b\", \"password_hash\": \"sentinel\"}\n\
         {\"username\": \"c\", \"password\": \"sentinel\"}\n[]\n{\"username\": \"d\"}\n",
    );
    let (code, stdout, stderr) = run(&rekey, &["import", &file]).await;
    assert_eq!((code, stdout.trim()), (1, "2 created, 0 replaced, 0 skipped, 4 failed"));
    let told: Vec<_> = stderr.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert!(told.contains(&"3") && told.contains(&"4") && told.contains(&"5") && told.contains(&"6"), "{stderr}");
    assert!(!stderr.contains("sentinel"), "{stderr}");

    let (code, stdout, _) = run(&rekey, &["import", &file, "--from", "7", "--on-duplicate", "fail"]).await;
    assert_eq!((code, stdout.trim()), (1, "0 created, 0 replaced, 0 skipped, 1 failed"));
    let (code, stdout, _) =
        run(&rekey, &["import", &file, "--dry-run", "--from", "7", "--on-duplicate", "replace"]).await;
    assert_eq!((code, stdout.trim()), (0, "0 would be created, 1 would be replaced, 0 skipped, 0 failed"));

    let broken = write("broken.json", "{\"users\": [{\"username\": \"e\"}, {\"username");
    let (_, _, stderr) = run(&rekey, &["import", &broken, "--dry-run"]).await;
    assert!(stderr.contains("; 1 would be created, ") && stderr.contains("--from 2"), "{stderr}");
    let (code, _, stderr) = run(&rekey, &["import", &broken]).await;
    assert!(code == 1 && stderr.contains("not JSON from line 1") && stderr.contains("--from 2"), "{stderr}");
    let (code, _, stderr) = run(&rekey, &["import", &write("x.csv", "name,hash\na,b\n")]).await;
    assert!(code == 1 && stderr.contains("no column"), "{stderr}");
    let (code, _, stderr) = run(&rekey, &["import", &fixture("firebase.json")]).await;
    assert!(code == 1 && stderr.contains("--firebase-config"), "{stderr}");
}

/// What an import of these bytes ends with, by whatever way they come.
async fn import_of(rekey: &Rekey, name: &str, bytes: &[u8]) -> (i32, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    fs::write(&path, bytes).unwrap();
    run(rekey, &["import", path.to_str().unwrap()]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_the_byte_order_is_no_part_of_what_follows() {
    let rekey = with_tenant().await;
    for (name, text) in [
        ("mark.csv", "user_id,username\r\none,one\r\ntwo,\"two, the second\"\r\n"),
        ("mark.jsonl", "{\"username\": \"three\"}\n{\"username\": \"four\"}\n"),
        ("mark.json", "[{\"username\": \"five\"},\n{\"username\": \"six\"}]"),
    ] {
        let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
        let (code, stdout, stderr) = import_of(&rekey, name, &marked).await;
        assert_eq!((code, stderr.as_str()), (0, ""), "{name}");
        assert_eq!(stdout.trim(), "2 created, 0 replaced, 0 skipped, 0 failed", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_out_without_a_word() {
    let rekey = with_tenant().await;
    let long =
        format!("{{\"username\": \"long\", \"password_hash\": \"{}\"}}\n{{\"username\": \"l\"}}\n", "x".repeat(70_000));
    for (name, text, sentence) in [
        ("none.json", "{\"username\":\n \"one\"}", "no list of users"),
        ("more.json", "[{\"username\": \"m1\"}]\n[{\"username\": \"m2\"}]", "not JSON from line 2"),
        ("long.jsonl", long.as_str(), "1: FIELDS_INVALID: password_hash"),
        ("numbers.jsonl", "{\"user_id\": 5, \"username\": \"n1\"}", "user_id must be text"),
        ("state.jsonl", "{\"username\": \"n2\", \"state\": false}", "state must be text"),
        ("hash.jsonl", "{\"username\": \"n3\", \"password_hash\": [1]}", "password_hash must be text"),
        ("short.csv", "username,password_hash\nb\n", "header: 1, not 2"),
        ("wide.csv", "username,password_hash\nb,c,d\n", "header: 3, not 2"),
        ("twice.csv", "username,username\nb,c\n", "there twice"),
        ("binary", "\u{1f}\u{fffd}\0", "column 1 of the first line has no name"),
    ] {
        let (code, stdout, stderr) = import_of(&rekey, name, text.as_bytes()).await;
        assert!(code == 1 && stderr.contains(sentence), "{name}: {stderr}");
        assert_eq!(stdout.contains("1 created"), name == "long.jsonl", "{name}: {stdout}");
    }
    let (code, _, stderr) = import_of(&rekey, "gzip", b"\x1f\x8b\x08\x00\xff").await;
    assert!(code == 1 && stderr.contains("neither JSON nor CSV"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_line_that_is_no_header_is_not_told() {
    let rekey = with_tenant().await;
    for line in ["$2b$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W,ada", "5f4dcc3b5aa765d61d8327deb882cf99"]
    {
        let (code, _, stderr) = import_of(&rekey, "headless.csv", format!("{line}\n").as_bytes()).await;
        assert!(code == 1 && stderr.contains("column 1 of") && !stderr.contains(&line[..10]), "{stderr}");
        let json = format!("{{\"username\": \"a\", \"{line}\": \"\"}}");
        let (code, _, stderr) = import_of(&rekey, "odd.jsonl", json.as_bytes()).await;
        assert!(code == 1 && stderr.contains("no known shape") && !stderr.contains(&line[..10]), "{stderr}");
    }
    let (_, _, stderr) = import_of(&rekey, "semicolons.csv", b"username;password_hash\na;b\n").await;
    assert!(stderr.contains("\"username;password_hash\""), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_interrupted_says_so_and_is_done_again() {
    let rekey = with_tenant().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_rekey"));
    command.args(["import", "-", "--tenant", "acme", "--address", &format!("http://{}", rekey.grpc)]);
    command.env("REKEY_TOKEN", &rekey.admin_token).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut import = command.spawn().unwrap();
    // More than a batch, and no end.
    let line = |number| format!("{{\"user_id\": \"u{number}\", \"username\": \"u{number}\"}}");
    let lines = (0..600).map(line).collect::<Vec<_>>().join("\n") + "\n";
    let mut file = import.stdin.take().unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    while get(&rekey.admin(), "u499").await.is_err() {}
    assert!(Command::new("kill").args(["-INT", &import.id().to_string()]).status().unwrap().success());
    let mut told = String::new();
    import.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(import.wait().unwrap().code() == Some(1) && told.contains("interrupted"), "{told}");
    drop(file);

    let (code, stdout, _) = import_of(&rekey, "all.jsonl", lines.as_bytes()).await;
    assert_eq!((code, stdout.trim()), (0, "100 created, 0 replaced, 500 skipped, 0 failed"));
}
