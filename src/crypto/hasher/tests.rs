use std::sync::LazyLock;

use super::*;
use crate::domain::{Reason, entropy::SeededEntropy};

const OPTIONS: HasherOptions = HasherOptions {
    threads: 2,
    queue: 16,
    max_wait: Duration::from_mins(1),
    memory_kib: 7_168,
    iterations: 5,
    parallelism: 1,
    foreign: ForeignBounds::DEFAULT,
};

fn hasher(options: HasherOptions) -> Hasher {
    Hasher::start(options, Arc::new(SeededEntropy::new(7))).unwrap()
}

fn turn() -> Turn<'static> {
    static TENANT: LazyLock<Uid> = LazyLock::new(|| Uid::from_stored("tenant"));
    Turn { tenant: &TENANT, deadline: None }
}

fn password(text: &str) -> Password {
    Password::parse(text.to_owned()).unwrap()
}

fn stored(phc: &str) -> Verifier {
    Verifier::from_stored(Zeroizing::new(phc.to_owned()))
}

#[tokio::test]
async fn the_password_matches_and_no_other_does() {
    let hasher = hasher(OPTIONS);
    let verifier = hasher.hash(turn(), password("correct horse")).await.unwrap();
    let text = std::str::from_utf8(verifier.as_bytes()).unwrap();
    assert!(text.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{text}");
    let found = hasher.verify(turn(), password("correct horse"), Some(verifier.clone())).await.unwrap();
    assert_eq!(found, Verdict::Match { outdated: false });
    for wrong in ["correct horsf", "correct horse ", "correct hors"] {
        let found = hasher.verify(turn(), password(wrong), Some(verifier.clone())).await.unwrap();
        assert_eq!(found, Verdict::Mismatch, "{wrong}");
    }
}

#[tokio::test]
async fn two_hashes_of_one_password_differ() {
    let hasher = hasher(OPTIONS);
    let one = hasher.hash(turn(), password("correct horse")).await.unwrap();
    let two = hasher.hash(turn(), password("correct horse")).await.unwrap();
    assert_ne!(one.as_bytes(), two.as_bytes());
}

#[tokio::test]
async fn nothing_to_compare_with_is_a_mismatch() {
    assert_eq!(hasher(OPTIONS).verify(turn(), password("x"), None).await.unwrap(), Verdict::Mismatch);
}

/// A hash of the reference implementation: `argon2 somesalt -t 2 -m 16 -p 1` with the password `password`.
#[tokio::test]
async fn a_hash_by_others_matches_and_is_outdated() {
    let hasher = hasher(OPTIONS);
    let foreign = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let found = hasher.verify(turn(), password("password"), Some(stored(foreign))).await.unwrap();
    assert_eq!(found, Verdict::Match { outdated: true });
    let found = hasher.verify(turn(), password("passwore"), Some(stored(foreign))).await.unwrap();
    assert_eq!(found, Verdict::Mismatch);
}

#[test]
fn what_others_hash_in_no_time_takes_one_of_ours_besides() {
    let ssha = "{SSHA}46BnfOtjjVkV2IM1YrlQPStNxk5zYWx0c2FsdA==";
    let verifier = TakenOver::recognise(ssha, &ForeignBounds::DEFAULT).unwrap().into_verifier();
    let params = OPTIONS.params().unwrap();
    for (text, right) in [("correct horse battery staple", true), ("correct horse battery stable", false)] {
        let stranger = Stranger::parse(&verifier.0, &ForeignBounds::DEFAULT).unwrap().unwrap();
        let mut memory = Memory::new(params.block_count()).unwrap();
        let found = stranger.into_work(password(text), params.clone())(&mut memory).unwrap();
        assert_eq!(!found.is_empty(), right);
        let filled = memory.iter().filter(|block| block.as_ref().iter().any(|word| *word != 0)).count();
        assert_eq!(filled, params.block_count(), "{text}");
    }
}

#[tokio::test]
async fn other_parameters_or_a_weaker_kind_are_outdated() {
    let older = hasher(HasherOptions { memory_kib: 9_216, iterations: 4, ..OPTIONS });
    let verifier = older.hash(turn(), password("correct horse")).await.unwrap();
    let found = hasher(OPTIONS).verify(turn(), password("correct horse"), Some(verifier)).await.unwrap();
    assert_eq!(found, Verdict::Match { outdated: true });

    let params = Params::new(64, 1, 1, Some(TAG_LENGTH)).unwrap();
    let salt = [9; SALT_LENGTH];
    let mut tag = [0; TAG_LENGTH];
    let mut memory = Memory::new(params.block_count()).unwrap();
    Kernel::fastest().hash(Algorithm::Argon2i, &params, b"x", &salt, &mut tag, &mut memory).unwrap();
    let phc = phc::encode(&params, &salt, &tag).replace("argon2id", "argon2i");
    let found = hasher(OPTIONS).verify(turn(), password("x"), Some(stored(&phc))).await.unwrap();
    assert_eq!(found, Verdict::Match { outdated: true });
}

#[tokio::test]
async fn what_is_not_ours_or_asks_for_too_much_is_a_fault_of_ours() {
    let hasher = hasher(OPTIONS);
    let salt_and_tag = "c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
    let head = [
        "$argon2id$v=19$m=4294967295,t=1,p=1",
        "$argon2id$v=19$m=262145,t=1,p=1",
        "$argon2id$v=19$m=7168,t=17,p=1",
        "$argon2id$v=19$m=7168,t=4294967295,p=1",
        "$argon2id$v=19$m=7168,t=5,p=17",
        "$argon2id$v=19$m=7168,t=5,p=0",
        "$argon2id$v=19$m=0,t=5,p=1",
        "$argon2id$v=16$m=7168,t=5,p=1",
        "$argon2id$m=7168,t=5,p=1",
        "$argon2id$v=19$m=7168,t=5,p=1,x=1",
        "$scrypt$v=19$m=7168,t=5,p=1",
        "$2b$12",
    ];
    let whole =
        ["", "$", "correct horse", "$argon2id$v=19$m=7168,t=5,p=1", "$argon2id$v=19$m=7168,t=5,p=1$c29tZXNhbHQ"];
    let hostile = head.iter().map(|head| format!("{head}${salt_and_tag}")).chain(whole.map(ToOwned::to_owned));
    for phc in hostile {
        let failure = hasher.verify(turn(), password("x"), Some(stored(&phc))).await.unwrap_err();
        assert_eq!(failure.reason(), Reason::Internal, "{phc}");
        let cause = failure.cause().unwrap().to_string();
        assert!(phc.len() < 2 || !cause.contains(&phc), "{cause}");
    }
}

#[test]
fn parameters_below_the_floor_or_above_the_bounds_do_not_start() {
    let start = |memory_kib, iterations, parallelism| {
        HasherOptions { memory_kib, iterations, parallelism, ..OPTIONS }.params().map(drop)
    };
    for (memory_kib, iterations) in [(47_104, 1), (19_456, 2), (12_288, 3), (9_216, 4), (7_168, 5), (7_168, 6)] {
        assert_eq!(start(memory_kib, iterations, 1), Ok(()));
        let sentence = start(memory_kib - 1, iterations, 1).unwrap_err();
        assert!(sentence.contains("OWASP") && sentence.contains(&memory_kib.to_string()), "{sentence}");
    }
    for (memory_kib, iterations, parallelism) in
        [(19_456, 0, 1), (262_145, 2, 1), (19_456, 17, 1), (19_456, 2, 0), (19_456, 2, 17)]
    {
        assert!(start(memory_kib, iterations, parallelism).is_err(), "{memory_kib} {iterations} {parallelism}");
    }
    let entropy = Arc::new(SeededEntropy::new(1));
    assert!(Hasher::start(HasherOptions { threads: 0, ..OPTIONS }, entropy).is_err());
}

#[test]
fn debug_shows_no_hash() {
    assert_eq!(format!("{:?}", stored("$argon2id$secret")), "Verifier([redacted])");
    assert!(!format!("{:?}", hasher(OPTIONS)).contains("nobody"));
}
