//! Who may use whom, and a few bans that no lint of the compiler can hold.

use std::{collections::BTreeSet, fs, str::FromStr as _};

use proc_macro2::{TokenStream, TokenTree};

use crate::source::{Mention, files, mentions, root};

/// The most lines of a file: past it, it is split by noun.
const MAX_LINES: usize = 450;

/// One row of the table: what a module may use, all of it in use, and nothing else.
struct Layer {
    module: &'static str,
    modules: &'static [&'static str],
    crates: &'static [&'static str],
}

/// The arrows of `lib.rs`. `main.rs` and `lib.rs` themselves are the row without a name.
const LAYERS: &[Layer] = &[
    Layer { module: "", modules: &["cli"], crates: &[] },
    Layer {
        module: "domain",
        modules: &[],
        crates: &["data_encoding", "secrecy", "serde", "unicode_normalization", "zeroize", "zxcvbn"],
    },
    Layer { module: "audit", modules: &["domain"], crates: &[] },
    Layer { module: "planted", modules: &[], crates: &[] },
    Layer {
        module: "anchor",
        modules: &["crypto", "domain", "planted", "store"],
        crates: &["serde", "serde_json", "tokio", "tracing"],
    },
    Layer {
        module: "backup",
        modules: &["crypto", "domain", "planted", "store"],
        crates: &["aws_lc_rs", "data_encoding", "serde", "serde_json", "thiserror"],
    },
    Layer {
        module: "blocklist",
        modules: &["domain"],
        crates: &["aws_lc_rs", "data_encoding", "memmap2", "secrecy", "zeroize"],
    },
    Layer {
        module: "crypto",
        modules: &["domain", "metrics"],
        crates: &[
            "argon2",
            "aws_lc_rs",
            "bcrypt",
            "blake2",
            "data_encoding",
            "scrypt",
            "secrecy",
            "serde",
            "serde_json",
            "sha_crypt",
            "subtle",
            "thiserror",
            "tokio",
            "tracing",
            "zeroize",
        ],
    },
    Layer {
        module: "store",
        modules: &["audit", "domain", "planted"],
        crates: &["sea_orm", "sea_orm_migration", "serde_json", "sqlx", "tokio", "tracing"],
    },
    Layer {
        module: "access",
        modules: &["domain"],
        crates: &["data_encoding", "httpdate", "jsonwebtoken", "secrecy", "serde", "serde_json"],
    },
    Layer {
        module: "ops",
        modules: &["access", "audit", "blocklist", "crypto", "domain", "metrics", "planted", "store"],
        crates: &["futures_util", "governor", "secrecy", "serde", "tokio", "tracing", "zeroize"],
    },
    Layer {
        module: "api",
        modules: &["access", "domain", "listen", "metrics", "ops", "proto"],
        crates: &[
            "data_encoding",
            "http",
            "hyper",
            "hyper_util",
            "prost",
            "prost_reflect",
            "prost_types",
            "secrecy",
            "tokio",
            "tokio_rustls",
            "tokio_stream",
            "tokio_util",
            "tonic",
            "tonic_health",
            "tonic_reflection",
            "tonic_types",
            "tower",
            "tracing",
            "uuid",
            "zeroize",
        ],
    },
    Layer {
        module: "gateway",
        modules: &["listen", "proto"],
        crates: &[
            // For the digest of a signed request; no key comes here.
            "aws_lc_rs",
            "bytes",
            "data_encoding",
            "http",
            "http_body",
            "http_body_util",
            "hyper",
            "hyper_util",
            "percent_encoding",
            "prost",
            "prost_reflect",
            "prost_types",
            "serde",
            "serde_json",
            "tokio",
            "tokio_util",
            "tonic",
            "tonic_types",
            "tracing",
            "uuid",
        ],
    },
    Layer {
        module: "proto",
        modules: &[],
        crates: &["bytes", "prost", "prost_reflect", "tonic", "tonic_prost", "tonic_types"],
    },
    Layer {
        module: "metrics",
        modules: &["listen"],
        crates: &["bytes", "http", "http_body_util", "hyper", "hyper_util", "tokio", "tokio_util", "tracing"],
    },
    Layer { module: "listen", modules: &[], crates: &["hyper_util", "tokio", "tokio_stream", "tokio_util", "tracing"] },
    Layer { module: "telemetry", modules: &["config"], crates: &["tracing", "tracing_subscriber"] },
    Layer {
        module: "config",
        modules: &["app", "crypto", "domain", "gateway", "ops", "store", "telemetry"],
        crates: &["figment", "http", "serde", "toml", "tonic"],
    },
    Layer {
        module: "app",
        modules: &["anchor", "api", "blocklist", "crypto", "domain", "listen", "metrics", "ops", "planted", "store"],
        crates: &["secrecy", "thiserror", "tokio", "tokio_rustls", "tokio_util", "tonic_health", "tracing"],
    },
    Layer {
        module: "cli",
        modules: &[
            "anchor",
            "app",
            "backup",
            "blocklist",
            "config",
            "crypto",
            "domain",
            "gateway",
            "proto",
            "store",
            "telemetry",
        ],
        crates: &[
            "aws_lc_rs",
            "bytes",
            "clap",
            "clap_complete",
            "comfy_table",
            "console",
            "csv",
            "data_encoding",
            "http",
            "indicatif",
            "jsonwebtoken",
            "prost",
            "prost_reflect",
            "prost_types",
            "secrecy",
            "serde",
            "serde_json",
            "tokio",
            "tokio_stream",
            "toml",
            "tonic",
            "tonic_health",
            "tonic_types",
            "tracing",
            "uuid",
            "zeroize",
        ],
    },
];

