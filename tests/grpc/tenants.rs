//! `TenantService`.

use rekey::proto::{
    CharacterClass, CreateTenantRequest, GetTenantRequest, JwtIssuer, ListTenantsRequest, PolicyPreset, ScopeGrant,
    SecretPolicy, Tenant, TenantAlias,
};
use tonic::Code;

use crate::common::rekey::{Rekey, fields, reason};

fn alias(dialect: &str, alias: &str) -> TenantAlias {
    TenantAlias { dialect: dialect.to_owned(), alias: alias.to_owned() }
}

fn get(tenant_id: &str) -> GetTenantRequest {
    GetTenantRequest { tenant_id: tenant_id.to_owned() }
}

#[tokio::test]
async fn a_tenant_is_known_by_id_by_alias_and_to_its_own_callers_as_a_dash() {
    let rekey = Rekey::start().await;
    let aliases = vec![alias("applivery", "acme"), alias("roma", "proj01/inst01")];
    let tenant = Tenant { tenant_id: "t1".to_owned(), display_name: "Acme".to_owned(), aliases, ..Tenant::default() };
    let made = rekey.make_tenant(tenant).await;
    let mut admin = rekey.admin().tenants;
    for name in ["t1", "applivery:acme", "roma:proj01/inst01"] {
        assert_eq!(admin.get_tenant(get(name)).await.unwrap().into_inner().tenant.unwrap(), made, "{name}");
    }
    let token = rekey.make_caller("t1", &["tenants:get"]).await;
    let mut own = rekey.clients(&token).tenants;
    assert_eq!(own.get_tenant(get("-")).await.unwrap().into_inner().tenant.unwrap(), made);
    for unknown in ["t2", "applivery:t1", "roma:acme"] {
        let status = admin.get_tenant(get(unknown)).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "TENANT_NOT_FOUND"), "{unknown}");
    }
    let status = admin.get_tenant(get("vendor:acme")).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec!["tenant_id".to_owned()]));
}

#[tokio::test]
async fn answers_hold_the_policies_that_are_in_force() {
    let rekey = Rekey::start().await;
    let user_policy = SecretPolicy {
        min_length: Some(20),
        required_classes: vec![CharacterClass::Digit.into()],
        ..SecretPolicy::default()
    };
    let made = rekey.make_tenant(Tenant { user_policy: Some(user_policy), ..Tenant::default() }).await;
    let user = made.user_policy.unwrap();
    assert_eq!((user.preset(), user.min_length, user.max_length), (PolicyPreset::Nist, Some(20), Some(128)));
    assert_eq!(
        (user.blocklist, user.required_classes().collect::<Vec<_>>()),
        (Some(true), vec![CharacterClass::Digit])
    );
    let device = made.device_policy.unwrap();
    assert_eq!((device.preset(), device.min_length, device.max_length), (PolicyPreset::Roma, Some(16), Some(32)));
    let integration = made.integration_policy.unwrap();
    assert_eq!((integration.preset(), integration.min_length), (PolicyPreset::Applivery, Some(8)));
}

#[tokio::test]
async fn everything_wrong_with_a_tenant_is_told_at_once() {
    let rekey = Rekey::start().await;
    let tenant = Tenant {
        tenant_id: "no/slashes".to_owned(),
        aliases: vec![alias("vendor", "x"), alias("roma", "a b"), alias("roma", "x"), alias("roma", "x")],
        user_policy: Some(SecretPolicy { min_length: Some(4), ..SecretPolicy::default() }),
        jwt_issuers: vec![JwtIssuer {
            public_key_pem: "no key".to_owned(),
            scope_grants: vec![ScopeGrant {
                scope: "s".to_owned(),
                permission: "users:fly".to_owned(),
                ..Default::default()
            }],
            ..JwtIssuer::default()
        }],
        ..Tenant::default()
    };
    let refused = rekey
        .admin()
        .tenants
        .create_tenant(CreateTenantRequest { tenant: Some(tenant), ..Default::default() })
        .await
        .unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
    let expected = [
        "tenant.tenant_id",
        "tenant.aliases[0].dialect",
        "tenant.aliases[1].alias",
        "tenant.aliases[3].alias",
        "tenant.user_policy.min_length",
        "tenant.jwt_issuers[0].issuer",
        "tenant.jwt_issuers[0].public_key_pem",
        "tenant.jwt_issuers[0].scope_grants[0].permission",
    ];
    assert_eq!(fields(&refused), expected);
}

#[tokio::test]
async fn an_id_and_an_alias_are_taken_once() {
    let rekey = Rekey::start().await;
    let tenant = |id: &str, name: &str| {
        let tenant = Tenant { tenant_id: id.to_owned(), aliases: vec![alias("applivery", name)], ..Tenant::default() };
        CreateTenantRequest { tenant: Some(tenant), ..Default::default() }
    };
    let mut tenants = rekey.admin().tenants;
    tenants.create_tenant(tenant("one", "acme")).await.unwrap();
    for (request, message) in
        [(tenant("one", "other"), "tenant.tenant_id is taken"), (tenant("two", "acme"), "tenant.aliases is taken")]
    {
        let refused = tenants.create_tenant(request).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::AlreadyExists, message));
    }
    let unknown = tenants.get_tenant(get("two")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound, "a tenant whose alias is taken is not half made");
}

#[tokio::test]
async fn a_list_is_read_page_by_page_with_tokens_that_carry_no_right() {
    let rekey = Rekey::start().await;
    for id in ["b", "a", "d", "c"] {
        rekey.make_tenant(Tenant { tenant_id: id.to_owned(), ..Tenant::default() }).await;
    }
    let mut admin = rekey.admin().tenants;
    let (mut ids, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListTenantsRequest { page_size: 2, page_token: page_token.clone(), ..Default::default() };
        let page = admin.list_tenants(request).await.unwrap().into_inner();
        assert!(page.tenants.len() <= 2);
        ids.extend(page.tenants.into_iter().map(|tenant| tenant.tenant_id));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(ids, ["a", "b", "c", "d", "system"]);

    let other = rekey.make_caller("system", &["tenants:list"]).await;
    let altered = format!("{}{page_token}", &page_token[..1]);
    let mut other = rekey.clients(&other).tenants;
    let foreign = other
        .list_tenants(ListTenantsRequest { page_size: 2, page_token: page_token.clone(), ..Default::default() })
        .await;
    let altered =
        admin.list_tenants(ListTenantsRequest { page_size: 2, page_token: altered, ..Default::default() }).await;
    for refused in [foreign.unwrap_err(), altered.unwrap_err()] {
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec!["page_token".to_owned()]));
    }
    let negative = admin.list_tenants(ListTenantsRequest { page_size: -1, ..Default::default() }).await.unwrap_err();
    assert_eq!(fields(&negative), ["page_size"]);

    let own = rekey.make_caller("c", &["tenants:list"]).await;
    let page = rekey.clients(&own).tenants.list_tenants(ListTenantsRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.tenants.into_iter().map(|tenant| tenant.tenant_id).collect::<Vec<_>>(), ["c"]);
}
