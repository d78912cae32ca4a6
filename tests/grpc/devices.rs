//! `DeviceService`.

use rekey::proto::{
    CreateDeviceRequest, DeviceAuthentication, GenerateSecret, GetDeviceRequest, ResetAuthenticationRequest,
    RevealAuthenticationRequest, Tenant, VerifyAuthenticationRequest, create_device_request,
    reset_authentication_request::SecretSource, verify_authentication_request::Subject,
};
use tonic::Code;

use crate::common::rekey::{Clients, Rekey, fields, reason};

const FIRST: &str = "Abcdefgh1234567!";
const SECOND: &str = "Zyxwvuts7654321?";

async fn with_device() -> (Rekey, Clients) {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "plant".to_owned(), ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    let request = CreateDeviceRequest {
        tenant_id: "plant".to_owned(),
        device_id: "4711".to_owned(),
        user_name: "device01".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Password(FIRST.to_owned())),
        ..Default::default()
    };
    clients.devices.create_device(request).await.unwrap();
    (rekey, clients)
}

fn reset() -> ResetAuthenticationRequest {
    ResetAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        device_id: "4711".to_owned(),
        ..ResetAuthenticationRequest::default()
    }
}

async fn reveal(clients: &Clients) -> DeviceAuthentication {
    let request = RevealAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        device_id: "4711".to_owned(),
        purpose: "a test".to_owned(),
        version: 0,
    };
    clients.clone().devices.reveal_authentication(request).await.unwrap().into_inner().authentication.unwrap()
}

async fn verifies(clients: &Clients, subject: Subject, password: &str) -> bool {
    let request = VerifyAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        subject: Some(subject),
        password: password.to_owned(),
        source: String::new(),
    };
    clients.clone().devices.verify_authentication(request).await.unwrap().into_inner().verified
}

#[tokio::test]
async fn user_name_and_password_are_set_together_or_each_alone() {
    let (_rekey, mut clients) = with_device().await;
    let given = |password: &str| Some(SecretSource::Password(password.to_owned()));
    let both =
        ResetAuthenticationRequest { user_name: Some("device02".to_owned()), secret_source: given(SECOND), ..reset() };
    let answer = clients.devices.reset_authentication(both).await.unwrap().into_inner();
    let authentication = answer.authentication.unwrap();
    assert_eq!((authentication.user_name.as_str(), authentication.password.as_str()), ("device02", SECOND));
    assert_eq!(reveal(&clients).await, authentication);

    let name_only = ResetAuthenticationRequest { user_name: Some("device03".to_owned()), ..reset() };
    let answer = clients.devices.reset_authentication(name_only.clone()).await.unwrap().into_inner();
    assert_eq!(answer.authentication.unwrap().password, "", "a kept password is shown only where it is asked for");
    let shown = ResetAuthenticationRequest { return_current_password: true, ..name_only };
    let answer = clients.devices.reset_authentication(shown).await.unwrap().into_inner();
    assert_eq!(answer.authentication.unwrap().password, SECOND);

    let made = ResetAuthenticationRequest {
        secret_source: Some(SecretSource::Generate(GenerateSecret::default())),
        ..reset()
    };
    let made = clients.devices.reset_authentication(made).await.unwrap().into_inner().authentication.unwrap();
    assert_eq!((made.user_name.as_str(), made.password.len()), ("device03", 24));
    assert!(verifies(&clients, Subject::UserName("device03".to_owned()), &made.password).await);
    assert!(verifies(&clients, Subject::DeviceId("4711".to_owned()), &made.password).await);
    assert!(!verifies(&clients, Subject::DeviceId("4711".to_owned()), SECOND).await);
    assert!(!verifies(&clients, Subject::DeviceId("4712".to_owned()), &made.password).await);
}

#[tokio::test]
async fn a_reset_of_nothing_is_refused() {
    let (_rekey, mut clients) = with_device().await;
    let refused = clients.devices.reset_authentication(reset()).await.unwrap_err();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["password".to_owned()]));
    assert_eq!(reveal(&clients).await.password, FIRST);
}

#[tokio::test]
async fn to_see_a_kept_password_takes_the_permission_to_reveal() {
    let (rekey, _) = with_device().await;
    let token = rekey.make_caller("plant", &["devices:resetAuthentication"]).await;
    let mut clients = rekey.clients(&token);
    let request =
        ResetAuthenticationRequest { user_name: Some("device02".to_owned()), return_current_password: true, ..reset() };
    let refused = clients.devices.reset_authentication(request).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    assert_eq!(reveal(&rekey.admin()).await.user_name, "device01", "nothing was half done");
}

#[tokio::test]
async fn a_device_is_read_without_its_password_and_is_unknown_elsewhere() {
    let (rekey, mut clients) = with_device().await;
    let get = |tenant_id: &str, device_id: &str| GetDeviceRequest {
        tenant_id: tenant_id.to_owned(),
        device_id: device_id.to_owned(),
    };
    let device = clients.devices.get_device(get("plant", "4711")).await.unwrap().into_inner().device.unwrap();
    assert_eq!(device.user_name, "device01");
    rekey.make_tenant(Tenant { tenant_id: "other".to_owned(), ..Tenant::default() }).await;
    for (tenant, device) in [("plant", "4712"), ("other", "4711")] {
        let unknown = clients.devices.get_device(get(tenant, device)).await.unwrap_err();
        assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "DEVICE_NOT_FOUND"));
    }
}

#[tokio::test]
async fn a_taken_user_name_changes_nothing() {
    let (_rekey, mut clients) = with_device().await;
    let request = CreateDeviceRequest {
        tenant_id: "plant".to_owned(),
        user_name: "device02".to_owned(),
        ..CreateDeviceRequest::default()
    };
    let made = clients.devices.create_device(request).await.unwrap().into_inner();
    assert_eq!(made.authentication.unwrap().password.len(), 24, "generated where nothing is said");
    let request = ResetAuthenticationRequest {
        user_name: Some("device02".to_owned()),
        secret_source: Some(SecretSource::Password(SECOND.to_owned())),
        ..reset()
    };
    let refused = clients.devices.reset_authentication(request).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, "user_name is taken"));
    let after = reveal(&clients).await;
    assert_eq!((after.user_name.as_str(), after.password.as_str()), ("device01", FIRST));
}