/// What even an allowed crate or module must not be used for: the beginning of a path, by whom not, and why.
const BANS: &[(&str, &[&str], &str)] = &[
    (
        "std::env",
        &["domain", "crypto", "access", "ops", "store", "api", "gateway", "listen"],
        "settings come from config",
    ),
    ("std::fs", &["domain", "access", "ops", "api", "gateway"], "no files"),
    ("std::net", &["domain", "crypto", "access", "ops"], "no network"),
    ("std::thread", &["domain", "access", "ops", "api", "gateway"], "threads are the hasher's"),
    ("std::time::SystemTime", &["domain", "crypto", "access", "ops", "store", "api"], "time is an argument"),
    ("tonic::transport::Server", &["gateway"], "a client, never a server"),
    ("tonic::transport::server", &["gateway"], "a client, never a server"),
    ("tonic::server", &["gateway"], "a client, never a server"),
    ("tonic::service::Routes", &["gateway"], "a client, never a server"),
    ("tonic", &["domain", "crypto", "audit", "store", "access", "ops"], "the wire is api's"),
    ("http", &["domain", "crypto", "audit", "store", "access", "ops"], "the wire is api's"),
    ("sea_orm", &["domain", "crypto", "audit", "access", "ops", "api", "gateway", "cli", "app"], "SQL is store's"),
    ("sqlx", &["domain", "crypto", "audit", "access", "ops", "api", "gateway", "cli", "app"], "SQL is store's"),
];

/// Where cleartext is opened, and how it gets there.
const OPENS_SECRETS: &[&str] = &[
    "src/api/answer.rs",
    "src/api/credential.rs",
    "src/blocklist/mod.rs",
    "src/cli/dev/mod.rs",
    "src/cli/init.rs",
    "src/crypto/hasher/foreign.rs",
    "src/crypto/hasher/mod.rs",
    "src/crypto/keyring/mod.rs",
    "src/crypto/mark.rs",
    "src/crypto/sealed.rs",
    "src/crypto/signature.rs",
    "src/domain/password.rs",
    "src/domain/policy/rule.rs",
    "src/domain/strength.rs",
    "src/ops/authenticate.rs",
    "src/ops/caller.rs",
    "src/ops/credential.rs",
];

/// Where bugs may be planted.
const PLANTED: &[&str] = &[
    "src/anchor.rs",
    "src/backup/write.rs",
    "src/app.rs",
    "src/ops/fetch.rs",
    "src/ops/known.rs",
    "src/store/audit.rs",
    "src/store/connect.rs",
    "src/store/error.rs",
    "src/store/failure/kept.rs",
    "src/store/key_rotation/commands.rs",
    "src/store/migration/mod.rs",
    "src/store/reply.rs",
    "src/store/secret.rs",
    "src/store/subject.rs",
    "src/store/transaction.rs",
];

