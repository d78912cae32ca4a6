//! Passwords of devices and integrations on their way through the stages, and the ends of them.

use std::time::Duration;

use rekey::proto::{
    AtLimit, CreateDeviceRequest, CreateIntegrationRequest, Device, GetDeviceRequest, GetIntegrationRequest,
    Integration, ListDevicesRequest, PromoteIntegrationSecretRequest, PromoteSecretRequest, ResetAuthenticationRequest,
    ResetIntegrationRequest, RevealAuthenticationRequest, RevealIntegrationRequest, RevokeIntegrationSecretRequest,
    RevokeSecretRequest, RollBackIntegrationSecretRequest, RollBackSecretRequest, SecretPolicy, SecretStage,
    SecretVersion, SwapIntegrationSecretsRequest, SwapSecretsRequest, Tenant, VerifyAuthenticationRequest,
    VerifyIntegrationRequest, create_device_request, reset_authentication_request::SecretSource,
    verify_authentication_request, verify_integration_request,
};
use tonic::{Code, Status};

use crate::{
    common::rekey::{Clients, Rekey, START, fields, reason},
    robustness::{database::Raw, world::eventually},
};

const HOUR: Duration = Duration::from_hours(1);
const FIRST: &str = "Abcdefgh1234567!";
const SECOND: &str = "Zyxwvuts7654321?";
const THIRD: &str = "Mnopqrst1357924+";

macro_rules! on_both_engines {
    ($($case:ident,)*) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case(crate::common::rekey::Rekey::start().await).await;
            })*
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                if let Some(rekey) = crate::common::rekey::Rekey::start_on_postgres().await {
                    super::$case(rekey).await;
                }
            })*
        }
    };
}

on_both_engines! {
    both_verify_until_the_deadline_and_not_after,
    a_third_is_refused_or_drops_the_one_that_is_not_in_force,
    a_password_is_prepared_promoted_swapped_and_taken_back,
    the_last_is_revoked_only_where_that_is_said,
    an_integrations_password_rotates_as_a_devices_does,
    what_is_only_checked_changes_nothing_and_what_comes_again_is_done_once,
    of_many_rotations_with_one_etag_one_is_done,
    rotations_without_an_etag_never_leave_more_than_two,
    ends_are_told_of_once_and_swept_away_once,
}

fn text(text: &str) -> String {
    text.to_owned()
}

#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn span(duration: Duration) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds: i64::try_from(duration.as_secs()).unwrap(), nanos: 0 })
}

