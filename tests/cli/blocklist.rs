//! `rekey blocklist`: made of what others publish, asked, described, and refused where it is none.

use std::{fs, io::Write as _, process::Stdio};

use crate::process::{Ended, Place};

const PASSWORD: &str = "5BAA61E4C9B93F3F0682250B6CF8331B7EE68FD8";
const P_SSW0RD: &str = "21bd12dc183f740ee76f27b78eb39c8ad972a757";

/// Runs with something on standard input.
fn fed(place: &Place, arguments: &[&str], input: &str) -> Ended {
    let mut command = place.command(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    Ended::from(child.wait_with_output().unwrap())
}

#[test]
fn a_list_is_made_of_files_and_streams_and_asked_and_described() {
    let place = Place::new();
    fs::write(place.path("hashes.txt"), format!("{PASSWORD}:12\r\n{PASSWORD}:12\r\n")).unwrap();
    let arguments = ["blocklist", "build", "hashes.txt", "-", "--output", "list", "--min-count", "2"];
    let made = fed(&place, &arguments, &format!("{P_SSW0RD}:7\n{}:1\n", PASSWORD.replace('5', "6")));
    assert_eq!(made.code, 0, "{}", made.stderr);
    let told = "2 passwords, 120 bytes, wrong about one in 2147483648 others (4.7e-10), format 1";
    assert_eq!(made.stdout, format!("list: {told}\n3 lines taken, 1 of them twice or more, 1 left out\n"));
    assert_eq!(place.run(&["blocklist", "info", "list"]).stdout, format!("{told}\n"));

    let check = |password: &str| {
        let ended = fed(&place, &["blocklist", "check", "list"], &format!("{password}\nand more"));
        assert!(!ended.stdout.contains(password) && !ended.stderr.contains(password));
        (ended.code, ended.stdout, ended.stderr)
    };
    let (code, _, stderr) = check("P@ssw0rd");
    assert_eq!((code, stderr.as_str()), (1, "rekey: the password is on the list\n"));
    let (code, stdout, _) = check("p@ssw0rd");
    assert_eq!((code, stdout.as_str()), (0, "the password is not on the list\n"));

    fs::write(place.path("words.txt"), "password\nP@ssw0rd\n").unwrap();
    let plain = place.run(&["blocklist", "build", "--plain", "words.txt", "-o", "plain"]);
    assert_eq!(plain.code, 0, "{}", plain.stderr);
    assert_eq!(fs::read(place.path("list")).unwrap(), fs::read(place.path("plain")).unwrap());
}

#[test]
fn what_is_no_list_is_refused_and_nothing_is_made_of_it() {
    let place = Place::new();
    fs::write(place.path("words.txt"), "password\n").unwrap();
    let refused = place.run(&["blocklist", "build", "words.txt", "--output", "list"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("words.txt: line 1 is not a SHA-1"), "{}", refused.stderr);
    assert!(!place.path("list").exists());
    let missing = place.run(&["blocklist", "build", "none.txt", "--output", "list"]);
    assert!(missing.code == 1 && missing.stderr.contains("cannot read none.txt"), "{}", missing.stderr);
    assert_eq!(place.run(&["blocklist", "build", "words.txt"]).code, 2);

    assert_eq!(place.run(&["blocklist", "build", "--plain", "words.txt", "--output", "list"]).code, 0);
    let whole = fs::read(place.path("list")).unwrap();
    place.init();
    let mut damaged = whole.clone();
    damaged[100] ^= 1;
    let cases = [
        (Some(&whole[..whole.len() - 1]), "bytes in place of"),
        (Some(&damaged), "does not match its checksum"),
        (Some(b"password\n"), "is too short for a list"),
        (None, "cannot read list"),
    ];
    for (bytes, sentence) in cases {
        fs::remove_file(place.path("list")).unwrap_or_default();
        if let Some(bytes) = bytes {
            fs::write(place.path("list"), bytes).unwrap();
        }
        let mut command = place.command(&["serve", "--grpc-listen", "127.0.0.1:0"]);
        let ended = Ended::from(command.env("REKEY_BLOCKLIST__FILE", "list").output().unwrap());
        assert_eq!(ended.code, 3, "{}", ended.stderr);
        assert!(ended.stderr.contains("blocklist.file: ") && ended.stderr.contains(sentence), "{}", ended.stderr);
        assert_eq!(place.run(&["blocklist", "info", "list"]).code, 3);
    }
}
