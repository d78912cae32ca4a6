//! Known answers. Those without a note were made with passlib 1.7.4, Django 5.2 and argon2-cffi 25.1.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::*;
use crate::{
    crypto::{Hasher, HasherOptions, SystemEntropy, TakenOver, Turn, Verdict, Verifier},
    domain::{Password, Reason, Uid},
};

const PASSWORD: &str = "correct horse battery staple";
const MATCH: Verdict = Verdict::Match { outdated: true };

const MADE: &[&str] = &[
    "$2a$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W",
    "$2b$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W",
    "$2y$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W",
    "$pbkdf2$1000$c2FsdHNhbHRzYWx0$MNEV9u2pN6dwoHiByKLtK5AJwGc",
    "$pbkdf2-sha256$1000$//5zYWx0c2FsdHNhbHQ$yHATkJ2sU2DyldTrz/QxvC5WrLhK9bhTE4tCocsS550",
    "$pbkdf2-sha512$1000$c2FsdHNhbHRzYWx0$DdePUyRocgAl03UAD52hWr3T5PJAJ.XmaWPWayKeQfYfS/2o.F8xzxS6BET2RDqVLCKstA5cpv8TtN0w9Up80w",
    "$scrypt$ln=10,r=8,p=2$c2FsdHNhbHRzYWx0$vv5gD2TCtuaFStwnZ2hDd1ka6BBBAil7Rx/QcrQzZPg",
    "$5$rounds=1000$saltsalt$TFDrLHsZ0msaZlw.ZViQNNRjyMG9kAB3KDkA8eLkI..",
    "$5$saltsalt$3hGFMknrJ4ZpFPe7XZe397oIMEp7sbvqrcsX/ONJ3i.",
    "$6$rounds=1000$0123456789abcdef$CbCV1oAMbTCHchFb0qMpXKIJdNN5oA/sJW/5HepxkUfNGTIONPZ3MPUpGP3dzgpGEY3QB7EnRyjuwrQzGB8GR0",
    "$6$saltsalt$CPgxBHZBXfhC6lX1yxpdEsbQfXmg3WXVj8AoVwyNFLfb5AtbfM8k6A8yehv1z6sgzoH/DUIs7YK9hVnGhTjhW/",
    "$1$saltsalt$BsXyQbZiQujHkdhwPwdol.",
    "{SSHA}46BnfOtjjVkV2IM1YrlQPStNxk5zYWx0c2FsdA==",
    "{SHA}q/eq1kOINtvlJqojGr3i0O73TUI=",
    "{SMD5}ob+IXUZhf+EKPTN/wjvJvHNhbHRzYWx0",
    "{MD5}nMKuihunqT2jm0b8EBnEgQ==",
    "{SSHA256}CjjqPXPYGjVMmTRdzHN2UTPdg0XIYl0HWPy+0QwtTBRzYWx0c2FsdA==",
    "{SSHA384}6KraegvYMaTqW1MZsOsrc6x7TXXqm6qrpaINMYxS4TWk7CdG4KkvEcFw3EsLGnVSc2FsdHNhbHQ=",
    "{SSHA512}UweAzUpvjvE5jz6nWBj9q0BiWPv/iScwpbX/yGA6X/AMM4Vz4l5BHV0nnau4mHhhKbbncQtK3bqI9cz8WqqeP3NhbHRzYWx0",
    "{SHA512}vl73Z52Iq5qQRfYmflX15XhLS4zXZLXNhVpSRPkcYmlTzUbEPXZohz/W7707IhJJMVWAAxljRyoHh4H+BG5irg==",
    "pbkdf2_sha256$1000$seasalt$3xmXbyk2QpiyNcnoBbzRPwEBsYPTbDlRdtmLyBvQltA=",
    "pbkdf2_sha1$1000$seasalt$9iRYj0as1r5j+cCBxB+HMlxkyr4=",
    "bcrypt_sha256$$2b$04$CCCCCCCCCCCCCCCCCCCCC.BlR0ZpK5BRexegoA8GUXrc0Jc4XF6QW",
    "bcrypt$$2b$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W",
    "scrypt$1024$seasalt$8$5$l8suLvyBQg6EEaxiU94A5MqNFA+ifkB9O0nlDrfbkLvhHOHm+Q68fclEV3UJ0Uvj5DZtTFgZbT70Vnq/eAnq0g==",
    "argon2$argon2id$v=19$m=64,t=1,p=2$c2Vhc2FsdHNlYXNhbHQ$xf6WpiTXOuYFL3H45X3iF6XcSxKRkKVtVy/9ctRIg7E",
    "$argon2i$v=16$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$DfC2xAmNXvbzE6clgPDUuF/zCMfD1CIG",
    "$argon2i$v=19$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$Rrku/ya9e3vbgqyzHlA1FLEricmaWCb0",
    "$argon2d$v=16$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$ZoUnlBKkp+vQnYcwyL/NvgnRJgQVJeHO",
    "$argon2d$v=19$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$ebw0DWxOS6apOdIr7gNlba69QMHkjs4u",
    "$argon2id$v=16$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$Ih6t8apHZeEizMD0oyaxFoPTNAB6xRRY",
    "$argon2id$v=19$m=64,t=1,p=2$c2FsdHNhbHRzYWx0c2FsdA$+cQV2UXyFdROOvDLLgEAhawx81Zme3LJ",
    r#"{"type": "password", "secretData": "{\"value\": \"yqSq2SygY1sB4EcH9f2FG0JTMES+wqLsOT5YmiRBplLYbawB4lwjdPCI3Ns1d3pRT9/+PGa1sFXN8qwjZx9S8g==\", \"salt\": \"MDEyMzQ1Njc4OWFiY2RlZg==\", \"additionalParameters\": {}}", "credentialData": "{\"hashIterations\": 1000, \"algorithm\": \"pbkdf2-sha256\", \"additionalParameters\": {}}"}"#,
    r#"{"type": "password", "secretData": "{\"value\": \"5AaWsUwpyV6aQC/bBXInDOxDi4Uz2MUmTITZfwhQe1E=\", \"salt\": \"MDEyMzQ1Njc4OWFiY2RlZg==\", \"additionalParameters\": {}}", "credentialData": "{\"hashIterations\": 5, \"algorithm\": \"argon2\", \"additionalParameters\": {\"hashLength\": [\"32\"], \"memory\": [\"256\"], \"type\": [\"id\"], \"version\": [\"1.3\"], \"parallelism\": [\"1\"]}}"}"#,
];