/// So long after the clock's beginning.
#[expect(clippy::unnecessary_wraps, reason = "as messages have it")]
fn at(duration: Duration) -> Option<prost_types::Timestamp> {
    let seconds = START + i64::try_from(duration.as_secs()).unwrap();
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

async fn with_device(rekey: &Rekey) -> Clients {
    rekey.make_tenant(Tenant { tenant_id: text("plant"), ..Tenant::default() }).await;
    let clients = rekey.admin();
    create(&clients, "4711", None).await;
    clients
}

async fn create(clients: &Clients, id: &str, expire_time: Option<prost_types::Timestamp>) -> Device {
    let request = CreateDeviceRequest {
        tenant_id: text("plant"),
        device_id: text(id),
        user_name: format!("device-{id}"),
        secret_source: Some(create_device_request::SecretSource::Password(text(FIRST))),
        expire_time,
        ..Default::default()
    };
    clients.clone().devices.create_device(request).await.unwrap().into_inner().device.unwrap()
}

fn reset(password: &str) -> ResetAuthenticationRequest {
    ResetAuthenticationRequest {
        tenant_id: text("plant"),
        device_id: text("4711"),
        secret_source: Some(SecretSource::Password(text(password))),
        ..Default::default()
    }
}

fn overlapping(password: &str, overlap: Duration) -> ResetAuthenticationRequest {
    ResetAuthenticationRequest { overlap: span(overlap), ..reset(password) }
}

async fn set(clients: &Clients, request: ResetAuthenticationRequest) -> Result<Device, Status> {
    let answer = clients.clone().devices.reset_authentication(request).await?;
    Ok(answer.into_inner().device.unwrap())
}

async fn get(clients: &Clients) -> Device {
    let request = GetDeviceRequest { tenant_id: text("plant"), device_id: text("4711") };
    clients.clone().devices.get_device(request).await.unwrap().into_inner().device.unwrap()
}

async fn promote(clients: &Clients, overlap: Duration) -> Result<Device, Status> {
    let request = PromoteSecretRequest {
        tenant_id: text("plant"),
        device_id: text("4711"),
        overlap: span(overlap),
        ..Default::default()
    };
    Ok(clients.clone().devices.promote_secret(request).await?.into_inner().device.unwrap())
}

async fn roll_back(clients: &Clients) -> Result<Device, Status> {
    let (tenant_id, device_id) = (text("plant"), text("4711"));
    let request = RollBackSecretRequest { tenant_id, device_id, ..Default::default() };
    Ok(clients.clone().devices.roll_back_secret(request).await?.into_inner().device.unwrap())
}

async fn swap(clients: &Clients) -> Result<Device, Status> {
    let (tenant_id, device_id) = (text("plant"), text("4711"));
    let request = SwapSecretsRequest { tenant_id, device_id, ..Default::default() };
    Ok(clients.clone().devices.swap_secrets(request).await?.into_inner().device.unwrap())
}

async fn revoke(clients: &Clients, version: i64, allow_last: bool) -> Result<Device, Status> {
    let (tenant_id, device_id) = (text("plant"), text("4711"));
    let request = RevokeSecretRequest { tenant_id, device_id, version, allow_last, ..Default::default() };
    Ok(clients.clone().devices.revoke_secret(request).await?.into_inner().device.unwrap())
}

/// Which version a password is; zero where it is none that is accepted.
async fn version(clients: &Clients, password: &str) -> i64 {
    let request = VerifyAuthenticationRequest {
        tenant_id: text("plant"),
        subject: Some(verify_authentication_request::Subject::DeviceId(text("4711"))),
        password: text(password),
        source: text("test"),
    };
    let answer = clients.clone().devices.verify_authentication(request).await.unwrap().into_inner();
    assert_eq!(answer.verified, answer.secret_version > 0);
    assert_eq!(answer.device_id, if answer.verified { "4711" } else { "" });
    answer.secret_version
}

fn stages(secrets: &[SecretVersion]) -> Vec<(i64, SecretStage)> {
    secrets.iter().map(|secret| (secret.version, secret.stage())).collect()
}

async fn both_verify_until_the_deadline_and_not_after(rekey: Rekey) {
    use SecretStage::{Current, Previous};
    let clients = with_device(&rekey).await;
    let before = get(&clients).await;
    assert_eq!(stages(&before.secrets), [(1, Current)]);
    let overlap = 24 * HOUR;
    let device = set(&clients, overlapping(SECOND, overlap)).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Current), (1, Previous)]);
    let (new, old) = (&device.secrets[0], &device.secrets[1]);
    assert_eq!((new.expire_time, old.create_time, new.use_count), (None, before.secrets[0].create_time, 0));
    let deadline = old.expire_time.unwrap();
    assert_eq!(deadline.seconds - old.stage_time.unwrap().seconds, 86_400);
    assert_eq!(get(&clients).await, device, "what was told is what is");
    let listed = ListDevicesRequest { tenant_id: text("plant"), ..Default::default() };
    let listed = clients.clone().devices.list_devices(listed).await.unwrap().into_inner().devices;
    assert_eq!(listed, [device]);

    rekey.clock.advance(overlap.saturating_sub(Duration::from_mins(1)));
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [1, 2]);
    rekey.clock.advance(Duration::from_mins(2));
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [0, 2]);
    assert_eq!(stages(&get(&clients).await.secrets), [(2, Current)], "though nobody has swept it away yet");
    let reveal = |version| RevealAuthenticationRequest {
        tenant_id: text("plant"),
        device_id: text("4711"),
        version,
        ..Default::default()
    };
    let mut devices = clients.clone().devices;
    let status = devices.reveal_authentication(reveal(1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status).as_str()), (Code::NotFound, "SECRET_VERSION_NOT_FOUND"));
    for version in [0, 2] {
        let shown = devices.reveal_authentication(reveal(version)).await.unwrap().into_inner().authentication;
        assert_eq!(shown.unwrap().password, SECOND);
    }

    // Without an overlap nothing of what was is left.
    set(&clients, overlapping(THIRD, HOUR)).await.unwrap();
    let device = set(&clients, reset(FIRST)).await.unwrap();
    assert_eq!(stages(&device.secrets), [(4, Current)]);
    for (password, expected) in [(FIRST, 4), (SECOND, 0), (THIRD, 0)] {
        assert_eq!(version(&clients, password).await, expected);
    }
}

