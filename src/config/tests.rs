use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{Config, DEFAULTS, LogFormat, Sources};
use crate::crypto::ForeignBounds;

fn from_file(text: &str) -> Result<Config, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rekey.toml");
    std::fs::write(&file, text).unwrap();
    Config::load(&Sources { file: Some(file), ..Sources::default() }).map_err(|error| error.to_string())
}

fn from_environment(variables: &[(&str, &str)]) -> Result<Config, String> {
    let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(&Sources { environment, ..Sources::default() }).map_err(|error| error.to_string())
}

#[test]
fn the_defaults_are_what_the_readme_says() {
    let config = Config::load(&Sources::default()).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("rekey-data"));
    assert_eq!(config.log.format, LogFormat::Text);
    assert_eq!(config.log.level, "info");
    let service = config.service().unwrap();
    assert_eq!(service.store.url, "sqlite:rekey-data/rekey.db");
    assert_eq!(service.store.max_connections, 8);
    assert_eq!(service.keyring_file, PathBuf::from("rekey-data/keyring.json"));
    assert_eq!(service.listen, SocketAddr::from(([127, 0, 0, 1], 50_051)));
    assert!(!service.reflection);
    assert_eq!(service.tls, None);
    assert_eq!(service.drain, Duration::from_secs(20));
    let hasher = service.hasher;
    assert!(hasher.threads >= 1);
    assert_eq!(hasher.queue, hasher.threads * 8);
    assert_eq!(hasher.max_wait, Duration::from_millis(250));
    assert_eq!((hasher.memory_kib, hasher.iterations, hasher.parallelism), (19_456, 2, 1));
    assert_eq!(service.metrics, None);
    let gateway = config.gateway().unwrap();
    assert_eq!(gateway.listen, SocketAddr::from(([127, 0, 0, 1], 8_080)));
    assert_eq!(gateway.upstream.uri(), "http://127.0.0.1:50051/");
    assert!(!gateway.docs);

    let readme = include_str!("../../README.md");
    let defaults: toml::Table = DEFAULTS.parse().unwrap();
    for (section, value) in &defaults {
        let rows: Vec<_> = if let toml::Value::Table(table) = value {
            table.iter().map(|(name, value)| (format!("{section}.{name}"), value)).collect()
        } else {
            vec![(section.clone(), value)]
        };
        for (name, value) in rows {
            let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let row = if shown.is_empty() { format!("| `{name}` | ") } else { format!("| `{name}` | `{shown}` |") };
            assert!(readme.contains(&row), "the README's table lacks {row}");
        }
    }
}

#[test]
fn flags_stand_above_the_environment_above_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rekey.toml");
    std::fs::write(&file, "data_dir = 'file'\n[hashing]\nqueue = 1\nthreads = 3\n[log]\nlevel = 'warn'").unwrap();
    let sources = Sources {
        file: Some(file),
        environment: vec![("REKEY_DATA_DIR".into(), "environment".into()), ("REKEY_HASHING__QUEUE".into(), "2".into())],
        flags: vec![("data_dir", "flag".into())],
    };
    let config = Config::load(&sources).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("flag"));
    assert_eq!(config.service().unwrap().hasher.queue, 2);
    assert_eq!(config.service().unwrap().hasher.threads, 3);
    assert_eq!(config.log.level, "warn");
}

#[test]
fn everything_wrong_is_said_at_once() {
    let sentence = from_file(
        "colour = 1\n[hashing]\nmax_wait = 5\nmax_wait_ms = 0\n[grpc]\nlisten = '0.0.0.0:1'\ntls_key_file = 'k'\n\
         [gateway]\nlisten = '0.0.0.0:2'\nupstream = 'https://example.org'",
    )
    .unwrap_err();
    for part in [
        "colour (",
        "rekey.toml) is not a setting",
        "hashing.max_wait (",
        "hashing.max_wait_ms must be",
        "grpc.tls_certificate_file and grpc.tls_key_file go together",
        "grpc.listen is not a loopback address",
        "gateway.listen is not a loopback address",
        "gateway.upstream is https",
    ] {
        assert!(sentence.contains(part), "{part:?} is not in {sentence}");
    }
    assert!(from_file("[grpc]\nlisten = 'everywhere'").unwrap_err().contains("grpc.listen: "));
    assert!(from_file("[grpc").unwrap_err().contains("is not TOML"));
}