#[test]
fn every_module_uses_what_its_row_allows_and_nothing_else() {
    let crates = dependencies();
    let mut problems = Vec::new();
    let mut used = BTreeSet::new();
    for mention in mentions() {
        let Some(layer) = LAYERS.iter().find(|layer| layer.module == mention.module) else {
            problems.push(format!("{}: the module {} has no row in LAYERS", mention.file, mention.module));
            continue;
        };
        let (first, second) = (mention.path[0].as_str(), mention.path.get(1).map_or("", String::as_str));
        let (what, allowed) = match first {
            "crate" if second == mention.module || !is_module(second) => continue,
            "crate" => (second, layer.modules),
            _ if mention.path.len() > 1 && crates.contains(first) => (first, layer.crates),
            _ => continue,
        };
        used.insert((layer.module, what.to_owned()));
        if !allowed.contains(&what) {
            problems.push(format!("{}: {} may use only {allowed:?}", told(&mention), named(layer.module)));
        }
    }
    for layer in LAYERS {
        for what in layer.modules.iter().chain(layer.crates) {
            if !used.contains(&(layer.module, (*what).to_owned())) {
                problems
                    .push(format!("{} no longer uses {what}: strike it from its row in LAYERS", named(layer.module)));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn nobody_uses_what_is_banned_for_them() {
    let mut problems = Vec::new();
    for mention in mentions() {
        let path = mention.path.join("::");
        for (banned, modules, why) in BANS {
            let begins = path.strip_prefix(banned).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if begins && mention.path.len() > 1 && modules.contains(&mention.module.as_str()) {
                problems.push(format!("{}: banned for {}: {why}", told(&mention), mention.module));
            }
        }
        let serves = mention.path.iter().any(|segment| segment.ends_with("_service_server"));
        if serves && mention.module != "api" {
            problems.push(format!("{}: only api serves", told(&mention)));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn cleartext_is_opened_by_its_owners_alone() {
    let opening =
        mentions().into_iter().filter(|mention| mention.path.iter().any(|segment| segment == "expose_secret"));
    let files: BTreeSet<String> = opening.map(|mention| mention.file).collect();
    let owners: BTreeSet<String> = OPENS_SECRETS.iter().map(|file| (*file).to_owned()).collect();
    let new: Vec<_> = files.difference(&owners).collect();
    let gone: Vec<_> = owners.difference(&files).collect();
    assert!(new.is_empty(), "expose_secret is called in {new:?}, which own no cleartext");
    assert!(gone.is_empty(), "{gone:?} no longer open secrets: strike them from OPENS_SECRETS");
}

#[test]
fn bugs_are_planted_where_it_is_known() {
    let asking = mentions().into_iter().filter(|mention| mention.path.get(1).is_some_and(|module| module == "planted"));
    let files: BTreeSet<String> = asking.map(|mention| mention.file).collect();
    let known: BTreeSet<String> = PLANTED.iter().map(|file| (*file).to_owned()).collect();
    assert_eq!(files, known);
}

#[test]
fn files_are_short() {
    let long: Vec<_> = files().into_iter().map(|(name, text)| (name, text.lines().count())).collect();
    let long: Vec<_> = long.iter().filter(|(_, lines)| *lines > MAX_LINES).collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines, to be split by noun: {long:?}");
}

#[test]
fn nothing_is_unsafe_but_the_argon2_kernels_and_one_mapping() {
    fn find(tokens: TokenStream, lines: &mut Vec<usize>) {
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if ident == "unsafe" => lines.push(ident.span().start().line),
                TokenTree::Group(group) => find(group.stream(), lines),
                _ => {}
            }
        }
    }
    let owns = |name: &str| name.starts_with("src/crypto/argon2/") || name == "src/blocklist/map.rs";
    for (name, text) in files().into_iter().filter(|(name, _)| !owns(name)) {
        let mut lines = Vec::new();
        find(TokenStream::from_str(&text).unwrap(), &mut lines);
        assert!(lines.is_empty(), "{name}: unsafe on lines {lines:?}");
    }
}

fn told(mention: &Mention) -> String {
    format!("{}:{}: {}", mention.file, mention.line, mention.path.join("::"))
}

fn named(module: &str) -> &str {
    if module.is_empty() { "the root" } else { module }
}

fn is_module(name: &str) -> bool {
    LAYERS.iter().any(|layer| layer.module == name)
}

/// The crates of the manifest, by the names that paths have.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect()
}