async fn a_third_is_refused_or_drops_the_one_that_is_not_in_force(rekey: Rekey) {
    use SecretStage::{Current, Pending, Previous};
    let clients = with_device(&rekey).await;
    set(&clients, overlapping(SECOND, 9 * HOUR)).await.unwrap();
    let pending = ResetAuthenticationRequest { pending: true, ..reset(THIRD) };
    for request in [overlapping(THIRD, HOUR), pending.clone()] {
        let status = set(&clients, request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::FailedPrecondition, "TWO_SECRETS_LIVE"));
    }
    assert_eq!(stages(&get(&clients).await.secrets), [(2, Current), (1, Previous)]);

    let at_limit = AtLimit::DropOldest.into();
    let device = set(&clients, ResetAuthenticationRequest { at_limit, ..pending }).await.unwrap();
    assert_eq!(stages(&device.secrets), [(3, Pending), (2, Current)]);
    assert_eq!([version(&clients, FIRST).await, version(&clients, THIRD).await], [0, 0]);
    let request = ResetAuthenticationRequest { at_limit, ..overlapping(FIRST, HOUR) };
    let device = set(&clients, request).await.unwrap();
    assert_eq!(stages(&device.secrets), [(4, Current), (2, Previous)]);

    // What has ended is in nobody's way, swept away or not.
    rekey.clock.advance(2 * HOUR);
    let device = set(&clients, overlapping(THIRD, HOUR)).await.unwrap();
    assert_eq!(stages(&device.secrets), [(5, Current), (4, Previous)]);
    let raw = Raw::open(&rekey.options).await;
    let wiped = "SELECT count(*) FROM secret WHERE slot = 'password' AND stage = 'revoked' AND length(payload) = 0";
    assert_eq!(raw.number(wiped).await, 3);
}

async fn a_password_is_prepared_promoted_swapped_and_taken_back(rekey: Rekey) {
    use SecretStage::{Current, Pending, Previous};
    let clients = with_device(&rekey).await;
    let refused = async |expected: &str| {
        for status in [
            promote(&clients, HOUR).await.unwrap_err(),
            roll_back(&clients).await.unwrap_err(),
            swap(&clients).await.unwrap_err(),
        ] {
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(expected.contains(&reason(&status)), "{status:?}");
        }
    };
    refused("NO_PENDING_SECRET NO_PREVIOUS_SECRET").await;

    let device = set(&clients, ResetAuthenticationRequest { pending: true, ..reset(SECOND) }).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Pending), (1, Current)]);
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [1, 0]);
    let reveal = RevealAuthenticationRequest {
        tenant_id: text("plant"),
        device_id: text("4711"),
        version: 2,
        ..Default::default()
    };
    let shown = clients.clone().devices.reveal_authentication(reveal).await.unwrap().into_inner();
    assert_eq!(shown.authentication.unwrap().password, SECOND);

    let device = promote(&clients, 5 * HOUR).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Current), (1, Previous)]);
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [1, 2]);
    let deadline = device.secrets[1].expire_time;
    let device = swap(&clients).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Previous), (1, Current)]);
    assert_eq!((device.secrets[0].expire_time, device.secrets[1].expire_time), (deadline, None));
    assert_eq!(get(&clients).await, device);
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [1, 2]);
    let device = roll_back(&clients).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Current)]);
    assert_eq!(device.secrets[0].expire_time, None, "it has its own end again, which is none");
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [0, 2]);
    refused("NO_PENDING_SECRET NO_PREVIOUS_SECRET").await;

    // Promoted without an overlap, and taken back too late.
    set(&clients, ResetAuthenticationRequest { pending: true, ..reset(THIRD) }).await.unwrap();
    let device = promote(&clients, Duration::ZERO).await.unwrap();
    assert_eq!(device.secrets.len(), 1);
    assert_eq!([version(&clients, SECOND).await, version(&clients, THIRD).await], [0, device.secrets[0].version]);
    set(&clients, overlapping(FIRST, HOUR)).await.unwrap();
    rekey.clock.advance(2 * HOUR);
    refused("NO_PENDING_SECRET NO_PREVIOUS_SECRET").await;

    let raw = Raw::open(&rekey.options).await;
    let detail = |action: &str| {
        format!(
            "SELECT detail FROM audit WHERE action = 'DeviceService/{action}' AND outcome = 'succeeded' ORDER BY time LIMIT 1"
        )
    };
    for (action, expected) in [
        ("ResetAuthentication", "password given, version 2 pending"),
        ("PromoteSecret", "overlap 18000 s, version 1 previous, version 2 current"),
        ("SwapSecrets", "version 2 previous, version 1 current"),
        ("RollBackSecret", "version 1 revoked, version 2 current"),
    ] {
        assert_eq!(raw.texts(&detail(action)).await, [expected], "{action}");
    }
}

