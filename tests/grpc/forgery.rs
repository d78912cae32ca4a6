//! Tokens that somebody made up, altered, or had signed by whom nobody trusts: none gets in (scorecard row 21; T1 to T5).

use std::{fs, net::TcpListener};

use aws_lc_rs::{
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256K1_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256,
    },
};
use data_encoding::{BASE64, BASE64URL_NOPAD};
use rekey::{
    access::jwt::{self, Token},
    crypto::Keyring,
    domain::{
        Timestamp,
        tenant::{JwtAlgorithm, JwtIssuer as TrustedIssuer},
    },
    proto::{
        CreateCallerRequest, CreateSigningKeyRequest, ExchangeClientCredentialsRequest, JwtIssuer, ScopeGrant,
        SubjectState, Tenant, TokenAlgorithm, WhoAmIRequest,
    },
};
use serde_json::{Value, json};
use tonic::Code;

use super::issuing::{ADA, PASSWORD, issue, make_user, school};
use crate::common::rekey::{Rekey, reason};

/// How many altered tokens are tried of each kind.
const MUTATIONS: u64 = 3_400;

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der))
}

/// A token of these texts, signed so.
fn forge(header: &str, claims: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let message =
        format!("{}.{}", BASE64URL_NOPAD.encode(header.as_bytes()), BASE64URL_NOPAD.encode(claims.as_bytes()));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn decoded(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&BASE64URL_NOPAD.decode(part.as_bytes()).unwrap()).unwrap()
}

/// A member more, or another value; gone where `null` is written as text "absent".
fn with(object: &Value, name: &str, value: Value) -> String {
    let mut object = object.clone();
    if value == json!("absent") {
        object.as_object_mut().unwrap().remove(name);
    } else {
        object[name] = value;
    }
    object.to_string()
}

/// A Rekey with a user's token and a caller's, and the key that signed both.
struct World {
    rekey: Rekey,
    key: Ed25519KeyPair,
    user_token: String,
    access_token: String,
    rsa: RsaKeyPair,
    rsa_pem: String,
}

impl World {
    async fn new() -> Self {
        let rekey = Rekey::start_signing().await;
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: aws_lc_rs::encoding::PublicKeyX509Der<'_> =
            aws_lc_rs::encoding::AsDer::as_der(rsa.public_key()).unwrap();
        let rsa_pem = pem("PUBLIC KEY", public.as_ref());
        let grant = ScopeGrant {
            scope: "s".to_owned(),
            permission: "users:get".to_owned(),
            own_only: false,
            subject_types: Vec::new(),
        };
        let jwt_issuers = vec![JwtIssuer {
            issuer: "https://foreign.example".to_owned(),
            public_key_pem: rsa_pem.clone(),
            audience: "rekey.example".to_owned(),
            scope_grants: vec![grant],
            ..Default::default()
        }];
        rekey.make_tenant(Tenant { jwt_issuers, ..school(TokenAlgorithm::Eddsa) }).await;
        make_user(&rekey, ADA, "ada", "admin", SubjectState::Active).await;
        let user_token = issue(&rekey, "ada", PASSWORD).await.unwrap().access_token;
        let mut admin = rekey.admin();
        let caller_id = || "svc".to_owned();
        let tenant_id = || "school".to_owned();
        let caller = CreateCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
        admin.callers.create_caller(caller).await.unwrap();
        let key = CreateSigningKeyRequest {
            tenant_id: tenant_id(),
            caller_id: caller_id(),
            api_key: "the-key-of-svc".to_owned(),
            shared_key: "the-shared-key-of-svc".to_owned(),
            ..Default::default()
        };
        admin.callers.create_signing_key(key).await.unwrap();
        let request = ExchangeClientCredentialsRequest {
            client_id: "the-key-of-svc".to_owned(),
            client_secret: "the-shared-key-of-svc".to_owned(),
        };
        let access_token = admin.tokens.exchange_client_credentials(request).await.unwrap().into_inner().access_token;
        let keyring: Value = serde_json::from_slice(&fs::read(&rekey.options.keyring_file).unwrap()).unwrap();
        let entry = keyring["keys"].as_array().unwrap().iter().find(|key| key["algorithm"] == "EdDSA").unwrap();
        let pkcs8 = BASE64.decode(entry["secret"].as_str().unwrap().as_bytes()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(&pkcs8).unwrap();
        Self { rekey, key, user_token, access_token, rsa, rsa_pem }
    }

    /// By our own key, whatever is in it.
    fn ours(&self, header: &str, claims: &str) -> String {
        forge(header, claims, |message| self.key.sign(message).as_ref().to_vec())
    }

    /// By the foreign issuer's key.
    fn foreign(&self, header: &str, claims: &str) -> String {
        forge(header, claims, |message| self.rsa_signature(message))
    }

    fn rsa_signature(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.rsa.public_modulus_len()];
        self.rsa.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }

