//! `KeyService`, and keyrings that change while everything serves.

use std::{
    collections::BTreeMap,
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rekey::{
    crypto::{Keyring, SystemEntropy},
    domain::{Clock as _, KeyPurpose, Timestamp, tenant::JwtAlgorithm},
    proto::{
        CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateIntegrationRequest,
        CreateSigningKeyRequest, CreateUserRequest, GenerateSecret, GetKeySetRequest, GetUserRequest, KeyRotationPart,
        KeyRotationPhase, KeyState, KeyringKey, ListAuditRecordsRequest, ListKeysRequest, ListKeysResponse,
        ResetAuthenticationRequest, RevealAuthenticationRequest, RevealIntegrationRequest, RevokeApiTokenRequest,
        RotateKeysRequest, RotateKeysResponse, Tenant, VerifyAuthenticationRequest, VerifyPasswordRequest,
        WhoAmIRequest, create_user_request, reset_authentication_request, verify_authentication_request,
        verify_password_request,
    },
};
use tonic::{Code, Status};

use crate::common::rekey::{Clients, Rekey, fields, reason};

const PASSWORD: &str = "a first long enough phrase";
const DAY: Duration = Duration::from_hours(24);
const GIVEN: &str = "a-token-that-callers-have.already/+=";

/// What there is in a tenant, and what it must go on to be.
struct World {
    rekey: Rekey,
    users: Vec<String>,
    devices: BTreeMap<String, String>,
    settings: BTreeMap<String, String>,
    etag: String,
    /// A request that was answered, and its answer.
    repeated: (ResetAuthenticationRequest, String),
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn generated() -> Option<reset_authentication_request::SecretSource> {
    Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default()))
}

fn acme() -> String {
    "acme".to_owned()
}

async fn world(rekey: Rekey, users: usize, devices: usize) -> World {
    rekey.make_tenant(Tenant { tenant_id: acme(), ..Tenant::default() }).await;
    let mut admin = rekey.admin();
    let users: Vec<String> = (0..users).map(|number| format!("user-{number}")).collect();
    for user in &users {
        make_user(&admin, "acme", user).await;
    }
    let mut secrets = BTreeMap::new();
    for number in 0..devices {
        let device_id = (4_711 + number).to_string();
        let request = CreateDeviceRequest {
            tenant_id: acme(),
            device_id: device_id.clone(),
            user_name: device_id.clone(),
            ..CreateDeviceRequest::default()
        };
        let made = admin.devices.create_device(request).await.unwrap().into_inner();
        secrets.insert(device_id, made.authentication.unwrap().password);
    }
    let settings: BTreeMap<_, _> =
        [("token", "t-1"), ("gwAddress", "gw.example")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let request = CreateIntegrationRequest {
        tenant_id: acme(),
        integration_id: "harmony-mobile".to_owned(),
        settings: settings.clone(),
        ..CreateIntegrationRequest::default()
    };
    admin.integrations.create_integration(request).await.unwrap();
    let request = CreateCallerRequest { tenant_id: acme(), caller_id: "signer".to_owned(), ..Default::default() };
    admin.callers.create_caller(request).await.unwrap();
    let request = CreateSigningKeyRequest { tenant_id: acme(), caller_id: "signer".to_owned(), ..Default::default() };
    admin.callers.create_signing_key(request).await.unwrap();
    let request = ResetAuthenticationRequest {
        tenant_id: acme(),
        device_id: "4711".to_owned(),
        request_id: "7f0c0d8c-3d0c-4c0e-9a3b-2f6f0a1b2c3d".to_owned(),
        secret_source: generated(),
        ..ResetAuthenticationRequest::default()
    };
    let answer = admin.devices.reset_authentication(request.clone()).await.unwrap().into_inner();
    let password = answer.authentication.unwrap().password;
    secrets.insert("4711".to_owned(), password.clone());
    let etag = etag(&admin, &users[0]).await;
    World { rekey, users, devices: secrets, settings, etag, repeated: (request, password) }
}

async fn make_user(admin: &Clients, tenant: &str, name: &str) {
    let request = CreateUserRequest {
        tenant_id: tenant.to_owned(),
        user_id: name.to_owned(),
        username: format!("{name}@acme.example"),
        secret_source: Some(create_user_request::SecretSource::Password(PASSWORD.to_owned())),
        ..CreateUserRequest::default()
    };
    admin.clone().users.create_user(request).await.unwrap();
}

async fn etag(admin: &Clients, user: &str) -> String {
    let request = GetUserRequest { tenant_id: acme(), user_id: user.to_owned() };
    admin.clone().users.get_user(request).await.unwrap().into_inner().user.unwrap().etag
}

async fn verifies(clients: &Clients, tenant: &str, user: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: tenant.to_owned(),
        subject: Some(verify_password_request::Subject::UserId(user.to_owned())),
        password: PASSWORD.to_owned(),
        ..VerifyPasswordRequest::default()
    };
    clients.clone().users.verify_password(request).await.unwrap().into_inner().verified
}