async fn the_last_is_revoked_only_where_that_is_said(rekey: Rekey) {
    use SecretStage::Current;
    let clients = with_device(&rekey).await;
    let why = |result: Result<Device, Status>| reason(&result.unwrap_err());
    assert_eq!(why(revoke(&clients, 1, false).await), "LAST_SECRET");
    assert_eq!(why(revoke(&clients, 7, true).await), "SECRET_VERSION_NOT_FOUND");
    let status = revoke(&clients, 0, true).await.unwrap_err();
    assert_eq!((status.code(), fields(&status)), (Code::InvalidArgument, vec![text("version")]));
    set(&clients, overlapping(SECOND, HOUR)).await.unwrap();
    for allow_last in [false, true] {
        assert_eq!(why(revoke(&clients, 2, allow_last).await), "PREVIOUS_SECRET_LIVE");
    }
    let device = revoke(&clients, 1, false).await.unwrap();
    assert_eq!(stages(&device.secrets), [(2, Current)]);
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [0, 2]);
    assert_eq!(why(revoke(&clients, 1, false).await), "SECRET_VERSION_NOT_FOUND");
    assert_eq!(revoke(&clients, 2, true).await.unwrap().secrets, []);
    assert_eq!(version(&clients, SECOND).await, 0);
    let device = set(&clients, overlapping(THIRD, HOUR)).await.unwrap();
    assert_eq!(device.secrets.len(), 1);
    assert!(version(&clients, THIRD).await > 0);
}

