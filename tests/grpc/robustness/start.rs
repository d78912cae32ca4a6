//! Starting, on what fits and on what does not.

use std::{fs, os::unix::fs::PermissionsExt as _};

use rekey::{
    app::{self, Service, ServiceOptions, StartError},
    crypto::{Keyring, SystemEntropy},
    domain::Clock as _,
    proto::{PolicyPreset, SecretPolicy, Tenant},
    store::StoreOptions,
};
use tonic::Code;

use super::{
    database::Raw,
    world::{
        USER_PASSWORD, create_token, credentials, eventually, get_user, populate, reset_device, revealed, user,
        verifies,
    },
};
use crate::common::rekey::{Rekey, reason};

async fn refusal(rekey: &Rekey, options: ServiceOptions) -> StartError {
    Service::start(options, rekey.environment(), false).await.expect_err("it does not start")
}

pub(super) async fn a_keyring_that_does_not_fit_is_refused_by_name(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let fits = Keyring::load(&rekey.options.keyring_file).unwrap();
    let mut options = rekey.options.clone();
    options.keyring_file = rekey.directory.path().join("other.json");

    let error = refusal(&rekey, options.clone()).await;
    assert!(matches!(error, StartError::Keyring(_)) && error.to_string().contains("other.json"), "{error}");
    Keyring::create(&options.keyring_file, rekey.clock.now(), &SystemEntropy).unwrap();
    let error = refusal(&rekey, options.clone()).await;
    assert!(matches!(error, StartError::Keyring(_)), "{error}");
    assert!(error.to_string().contains(fits.wrapping_key_ids()[0]), "{error}");
    let error = app::initialise(&options, &rekey.environment()).await.unwrap_err();
    assert!(error.to_string().contains(fits.wrapping_key_ids()[0]), "{error}");

    fs::set_permissions(&options.keyring_file, fs::Permissions::from_mode(0o640)).unwrap();
    let error = refusal(&rekey, options).await;
    assert!(matches!(error, StartError::Keyring(_)) && error.to_string().contains("other.json"), "{error}");
    assert!(verifies(&clients, "ada", USER_PASSWORD).await, "the one that runs is not disturbed");
}

pub(super) async fn an_installation_is_made_once(rekey: Rekey) {
    let raw = Raw::open(&rekey.options).await;
    let before = raw.state().await;
    let error = app::initialise(&rekey.options, &rekey.environment()).await.unwrap_err();
    assert!(matches!(error, StartError::Store(_)) && error.to_string().contains("already"), "{error}");
    assert_eq!(raw.state().await, before);
}

#[tokio::test]
async fn a_taken_port_and_an_empty_database_are_refused_with_a_sentence() {
    let rekey = Rekey::start().await;
    let mut options = rekey.options.clone();
    options.listen = rekey.grpc;
    let error = refusal(&rekey, options).await;
    assert!(matches!(error, StartError::Listen { address, .. } if address == rekey.grpc), "{error}");

    let mut options = rekey.options.clone();
    options.store = StoreOptions::sqlite(&rekey.directory.path().join("empty.db"), 1);
    options.anchor_file = rekey.directory.path().join("another-anchor.json");
    let error = refusal(&rekey, options.clone()).await;
    assert!(matches!(error, StartError::Store(_)) && error.to_string().contains("rekey migrate"), "{error}");
    Service::start(options, rekey.environment(), true).await.unwrap().stop().await;

    let mut options = rekey.options.clone();
    options.hasher.memory_kib = 7_167;
    let error = refusal(&rekey, options).await;
    assert!(matches!(error, StartError::Config(_)) && error.to_string().contains("OWASP"), "{error}");
}

pub(super) async fn what_was_made_before_a_stop_is_there_after(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let token = rekey.make_caller("acme", &["users:get"]).await;
    let mut callers = clients.callers.clone();
    let revoked = callers.create_api_token(create_token("ops")).await.unwrap().into_inner();
    let revoke = rekey::proto::RevokeApiTokenRequest {
        tenant_id: "acme".to_owned(),
        caller_id: "ops".to_owned(),
        token_id: revoked.token_id,
        ..Default::default()
    };
    callers.revoke_api_token(revoke).await.unwrap();
    let policy = SecretPolicy { preset: PolicyPreset::Roma.into(), ..SecretPolicy::default() };
    let tenant_id = "other".to_owned();
    let other = rekey.make_tenant(Tenant { tenant_id, user_policy: Some(policy), ..Tenant::default() }).await;
    let device = clients.clone().devices.reset_authentication(reset_device("d1")).await.unwrap();
    let device = device.into_inner().authentication.unwrap();
    let (ada, integration) = (user(&clients, "ada").await, credentials(&clients).await);

    let rekey = rekey.pause().await.start().await;
    let mut clients = rekey.admin();
    assert_eq!(user(&clients, "ada").await, ada);
    assert!(verifies(&clients, "ada", USER_PASSWORD).await);
    assert_eq!(revealed(&clients, "d1").await, device);
    assert_eq!(credentials(&clients).await, integration);
    let get = rekey::proto::GetTenantRequest { tenant_id: "other".to_owned() };
    assert_eq!(clients.tenants.get_tenant(get).await.unwrap().into_inner().tenant.unwrap(), other);
    rekey.clients(&token).users.get_user(get_user("ada")).await.unwrap();
    let refused = rekey.clients(&revoked.token).users.get_user(get_user("ada")).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unauthenticated, "CREDENTIAL_INVALID"));
}

pub(super) async fn a_verifier_of_other_parameters_is_renewed_by_the_next_right_password(rekey: Rekey) {
    let clients = populate(&rekey).await;
    let before = user(&clients, "ada").await;
    let raw = Raw::open(&rekey.options).await;
    let payload = "SELECT payload FROM secret JOIN subject ON uid = subject_uid WHERE external_id = 'ada'";
    let rehashes = "SELECT count(*) FROM audit WHERE action = 'UserService/VerifyPassword#rehash'";
    let first = raw.bytes(payload).await;
    assert!(verifies(&clients, "ada", USER_PASSWORD).await);

    // More memory than it was made with, then less.
    let mut stopped = rekey.pause().await;
    let mut old = first;
    for (round, (memory, iterations)) in (1..).zip([(9_216, 4), (7_168, 5)]) {
        stopped.options.hasher.memory_kib = memory;
        stopped.options.hasher.iterations = iterations;
        let rekey = stopped.start().await;
        let clients = rekey.admin();
        assert!(!verifies(&clients, "ada", "not the password at all").await);
        assert!(verifies(&clients, "ada", USER_PASSWORD).await);
        eventually("the verifier is renewed", async || raw.number(rehashes).await == round).await;
        let new = raw.bytes(payload).await;
        assert_ne!(new, old);
        assert!(verifies(&clients, "ada", USER_PASSWORD).await);
        assert_eq!(user(&clients, "ada").await, before, "for its user nothing has changed");
        stopped = rekey.pause().await;
        assert_eq!(raw.number(rehashes).await, round, "once");
        assert_eq!(raw.bytes(payload).await, new);
        old = new;
    }
}