async fn device_verifies(clients: &Clients, device: &str, password: &str) -> bool {
    let request = VerifyAuthenticationRequest {
        tenant_id: acme(),
        subject: Some(verify_authentication_request::Subject::DeviceId(device.to_owned())),
        password: password.to_owned(),
        ..VerifyAuthenticationRequest::default()
    };
    clients.clone().devices.verify_authentication(request).await.unwrap().into_inner().verified
}

impl World {
    /// Every secret of every kind, shown or checked.
    async fn is_whole(&self, clients: &Clients) {
        let mut admin = clients.clone();
        for (device, password) in &self.devices {
            let request = RevealAuthenticationRequest {
                tenant_id: acme(),
                device_id: device.clone(),
                ..RevealAuthenticationRequest::default()
            };
            let shown = admin.devices.reveal_authentication(request).await.unwrap().into_inner();
            assert_eq!(shown.authentication.unwrap().password, *password);
        }
        let request = RevealIntegrationRequest {
            tenant_id: acme(),
            integration_id: "harmony-mobile".to_owned(),
            ..RevealIntegrationRequest::default()
        };
        let shown = admin.integrations.reveal_integration(request).await.unwrap().into_inner();
        assert_eq!(shown.credentials.unwrap().settings, self.settings);
        let (request, answer) = self.repeated.clone();
        let again = admin.devices.reset_authentication(request).await.unwrap().into_inner();
        assert_eq!(again.authentication.unwrap().password, answer, "the answer from before");
    }

    async fn users_verify(&self, clients: &Clients) {
        for user in &self.users {
            assert!(verifies(clients, "acme", user).await, "{user}");
        }
    }

    fn add(&self, purpose: KeyPurpose) -> String {
        add(&self.rekey, purpose)
    }
}

fn add(rekey: &Rekey, purpose: KeyPurpose) -> String {
    let (file, now) = (&rekey.options.keyring_file, rekey.clock.now());
    Keyring::add(file, purpose, None, now, &SystemEntropy).unwrap()
}

async fn promote(rekey: &Rekey, id: &str) {
    let until = rekey.clock.now().plus(90 * DAY);
    assert!(Keyring::promote(&rekey.options.keyring_file, id, until).unwrap());
    rekey.reload_keyring().await.unwrap();
}

async fn list(clients: &Clients) -> ListKeysResponse {
    clients.clone().keys.list_keys(ListKeysRequest {}).await.unwrap().into_inner()
}

fn find(keys: &ListKeysResponse, id: &str) -> KeyringKey {
    keys.keys.iter().find(|key| key.key_id == id).unwrap_or_else(|| panic!("no key {id}")).clone()
}

/// The key of a purpose that makes.
fn primary(keys: &ListKeysResponse, purpose: rekey::proto::KeyPurpose) -> KeyringKey {
    let mut found = keys.keys.iter().filter(|key| key.purpose() == purpose && key.state() == KeyState::Primary);
    found.next().unwrap().clone()
}

