//! What a tenant sets otherwise than the service.

use rekey::proto::{
    CreateDeviceRequest, CreateTenantRequest, GetTenantRequest, Tenant, TenantLimits, VerifyAuthenticationRequest,
    create_device_request, verify_authentication_request,
};
use tonic::{Code, Status};

use crate::{
    common::rekey::{Clients, Rekey, fields, reason},
    site::{RIGHT, WRONG},
};

/// A tenant of this name with the device `d1`.
async fn make(rekey: &Rekey, tenant_id: &str, limits: Option<TenantLimits>) {
    let device_policy = Some(rekey::proto::SecretPolicy { max_length: Some(64), ..Default::default() });
    let tenant = Tenant { tenant_id: tenant_id.to_owned(), device_policy, limits, ..Tenant::default() };
    rekey.make_tenant(tenant).await;
    let device = CreateDeviceRequest {
        tenant_id: tenant_id.to_owned(),
        device_id: "d1".to_owned(),
        user_name: "d1".to_owned(),
        secret_source: Some(create_device_request::SecretSource::Password(RIGHT.to_owned())),
        ..Default::default()
    };
    rekey.admin().devices.create_device(device).await.unwrap();
}

async fn verify(clients: &Clients, tenant_id: &str, password: &str, source: &str) -> Result<bool, Status> {
    let verify = VerifyAuthenticationRequest {
        tenant_id: tenant_id.to_owned(),
        subject: Some(verify_authentication_request::Subject::DeviceId("d1".to_owned())),
        password: password.to_owned(),
        source: source.to_owned(),
    };
    clients.devices.clone().verify_authentication(verify).await.map(|answer| answer.into_inner().verified)
}