/// From public sources, each with its password.
const PUBLISHED: &[(&str, &str)] = &[
    // jBCrypt's tests.
    ("abc", "$2a$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i"),
    ("~!@#$%^&*()      ~!@#$%^&*()PNBFRD", "$2a$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO"),
    // RFC 7914 section 12, in PHC.
    (
        "password",
        "$scrypt$ln=10,r=8,p=16$TmFDbA$/bq+HJ00cgB4VucZDQHp/nxq18vII3gw53N2Y0s3MWIurzDZLiKjiG/xCSedmDDaxyevuUqD7m2DYMvfoswGQA",
    ),
    // firebase/scrypt's README, in Kratos' form.
    (
        "user1password",
        "$firescrypt$ln=14,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9Kp6i/LVgQNDNC/qzrCnh1SAyZvqmZqAjTdn3aoItz+VHjoZilo78198JAdRuid5lQ==$Bw==$jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==",
    ),
    // Drepper's "Unix crypt using SHA-256 and SHA-512".
    ("Hello world!", "$5$rounds=10000$saltstringsaltstring$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"),
    (
        "Hello world!",
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    ),
    // RFC 6070, in passlib's form.
    ("password", "$pbkdf2$4096$c2FsdA$SwB5AbdlSJq.rUnZJvch0GWkKcE"),
];

fn turn() -> Turn<'static> {
    static TENANT: LazyLock<Uid> = LazyLock::new(|| Uid::from_stored("tenant"));
    Turn { tenant: &TENANT, deadline: None }
}

fn hasher() -> Hasher {
    let options = HasherOptions {
        threads: 2,
        queue: 100,
        max_wait: Duration::from_mins(5),
        memory_kib: 7_168,
        iterations: 5,
        parallelism: 1,
        foreign: ForeignBounds::DEFAULT,
    };
    Hasher::start(options, Arc::new(SystemEntropy)).unwrap()
}

async fn verdict(hasher: &Hasher, password: &str, stored: &Verifier) -> Verdict {
    hasher.verify(turn(), Password::parse(password.to_owned()).unwrap(), Some(stored.clone())).await.unwrap()
}

fn taken_over(hash: &str) -> Verifier {
    TakenOver::recognise(hash, &ForeignBounds::DEFAULT)
        .unwrap_or_else(|sentence| panic!("{hash}: {sentence}"))
        .into_verifier()
}

#[tokio::test]
async fn every_form_knows_its_password_and_no_other() {
    let hasher = hasher();
    let made = MADE.iter().map(|hash| (PASSWORD, *hash));
    for (password, hash) in made.chain(PUBLISHED.iter().copied()) {
        let stored = taken_over(hash);
        assert_eq!(verdict(&hasher, password, &stored).await, MATCH, "{hash}");
        for wrong in [&password[1..], &format!("{password} ")] {
            assert_eq!(verdict(&hasher, wrong, &stored).await, Verdict::Mismatch, "{hash}");
        }
    }
}

