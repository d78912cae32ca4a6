//! The command line as an administrator uses it, against a service of its own.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::process::{Ended, Place, Running};

/// A service, and an administrator's token in a file.
struct Site {
    place: Place,
    address: SocketAddr,
    service: Running,
}

impl Site {
    fn new() -> Self {
        let place = Place::new();
        let token = place.init();
        fs::write(place.path("token"), token).unwrap();
        let (service, address) = place.serve(&[]);
        let site = Self { place, address, service };
        site.good(&["tenant", "create", "--id", "acme", "--display-name", "Acme"]);
        site
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.args(["--address", &format!("http://{}", self.address), "--token-file", "token"]);
        command.env("HOME", self.place.path(".")).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        Ended::from(self.command(arguments).output().unwrap())
    }

    /// With something to read.
    fn feed(&self, arguments: &[&str], input: &str) -> Ended {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Ended::from(child.wait_with_output().unwrap())
    }

    /// What a command that must not fail prints.
    fn good(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}", ended.stderr);
        ended.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.good(&[arguments, &["--output", "json"]].concat())).unwrap()
    }
}

/// The value of a line such as `username  jane`.
fn field<'a>(table: &'a str, name: &str) -> &'a str {
    let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in {table}")).split_whitespace().nth(1).unwrap()
}

#[test]
fn a_user_from_beginning_to_end() {
    let site = Site::new();
    let tenant = ["--tenant", "acme"];
    let made = site.good(&[&["user", "create", "jane", "--id", "u1", "--generate"][..], &tenant].concat());
    assert_eq!((field(&made, "user_id"), field(&made, "state")), ("u1", "ACTIVE"));
    let password = field(&made, "generated_password").to_owned();

    let verify = [&["user", "verify-password", "jane", "--password-file", "-"][..], &tenant].concat();
    let right = site.feed(&verify, &format!("{password}\n"));
    assert_eq!((right.code, right.stdout.trim()), (0, "u1"));
    let wrong = site.feed(&verify, "something-else-entirely\n");
    assert_eq!((wrong.code, wrong.stdout.as_str()), (1, ""));
    assert!(wrong.stderr.contains("not right"), "{}", wrong.stderr);

    let reset = [&["user", "reset-password", "u1", "--password-file", "-"][..], &tenant].concat();
    let refused = site.feed(&reset, "short\n");
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("POLICY_VIOLATED"), "{}", refused.stderr);
    assert!(refused.stderr.contains("new_password: must have at least 15 characters"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("short"), "{}", refused.stderr);
    assert_eq!(site.feed(&reset, "a phrase that nobody had\n").code, 0);
    assert_eq!(site.feed(&verify, &format!("{password}\n")).code, 1);
    assert_eq!(site.feed(&verify, "a phrase that nobody had\n").code, 0);

    let shown = site.json(&[&["user", "get", "u1"][..], &tenant].concat());
    assert_eq!(shown["user"]["username"], "jane");
    let stale = [&["user", "reset-password", "u1", "--generate", "--etag", "stale"][..], &tenant].concat();
    let stale = site.run(&stale);
    assert!(stale.code == 1 && stale.stderr.contains("ETAG_MISMATCH"), "{}", stale.stderr);
    assert_eq!(site.service.stop().0, 0);
}