fn delay(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_soft_lock_holds_in_every_replica_and_for_nobody_else() {
    let engines = [Some(Rekey::start().await), Rekey::start_on_postgres().await];
    for rekey in engines.into_iter().flatten() {
        let limits = TenantLimits { free_failures: Some(2), longest_delay: Some(delay(2)), ..TenantLimits::default() };
        make(&rekey, "strict", Some(limits)).await;
        make(&rekey, "usual", None).await;
        let replica = rekey.replica().await;
        let (one, other) = (rekey.admin(), replica.clients(&rekey.admin_token));
        for tenant in ["strict", "usual"] {
            assert!(!verify(&one, tenant, WRONG, "s").await.unwrap());
            assert!(!verify(&other, tenant, WRONG, "s").await.unwrap());
        }
        for clients in [&one, &other] {
            assert!(!verify(clients, "strict", RIGHT, "s").await.unwrap(), "two were free");
        }
        assert!(verify(&other, "usual", RIGHT, "s").await.unwrap(), "of five");
        for _ in 0..4 {
            rekey.clock.advance(std::time::Duration::from_secs(2));
            assert!(!verify(&one, "strict", WRONG, "s").await.unwrap());
        }
        assert!(!verify(&one, "strict", RIGHT, "s").await.unwrap());
        rekey.clock.advance(std::time::Duration::from_secs(2));
        assert!(verify(&one, "strict", RIGHT, "s").await.unwrap(), "never longer than two seconds");
        replica.stop().await;
    }
}

#[tokio::test]
async fn a_tenants_rates_are_its_own() {
    let rekey = Rekey::start().await;
    let limits = TenantLimits {
        caller_per_second: Some(1),
        caller_burst: Some(5),
        target_per_second: Some(1),
        target_burst: Some(3),
        tenant_per_second: Some(1),
        tenant_burst: Some(10),
        ..TenantLimits::default()
    };
    make(&rekey, "acme", Some(limits)).await;
    make(&rekey, "other", None).await;
    let admin = rekey.admin();
    for _ in 0..3 {
        assert!(verify(&admin, "acme", RIGHT, "").await.unwrap());
    }
    let refused = verify(&admin, "acme", RIGHT, "").await.unwrap_err();
    assert_eq!(reason(&refused), "RATE_LIMITED");
    assert!(refused.message().contains("about this subject"), "{refused:?}");
    for _ in 0..20 {
        assert!(verify(&admin, "other", RIGHT, "").await.unwrap());
    }

    let token = rekey.make_caller("acme", &["tenants:get"]).await;
    let own = rekey.clients(&token);
    let get = |clients: &Clients, tenant_id: &str| {
        let (mut tenants, tenant_id) = (clients.tenants.clone(), tenant_id.to_owned());
        async move { tenants.get_tenant(GetTenantRequest { tenant_id }).await.map(drop) }
    };
    // Made with a device, asked for four times, given a caller and a token: three are left of the tenant's ten.
    for _ in 0..3 {
        get(&own, "-").await.unwrap();
    }
    let refused = get(&own, "-").await.unwrap_err();
    assert!(refused.message().contains("about this tenant"), "{refused:?}");
    let _ = get(&own, "-").await;
    let refused = get(&own, "-").await.unwrap_err();
    assert!(refused.message().contains("of this caller"), "{refused:?}");
    for _ in 0..20 {
        get(&admin, "other").await.unwrap();
    }
}

#[tokio::test]
async fn limits_are_shown_as_they_were_set_and_checked_for_their_bounds() {
    let rekey = Rekey::start().await;
    let limits = TenantLimits {
        free_failures: Some(100),
        stranger_failures: Some(1_000),
        hard_stop_failures: Some(1),
        longest_delay: Some(delay(3_600)),
        caller_per_second: Some(0),
        caller_burst: Some(1),
        tenant_per_second: Some(u32::MAX),
        tenant_burst: Some(u32::MAX),
        target_per_second: Some(7),
        target_burst: Some(8),
    };
    let made = rekey.make_tenant(Tenant { limits: Some(limits), ..Tenant::default() }).await;
    assert_eq!(made.limits, Some(limits));
    let get = GetTenantRequest { tenant_id: made.tenant_id.clone() };
    assert_eq!(rekey.admin().tenants.get_tenant(get).await.unwrap().into_inner().tenant, Some(made));
    let none = rekey.make_tenant(Tenant { limits: Some(TenantLimits::default()), ..Tenant::default() }).await;
    assert_eq!(none.limits, None);

    let wrong = TenantLimits {
        free_failures: Some(0),
        stranger_failures: Some(1_001),
        hard_stop_failures: Some(101),
        // What once made a lock wrap around and open: 21,900 days.
        longest_delay: Some(delay(21_900 * 24 * 3_600)),
        caller_burst: Some(0),
        tenant_burst: Some(0),
        target_burst: Some(0),
        ..TenantLimits::default()
    };
    let told = [
        "free_failures",
        "stranger_failures",
        "hard_stop_failures",
        "caller_burst",
        "tenant_burst",
        "target_burst",
        "longest_delay",
    ];
    refused(&rekey, wrong, &told).await;
    for longest_delay in [
        delay(0),
        delay(-1),
        delay(3_601),
        delay(i64::MAX),
        delay(i64::MIN),
        prost_types::Duration { seconds: 1, nanos: 1 },
    ] {
        let limits = TenantLimits { longest_delay: Some(longest_delay), ..TenantLimits::default() };
        refused(&rekey, limits, &["longest_delay"]).await;
    }
    let fewer = TenantLimits { free_failures: Some(9), stranger_failures: Some(8), ..TenantLimits::default() };
    refused(&rekey, fewer, &["stranger_failures"]).await;
}

async fn refused(rekey: &Rekey, limits: TenantLimits, told: &[&str]) {
    let request = CreateTenantRequest {
        tenant: Some(Tenant { limits: Some(limits), ..Tenant::default() }),
        ..CreateTenantRequest::default()
    };
    let refused = rekey.admin().tenants.create_tenant(request).await.unwrap_err();
    let expected: Vec<_> = told.iter().map(|field| format!("tenant.limits.{field}")).collect();
    assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, expected));
}