#[test]
fn a_file_that_is_not_there_is_not_an_empty_one() {
    let file = Some(PathBuf::from("/nonexistent/rekey.toml"));
    let error = Config::load(&Sources { file, ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains("cannot read /nonexistent/rekey.toml"), "{error}");
}

#[test]
fn variables_that_are_not_ours_are_passed_over_and_near_misses_are_not() {
    let foreign = [("REKEY_GRPC", "127.0.0.1:1"), ("REKEY_PORT_8080_TCP", "tcp://10.0.0.1:8080"), ("REKEYED__A", "1")];
    from_environment(&foreign).unwrap();
    let error = from_environment(&[("REKEY_DATABASE_URL", "postgres://u:canary@h/d")]).unwrap_err();
    assert!(error.contains("did you mean REKEY_DATABASE__URL?"), "{error}");
    assert!(!error.contains("canary"), "{error}");
    let error = from_environment(&[("REKEY_HASHING__THREAD", "1")]).unwrap_err();
    assert!(error.contains("hashing.thread is not a setting"), "{error}");
}

#[test]
fn the_database_url_may_come_from_a_file_and_is_never_printed() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("url");
    std::fs::write(&file, "postgres://u:canary@h/d\n").unwrap();
    let config = from_environment(&[("REKEY_DATABASE__URL_FILE", file.to_str().unwrap())]).unwrap();
    assert_eq!(config.store().unwrap().url, "postgres://u:canary@h/d");

    let config = from_environment(&[("REKEY_DATABASE__URL", "postgres://u:canary@h/d")]).unwrap();
    assert!(!format!("{config:?}").contains("canary"));
    let error = from_environment(&[("REKEY_DATABASE__URL", "mysql://u:canary@h/d")]).unwrap_err();
    assert!(error.contains("database.url must begin with"), "{error}");
    assert!(!error.contains("canary"), "{error}");
}

#[test]
fn plaintext_leaves_the_machine_only_where_it_was_allowed() {
    from_environment(&[("REKEY_GRPC__LISTEN", "[::1]:50051")]).unwrap();
    from_environment(&[("REKEY_GRPC__LISTEN", "0.0.0.0:50051")]).unwrap_err();
    from_environment(&[("REKEY_GRPC__LISTEN", "0.0.0.0:50051"), ("REKEY_GRPC__ALLOW_PLAINTEXT", "true")]).unwrap();
    from_environment(&[("REKEY_METRICS__LISTEN", "127.0.0.1:9464")]).unwrap();
    from_environment(&[("REKEY_METRICS__LISTEN", "0.0.0.0:9464")]).unwrap_err();
    from_environment(&[("REKEY_METRICS__LISTEN", "0.0.0.0:9464"), ("REKEY_METRICS__ALLOW_PLAINTEXT", "true")]).unwrap();
    from_environment(&[("REKEY_METRICS__LISTEN", "everywhere")]).unwrap_err();
    from_environment(&[("REKEY_GATEWAY__UPSTREAM", "http://localhost:50051")]).unwrap();
    from_environment(&[("REKEY_GATEWAY__UPSTREAM", "http://rekey:50051")]).unwrap_err();
}

#[test]
fn limits_that_would_lock_owners_out_or_let_guessers_in_are_refused() {
    let refused = |setting: &str, value: &str| {
        let error = from_file(&format!("[limits]\n{setting} = {value}")).unwrap_err();
        assert!(error.contains("limits."), "{setting} = {value}: {error}");
    };
    // 21,900 days and the ends of what a number can be: nothing wraps around to no wait at all.
    for seconds in ["0", "-1", "3601", "1892160000", "4294967296", "9223372036854775807"] {
        refused("longest_delay_s", seconds);
    }
    for (setting, wrong) in [
        ("free_failures", ["0", "101", "4294967297"]),
        ("stranger_failures", ["4", "1001", "-20"]),
        ("hard_stop_failures", ["0", "101", "18446744073709551616"]),
        ("source_failures_burst", ["0", "-1", "'many'"]),
    ] {
        for value in wrong {
            from_file(&format!("[limits]\n{setting} = {value}")).unwrap_err();
        }
    }
    let config = from_file("[limits]\nhard_stop_failures = 1\nlongest_delay_s = 3600").unwrap();
    let limits = config.service().unwrap().limits;
    assert_eq!((limits.source.stop, limits.strangers.stop), (None, Some(1)));
}

#[test]
fn what_hashes_of_others_may_cost_is_bounded_itself() {
    assert_eq!(Config::load(&Sources::default()).unwrap().service().unwrap().hasher.foreign, ForeignBounds::DEFAULT);
    let error = from_file("[foreign]\nmax_bcrypt_cost = 31\nmax_memory_kib = 0").unwrap_err();
    assert!(error.contains("foreign.max_bcrypt_cost must be 4 to 20"), "{error}");
    assert!(error.contains("foreign.max_memory_kib must be"), "{error}");
    let config = from_file("[foreign]\nmax_bcrypt_cost = 17").unwrap();
    assert_eq!(config.service().unwrap().hasher.foreign.bcrypt_cost, 17);
}