    async fn accepts(&self, token: &str) -> bool {
        match self.rekey.clients(token).callers.who_am_i(WhoAmIRequest {}).await {
            Ok(_) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unauthenticated, "{token}: {status:?}");
                false
            }
        }
    }

    async fn refuses(&self, what: &str, token: &str) {
        assert!(!self.accepts(token).await, "accepted: {what}: {token}");
    }

    fn now(&self) -> i64 {
        self.rekey.clock.seconds()
    }
}

#[tokio::test]
async fn no_header_talks_us_into_another_key_or_kind() {
    let world = World::new().await;
    let (header, claims) = (decoded(&world.user_token, 0), decoded(&world.user_token, 1).to_string());
    assert!(world.accepts(&world.ours(&header.to_string(), &claims)).await, "the forger's tools work");

    let public = world.key.public_key().as_ref().to_vec();
    let spki = [&[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00], public.as_slice()].concat();
    let symmetric =
        |key: &[u8], message: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message).as_ref().to_vec();
    for none in ["none", "None", "nOnE", "NONE", "", "eddsa", "EDDSA", "Ed25519"] {
        let header = with(&header, "alg", json!(none));
        world.refuses(none, &forge(&header, &claims, |_| Vec::new())).await;
        world.refuses(none, &world.ours(&header, &claims)).await;
    }
    for algorithm in ["HS256", "HS384", "HS512", "RS256", "RS512", "PS256", "ES256", "ES384", "ES512", "ES256K"] {
        let header = with(&header, "alg", json!(algorithm));
        world.refuses(algorithm, &world.ours(&header, &claims)).await;
        for key in [public.clone(), spki.clone(), pem("PUBLIC KEY", &spki).into_bytes(), Vec::new()] {
            world.refuses(algorithm, &forge(&header, &claims, |message| symmetric(&key, message))).await;
        }
    }
    world.refuses("no signature", &forge(&header.to_string(), &claims, |_| Vec::new())).await;
    world.refuses("zeros", &forge(&header.to_string(), &claims, |_| vec![0; 64])).await;

    // A key that the token brings along, or says where to fetch: nobody looks, nobody connects.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let attacker = Ed25519KeyPair::generate().unwrap();
    let x = BASE64URL_NOPAD.encode(attacker.public_key().as_ref());
    for (name, value) in [
        ("jku", json!(url)),
        ("x5u", json!(url)),
        ("jwk", json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA"})),
        ("x5c", json!([BASE64.encode(&spki)])),
    ] {
        let header = with(&header, name, value);
        let by_attacker = forge(&header, &claims, |message| attacker.sign(message).as_ref().to_vec());
        world.refuses(name, &by_attacker).await;
        assert!(world.accepts(&world.ours(&header, &claims)).await, "{name} is passed over");
    }
    assert!(listener.accept().is_err(), "somebody followed a token's address");

    let header_cases = [
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("b64", json!(false)),
        ("b64", json!(true)),
        ("alg", json!("absent")),
        ("alg", json!(null)),
        ("alg", json!(["EdDSA"])),
        ("kid", json!("absent")),
        ("kid", json!(1)),
        ("kid", json!(null)),
        ("kid", json!("unknown")),
        ("kid", json!("../../../../etc/passwd")),
        ("kid", json!("' OR 1=1 --")),
        ("kid", json!("")),
        ("typ", json!("absent")),
        ("typ", json!("at+jwt")),
        ("typ", json!("jwt")),
        ("typ", json!("JOSE")),
        ("typ", json!(1)),
        ("tid", json!("absent")),
        ("tid", json!("another")),
        ("tid", json!(null)),
        ("epoch", json!("absent")),
        ("epoch", json!(7)),
        ("epoch", json!("1")),
        ("epoch", json!(-1)),
    ];
    for (name, value) in header_cases {
        let what = format!("{name}: {value}");
        world.refuses(&what, &world.ours(&with(&header, name, value), &claims)).await;
    }
    let text = header.to_string();
    for twice in [r#""alg":"none""#, r#""alg":"EdDSA""#, r#""kid":"x""#, r#""\u0061lg":"none""#, r#""typ":"JWT""#] {
        let header = format!("{},{twice}}}", text.strip_suffix('}').unwrap());
        world.refuses(twice, &world.ours(&header, &claims)).await;
    }
}