#[test]
fn a_device_and_an_integration() {
    let site = Site::new();
    let tenant = ["--tenant", "acme"];
    site.good(&[&["device", "create", "cam-7", "--id", "4711", "--generate"][..], &tenant].concat());
    let reset = site.json(&[&["device", "reset", "4711", "--generate", "24"][..], &tenant].concat());
    let password = reset["authentication"]["password"].as_str().unwrap().to_owned();
    assert_eq!(password.len(), 24);
    let revealed = site.good(&[&["device", "reveal", "4711", "--purpose", "moved"][..], &tenant].concat());
    assert_eq!((field(&revealed, "user_name"), field(&revealed, "password")), ("cam-7", password.as_str()));
    let verify = [&["device", "verify", "cam-7", "--password-file", "-"][..], &tenant].concat();
    assert_eq!(site.feed(&verify, &password).code, 0);
    assert_eq!(site.feed(&verify, "wrong").code, 1);

    let create = ["integration", "create", "--id", "mdm", "--generate", "--settings-file", "-"];
    let made = site.feed(&[&create[..], &tenant].concat(), r#"{"gateway":"gw.example"}"#);
    assert_eq!(made.code, 0, "{}", made.stderr);
    assert_eq!(field(&made.stdout, "settings.gateway"), "gw.example");
    let broken = site.feed(&[&create[..], &tenant].concat(), r#"{"gateway":hunter2}"#);
    assert!(broken.code == 1 && !broken.stderr.contains("hunter2"), "{}", broken.stderr);
    let reset = site.good(&[&["integration", "reset", "mdm"][..], &tenant].concat());
    assert!(!reset.contains("gw.example"), "{reset}");
    assert_eq!(site.service.stop().0, 0);
}

#[test]
fn a_rotation_without_an_outage() {
    let site = Site::new();
    let good = |arguments: &[&str]| site.good(&[arguments, &["--tenant", "acme"]].concat());
    let json = |arguments: &[&str]| site.json(&[arguments, &["--tenant", "acme"]].concat());
    let versions = |answer: &Value| -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().trim_start_matches("SECRET_STAGE_").to_owned();
        let secrets = answer["device"]["secrets"].as_array().unwrap();
        secrets.iter().map(|secret| (text(&secret["version"]), text(&secret["stage"]))).collect()
    };
    let is = |version: &str, stage: &str| (version.to_owned(), stage.to_owned());
    let verify = |password: &str| {
        let arguments = ["device", "verify", "cam-7", "--password-file", "-", "--tenant", "acme"];
        site.feed(&arguments, password).code
    };
    let password = |answer: &Value| answer["authentication"]["password"].as_str().unwrap().to_owned();
    let first = password(&json(&["device", "create", "cam-7", "--id", "4711", "--generate"]));
    let reset = json(&["device", "reset", "4711", "--generate", "--overlap", "24h"]);
    assert_eq!(versions(&reset), [is("2", "CURRENT"), is("1", "PREVIOUS")]);
    let second = password(&reset);
    assert_eq!([verify(&first), verify(&second), verify("wrong")], [0, 0, 1]);

    // A table of its own, below what else there is of the device.
    let shown = good(&["device", "get", "4711"]);
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
    for row in [["VERSION", "STAGE"], ["2", "CURRENT"], ["1", "PREVIOUS"]] {
        assert!(rows.iter().any(|found| **found == row), "{row:?} is not in\n{shown}");
    }
    assert!(!shown.contains("secrets["), "{shown}");

    let refused = site.run(&["device", "reset", "4711", "--generate", "--overlap", "1h", "--tenant", "acme"]);
    assert!(refused.code == 1 && refused.stderr.contains("TWO_SECRETS_LIVE"), "{}", refused.stderr);
    let swapped = json(&["device", "swap", "4711"]);
    assert_eq!(versions(&swapped), [is("2", "PREVIOUS"), is("1", "CURRENT")]);
    let back = json(&["device", "roll-back", "4711"]);
    assert_eq!(versions(&back), [is("2", "CURRENT")]);
    assert_eq!([verify(&first), verify(&second)], [1, 0]);
    let prepared = json(&["device", "reset", "4711", "--generate", "--pending"]);
    let third = password(&prepared);
    assert_eq!(verify(&third), 1);
    let promoted = json(&["device", "promote", "4711", "--overlap", "7d"]);
    assert_eq!(promoted["device"]["secrets"][1]["stage"], "SECRET_STAGE_PREVIOUS");
    assert_eq!([verify(&second), verify(&third)], [0, 0]);
    good(&["device", "revoke-secret", "4711", "2"]);
    assert_eq!([verify(&second), verify(&third)], [1, 0]);
    let bad = site.run(&["device", "promote", "4711", "--overlap", "1w", "--tenant", "acme"]);
    assert!(bad.code == 2 && bad.stderr.contains("such as 24h"), "{}", bad.stderr);

    let made = json(&["integration", "create", "--id", "mdm", "--username", "third-party", "--generate"]);
    let old = made["credentials"]["password"].as_str().unwrap().to_owned();
    let reset = json(&["integration", "reset", "mdm", "--overlap", "1h"]);
    let new = reset["credentials"]["password"].as_str().unwrap();
    let verify = ["integration", "verify", "third-party", "--password-file", "-", "--tenant", "acme"];
    assert_eq!([site.feed(&verify, &old).code, site.feed(&verify, new).code], [0, 0]);
    good(&["integration", "roll-back", "mdm"]);
    assert_eq!([site.feed(&verify, &old).code, site.feed(&verify, new).code], [0, 1]);
    assert_eq!(site.service.stop().0, 0);
}

#[test]
fn a_caller_and_a_profile() {
    let site = Site::new();
    let tenant = ["--tenant", "acme"];
    let create = ["caller", "create", "--id", "login", "--permission", "users:get", "--permission", "users:verify"];
    site.good(&[&create[..], &tenant].concat());
    let token = site.json(&[&["caller", "create-token", "login"][..], &tenant].concat());
    fs::write(site.place.path("login.token"), token["token"].as_str().unwrap()).unwrap();

    // The profile says where, who and in which tenant.
    let directory = site.place.path(".config/rekey");
    fs::create_dir_all(&directory).unwrap();
    let file = site.place.path("login.token");
    let profile = format!(
        "default = \"login\"\n[profiles.login]\naddress = \"http://{}\"\ntoken_file = {file:?}\ntenant = \"acme\"\n",
        site.address
    );
    fs::write(directory.join("client.toml"), profile).unwrap();
    let by_profile = |arguments: &[&str]| {
        let mut command = site.place.command(arguments);
        command.env("HOME", site.place.path(".")).env_remove("XDG_CONFIG_HOME").stdin(Stdio::null());
        Ended::from(command.output().unwrap())
    };
    let who = by_profile(&["caller", "whoami"]);
    assert_eq!((who.code, field(&who.stdout, "caller_id")), (0, "login"), "{}", who.stderr);
    let denied = by_profile(&["user", "reset-password", "u1", "--generate"]);
    assert!(denied.code == 1 && denied.stderr.contains("PERMISSION_MISSING"), "{}", denied.stderr);
    let unknown = by_profile(&["caller", "whoami", "--profile", "prod"]);
    assert!(unknown.code == 3 && unknown.stderr.contains("there are: login"), "{}", unknown.stderr);

    let token_id = token["tokenId"].as_str().unwrap();
    site.good(&[&["caller", "revoke-token", "login", token_id][..], &tenant].concat());
    let revoked = by_profile(&["caller", "whoami"]);
    assert!(revoked.code == 1 && revoked.stderr.contains("CREDENTIAL_INVALID"), "{}", revoked.stderr);
    fs::write(directory.join("client.toml"), "tokn = 1").unwrap();
    assert_eq!(by_profile(&["caller", "whoami"]).code, 3);
    assert_eq!(site.service.stop().0, 0);
}

#[test]
fn without_a_person_nothing_is_asked_for() {
    let place = Place::new();
    let mut command = place.command(&["user", "get", "u1"]);
    let ended = Ended::from(command.env("HOME", place.path(".")).stdin(Stdio::null()).output().unwrap());
    assert!(ended.code == 3 && ended.stderr.contains("REKEY_TOKEN"), "{}", ended.stderr);
    let mut command = place.command(&["user", "delete", "u1"]);
    let ended = Ended::from(command.env("HOME", place.path(".")).stdin(Stdio::null()).output().unwrap());
    assert!(ended.code == 1 && ended.stderr.contains("--yes"), "{}", ended.stderr);
}

#[test]
fn help_teaches_and_no_secret_is_an_argument() {
    let place = Place::new();
    for noun in ["user", "device", "integration", "tenant", "caller", "policy", "audit"] {
        let help = place.run(&[noun, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Examples:") && help.stdout.contains("client.toml"), "{noun}: {}", help.stdout);
        let commands = help.stdout.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
        let names: Vec<_> = commands
            .take_while(|line| !line.is_empty())
            .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
            .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
            .collect();
        assert!(names.len() > 1, "{noun}: {names:?}");
        for name in names.iter().filter(|name| *name != "help") {
            let help = place.run(&[noun, name, "--help"]).stdout;
            for line in help.lines().map(str::trim).filter(|line| line.starts_with("--")) {
                let flag = line.split_whitespace().next().unwrap();
                let secret = ["password", "token", "secret", "key"].iter().any(|word| flag.contains(word));
                let fine = ["--page-token", "--api-key", "--key", "--no-password", "--change-password-allowed"];
                assert!(!secret || flag.ends_with("-file") || fine.contains(&flag), "{noun} {name}: {line}");
            }
        }
    }
}

#[test]
fn many_at_once_are_looked_at_and_seen_through() {
    let site = Site::new();
    let tenant = ["--tenant", "acme"];
    let with = |arguments: &[&'static str]| [arguments, &tenant].concat();
    for id in ["4711", "4712", "4713"] {
        site.good(&[&["device", "create", "--generate", "--id", id, id][..], &tenant].concat());
    }
    let look = site.run(&with(&["device", "reset-many", "--filter", "user_name = \"471*\"", "--dry-run"]));
    assert_eq!((look.code, look.stdout.as_str()), (0, ""));
    assert_eq!(look.stderr.trim(), "3 devices fit, such as 4711, 4712, 4713");
    let plan = site.json(&with(&["device", "reset-many", "--dry-run"]));
    assert_eq!((&plan["total"], plan["sampleIds"].as_array().unwrap().len()), (&Value::from("3"), 3));

    let unsaid = site.run(&with(&["device", "reset-many"]));
    assert!(unsaid.code == 1 && unsaid.stderr.contains("--yes"), "{}", unsaid.stderr);
    let done = site.good(&with(&["device", "reset-many", "--max-per-second", "1000", "--yes"]));
    assert_eq!(done.trim(), "done: 3 of 3 done, 0 skipped, 0 failed");
    let lines = site.good(&with(&["device", "reset-many", "--yes", "--output", "json"]));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!((last["state"].as_str(), last["done"].as_str()), (Some("JOB_STATE_DONE"), Some("3")));
    let id = last["jobId"].as_str().unwrap();

    site.good(&with(&["user", "create", "jane", "--id", "u1", "--generate"]));
    let expired = site.good(&with(&["user", "expire-passwords", "void", "--yes"]));
    assert_eq!(expired.trim(), "done: 1 of 1 done, 0 skipped, 0 failed");
    let none = site.run(&with(&["user", "expire-passwords", "must-change", "--filter", "state = LOCKED", "--yes"]));
    assert_eq!((none.code, none.stderr.trim()), (0, "0 users fit"));

    let listed = site.good(&with(&["job", "list", "--filter", "state = DONE"]));
    assert_eq!(listed.lines().count(), 4, "{listed}");
    assert!(listed.contains("EXPIRE_PASSWORDS") && listed.contains(id), "{listed}");
    assert_eq!(field(&site.good(&[&["job", "get", id][..], &tenant].concat()), "done"), "3");
    let watched = site.good(&[&["job", "watch", id][..], &tenant].concat());
    assert_eq!(watched.trim(), "done: 3 of 3 done, 0 skipped, 0 failed");
    assert!(site.good(&[&["job", "cancel", id][..], &tenant].concat()).contains("changes nobody any more"));
    let unknown = site.run(&with(&["job", "get", "nobody"]));
    assert!(unknown.code == 1 && unknown.stderr.contains("JOB_NOT_FOUND"), "{}", unknown.stderr);
    assert_eq!(site.service.stop().0, 0);
}