#[tokio::test]
async fn a_wrapped_hash_knows_its_password_and_holds_no_tag() {
    let hasher = hasher();
    for hash in MADE {
        let tag = BASE64_NOPAD.encode(&recognise(hash, &ForeignBounds::DEFAULT).unwrap().tag);
        let wrapped = hasher.wrap(turn(), TakenOver::recognise(hash, &ForeignBounds::DEFAULT).unwrap()).await.unwrap();
        let text = std::str::from_utf8(wrapped.as_bytes()).unwrap();
        assert!(text.starts_with("$argon2id$v=19$m=7168,t=5,p=1$") && !text.contains(&tag), "{text}");
        assert!(wrapped.scheme().unwrap().starts_with("argon2id m=7168 t=5 p=1 over "));
        assert_eq!(verdict(&hasher, PASSWORD, &wrapped).await, MATCH, "{hash}");
        assert_eq!(verdict(&hasher, "correct horse", &wrapped).await, Verdict::Mismatch, "{hash}");
    }
}

#[tokio::test]
async fn what_is_as_strong_as_ours_is_not_wrapped() {
    let hasher = hasher();
    let ours = hasher.hash(turn(), Password::parse(PASSWORD.to_owned()).unwrap()).await.unwrap();
    let text = std::str::from_utf8(ours.as_bytes()).unwrap();
    let kept = hasher.wrap(turn(), TakenOver::recognise(text, &ForeignBounds::DEFAULT).unwrap()).await.unwrap();
    assert!(kept.as_bytes().starts_with(PREFIX.as_bytes()));
    assert_eq!(kept.scheme().unwrap(), ours.scheme().unwrap());
    assert_eq!(verdict(&hasher, PASSWORD, &kept).await, MATCH);
}

#[tokio::test]
async fn bcrypt_looks_at_72_bytes_as_it_always_did() {
    let hasher = hasher();
    let stored = taken_over("$2b$04$CCCCCCCCCCCCCCCCCCCCC.mDyzbhj.9K0apb9O/AGMWwoLXiYAu6u");
    assert_eq!(verdict(&hasher, &"a".repeat(80), &stored).await, MATCH);
    assert_eq!(verdict(&hasher, &"a".repeat(72), &stored).await, MATCH);
    assert_eq!(verdict(&hasher, &"a".repeat(71), &stored).await, Verdict::Mismatch);
}

#[tokio::test]
async fn what_hashes_its_password_again_and_again_takes_no_long_one() {
    let hasher = hasher();
    let md5 = "$1$saltsalt$BsXyQbZiQujHkdhwPwdol.";
    for hash in
        ["$6$saltsalt$CPgxBHZBXfhC6lX1yxpdEsbQfXmg3WXVj8AoVwyNFLfb5AtbfM8k6A8yehv1z6sgzoH/DUIs7YK9hVnGhTjhW/", md5]
    {
        assert_eq!(verdict(&hasher, &"a".repeat(60_000), &taken_over(hash)).await, Verdict::Mismatch);
    }
    let longer = "$1$abc$5CMGRDBPiN05WrktRt9RB.";
    assert_eq!(verdict(&hasher, &PASSWORD.repeat(3), &taken_over(longer)).await, MATCH);
}

#[tokio::test]
async fn a_hash_that_was_made_without_normalising_is_met_by_what_was_typed_then() {
    let hasher = hasher();
    for hash in [
        "$6$rounds=1000$saltsalt$YtNaB9XDcVXD1vBI3/uqUrvtoP90o2dDNeXtGfYVwkuGPhA6wNwYw9/w3HkobhiSOm9v1L0htQ4zudMQdYbh1.",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$asHvZ4k6DRp8zStBkjUelBnEMR6bK7obS1bKten3y00",
    ] {
        let stored = taken_over(hash);
        assert_eq!(verdict(&hasher, "cafe\u{301} with a long tail", &stored).await, MATCH);
        assert_eq!(verdict(&hasher, "caf\u{e9} with a long tail", &stored).await, Verdict::Mismatch);
    }
}

