//! The binary as people and container engines meet it: real processes, their exit codes, sentences and files.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test stops at the first surprise")]

mod admin;
mod backup;
mod blocklist;
mod canary;
mod keys;
mod process;
mod tls;

use std::{
    fs,
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::Command,
};

use process::{Place, Running};
use serde_json::Value;

/// A request by a plain HTTP client, and the JSON of its answer.
async fn ask(method: reqwest::Method, url: String, header: (&str, &str), body: &'static str) -> (u16, Value) {
    let client = reqwest::Client::new();
    let request = client.request(method, url).header(header.0, header.1).header("content-type", "application/json");
    let answer = request.body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

fn mode(path: &std::path::Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn dev_finds_everything_as_it_was_left() {
    let place = Place::new();
    let (first, before) = place.dev(&[]);
    let device = |values: &std::collections::HashMap<String, String>| {
        let path = "/v2/proj01/link/instances/inst01/devices/4711/authentication";
        (format!("{}{path}", values["REKEY_HTTP"]), values["ROMA_TOKEN"].clone())
    };
    let (url, token) = device(&before);
    let (status, answer) = ask(reqwest::Method::PUT, url, ("x-auth-token", &token), "{}").await;
    assert_eq!(status, 200);
    let password = answer["password"].as_str().unwrap().to_owned();
    assert_ne!(password, before["ROMA_PASSWORD"]);
    assert_eq!(first.stop().0, 0);

    for name in ["anchor.json", "demo.env", "keyring.json", "ocariot-issuer.pem"] {
        assert_eq!(mode(&place.path("rekey-data").join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&place.path("rekey-data")), 0o700);

    let (second, after) = place.dev(&[]);
    for (name, value) in &before {
        let refreshed = ["REKEY_GRPC", "REKEY_HTTP", "OCARIOT_ADMIN_TOKEN"].contains(&name.as_str());
        assert!(refreshed || after[name] == *value, "{name} is another one");
    }
    let (url, token) = device(&after);
    let (status, answer) = ask(reqwest::Method::GET, url, ("x-auth-token", &token), "").await;
    assert_eq!((status, answer["password"].as_str()), (200, Some(password.as_str())));
    assert_eq!(second.stop().0, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn hashing_gives_way_to_the_rest_of_the_service() {
    let place = Place::new();
    // Its one hashing thread has hashed the demo user's password by then.
    let (running, _) = place.dev(&[]);
    let (mut hashing, mut others) = (Vec::new(), Vec::new());
    for task in fs::read_dir(format!("/proc/{}/task", running.id())).unwrap() {
        // proc_pid_stat(5): the name in parentheses is the second field, and how nice the thread is the 19th.
        let stat = fs::read_to_string(task.unwrap().path().join("stat")).unwrap();
        let (name, rest) = stat.rsplit_once(") ").unwrap();
        let nice: i32 = rest.split(' ').nth(16).unwrap().parse().unwrap();
        if name.contains("(rekey-hash-") { hashing.push(nice) } else { others.push(nice) }
    }
    let own = others[0];
    assert!(others.iter().all(|nice| *nice == own), "{others:?}");
    assert_eq!(hashing, [own + 5]);
    assert_eq!(running.stop().0, 0);
}

#[tokio::test]
async fn dev_completes_what_an_earlier_start_did_not() {
    let place = Place::new();
    assert_eq!(place.dev(&[]).0.stop().0, 0);
    let file = place.path("rekey-data/demo.env");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("# The demo tenants are made.\n", "")).unwrap();

    let (running, values) = place.dev(&[]);
    let url = format!("{}/v1/users/{}/reset-password", values["REKEY_HTTP"], values["OCARIOT_USER_ID"]);
    let token = format!("Bearer {}", values["OCARIOT_ADMIN_TOKEN"]);
    let (status, _) = ask(reqwest::Method::POST, url, ("authorization", &token), r#"{"new_password":"n"}"#).await;
    assert_eq!(status, 204);
    assert!(fs::read_to_string(&file).unwrap().contains("# The demo tenants are made.\n"));
    assert_eq!(running.stop().0, 0);
}

#[test]
fn dev_says_so_when_its_values_are_of_another_database() {
    let place = Place::new();
    assert_eq!(place.dev(&[]).0.stop().0, 0);
    for name in ["rekey.db", "rekey.db-wal", "rekey.db-shm"] {
        let _ = fs::remove_file(place.path("rekey-data").join(name));
    }
    let dev = ["dev", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"];
    let ended = place.run(&dev);
    assert_eq!(ended.code, 8);
    assert!(ended.stderr.contains("do not belong together"), "{}", ended.stderr);
    fs::remove_file(place.path("rekey-data/anchor.json")).unwrap();
    let ended = place.run(&dev);
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("do not belong together"), "{}", ended.stderr);
}

#[test]
fn dev_leaves_an_installation_that_is_not_its_own_alone() {
    let place = Place::new();
    place.init();
    let ended = place.run(&["dev", "--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, 5, "{}", ended.stderr);
    assert_eq!(place.serve(&[]).0.stop().0, 0);
}

#[test]
fn init_prints_one_token_and_refuses_an_installation_that_exists() {
    let place = Place::new();
    let token = place.init();
    assert!(token.starts_with("rk_") && !token.contains(char::is_whitespace));
    let keyring = fs::read(place.path("rekey-data/keyring.json")).unwrap();

    let again = place.run(&["init"]);
    assert_eq!((again.code, again.stdout.as_str()), (5, ""));
    assert!(again.stderr.contains("holds an installation already"), "{}", again.stderr);
    let lenient = place.run(&["init", "--if-missing"]);
    assert_eq!((lenient.code, lenient.stdout.as_str()), (0, ""));

    // A keyring that was lost is not replaced by one that opens nothing.
    fs::rename(place.path("rekey-data/keyring.json"), place.path("kept")).unwrap();
    assert_eq!(place.run(&["init"]).code, 5);
    assert!(!place.path("rekey-data/keyring.json").exists());
    assert_eq!(fs::read(place.path("kept")).unwrap(), keyring);
}

#[test]
fn a_keyring_that_is_missing_or_open_to_others_or_anothers_is_refused() {
    let place = Place::new();
    place.init();
    let keyring = place.path("rekey-data/keyring.json");

    fs::set_permissions(&keyring, fs::Permissions::from_mode(0o644)).unwrap();
    let open = place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    assert_eq!(open.code, 4);
    assert!(open.stderr.contains("keyring.json"), "{}", open.stderr);

    fs::remove_file(&keyring).unwrap();
    let missing = place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    assert_eq!(missing.code, 4);
    assert!(missing.stderr.contains("keyring.json"), "{}", missing.stderr);

    let other = Place::new();
    other.init();
    fs::copy(other.path("rekey-data/keyring.json"), &keyring).unwrap();
    let foreign = place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    assert_eq!(foreign.code, 4);
    assert!(foreign.stderr.contains("lacks keys"), "{}", foreign.stderr);
}

#[test]
fn a_taken_port_is_named() {
    let place = Place::new();
    place.init();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for arguments in [["serve", "--grpc-listen", &address], ["gateway", "--http-listen", &address]] {
        let ended = place.run(&arguments);
        assert_eq!(ended.code, 6, "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot listen on {address}")), "{}", ended.stderr);
    }
}

#[test]
fn a_directory_that_cannot_be_one_is_named() {
    let place = Place::new();
    fs::write(place.path("file"), "").unwrap();
    for (command, code) in [("init", 1), ("dev", 1), ("serve", 4), ("migrate", 5)] {
        let ended = place.run(&[command, "--data-dir", "file/data"]);
        assert_eq!(ended.code, code, "{command}: {}", ended.stderr);
        assert!(ended.stderr.starts_with("rekey: "), "{command}: {}", ended.stderr);
    }
}

#[test]
fn a_setting_that_is_none_is_named_with_its_file() {
    let place = Place::new();
    fs::write(place.path("rekey.toml"), "[grpc]\nlisten_to = '127.0.0.1:1'\n").unwrap();
    let ended = place.run(&["serve", "--config", "rekey.toml"]);
    assert_eq!(ended.code, 3);
    assert!(ended.stderr.contains("grpc.listen_to") && ended.stderr.contains("rekey.toml"), "{}", ended.stderr);
    assert_eq!(place.run(&["serve", "--config", "elsewhere.toml"]).code, 3);
    assert_eq!(place.run(&["serve", "--grpc-listen", "0.0.0.0:0"]).code, 3);
    assert_eq!(place.run(&["serve", "--log-level", "rekey=loud"]).code, 3);
    assert_eq!(place.run(&["serve", "--colour"]).code, 2);

    place.init();
    let weak = place.command(&["serve"]).env("REKEY_HASHING__MEMORY_KIB", "8").output().unwrap();
    assert_eq!(weak.status.code(), Some(3));
}

#[test]
fn a_database_that_is_not_there_is_an_error_without_its_password() {
    let place = Place::new();
    let url = "postgres://rekey:canary7-password@127.0.0.1:1/rekey";
    for command in ["init", "migrate", "dev"] {
        let ended = place.run(&[command, "--database-url", url, "--log-level", "trace,sqlx=trace"]);
        assert_eq!(ended.code, 5, "{command}: {}", ended.stderr);
        assert!(!ended.stderr.contains("canary7"), "{command}: {}", ended.stderr);
    }
}

#[test]
fn serve_waits_for_migrations_to_be_applied() {
    let place = Place::new();
    place.init();
    fs::remove_file(place.path("rekey-data/rekey.db")).unwrap();

    let early = place.run(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    assert_eq!(early.code, 5);
    assert!(early.stderr.contains("rekey migrate"), "{}", early.stderr);
    assert_eq!(place.run(&["migrate", "--check"]).code, 7);
    let applied = place.run(&["migrate"]);
    assert_eq!(applied.code, 0);
    assert!(applied.stdout.contains("migrations applied"), "{}", applied.stdout);
    assert_eq!(place.run(&["migrate", "--check"]).code, 0);
    assert_eq!(place.serve(&[]).0.stop().0, 0);
}

#[test]
fn health_tells_by_its_exit_code() {
    let place = Place::new();
    place.init();
    let (running, address) = place.serve(&[]);
    let address = address.to_string();
    let health = |service: &str| place.run(&["health", "--address", &address, "--service", service]);
    for service in ["", "rekey.v1.UserService"] {
        let well = health(service);
        assert_eq!((well.code, well.stdout.as_str()), (0, "SERVING\n"), "{service}: {}", well.stderr);
    }
    assert_eq!(health("rekey.v1.NoSuchService").code, 7);
    assert_eq!(running.stop().0, 0);
    let gone = health("");
    assert_eq!(gone.code, 7);
    assert!(gone.stderr.contains(&address), "{}", gone.stderr);
}

#[tokio::test]
async fn the_gateway_is_a_process_of_its_own() {
    let place = Place::new();
    let token = format!("Bearer {}", place.init());
    let (service, grpc) = place.serve(&["--log-format", "text"]);
    let upstream = format!("http://{grpc}");
    let mut gateway = place.start(&["gateway", "--http-listen", "127.0.0.1:0", "--upstream", &upstream]);
    let http = gateway.wait_for("the gateway is ready").address("address");

    let url = format!("http://{http}/v1/whoami");
    let (status, answer) = ask(reqwest::Method::GET, url.clone(), ("authorization", &token), "").await;
    assert_eq!((status, answer["tenantId"].as_str()), (200, Some("system")));

    assert_eq!(service.stop().0, 0);
    let (status, _) = ask(reqwest::Method::GET, url, ("authorization", &token), "").await;
    assert_eq!(status, 503);
    assert_eq!(gateway.stop().0, 0);
}

/// `rekey serve` with a connection that says nothing, which tonic waits for.
fn serve_with_a_silent_connection(place: &Place, drain_s: &str) -> (Running, TcpStream) {
    place.init();
    let mut command = place.command(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    command.env("REKEY_DRAIN_S", drain_s);
    let mut running = Running::new(command);
    let silent = TcpStream::connect(running.wait_for("ready").address("address")).unwrap();
    (running, silent)
}

#[test]
fn a_connection_that_says_nothing_does_not_keep_the_process() {
    let place = Place::new();
    let (running, _silent) = serve_with_a_silent_connection(&place, "1");
    let (code, said) = running.stop();
    assert_eq!(code, 0, "{said}");
}

#[test]
fn told_twice_it_ends_at_once() {
    let place = Place::new();
    let (mut running, _silent) = serve_with_a_silent_connection(&place, "3600");
    running.terminate();
    running.wait_for("stopping");
    let (code, said) = running.stop();
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("told twice to stop"), "{said}");
}

#[test]
fn running_out_of_file_descriptors_is_logged_and_survived() {
    let place = Place::new();
    place.init();
    let rekey = place.command(&["serve", "--grpc-listen", "127.0.0.1:0"]);
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 48; exec \"$@\"", "sh"]).arg(rekey.get_program()).args(rekey.get_args());
    command.current_dir(rekey.get_current_dir().unwrap());
    let mut running = Running::new(command);
    let address = running.wait_for("ready").address("address");
    let flood: Vec<_> = (0..60).map(|_| TcpStream::connect(address).unwrap()).collect();
    running.wait_for("accepting a connection failed");
    drop(flood);
    let answer = place.run(&["health", "--address", &address.to_string()]);
    assert!(answer.stdout.contains("SERVING"), "{}", answer.stderr);
    assert_eq!(running.stop().0, 0);
}

#[test]
fn completions_and_help_are_printed() {
    let place = Place::new();
    let completions = place.run(&["completions", "bash"]);
    assert_eq!(completions.code, 0);
    assert!(completions.stdout.contains("complete -F _rekey"), "{}", completions.stdout);
    for command in
        ["dev", "init", "serve", "gateway", "migrate", "health", "calibrate", "import", "census", "completions"]
    {
        let help = place.run(&[command, "--help"]);
        assert_eq!(help.code, 0);
        assert!(help.stdout.contains("Examples:"), "{command}: {}", help.stdout);
    }
}