fn rotation(batch_size: i32) -> RotateKeysRequest {
    let settle_time = Some(prost_types::Duration::default());
    RotateKeysRequest { batch_size, settle_time, ..RotateKeysRequest::default() }
}

/// A rotation to its end: all that was told of it.
async fn rotate(clients: &Clients, request: RotateKeysRequest) -> Result<Vec<RotateKeysResponse>, Status> {
    let mut told = clients.clone().keys.rotate_keys(request).await?.into_inner();
    let mut progress = Vec::new();
    while let Some(next) = told.message().await? {
        progress.push(next);
    }
    Ok(progress)
}

fn is_done(progress: &[RotateKeysResponse]) {
    let last = progress.last().unwrap();
    assert_eq!((last.phase(), last.remaining, last.unreadable), (KeyRotationPhase::Done, 0, 0), "{last:?}");
}

async fn engines() -> Vec<Rekey> {
    [Some(Rekey::start().await), Rekey::start_on_postgres().await].into_iter().flatten().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_while_everybody_verifies() {
    for rekey in engines().await {
        let world = world(rekey, 6, 8).await;
        let (rekey, admin) = (&world.rekey, world.rekey.admin());
        let old = primary(&list(&admin).await, rekey::proto::KeyPurpose::Wrapping).key_id;
        let new = world.add(KeyPurpose::Wrapping);
        rekey.reload_keyring().await.unwrap();
        assert_eq!(find(&list(&admin).await, &new).state(), KeyState::Active);
        promote(rekey, &new).await;

        let (stop, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut verifying = Vec::new();
        for part in 0..3 {
            let (clients, stop, checks) = (admin.clone(), Arc::clone(&stop), Arc::clone(&checks));
            let (users, devices) = (world.users.clone(), world.devices.clone());
            verifying.push(tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    if part == 0 {
                        for user in &users {
                            assert!(verifies(&clients, "acme", user).await, "{user}");
                            checks.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    for (device, password) in &devices {
                        assert!(device_verifies(&clients, device, password).await, "{device}");
                        checks.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }));
        }
        let mut seen = 0;
        for number in 1..=5 {
            let progress = rotate(&admin, rotation(2)).await.unwrap();
            is_done(&progress);
            assert!(progress.iter().all(|told| told.rotation == number), "one that has ended is followed by another");
            let phases: Vec<_> = progress.iter().map(RotateKeysResponse::phase).collect();
            assert!(phases.contains(&KeyRotationPhase::Secrets) && phases.contains(&KeyRotationPhase::DataKeys));
            while checks.load(Ordering::SeqCst) < seen + 5 {
                tokio::task::yield_now().await;
            }
            seen = checks.load(Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
        for task in verifying {
            task.await.unwrap();
        }
        // What was under way while keys were exchanged may be under the one before, until the next look.
        let last = RotateKeysRequest { parts: vec![KeyRotationPart::Sealed.into()], ..rotation(0) };
        is_done(&rotate(&admin, last).await.unwrap());

        let keys = list(&admin).await;
        let (old, new) = (find(&keys, &old), find(&keys, &new));
        assert_eq!((old.data_keys, old.secrets, old.replies), (0, 0, 0));
        // The tenants system and acme, each with a key of each rotation and the first; devices, users, and
        // password and settings of an integration, and a signing key.
        assert_eq!((new.data_keys, new.replies), (2 * 6, 1));
        assert_eq!(new.secrets, 6 + 8 + 3);
        let census = keys.data_keys.unwrap();
        assert_eq!((census.sealing, census.older, census.older_secrets, census.older_replies), (2, 10, 0, 0));
        assert_eq!(etag(&admin, &world.users[0]).await, world.etag, "nothing that its owner could see");
        world.is_whole(&admin).await;
        world.users_verify(&admin).await;

        rekey.clock.advance(Duration::from_secs(11));
        let filter = r#"action = "KeyService/RotateKeys""#.to_owned();
        let request = ListAuditRecordsRequest { tenant_id: "-".to_owned(), filter, ..Default::default() };
        let records = admin.clone().audit.list_audit_records(request).await.unwrap().into_inner().records;
        let count = |what: &str| records.iter().filter(|record| record.detail.contains(what)).count();
        assert_eq!((count("begins"), count("ends"), records.len()), (6, 6, 12));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_cut_off_at_fifty_points_is_finished_by_the_next() {
    for (engine, rekey) in engines().await.into_iter().enumerate() {
        let mut world = world(rekey, 1, 12).await;
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64.wrapping_add(engine as u64);
        let mut random = move |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut rotations = 0;
        for point in 0..50 {
            if point % 10 == 0 {
                let new = world.add(KeyPurpose::Wrapping);
                promote(&world.rekey, &new).await;
            }
            let admin = world.rekey.admin();
            if point % 2 == 0 {
                // After so many rows: whoever asked goes away.
                let mut told = admin.clone().keys.rotate_keys(rotation(1)).await.unwrap().into_inner();
                for _ in 0..random(40) {
                    if let Some(next) = told.message().await.unwrap() {
                        rotations = rotations.max(next.rotation);
                    }
                }
            } else {
                // At whatever it is doing after so many microseconds.
                let cut = Duration::from_micros(random(40_000));
                let _ = tokio::time::timeout(cut, rotate(&admin, rotation(1))).await;
            }
            if point % 5 == 4 {
                // The whole service as well, with what it knew.
                let stopped = world.rekey.pause().await;
                world.rekey = stopped.start().await;
            }
            world.is_whole(&world.rekey.admin()).await;
        }
        let admin = world.rekey.admin();
        is_done(&rotate(&admin, rotation(3)).await.unwrap());
        let last = RotateKeysRequest { parts: vec![KeyRotationPart::Sealed.into()], ..rotation(0) };
        is_done(&rotate(&admin, last).await.unwrap());
        let keys = list(&admin).await;
        let census = keys.data_keys.unwrap();
        assert_eq!((census.older_secrets, census.older_replies), (0, 0));
        let new = primary(&keys, rekey::proto::KeyPurpose::Wrapping);
        let others = keys.keys.iter().filter(|key| key.key_id != new.key_id);
        assert_eq!(others.map(|key| key.data_keys).sum::<i64>(), 0);
        assert!(rotations > 0);
        world.is_whole(&admin).await;
        world.users_verify(&admin).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_rotate_at_once_and_read_what_the_others_sealed() {
    for rekey in engines().await {
        let world = world(rekey, 2, 20).await;
        let (one, other) = (world.rekey.admin(), world.rekey.replica().await);
        let two = other.clients(&world.rekey.admin_token);
        // So that both know keys that are about to be older.
        world.is_whole(&one).await;
        world.is_whole(&two).await;
        let new = world.add(KeyPurpose::Wrapping);
        promote(&world.rekey, &new).await;
        other.reload_keyring().await.unwrap();
        assert_eq!(find(&list(&one).await, &new).known_by, 2);
        for _ in 0..4 {
            let (first, second) = tokio::join!(rotate(&one, rotation(1)), rotate(&two, rotation(1)));
            first.unwrap();
            second.unwrap();
            world.is_whole(&one).await;
            world.is_whole(&two).await;
        }
        // The other one remembers for a while what sealed before: such secrets are readable, and move the next time.
        let request = ResetAuthenticationRequest {
            tenant_id: acme(),
            device_id: "4712".to_owned(),
            secret_source: generated(),
            ..ResetAuthenticationRequest::default()
        };
        is_done(&rotate(&one, rotation(0)).await.unwrap());
        let reset = two.clone().devices.reset_authentication(request).await.unwrap().into_inner();
        let password = reset.authentication.unwrap().password;
        assert!(device_verifies(&one, "4712", &password).await);
        let last = RotateKeysRequest { parts: vec![KeyRotationPart::Sealed.into()], ..rotation(0) };
        is_done(&rotate(&two, last).await.unwrap());
        assert!(device_verifies(&one, "4712", &password).await);
        assert_eq!(list(&one).await.data_keys.unwrap().older_secrets, 0);
        world.users_verify(&two).await;

        assert_eq!(list(&one).await.replicas.len(), 2);
        other.stop().await;
        assert_eq!(list(&one).await.replicas.len(), 1, "who ends in order is forgotten");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_knows_the_new_key_and_makes_with_the_old_one_is_no_danger() {
    for rekey in engines().await {
        let world = world(rekey, 1, 2).await;
        let (rekey, admin) = (&world.rekey, world.rekey.admin());
        let old = primary(&list(&admin).await, rekey::proto::KeyPurpose::Wrapping).key_id;
        let new = world.add(KeyPurpose::Wrapping);
        let behind: PathBuf = rekey.directory.path().join("behind.json");
        fs::copy(&rekey.options.keyring_file, &behind).unwrap();
        let other = rekey.replica_with(|options| options.keyring_file = behind.clone()).await;
        let two = other.clients(&rekey.admin_token);
        promote(rekey, &new).await;

        is_done(&rotate(&admin, rotation(0)).await.unwrap());
        world.is_whole(&two).await;
        world.users_verify(&two).await;
        // It goes on to wrap new tenants' keys with the old one: found by the census, and moved by the next call.
        let tenant = Tenant { tenant_id: "late".to_owned(), ..Tenant::default() };
        let request = rekey::proto::CreateTenantRequest { tenant: Some(tenant), ..Default::default() };
        two.clone().tenants.create_tenant(request).await.unwrap();
        make_user(&two, "late", "eve").await;
        assert!(verifies(&admin, "late", "eve").await);
        let keys = list(&admin).await;
        assert_eq!((find(&keys, &old).data_keys, find(&keys, &old).secrets), (1, 1));
        assert_eq!(find(&keys, &old).known_by, 2);
        let wraps = RotateKeysRequest { parts: vec![KeyRotationPart::Wrapping.into()], ..rotation(0) };
        is_done(&rotate(&admin, wraps.clone()).await.unwrap());
        assert_eq!(find(&list(&admin).await, &old).data_keys, 0);
        assert!(verifies(&two, "late", "eve").await && verifies(&admin, "late", "eve").await);

        // Asked to rotate, it would wrap with what it makes with; nothing is lost by that either.
        rotate(&two, wraps.clone()).await.unwrap();
        assert!(find(&list(&admin).await, &old).data_keys > 0);
        world.is_whole(&admin).await;
        fs::copy(&rekey.options.keyring_file, &behind).unwrap();
        other.reload_keyring().await.unwrap();
        is_done(&rotate(&two, wraps).await.unwrap());
        assert_eq!(find(&list(&admin).await, &old).data_keys, 0);
        world.is_whole(&two).await;

        // A file that is half copied is not taken, and the keyring from before stays.
        fs::write(&behind, "").unwrap();
        assert!(other.reload_keyring().await.unwrap_err().contains("is empty"));
        world.is_whole(&two).await;
        other.stop().await;
    }
}

async fn who(rekey: &Rekey, token: &str) -> Result<String, String> {
    let answer = rekey.clients(token).callers.who_am_i(WhoAmIRequest {}).await;
    answer.map(|answer| answer.into_inner().caller_id).map_err(|refused| reason(&refused))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_moves_when_it_is_used_and_is_void_after_the_deadline() {
    for rekey in engines().await {
        rekey.make_tenant(Tenant { tenant_id: acme(), ..Tenant::default() }).await;
        let mut admin = rekey.admin();
        let request = CreateCallerRequest { tenant_id: acme(), caller_id: "portal".to_owned(), ..Default::default() };
        admin.callers.create_caller(request).await.unwrap();
        let ask = CreateApiTokenRequest { tenant_id: acme(), caller_id: "portal".to_owned(), ..Default::default() };
        let mut made = Vec::new();
        for token in ["", "", GIVEN, "another-token-that-callers-have"] {
            let request = CreateApiTokenRequest { token: token.to_owned(), ..ask.clone() };
            let answer = admin.callers.create_api_token(request).await.unwrap().into_inner();
            let token = if token.is_empty() { answer.token } else { token.to_owned() };
            made.push((answer.token_id, token));
        }
        let old = primary(&list(&admin).await, rekey::proto::KeyPurpose::Digest);
        assert_eq!(old.tokens, 1 + 4, "the administrator's as well");
        let new = add(&rekey, KeyPurpose::Digest);
        rekey.reload_keyring().await.unwrap();
        // One that reads only takes nothing over.
        for (_, token) in &made[..1] {
            assert_eq!(who(&rekey, token).await, Ok("portal".to_owned()));
        }
        promote(&rekey, &new).await;
        assert!(find(&list(&admin).await, &old.key_id).accept_until_time.is_some());

        // Taken is taken, whichever key it is found by.
        let again = CreateApiTokenRequest { token: GIVEN.to_owned(), ..ask.clone() };
        let refused = admin.callers.create_api_token(again.clone()).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, "token is taken"));

        for (_, token) in [&made[0], &made[2]] {
            assert_eq!(who(&rekey, token).await, Ok("portal".to_owned()));
        }
        // They move behind the answer: the administrator's and those two.
        let moved = async {
            while find(&list(&admin).await, &new).tokens < 3 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_mins(1), moved).await.expect("tokens move behind their use");
        assert_eq!(find(&list(&admin).await, &old.key_id).tokens, 2);
        let refused = admin.callers.create_api_token(again).await.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);

        rekey.clock.advance(90 * DAY);
        for (place, (_, token)) in made.iter().enumerate() {
            let expected = if place % 2 == 0 { Ok("portal".to_owned()) } else { Err("CREDENTIAL_INVALID".to_owned()) };
            assert_eq!(who(&rekey, token).await, expected, "{place}");
        }
        assert_eq!(find(&list(&admin).await, &old.key_id).tokens, 2, "and the census says of how many that is so");

        // A given one keeps its name, though it is found otherwise.
        let request = RevokeApiTokenRequest {
            tenant_id: acme(),
            caller_id: "portal".to_owned(),
            token_id: made[2].0.clone(),
            ..RevokeApiTokenRequest::default()
        };
        admin.callers.revoke_api_token(request).await.unwrap();
        assert_eq!(who(&rekey, GIVEN).await, Err("CREDENTIAL_INVALID".to_owned()));
        Keyring::retire(&rekey.options.keyring_file, &old.key_id).unwrap();
        rekey.reload_keyring().await.unwrap();
        assert_eq!(who(&rekey, &made[0].1).await, Ok("portal".to_owned()));
        let missing = find(&list(&admin).await, &old.key_id);
        assert_eq!((missing.state(), missing.tokens), (KeyState::Missing, 2));
    }
}

#[tokio::test]
async fn a_keyring_is_taken_while_the_service_runs_and_a_broken_one_is_not() {
    let rekey = Rekey::start_with(|options| options.metrics = Some(([127, 0, 0, 1], 0).into())).await;
    let world = world(rekey, 1, 1).await;
    let (rekey, admin) = (&world.rekey, world.rekey.admin());
    let file = &rekey.options.keyring_file;
    let good = fs::read(file).unwrap();

    fs::write(file, "{").unwrap();
    assert!(rekey.reload_keyring().await.unwrap_err().contains("is not a keyring"));
    world.is_whole(&admin).await;
    fs::remove_file(file).unwrap();
    assert!(rekey.reload_keyring().await.is_err());
    Keyring::create(file, Timestamp::from_micros(0), &SystemEntropy).unwrap();
    let refusal = rekey.reload_keyring().await.unwrap_err();
    assert!(refusal.contains("lacks keys that the database needs"), "{refusal}");
    world.is_whole(&admin).await;
    world.users_verify(&admin).await;
    let metrics =
        reqwest::get(format!("http://{}/metrics", rekey.metrics().unwrap())).await.unwrap().text().await.unwrap();
    // At least: the file is looked at besides.
    assert!(metrics.contains("rekey_keyring_reloads_total{outcome=\"taken\"} 0\n"), "{metrics}");
    assert!(!metrics.contains("rekey_keyring_reloads_total{outcome=\"refused\"} 0\n"), "{metrics}");
    assert!(metrics.contains("rekey_keyring_refused 1\n"), "{metrics}");

    // A key that signs is published before it signs.
    fs::write(file, good).unwrap();
    let id = Keyring::add(file, KeyPurpose::TokenSigning, Some(JwtAlgorithm::EdDSA), rekey.clock.now(), &SystemEntropy);
    let id = id.unwrap();
    rekey.reload_keyring().await.unwrap();
    let keys = admin.clone().tokens.get_key_set(GetKeySetRequest {}).await.unwrap().into_inner().keys;
    assert!(keys.iter().any(|key| key.kid == id), "{keys:?}");
    assert_eq!(find(&list(&admin).await, &id).state(), KeyState::Active);
    let metrics =
        reqwest::get(format!("http://{}/metrics", rekey.metrics().unwrap())).await.unwrap().text().await.unwrap();
    assert!(!metrics.contains("rekey_keyring_reloads_total{outcome=\"taken\"} 0\n"), "{metrics}");
    assert!(metrics.contains("rekey_keyring_refused 0\n"), "{metrics}");
}

#[tokio::test]
async fn a_repetition_is_known_and_a_wait_goes_on_under_another_digest_key() {
    let world = world(Rekey::start().await, 1, 1).await;
    let (rekey, admin) = (&world.rekey, world.rekey.admin());
    let guess = |password: &str, source: &str| VerifyPasswordRequest {
        tenant_id: acme(),
        subject: Some(verify_password_request::Subject::UserId("user-0".to_owned())),
        password: password.to_owned(),
        source: source.to_owned(),
    };
    // What guesses are counted by goes by the oldest key: the other one has to be newer.
    rekey.clock.advance(Duration::from_secs(1));
    for _ in 0..6 {
        admin.clone().users.verify_password(guess("wrong", "192.0.2.7")).await.unwrap();
    }
    let is_right = async |source: &str| {
        let answer = admin.clone().users.verify_password(guess(PASSWORD, source)).await.unwrap();
        answer.into_inner().verified
    };
    assert!(!is_right("192.0.2.7").await, "it has to wait");
    let new = world.add(KeyPurpose::Digest);
    promote(rekey, &new).await;
    assert!(!is_right("192.0.2.7").await, "and a new key is no way around that");
    assert!(is_right("198.51.100.7").await);
    world.is_whole(&admin).await;
}

#[tokio::test]
async fn keys_are_the_platforms_and_requests_have_bounds() {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: acme(), ..Tenant::default() }).await;
    let deputy = rekey.clients(&rekey.make_caller("acme", &["keys:*"]).await);
    let refused = deputy.clone().keys.list_keys(ListKeysRequest {}).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    let refused = rotate(&deputy, rotation(0)).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);

    let bad = RotateKeysRequest {
        parts: vec![1, 0, 99],
        batch_size: 1_001,
        max_per_second: -1,
        settle_time: Some(prost_types::Duration { seconds: 601, nanos: 0 }),
    };
    let refused = rotate(&rekey.admin(), bad).await.unwrap_err();
    assert_eq!(fields(&refused), ["parts[1]", "parts[2]", "batch_size", "max_per_second", "settle_time"]);
    let slow = RotateKeysRequest { max_per_second: 1_000, ..rotation(1) };
    is_done(&rotate(&rekey.admin(), slow).await.unwrap());
}