async fn an_integrations_password_rotates_as_a_devices_does(rekey: Rekey) {
    use SecretStage::{Current, Pending, Previous};
    rekey.make_tenant(Tenant { tenant_id: text("acme"), ..Tenant::default() }).await;
    let mut clients = rekey.admin();
    let request = CreateIntegrationRequest {
        tenant_id: text("acme"),
        integration_id: text("i1"),
        username: text("third party"),
        settings: [(text("endpoint"), text("x"))].into(),
        ..CreateIntegrationRequest::default()
    };
    let made = clients.integrations.create_integration(request).await.unwrap().into_inner();
    let first = made.credentials.unwrap().password;
    assert_eq!(stages(&made.integration.unwrap().secrets), [(1, Current)]);
    let asked = || (text("acme"), text("i1"));
    let reset = || {
        let (tenant_id, integration_id) = asked();
        ResetIntegrationRequest { tenant_id, integration_id, ..Default::default() }
    };
    let verified = async |subject, password: &str| {
        let (tenant_id, password) = (text("acme"), text(password));
        let request = VerifyIntegrationRequest { tenant_id, subject: Some(subject), password, source: String::new() };
        let answer = rekey.admin().integrations.verify_integration(request).await.unwrap().into_inner();
        assert_eq!((answer.verified, answer.secret_version > 0), (answer.integration_id == "i1", answer.verified));
        answer.secret_version
    };
    let by_id = || verify_integration_request::Subject::IntegrationId(text("i1"));
    let by_name = || verify_integration_request::Subject::Username(text("third party"));
    let get = async || -> Integration {
        let (tenant_id, integration_id) = asked();
        let request = GetIntegrationRequest { tenant_id, integration_id };
        rekey.admin().integrations.get_integration(request).await.unwrap().into_inner().integration.unwrap()
    };

    // Prepared: nothing changes for the third party.
    let pending = ResetIntegrationRequest { pending: true, ..reset() };
    let answer = clients.integrations.reset_integration(pending).await.unwrap().into_inner();
    let (integration, second) = (answer.integration.unwrap(), answer.credentials.unwrap().password);
    assert_eq!((stages(&integration.secrets), integration.configured), (vec![(2, Pending), (1, Current)], true));
    assert_eq!([verified(by_id(), &first).await, verified(by_name(), &second).await], [1, 0]);
    let (tenant_id, integration_id) = asked();
    let promote =
        PromoteIntegrationSecretRequest { tenant_id, integration_id, overlap: span(HOUR), ..Default::default() };
    let answer = clients.integrations.promote_integration_secret(promote).await.unwrap().into_inner();
    assert_eq!(stages(&answer.integration.unwrap().secrets), [(2, Current), (1, Previous)]);
    assert_eq!([verified(by_name(), &first).await, verified(by_id(), &second).await], [1, 2]);
    let (tenant_id, integration_id) = asked();
    let swap = SwapIntegrationSecretsRequest { tenant_id, integration_id, ..Default::default() };
    let answer = clients.integrations.swap_integration_secrets(swap).await.unwrap().into_inner();
    assert_eq!(stages(&answer.integration.unwrap().secrets), [(2, Previous), (1, Current)]);
    let (tenant_id, integration_id) = asked();
    let roll_back = RollBackIntegrationSecretRequest { tenant_id, integration_id, ..Default::default() };
    let answer = clients.integrations.roll_back_integration_secret(roll_back).await.unwrap().into_inner();
    assert_eq!(stages(&answer.integration.unwrap().secrets), [(2, Current)]);
    assert_eq!([verified(by_name(), &first).await, verified(by_id(), &second).await], [0, 2]);

    // A reset with an overlap wipes the settings as any other.
    let overlapping = ResetIntegrationRequest { overlap: span(HOUR), ..reset() };
    let answer = clients.integrations.reset_integration(overlapping).await.unwrap().into_inner();
    let (integration, third) = (answer.integration.unwrap(), answer.credentials.unwrap().password);
    assert!(!integration.configured);
    assert_eq!([verified(by_name(), &second).await > 0, verified(by_id(), &third).await > 0], [true, true]);
    let version = integration.secrets[1].version;
    let (tenant_id, integration_id) = asked();
    let reveal = RevealIntegrationRequest { tenant_id, integration_id, version, ..Default::default() };
    let shown = clients.integrations.reveal_integration(reveal).await.unwrap().into_inner().credentials.unwrap();
    assert_eq!(shown.password, second);
    let (tenant_id, integration_id) = asked();
    let revoke = RevokeIntegrationSecretRequest { tenant_id, integration_id, version, ..Default::default() };
    let answer = clients.integrations.revoke_integration_secret(revoke).await.unwrap().into_inner();
    assert_eq!(answer.integration.unwrap().secrets.len(), 1);
    assert_eq!(verified(by_name(), &second).await, 0);

    // Guessers wait, and nobody else is found by asking.
    for _ in 0..6 {
        assert_eq!(verified(by_id(), "wrong").await, 0);
    }
    assert_eq!(verified(by_id(), &third).await, 0, "its source has to wait");
    let lock = get().await.soft_lock.unwrap();
    assert!(lock.failures >= 5 && lock.blocked_until.is_some());
    rekey.clock.advance(HOUR);
    assert!(verified(by_id(), &third).await > 0);
    assert_eq!(verified(verify_integration_request::Subject::IntegrationId(text("i2")), &third).await, 0);
}

async fn what_is_only_checked_changes_nothing_and_what_comes_again_is_done_once(rekey: Rekey) {
    use SecretStage::{Current, Previous};
    let clients = with_device(&rekey).await;
    let before = get(&clients).await;
    let request = ResetAuthenticationRequest { validate_only: true, ..overlapping(SECOND, HOUR) };
    let foreseen = set(&clients, request).await.unwrap();
    assert_eq!(stages(&foreseen.secrets), [(2, Current), (1, Previous)]);
    assert_eq!(get(&clients).await, before);
    assert_eq!(version(&clients, SECOND).await, 0);
    let pending = ResetAuthenticationRequest { pending: true, validate_only: true, ..reset(SECOND) };
    set(&clients, pending).await.unwrap();
    assert_eq!(reason(&promote(&clients, HOUR).await.unwrap_err()), "NO_PENDING_SECRET");

    let request = ResetAuthenticationRequest { request_id: text("once"), ..overlapping(SECOND, HOUR) };
    let first = set(&clients, request.clone()).await.unwrap();
    rekey.clock.advance(Duration::from_mins(1));
    assert_eq!(set(&clients, request).await.unwrap(), first);
    assert_eq!(get(&clients).await, first);
    let (tenant_id, device_id, request_id) = (text("plant"), text("4711"), text("back"));
    let request = RollBackSecretRequest { tenant_id, device_id, request_id, ..Default::default() };
    let mut devices = clients.clone().devices;
    let back = devices.roll_back_secret(request.clone()).await.unwrap().into_inner();
    assert_eq!(devices.roll_back_secret(request).await.unwrap().into_inner(), back);
    assert_eq!(get(&clients).await, back.device.unwrap());
    assert_eq!(version(&clients, FIRST).await, 1);
}