#[tokio::test]
async fn no_claim_of_a_wrong_type_time_or_number_passes() {
    let world = World::new().await;
    let (header, claims) = (decoded(&world.user_token, 0).to_string(), decoded(&world.user_token, 1));
    let now = world.now();
    let cases = [
        ("exp", json!("absent")),
        ("exp", json!("never")),
        ("exp", json!("9999999999")),
        ("exp", json!(null)),
        ("exp", json!(1.5)),
        ("exp", json!(9_999_999_999.5)),
        ("exp", json!(-1)),
        ("exp", json!(true)),
        ("exp", json!([9_999_999_999_i64])),
        ("exp", json!(u64::MAX)),
        ("exp", json!(0)),
        ("exp", json!(now)),
        ("exp", json!(now - 1)),
        ("nbf", json!("9999999999")),
        ("nbf", json!("0")),
        ("nbf", json!(null)),
        ("nbf", json!(0.5)),
        ("nbf", json!(-1)),
        ("nbf", json!(now + 62)),
        ("iat", json!("0")),
        ("iat", json!(null)),
        ("iat", json!(now + 62)),
        ("sub", json!("absent")),
        ("sub", json!("")),
        ("sub", json!(null)),
        ("sub", json!(7)),
        ("sub", json!("nobody")),
        ("sub", json!("no such id at all")),
        ("iss", json!("absent")),
        ("iss", json!("Ocariot")),
        ("iss", json!("ocariot ")),
        ("iss", json!(["ocariot"])),
        ("iss", json!("rekey:access")),
        ("scope", json!(["users:resetPassword"])),
        ("sub_type", json!({})),
    ];
    for (name, value) in cases {
        let what = format!("{name}: {value}");
        world.refuses(&what, &world.ours(&header, &with(&claims, name, value))).await;
    }
    let text = claims.to_string();
    let body = text.strip_suffix('}').unwrap();
    for more in [
        r#""sub":"somebody""#,
        r#""sub":"507f191e810c19729de860ea""#,
        r#""exp":9999999999"#,
        r#""\u0065xp":9999999999"#,
        r#""nested":{"a":1,"a":2}"#,
        r#""large":1e400"#,
        r#""large":-1e400"#,
    ] {
        world.refuses(more, &world.ours(&header, &format!("{body},{more}}}"))).await;
    }
    for not_an_object in ["", "null", "[]", "7", "\"text\"", "{", "{}", "{}{}", "\u{feff}{}"] {
        world.refuses(not_an_object, &world.ours(&header, not_an_object)).await;
        world.refuses(not_an_object, &world.ours(not_an_object, &text)).await;
    }
    // What others say of themselves is nobody's business, and clocks may differ by a minute.
    for (name, value) in
        [("extra", json!([1])), ("nbf", json!(now + 55)), ("iat", json!(now + 55)), ("exp", json!(now + 20))]
    {
        assert!(world.accepts(&world.ours(&header, &with(&claims, name, value))).await, "{name}");
    }
    let long = with(&claims, "extra", json!("x".repeat(6_200)));
    world.refuses("more than 8 KiB", &world.ours(&header, &long)).await;

    // Texts that a lenient decoder would take for the good one.
    let good = &world.user_token;
    let (message, signature) = good.rsplit_once('.').unwrap();
    for odd in [
        format!("{good}="),
        format!("{good}."),
        format!(".{good}"),
        format!("{good}.{signature}"),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.."),
        format!("{message}.{signature}AAAA"),
        good.replace('.', ".."),
        good.replacen('.', "=.", 1),
        format!("{message}.{}", &signature[..signature.len() - 1]),
    ] {
        world.refuses("another text", &odd).await;
    }
    // 64 bytes make 86 characters, the last of which has four bits that mean nothing.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.chars().filter(|other| *other != last) {
        world.refuses("other trailing bits", &format!("{}{other}", &good[..good.len() - 1])).await;
    }
}

