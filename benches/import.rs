//! How long `rekey import` takes for a million users with the hashes they have, half of them bcrypt and half Argon2id, into
//! a service that was just made; and how long the same file takes again, when everybody is there already, as after an
//! import that broke off at its end.
//!
//! `cargo bench --bench import`, `-- 200000` for another number, `-- --quick` for 20,000. On SQLite in a temporary
//! directory (`TMPDIR` says where); on PostgreSQL with `REKEY_DATABASE__URL` naming an empty database.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures")]

mod service;

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Output},
    time::Instant,
};

use data_encoding::BASE64_NOPAD;
use rekey::{crypto::SystemEntropy, domain::Entropy as _, proto::user_service_client::UserServiceClient};

use self::service::{Service, check_user, is_quick, machine};

const QUICK: u64 = 20_000;
const USERS: u64 = 1_000_000;
/// A hash that somebody made, of this password: the last user has it, and is asked for it at the end.
const KNOWN: &str = "$2b$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W";
const PASSWORD: &str = "correct horse battery staple";

fn main() {
    let given = env::args().skip(1).find_map(|argument| argument.parse().ok());
    let users: u64 = given.unwrap_or(if is_quick() { QUICK } else { USERS }).max(1);
    println!("{}", machine());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("users.jsonl");
    let bytes = write(&file, users);
    println!("{users} users, {} MiB of JSON Lines", bytes >> 20);

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let service = runtime.block_on(Service::start(&[]));
    println!("{:<28} {:>9} {:>12} {:>16}", "", "s", "users/s", "service's RSS");
    for (what, created, skipped) in [("import", users, 0), ("again, all of them there", 0, users)] {
        let begin = Instant::now();
        let done = rekey(&service, &["import", file.to_str().unwrap()]);
        let seconds = begin.elapsed().as_secs_f64();
        let summary = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{summary}{}", String::from_utf8_lossy(&done.stderr));
        assert_eq!(summary.trim(), format!("{created} created, 0 replaced, {skipped} skipped, 0 failed"));
        let rate = f64::from(u32::try_from(users).unwrap()) / seconds;
        println!("{what:<28} {seconds:>9.1} {rate:>12.0} {:>12} MiB", service.kib("VmRSS") >> 10);
    }
    println!("\n{}", String::from_utf8(rekey(&service, &["census"]).stdout).unwrap());
    runtime.block_on(async {
        let last = check_user(&format!("imported{}@example.org", users - 1), PASSWORD);
        let answer = UserServiceClient::new(service.connect().await).verify_password(last).await.unwrap();
        assert!(answer.into_inner().verified);
    });
}

/// Runs the binary against the service.
fn rekey(service: &Service, arguments: &[&str]) -> Output {
    let (port, token) = service.reach();
    Command::new(env!("CARGO_BIN_EXE_rekey"))
        .args(arguments)
        .args(["--tenant", service::TENANT, "--address", &format!("http://127.0.0.1:{port}")])
        .env("REKEY_TOKEN", token)
        .output()
        .unwrap()
}

/// Hashes with a salt and a tag each, as nobody has two alike. Returns the size.
fn write(path: &Path, users: u64) -> u64 {
    let mut file = BufWriter::new(File::create(path).unwrap());
    let mut line = String::new();
    for number in 0..users {
        let mut random = [0; 48];
        SystemEntropy.fill(&mut random);
        let (salt, tag) = random.split_at(16);
        let hash = match number {
            last if last == users - 1 => KNOWN.to_owned(),
            even if even.is_multiple_of(2) => {
                // 22 and 31 characters of bcrypt's alphabet, which is Base64's but for `+`.
                let text = BASE64_NOPAD.encode(&random).replace('+', ".");
                format!("$2b$10${}", text.get(..53).unwrap())
            }
            _ => format!("$argon2id$v=19$m=19456,t=2,p=1${}${}", BASE64_NOPAD.encode(salt), BASE64_NOPAD.encode(tag)),
        };
        line.clear();
        writeln!(
            line,
            r#"{{"user_id": "u{number}", "username": "imported{number}@example.org", "password_hash": "{hash}"}}"#
        )
        .unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
    file.flush().unwrap();
    fs::metadata(path).unwrap().len()
}
