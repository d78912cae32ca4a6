//! `IntegrationService`.

use std::collections::BTreeMap;

use rekey::proto::{
    CreateIntegrationRequest, GetIntegrationRequest, IntegrationCredentials, ResetIntegrationRequest,
    RevealIntegrationRequest, Tenant, UpdateIntegrationRequest,
};
use tonic::Code;

use crate::common::rekey::{Clients, Rekey, fields, reason};

const ID: &str = "harmony-mobile";

async fn with_integration() -> (Rekey, Clients, IntegrationCredentials) {
    let rekey = Rekey::start().await;
    rekey.make_tenant(Tenant { tenant_id: "acme".to_owned(), ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    let request = CreateIntegrationRequest {
        tenant_id: "acme".to_owned(),
        integration_id: ID.to_owned(),
        settings: settings(&[("token", "t-1"), ("gwAddress", "gw.example")]),
        ..CreateIntegrationRequest::default()
    };
    let made = clients.integrations.create_integration(request).await.unwrap().into_inner();
    assert!(made.integration.unwrap().configured);
    (rekey, clients, made.credentials.unwrap())
}

fn settings(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn update(pairs: &[(&str, &str)]) -> UpdateIntegrationRequest {
    UpdateIntegrationRequest {
        tenant_id: "acme".to_owned(),
        integration_id: ID.to_owned(),
        settings: settings(pairs),
        ..UpdateIntegrationRequest::default()
    }
}

async fn reveal(clients: &Clients) -> IntegrationCredentials {
    let request = RevealIntegrationRequest {
        tenant_id: "acme".to_owned(),
        integration_id: ID.to_owned(),
        ..RevealIntegrationRequest::default()
    };
    clients.clone().integrations.reveal_integration(request).await.unwrap().into_inner().credentials.unwrap()
}

#[tokio::test]
async fn a_reset_makes_a_new_password_keeps_the_user_name_and_wipes_the_rest() {
    let (_rekey, mut clients, before) = with_integration().await;
    assert_eq!(reveal(&clients).await, before);
    let request = ResetIntegrationRequest {
        tenant_id: "acme".to_owned(),
        integration_id: ID.to_owned(),
        ..ResetIntegrationRequest::default()
    };
    let answer = clients.integrations.reset_integration(request).await.unwrap().into_inner();
    let after = answer.credentials.unwrap();
    assert_eq!(after.username, before.username);
    assert_ne!(after.password, before.password);
    assert!(after.settings.is_empty() && !answer.integration.unwrap().configured);
    assert_eq!(reveal(&clients).await, after);
}

#[tokio::test]
async fn an_update_replaces_every_setting_and_may_show_the_rest() {
    let (rekey, mut clients, before) = with_integration().await;
    clients.integrations.update_integration(update(&[("token", "t-2")])).await.unwrap();
    let after = reveal(&clients).await;
    assert_eq!(after.settings, settings(&[("token", "t-2")]));
    assert_eq!(after.password, before.password);

    let shown = UpdateIntegrationRequest { return_credentials: true, ..update(&[]) };
    let token = rekey.make_caller("acme", &["integrations:update"]).await;
    let refused = rekey.clients(&token).integrations.update_integration(shown.clone()).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::PermissionDenied, "PERMISSION_MISSING"));
    let answer = clients.integrations.update_integration(shown).await.unwrap().into_inner();
    assert_eq!(answer.credentials.unwrap().password, before.password);
    assert!(!answer.integration.unwrap().configured);
}

#[tokio::test]
async fn settings_have_bounds_and_every_breach_is_told() {
    let (_rekey, mut clients, before) = with_integration().await;
    let long = "x".repeat(1_025);
    let request = update(&[("token", &long), ("empty", ""), ("bad name", "x")]);
    let refused = clients.integrations.update_integration(request).await.unwrap_err();
    assert_eq!(fields(&refused), ["settings", "settings[empty]", "settings[token]"]);
    assert_eq!(reveal(&clients).await, before);
}

#[tokio::test]
async fn unknown_integrations_and_stale_etags_are_refused() {
    let (_rekey, mut clients, _) = with_integration().await;
    let get = GetIntegrationRequest { tenant_id: "acme".to_owned(), integration_id: "other".to_owned() };
    let unknown = clients.integrations.get_integration(get.clone()).await.unwrap_err();
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "INTEGRATION_NOT_FOUND"));
    let get = GetIntegrationRequest { integration_id: ID.to_owned(), ..get };
    let etag = clients.integrations.get_integration(get).await.unwrap().into_inner().integration.unwrap().etag;
    let with_etag = |value: &str| UpdateIntegrationRequest { etag: etag.clone(), ..update(&[("token", value)]) };
    clients.integrations.update_integration(with_etag("t-3")).await.unwrap();
    let stale = clients.integrations.update_integration(with_etag("t-4")).await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    assert_eq!(reveal(&clients).await.settings, settings(&[("token", "t-3")]));
}