#[tokio::test]
async fn tokens_of_one_kind_are_not_taken_for_another() {
    let world = World::new().await;
    let kinds = [("JWT", &world.user_token), ("at+jwt", &world.access_token)];
    for (of_header, header_of) in kinds {
        for (of_claims, claims_of) in kinds {
            let header = decoded(header_of, 0);
            let claims = decoded(claims_of, 1).to_string();
            let token = world.ours(&header.to_string(), &claims);
            assert_eq!(world.accepts(&token).await, of_header == of_claims, "{of_header} over {of_claims}");
        }
    }
    let (header, claims) = (decoded(&world.access_token, 0), decoded(&world.access_token, 1));
    let user = decoded(&world.user_token, 1);
    for (name, value) in [
        ("iss", json!("ocariot")),
        ("aud", json!("absent")),
        ("aud", json!("other")),
        ("aud", json!([])),
        ("aud", json!({"rekey": 1})),
        ("sub", json!("svc")),
        ("sub", user["sub"].clone()),
        ("client_id", json!("absent")),
        ("client_id", json!("unknown")),
        ("client_id", json!("' OR 1=1 --")),
        ("client_id", json!(1)),
        ("exp", json!("absent")),
        ("nbf", json!("9999999999")),
    ] {
        let what = format!("{name}: {value}");
        world.refuses(&what, &world.ours(&header.to_string(), &with(&claims, name, value))).await;
    }
    for (name, value) in [("typ", json!("AT+JWT")), ("tid", json!("x")), ("epoch", json!(9)), ("typ", json!("absent"))]
    {
        world.refuses(name, &world.ours(&with(&header, name, value), &claims.to_string())).await;
    }
}