async fn of_many_rotations_with_one_etag_one_is_done(rekey: Rekey) {
    let clients = with_device(&rekey).await;
    let replica = rekey.replica().await;
    let both = [clients.clone(), replica.clients(&rekey.admin_token)];
    let etag = get(&clients).await.etag;
    let calls: Vec<_> = (0..20)
        .map(|number| {
            let clients = both[number % 2].clone();
            let etag = etag.clone();
            tokio::spawn(async move {
                set(&clients, ResetAuthenticationRequest { etag, ..overlapping(SECOND, HOUR) }).await
            })
        })
        .collect();
    let mut done = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(status) => assert_eq!(status.code(), Code::Aborted, "{status:?}"),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(get(&clients).await.secrets.len(), 2);
    for clients in both {
        assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [1, 2]);
    }
    replica.stop().await;
}

async fn rotations_without_an_etag_never_leave_more_than_two(rekey: Rekey) {
    let clients = with_device(&rekey).await;
    let replica = rekey.replica().await;
    let both = [clients.clone(), replica.clients(&rekey.admin_token)];
    let at_limit = AtLimit::DropOldest.into();
    let calls: Vec<_> = (0..24)
        .map(|number| {
            let clients = both[number % 2].clone();
            tokio::spawn(async move {
                match number % 6 {
                    0 | 1 => set(&clients, ResetAuthenticationRequest { at_limit, ..overlapping(SECOND, HOUR) }).await,
                    2 => {
                        let pending = ResetAuthenticationRequest { at_limit, pending: true, ..reset(THIRD) };
                        set(&clients, pending).await
                    }
                    3 => promote(&clients, HOUR).await,
                    4 => swap(&clients).await,
                    _ => roll_back(&clients).await,
                }
            })
        })
        .collect();
    for call in calls {
        if let Err(status) = call.await.unwrap() {
            // On a slow machine the last of them may take too long.
            let told = [Code::Aborted, Code::FailedPrecondition, Code::DeadlineExceeded];
            assert!(told.contains(&status.code()), "{status:?}");
        }
    }
    let raw = Raw::open(&rekey.options).await;
    for stage in ["pending", "current", "previous"] {
        let count = format!("SELECT count(*) FROM secret WHERE slot = 'password' AND stage = '{stage}'");
        assert!(raw.number(&count).await <= 1, "{stage}");
    }
    let live = "SELECT count(*) FROM secret WHERE slot = 'password' AND stage <> 'revoked'";
    assert!(raw.number(live).await <= 2);
    assert_eq!(raw.number("SELECT count(*) FROM secret WHERE slot = 'password' AND stage = 'current'").await, 1);
    replica.stop().await;
}

