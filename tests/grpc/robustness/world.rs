//! A tenant with one of each, and what is asked about them.

use std::{collections::BTreeMap, time::Duration};

use rekey::proto::{
    CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest, CreateIntegrationRequest, CreateUserRequest,
    DeviceAuthentication, GenerateSecret, GetUserRequest, IntegrationCredentials, ResetAuthenticationRequest,
    ResetIntegrationRequest, ResetPasswordRequest, RevealAuthenticationRequest, RevealIntegrationRequest, Tenant,
    UpdateIntegrationRequest, User, VerifyPasswordRequest, create_device_request, create_integration_request,
    create_user_request, reset_authentication_request, reset_password_request, verify_password_request,
};
use tonic::{Request, Status};

use crate::common::rekey::{Clients, Rekey};

pub(super) const TENANT: &str = "acme";
pub(super) const USER_PASSWORD: &str = "the first long enough phrase";
pub(super) const DEVICE_PASSWORD: &str = "Abcdefgh1234567!";
pub(super) const INTEGRATION_PASSWORD: &str = "Integr8tion-Passw0rd!";

/// Makes the tenant, its user `ada`, its device `d1`, its integration `i1` and its caller `ops`.
pub(super) async fn populate(rekey: &Rekey) -> Clients {
    let tenant_id = TENANT.to_owned();
    rekey.make_tenant(Tenant { tenant_id, change_password_allowed: true, ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    clients.users.create_user(create_user("ada", Some(USER_PASSWORD))).await.unwrap();
    clients.devices.create_device(create_device("d1")).await.unwrap();
    clients.integrations.create_integration(create_integration("i1")).await.unwrap();
    clients.callers.create_caller(create_caller("ops")).await.unwrap();
    clients
}

pub(super) fn create_user(id: &str, password: Option<&str>) -> CreateUserRequest {
    CreateUserRequest {
        tenant_id: TENANT.to_owned(),
        user_id: id.to_owned(),
        username: format!("{id}@acme.example"),
        secret_source: password.map(|password| create_user_request::SecretSource::Password(password.to_owned())),
        ..CreateUserRequest::default()
    }
}

pub(super) fn create_device(id: &str) -> CreateDeviceRequest {
    CreateDeviceRequest {
        tenant_id: TENANT.to_owned(),
        device_id: id.to_owned(),
        user_name: format!("name-{id}"),
        secret_source: Some(create_device_request::SecretSource::Password(DEVICE_PASSWORD.to_owned())),
        ..Default::default()
    }
}

pub(super) fn create_integration(id: &str) -> CreateIntegrationRequest {
    CreateIntegrationRequest {
        tenant_id: TENANT.to_owned(),
        integration_id: id.to_owned(),
        username: format!("name-{id}"),
        secret_source: Some(create_integration_request::SecretSource::Password(INTEGRATION_PASSWORD.to_owned())),
        settings: settings("first setting"),
        ..Default::default()
    }
}

pub(super) fn create_caller(id: &str) -> CreateCallerRequest {
    CreateCallerRequest {
        tenant_id: TENANT.to_owned(),
        caller_id: id.to_owned(),
        permissions: vec!["users:get".to_owned()],
        ..CreateCallerRequest::default()
    }
}

pub(super) fn create_token(caller_id: &str) -> CreateApiTokenRequest {
    let (tenant_id, caller_id) = (TENANT.to_owned(), caller_id.to_owned());
    CreateApiTokenRequest { tenant_id, caller_id, ..CreateApiTokenRequest::default() }
}

pub(super) fn settings(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("endpoint".to_owned(), value.to_owned())])
}

pub(super) fn reset_password(user_id: &str, password: &str) -> ResetPasswordRequest {
    ResetPasswordRequest {
        tenant_id: TENANT.to_owned(),
        user_id: user_id.to_owned(),
        secret_source: Some(reset_password_request::SecretSource::NewPassword(password.to_owned())),
        ..ResetPasswordRequest::default()
    }
}

pub(super) fn reset_device(device_id: &str) -> ResetAuthenticationRequest {
    ResetAuthenticationRequest {
        tenant_id: TENANT.to_owned(),
        device_id: device_id.to_owned(),
        secret_source: Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default())),
        ..ResetAuthenticationRequest::default()
    }
}

pub(super) fn reset_integration() -> ResetIntegrationRequest {
    let (tenant_id, integration_id) = (TENANT.to_owned(), "i1".to_owned());
    ResetIntegrationRequest { tenant_id, integration_id, ..ResetIntegrationRequest::default() }
}

pub(super) fn update_integration(value: &str) -> UpdateIntegrationRequest {
    UpdateIntegrationRequest {
        tenant_id: TENANT.to_owned(),
        integration_id: "i1".to_owned(),
        settings: settings(value),
        ..UpdateIntegrationRequest::default()
    }
}

pub(super) fn verify_password(username: &str, password: &str) -> VerifyPasswordRequest {
    VerifyPasswordRequest {
        source: String::new(),
        tenant_id: TENANT.to_owned(),
        subject: Some(verify_password_request::Subject::Username(username.to_owned())),
        password: password.to_owned(),
    }
}

pub(super) fn get_user(user_id: &str) -> GetUserRequest {
    GetUserRequest { tenant_id: TENANT.to_owned(), user_id: user_id.to_owned() }
}

pub(super) fn reveal_device(device_id: &str) -> RevealAuthenticationRequest {
    let (tenant_id, device_id) = (TENANT.to_owned(), device_id.to_owned());
    RevealAuthenticationRequest { tenant_id, device_id, purpose: "a test".to_owned(), version: 0 }
}

pub(super) fn reveal_integration() -> RevealIntegrationRequest {
    let (tenant_id, integration_id) = (TENANT.to_owned(), "i1".to_owned());
    RevealIntegrationRequest { tenant_id, integration_id, purpose: "a test".to_owned(), version: 0 }
}

pub(super) async fn user(clients: &Clients, user_id: &str) -> User {
    clients.clone().users.get_user(get_user(user_id)).await.unwrap().into_inner().user.unwrap()
}

pub(super) async fn verifies(clients: &Clients, user_id: &str, password: &str) -> bool {
    let request = verify_password(&format!("{user_id}@acme.example"), password);
    clients.clone().users.verify_password(request).await.unwrap().into_inner().verified
}

pub(super) async fn revealed(clients: &Clients, device_id: &str) -> DeviceAuthentication {
    let answer = clients.clone().devices.reveal_authentication(reveal_device(device_id)).await;
    answer.unwrap().into_inner().authentication.unwrap()
}

pub(super) async fn credentials(clients: &Clients) -> IntegrationCredentials {
    let answer = clients.clone().integrations.reveal_integration(reveal_integration()).await;
    answer.unwrap().into_inner().credentials.unwrap()
}

/// A request under an id, by which its record is found.
pub(super) fn named<T>(request_id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", request_id.parse().unwrap());
    request
}

/// When to try again, as an error says.
pub(super) fn retry_delay(status: &Status) -> Option<Duration> {
    use tonic_types::StatusExt as _;
    status.get_details_retry_info()?.retry_delay
}

/// Tries until it is so, a bounded number of times.
pub(crate) async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..2_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what}: not within the tries");
}