#[tokio::test]
async fn an_issuers_key_is_of_one_algorithm_and_its_audience_exact() {
    let world = World::new().await;
    let now = world.now();
    let header = json!({"alg": "RS256", "typ": "JWT"});
    let claims =
        json!({"iss": "https://foreign.example", "aud": "rekey.example", "sub": "x", "exp": now + 600, "scope": "s"});
    let text = claims.to_string();
    assert!(world.accepts(&world.foreign(&header.to_string(), &text)).await);
    // The classic: the public key, which everybody has, as the secret of an HMAC.
    for key in [world.rsa_pem.as_bytes(), world.rsa_pem.trim_end().as_bytes(), world.rsa.public_key().as_ref()] {
        for (name, algorithm) in
            [("HS256", hmac::HMAC_SHA256), ("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)]
        {
            let header = with(&header, "alg", json!(name));
            let sign = |message: &[u8]| hmac::sign(&hmac::Key::new(algorithm, key), message).as_ref().to_vec();
            world.refuses(name, &forge(&header, &text, sign)).await;
        }
    }
    // Other curves, under their own name and under that of ours.
    let random = SystemRandom::new();
    for (name, curve) in [("ES384", &ECDSA_P384_SHA384_FIXED_SIGNING), ("ES256K", &ECDSA_P256K1_SHA256_FIXED_SIGNING)] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        for name in [name, "ES256", "RS256"] {
            let header = with(&header, "alg", json!(name));
            world
                .refuses(name, &forge(&header, &text, |message| pair.sign(&random, message).unwrap().as_ref().to_vec()))
                .await;
        }
    }
    for name in ["RS384", "RS512", "PS256", "ES256", "EdDSA", "none", "rs256"] {
        world.refuses(name, &world.foreign(&with(&header, "alg", json!(name)), &text)).await;
    }
    for (name, value) in [
        ("crit", json!(["x"])),
        ("zip", json!("DEF")),
        ("typ", json!("logout+jwt")),
        ("typ", json!("dpop+jwt")),
        ("kid", json!(1)),
    ] {
        world.refuses(name, &world.foreign(&with(&header, name, value), &text)).await;
    }
    // A key id of ours does not make it ours, and one that is a path or a query is a name like any other.
    let ours = decoded(&world.user_token, 0)["kid"].clone();
    world.refuses("our kid", &world.foreign(&with(&header, "kid", ours), &text)).await;
    for kid in ["../../etc/passwd", "' OR 1=1 --", "x"] {
        assert!(world.accepts(&world.foreign(&with(&header, "kid", json!(kid)), &text)).await, "{kid}");
    }
    for typ in ["absent", "JWT", "jwt", "at+jwt", "application/at+jwt"] {
        assert!(world.accepts(&world.foreign(&with(&header, "typ", json!(typ)), &text)).await, "{typ}");
    }
    for (name, value, good) in [
        ("aud", json!(["a", "rekey.example"]), true),
        ("aud", json!("absent"), false),
        ("aud", json!("rekey.example "), false),
        ("aud", json!("REKEY.EXAMPLE"), false),
        ("aud", json!(["rekey"]), false),
        ("aud", json!([["rekey.example"]]), false),
        ("aud", json!(null), false),
        ("iss", json!("https://foreign.example/"), false),
        ("iss", json!("ocariot"), false),
        ("nbf", json!("9999999999"), false),
        ("exp", json!(now), false),
    ] {
        let token = world.foreign(&header.to_string(), &with(&claims, name, value.clone()));
        assert_eq!(world.accepts(&token).await, good, "{name}: {value}");
    }
    let twice = format!("{},\"sub\":\"y\"}}", text.strip_suffix('}').unwrap());
    world.refuses("sub twice", &world.foreign(&header.to_string(), &twice)).await;
}

/// Numbers without pattern, the same each time.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn mutated(token: &str, noise: &mut Noise) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    let mut bytes = token.as_bytes().to_vec();
    for _ in 0..=noise.below(3) {
        let (place, other) = (noise.below(bytes.len()), noise.below(bytes.len()));
        let letter = LETTERS[noise.below(LETTERS.len())];
        match noise.below(6) {
            0 | 1 => bytes[place] = letter,
            2 => bytes.insert(place, letter),
            3 => drop(bytes.remove(place)),
            4 => bytes.swap(place, other),
            _ => bytes.truncate(place.max(1)),
        }
    }
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn of_ten_thousand_altered_tokens_none_is_accepted() {
    let world = World::new().await;
    let claims = json!({"iss": "https://foreign.example", "aud": "rekey.example", "sub": "x", "exp": world.now() + 86_400, "scope": "s"});
    let foreign = world.foreign(r#"{"alg":"RS256"}"#, &claims.to_string());
    let keyring = Keyring::load(&world.rekey.options.keyring_file).unwrap();
    let trusted = TrustedIssuer {
        issuer: "https://foreign.example".to_owned(),
        public_key_pem: world.rsa_pem.clone(),
        algorithm: JwtAlgorithm::RS256,
        audience: "rekey.example".to_owned(),
        scope_grants: Vec::new(),
        max_auth_age_s: 0,
    };
    let now = Timestamp::from_micros(world.now() * 1_000_000);
    let is_signed = |token: &str| {
        let Some(token) = Token::read(token) else { return false };
        let ours = token
            .key_id()
            .is_some_and(|id| keyring.has_signed(id, token.algorithm(), token.message(), token.signature()));
        ours || jwt::verify(&token, &trusted, now).is_ok()
    };
    let mut noise = Noise(21);
    for token in [&world.user_token, &world.access_token, &foreign] {
        assert!(world.accepts(token).await && is_signed(token));
        let mut tried = 0;
        while tried < MUTATIONS {
            let altered = mutated(token, &mut noise);
            if altered == **token || altered.is_empty() {
                continue;
            }
            assert!(!is_signed(&altered), "{altered}");
            // A few of them by the front door, for what is around the signature.
            if tried % 50 == 0 {
                world.refuses("altered", &altered).await;
            }
            tried += 1;
        }
    }
    let missing = world.rekey.clients("").callers.who_am_i(WhoAmIRequest {}).await.unwrap_err();
    assert_eq!(reason(&missing), "CREDENTIAL_MISSING");
}