async fn ends_are_told_of_once_and_swept_away_once(rekey: Rekey) {
    let clients = with_device(&rekey).await;
    // One that lives long, one that lives shortly, one whose end is far away, and one in an overlap.
    create(&clients, "long", at(20 * 24 * HOUR)).await;
    create(&clients, "short", at(2 * 24 * HOUR)).await;
    create(&clients, "far", at(300 * 24 * HOUR)).await;
    set(&clients, overlapping(SECOND, 12 * HOUR)).await.unwrap();
    let raw = Raw::open(&rekey.options).await;
    let told = async || {
        let told = "SELECT target_id FROM audit WHERE action = 'Secret/ExpiresSoon' ORDER BY target_id";
        raw.texts(told).await
    };
    // Each looks when it starts: two at once, each time.
    let look = async || {
        let (one, other) = tokio::join!(rekey.replica(), rekey.replica());
        for replica in [&one, &other] {
            let clients = replica.clients(&rekey.admin_token);
            get(&clients).await;
        }
        (one, other)
    };
    let mut replicas = Vec::new();
    for (hours, expected) in [
        (0, &[][..]),
        // Halfway through the overlap.
        (6, &["4711"][..]),
        (18, &["4711", "short"][..]),
        (13 * 24 + 1, &["4711", "long", "short"][..]),
        (24, &["4711", "long", "short"][..]),
    ] {
        rekey.clock.advance(hours * HOUR);
        replicas.push(look().await);
        eventually("ends are told of", async || told().await == expected).await;
    }
    let detail = "SELECT detail FROM audit WHERE action = 'Secret/ExpiresSoon' AND target_id = 'long'";
    assert_eq!(raw.texts(detail).await, ["password, version 1, current, ends at 2026-01-21T00:00:00Z"]);
    let actor = "SELECT DISTINCT actor FROM audit WHERE action LIKE 'Secret/%'";
    assert_eq!(raw.texts(actor).await, ["rekey"]);

    // The overlap is over long since: what it kept is void and wiped, by one of them all.
    let swept = "SELECT count(*) FROM audit WHERE action = 'Secret/Expired'";
    let wiped = "SELECT count(*) FROM secret WHERE stage = 'revoked' AND length(payload) = 0";
    eventually("it is swept away", async || raw.number(wiped).await == 1).await;
    assert_eq!(raw.number(swept).await, 1);
    assert_eq!([version(&clients, FIRST).await, version(&clients, SECOND).await], [0, 2]);
    let filter = text(r#"action = "Secret/ExpiresSoon""#);
    let request = rekey::proto::ListAuditRecordsRequest { tenant_id: text("plant"), filter, ..Default::default() };
    rekey.clock.advance(Duration::from_mins(1));
    let records = clients.clone().audit.list_audit_records(request).await.unwrap().into_inner().records;
    let targets: Vec<_> = records.iter().map(|record| record.target_id.as_str()).collect();
    assert_eq!(targets, ["4711", "short", "long"], "whoever follows the record hears of each once");
    for (one, other) in replicas {
        one.stop().await;
        other.stop().await;
    }
}

#[tokio::test]
async fn everything_wrong_with_a_placement_is_told_at_once() {
    let rekey = Rekey::start().await;
    let clients = with_device(&rekey).await;
    let refused = async |request: ResetAuthenticationRequest| {
        let status = set(&clients, request).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "FIELDS_INVALID"));
        fields(&status)
    };
    let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
    let fraction = Some(prost_types::Duration { seconds: 1, nanos: 5 });
    for overlap in [negative, fraction] {
        let request = ResetAuthenticationRequest { overlap, at_limit: 9, ..reset(SECOND) };
        assert_eq!(refused(request).await, ["overlap", "at_limit"]);
    }
    let both = ResetAuthenticationRequest { pending: true, ..overlapping(SECOND, HOUR) };
    assert_eq!(refused(both).await, ["overlap"]);
    let month = 30 * 24 * HOUR;
    let late = ResetAuthenticationRequest {
        expire_time: at(Duration::ZERO),
        ..overlapping(SECOND, month + Duration::from_secs(1))
    };
    assert_eq!(refused(late).await, ["overlap", "expire_time"]);
    let bare = ResetAuthenticationRequest {
        user_name: Some(text("renamed")),
        secret_source: None,
        pending: true,
        at_limit: 2,
        expire_time: at(HOUR),
        ..overlapping(SECOND, HOUR)
    };
    assert_eq!(refused(bare).await, ["overlap", "pending", "at_limit", "expire_time"]);
    set(&clients, overlapping(SECOND, month)).await.unwrap();
    let status = promote(&clients, month + Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(fields(&status), ["overlap"]);

    // A tenant may allow none, or more.
    let policy = |max_overlap| SecretPolicy { max_overlap, ..SecretPolicy::default() };
    let tenant_id = text("strict");
    let tenant = Tenant { tenant_id, device_policy: Some(policy(span(Duration::ZERO))), ..Tenant::default() };
    let made = rekey.make_tenant(tenant).await;
    assert_eq!(made.device_policy.unwrap().max_overlap, span(Duration::ZERO));
    assert_eq!(made.integration_policy.unwrap().max_overlap, span(month));
    let request = CreateDeviceRequest { tenant_id: text("strict"), user_name: text("d"), ..Default::default() };
    let made = clients.clone().devices.create_device(request).await.unwrap().into_inner().device.unwrap();
    let request = ResetAuthenticationRequest {
        tenant_id: text("strict"),
        device_id: made.device_id,
        ..overlapping(SECOND, Duration::from_secs(1))
    };
    assert_eq!(refused(request).await, ["overlap"]);
}