#[tokio::test]
async fn what_costs_too_much_is_refused_before_anything_is_computed() {
    const TAIL: &str = "c2FsdHNhbHRzYWx0$vv5gD2TCtuaFStwnZ2hDd1ka6BBBAil7Rx/QcrQzZPg";
    for (hash, word) in [
        ("$2b$31$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W".to_owned(), "cost 31"),
        (format!("$scrypt$ln=30,r=8,p=1${TAIL}"), "ln=30"),
        (format!("$scrypt$ln=10,r=8,p=1000000${TAIL}"), "p=1000000"),
        (format!("$scrypt$ln=10,r=4294967295,p=1${TAIL}"), "r=4294967295"),
        (format!("$pbkdf2-sha256$i=1000000000${TAIL}"), "iterations 1000000000"),
        (format!("$pbkdf2-sha256$i=0${TAIL}"), "iterations 0"),
        (format!("$argon2id$v=19$m=4194304,t=1,p=1${TAIL}"), "m=4194304"),
        (format!("$argon2id$v=19$m=64,t=1000000,p=1${TAIL}"), "t=1000000"),
        ("$6$rounds=999999999$saltsalt$CPgxBHZBXfhC6lX1yxpdEsbQfXmg3WXVj8AoVwyNFLfb5AtbfM8k6A8yehv1z6sgzoH/DUIs7YK9hVnGhTjhW/".to_owned(), "rounds 999999999"),
        ("$firescrypt$ln=25,r=8,p=1$42xEC+ixf3L2lw==$lSrfV15cpx95/sZS2W9c9A==$Bw==$jxspr8Ki0RYycVU8zykbdA==".to_owned(), "ln=25"),
    ] {
        let sentence = TakenOver::recognise(&hash, &ForeignBounds::DEFAULT).unwrap_err();
        assert!(sentence.contains(word), "{hash}: {sentence}");
    }
    // Not when it is read back either: a database can be tampered with.
    let hasher = hasher();
    for stored in [
        "$foreign$bcrypt cost=31$c2FsdHNhbHRzYWx0c2FsdA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "$foreign$argon2id m=8388608 t=1 p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=8388608,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA",
        "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHRzYWx0$AAAAAAAAAAAAAAAAAAAAAA$over$pbkdf2-sha1 i=4294967295$c2FsdA$20",
        "$foreign$",
        "$foreign$x$y$z",
        "$argon2id$v=19$m=8,t=1,p=1$a$b$over$x",
    ] {
        let verifier = Verifier::from_stored(Zeroizing::new(stored.to_owned()));
        let failed = hasher.verify(turn(), Password::parse(PASSWORD.to_owned()).unwrap(), Some(verifier)).await;
        assert_eq!(failed.unwrap_err().reason(), Reason::Internal, "{stored}");
    }
    assert_eq!(hasher.load().done, 0);
}

#[test]
fn an_operator_may_allow_more_and_less() {
    let hash = "$2b$12$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W";
    let most = |bcrypt_cost| ForeignBounds { bcrypt_cost, ..ForeignBounds::DEFAULT };
    assert!(TakenOver::recognise(hash, &most(11)).unwrap_err().contains("4 to 11"));
    assert!(TakenOver::recognise(hash, &most(12)).is_ok());
    assert!(TakenOver::recognise(&hash.replace("$12$", "$20$"), &most(20)).is_ok());
    assert!(most(20).problems().is_empty() && ForeignBounds::DEFAULT.problems().is_empty());
    assert_eq!(most(31).problems(), ["bcrypt_cost must be 4 to 20"]);
    assert_eq!(ForeignBounds::NONE.problems().len(), 5);
}

#[test]
fn what_is_cut_off_or_unknown_is_refused_and_not_repeated() {
    let unknown = ["", "x", "$", "{", "{}", "{\"a\":1}", "$9$sentinel$x", "{CRYPT}{CRYPT}x", "\u{e9}$2b$"];
    let faulty = "$2x$04$CCCCCCCCCCCCCCCCCCCCC.0uP/2zHIr81tVya45gVnDFLBmqu9l4W";
    for hash in unknown.into_iter().chain([faulty]) {
        let sentence = TakenOver::recognise(hash, &ForeignBounds::DEFAULT).err().unwrap_or_else(|| panic!("{hash}"));
        assert!(!sentence.contains("sentinel"));
    }
    for hash in MADE {
        assert!(recognise(&hash[..hash.len() / 3], &ForeignBounds::DEFAULT).is_err(), "{hash}");
    }
    assert!(TakenOver::recognise(&"a".repeat(MAX_TEXT + 1), &ForeignBounds::DEFAULT).is_err());
}

proptest::proptest! {
    #[test]
    fn nothing_that_comes_makes_it_panic(
        text in "[$ {}\"=,a-z0-9./+\u{e9}]{0,80}",
        cut in 0_usize..80,
        which in 0..MADE.len(),
    ) {
        let _ = TakenOver::recognise(&text, &ForeignBounds::DEFAULT);
        let mut mixed: String = MADE[which].chars().take(cut).collect();
        mixed.push_str(&text);
        let _ = TakenOver::recognise(&mixed, &ForeignBounds::DEFAULT);
        let _ = Verifier::from_stored(Zeroizing::new(format!("$foreign${text}"))).scheme();
    }
}
