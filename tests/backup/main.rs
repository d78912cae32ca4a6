//! Backups, on both engines: what is in them, under load; what of an altered one is refused; and what of an older one.

#![expect(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise, and says what it measured"
)]

mod anchor;
#[path = "../common/mod.rs"]
mod common;
mod file;
mod load;
mod planted;
mod rows;

use std::path::{Path, PathBuf};

use rekey::{
    backup::{self, BackupError, Restored, Summary},
    crypto::{Keyring, SystemEntropy},
    domain::Timestamp,
    proto::{
        CreateDeviceRequest, CreateUserRequest, GenerateSecret, ResetAuthenticationRequest, Tenant,
        VerifyAuthenticationRequest, VerifyPasswordRequest, create_device_request, create_user_request,
        reset_authentication_request, verify_authentication_request, verify_password_request,
    },
    store::{Store, StoreOptions},
};
use tempfile::TempDir;

use crate::common::{
    postgres,
    rekey::{Clients, Rekey, START},
};

pub(crate) const NOW: Timestamp = Timestamp::from_micros(START * 1_000_000);

/// A service on each engine there is.
pub(crate) async fn on_each_engine() -> Vec<Rekey> {
    let mut all = vec![Rekey::start().await];
    all.extend(Rekey::start_on_postgres().await);
    all
}

/// An empty database on each engine there is.
pub(crate) fn empty(directory: &TempDir) -> Vec<StoreOptions> {
    let sqlite = StoreOptions::sqlite(&directory.path().join("restored.db"), 4);
    let postgres = postgres::url().map(|url| StoreOptions { url, max_connections: 4 });
    std::iter::once(sqlite).chain(postgres).collect()
}

pub(crate) fn keyring(path: &Path) -> Keyring {
    Keyring::load(path).unwrap()
}

/// A backup of a database, while whoever serves it goes on.
pub(crate) async fn back_up(options: &StoreOptions, keyring_file: &Path) -> (Vec<u8>, Summary) {
    let store = Store::connect(options).await.unwrap();
    let mut file = Vec::new();
    let keyring = keyring(keyring_file);
    let summary = backup::write(&store, &keyring, NOW, &SystemEntropy, &mut file, |_| {}).await.unwrap();
    store.close().await;
    assert_eq!(summary.bytes, file.len() as u64);
    (file, summary)
}

/// Fills an empty database, where nothing was seen before.
pub(crate) async fn restore(file: &[u8], keyring_file: &Path, into: &StoreOptions) -> Result<Restored, BackupError> {
    backup::restore(file, &keyring(keyring_file), into, None, None, NOW, |_| {}).await
}

/// The tenant `plant` with a user and a device, and what each of them is let in with.
pub(crate) async fn populate(rekey: &Rekey) -> (String, String) {
    rekey.make_tenant(Tenant { tenant_id: "plant".to_owned(), ..Tenant::default() }).await;
    let mut admin = rekey.admin();
    let user = CreateUserRequest {
        tenant_id: "plant".to_owned(),
        user_id: "ada".to_owned(),
        username: "ada@example.com".to_owned(),
        secret_source: Some(create_user_request::SecretSource::Generate(GenerateSecret::default())),
        ..CreateUserRequest::default()
    };
    let password = admin.users.create_user(user).await.unwrap().into_inner().generated_password;
    let device = CreateDeviceRequest {
        tenant_id: "plant".to_owned(),
        device_id: "4711".to_owned(),
        user_name: "cam".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Generate(GenerateSecret::default())),
        ..CreateDeviceRequest::default()
    };
    admin.devices.create_device(device).await.unwrap();
    let secret = reset_device(&admin, "4711").await.unwrap();
    (password, secret)
}

/// Another secret for a device.
pub(crate) async fn reset_device(clients: &Clients, id: &str) -> Option<String> {
    let request = ResetAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        device_id: id.to_owned(),
        secret_source: Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default())),
        ..ResetAuthenticationRequest::default()
    };
    let answer = clients.clone().devices.reset_authentication(request).await.ok()?.into_inner();
    answer.authentication.map(|authentication| authentication.password)
}

pub(crate) async fn device_verifies(clients: &Clients, id: &str, secret: &str) -> bool {
    let request = VerifyAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId(id.to_owned())),
        password: secret.to_owned(),
        source: String::new(),
    };
    clients.clone().devices.verify_authentication(request).await.unwrap().into_inner().verified
}

pub(crate) async fn user_verifies(clients: &Clients, id: &str, password: &str) -> bool {
    let request = VerifyPasswordRequest {
        tenant_id: "plant".to_owned(),
        subject: Some(verify_password_request::Subject::UserId(id.to_owned())),
        password: password.to_owned(),
        ..VerifyPasswordRequest::default()
    };
    clients.clone().users.verify_password(request).await.unwrap().into_inner().verified
}

/// A file in a directory of its own, as another machine would have it: the keyring, and nothing else.
pub(crate) fn elsewhere(keyring_file: &Path) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let copy = directory.path().join("keyring.json");
    std::fs::copy(keyring_file, &copy).unwrap();
    (directory, copy)
}
