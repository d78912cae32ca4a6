//! Backups of a database that is being written to.

use std::{
    env,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rekey::{
    app::{Service, ServiceOptions},
    proto::{
        CreateDeviceRequest, ResetAuthenticationRequest, RevealAuthenticationRequest, create_device_request,
        reset_authentication_request::SecretSource,
    },
    store::StoreOptions,
};
use sea_orm::{ConnectionTrait as _, DbBackend, Statement};

use crate::{
    back_up,
    common::rekey::{Clients, connect, options},
    device_verifies, elsewhere, on_each_engine, populate, restore, user_verifies,
};

/// Backups of each engine; `REKEY_BACKUPS` asks for more.
static BACKUPS: LazyLock<usize> =
    LazyLock::new(|| env::var("REKEY_BACKUPS").map_or(4, |number| number.parse().expect("a number")));
const DEVICES: usize = 6;

/// What a device was sent, in order, and how many of those were acknowledged.
#[derive(Default)]
struct Sent {
    secrets: Vec<String>,
    acknowledged: usize,
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_backup_is_in_it_and_nothing_by_half() {
    for rekey in on_each_engine().await {
        let (password, _) = populate(&rekey).await;
        let mut admin = rekey.admin();
        for device in 0..DEVICES {
            let request = CreateDeviceRequest {
                tenant_id: "plant".to_owned(),
                device_id: format!("{device}"),
                user_name: format!("d{device}"),
                secret_source: Some(create_device_request::SecretSource::Password(secret(device, 0))),
                ..CreateDeviceRequest::default()
            };
            admin.devices.create_device(request).await.unwrap();
        }
        let first = |device| Sent { secrets: vec![secret(device, 0)], acknowledged: 1 };
        let sent: Arc<Vec<Mutex<Sent>>> = Arc::new((0..DEVICES).map(|device| Mutex::new(first(device))).collect());
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..DEVICES)
            .map(|device| tokio::spawn(reset_for_ever(admin.clone(), device, Arc::clone(&sent), Arc::clone(&stop))))
            .collect();

        let (mut backing_up, mut restoring, mut rows) = (Duration::ZERO, Duration::ZERO, 0);
        let mut during = 0;
        for number in 0..*BACKUPS {
            // So that something happens between one and the next.
            while sent.iter().map(|sent| sent.lock().unwrap().acknowledged).sum::<usize>() < number * DEVICES {
                tokio::task::yield_now().await;
            }
            let before: Vec<usize> = sent.iter().map(|sent| sent.lock().unwrap().acknowledged).collect();
            let begun = Instant::now();
            let (file, summary) = back_up(&rekey.options.store, &rekey.options.keyring_file).await;
            backing_up += begun.elapsed();
            rows += summary.rows();
            let after: Vec<usize> = sent.iter().map(|sent| sent.lock().unwrap().secrets.len()).collect();
            during += after.iter().sum::<usize>() - before.iter().sum::<usize>();

            let (directory, keyring_file) = elsewhere(&rekey.options.keyring_file);
            let into = StoreOptions::sqlite(&directory.path().join("restored.db"), 2);
            let begun = Instant::now();
            restore(&file, &keyring_file, &into).await.unwrap();
            let options = ServiceOptions { store: into.clone(), keyring_file, ..options(directory.path()) };
            let service = Service::start(options, rekey.environment(), false).await.unwrap();
            restoring += begun.elapsed();
            let clients = Clients::on(&connect(service.address()).await, &rekey.admin_token);
            for device in 0..DEVICES {
                let found = revealed(&clients, device).await;
                let (before, after) = (before[device], after[device]);
                let place = sent[device].lock().unwrap().secrets.iter().position(|secret| *secret == found);
                let place = place.unwrap_or_else(|| panic!("backup {number}: device {device} has a secret of nobody"));
                assert!(
                    (before..=after).contains(&(place + 1)),
                    "backup {number}: device {device} has its secret {} where {before} were acknowledged and {after} sent",
                    place + 1,
                );
                assert!(device_verifies(&clients, &device.to_string(), &found).await);
            }
            if number == 0 {
                assert!(user_verifies(&clients, "ada", &password).await);
            }
            service.stop().await;
            nothing_by_half(&into).await;
        }
        stop.store(true, Ordering::SeqCst);
        for writer in writers {
            writer.await.unwrap();
        }
        let engine = if rekey.options.store.sqlite_path().is_some() { "SQLite" } else { "PostgreSQL" };
        let average = |all: Duration| all / u32::try_from(*BACKUPS).unwrap();
        println!(
            "{engine}: {} backups of {} rows on average, {during} changes while they were made; \
             lost of what was acknowledged before: 0 (RPO: the time of the backup), half changes: 0; \
             a backup took {:.1?}, a restore until the service was ready {:.1?} (RTO)",
            *BACKUPS,
            rows / *BACKUPS as u64,
            average(backing_up),
            average(restoring),
        );
        assert!(during > 0, "nothing was written meanwhile");
        rekey.stop().await;
    }
}

async fn revealed(clients: &Clients, device: usize) -> String {
    let request = RevealAuthenticationRequest {
        tenant_id: "plant".to_owned(),
        device_id: device.to_string(),
        purpose: "a test".to_owned(),
        version: 0,
    };
    let answer = clients.clone().devices.reveal_authentication(request).await.unwrap().into_inner();
    answer.authentication.unwrap().password
}

fn secret(device: usize, number: usize) -> String {
    format!("Secret-{device}-{number:06}-aA1!")
}

async fn reset_for_ever(clients: Clients, device: usize, sent: Arc<Vec<Mutex<Sent>>>, stop: Arc<AtomicBool>) {
    let mut devices = clients.devices;
    while !stop.load(Ordering::SeqCst) {
        let next = {
            let mut sent = sent[device].lock().unwrap();
            let next = secret(device, sent.secrets.len());
            sent.secrets.push(next.clone());
            next
        };
        let request = ResetAuthenticationRequest {
            tenant_id: "plant".to_owned(),
            device_id: device.to_string(),
            secret_source: Some(SecretSource::Password(next)),
            ..ResetAuthenticationRequest::default()
        };
        devices.reset_authentication(request).await.expect("nothing is in the way of a change");
        let mut sent = sent[device].lock().unwrap();
        sent.acknowledged = sent.secrets.len();
    }
}

/// A change is of a subject's version, its secret and the record of it: all three, or none.
async fn nothing_by_half(options: &StoreOptions) {
    let raw = crate::common::sql::connect(&options.url).await;
    let uneven = "SELECT count(*) AS n FROM subject s WHERE kind = 'device' AND (
        version <> (SELECT max(version) FROM secret x WHERE x.subject_uid = s.uid)
        OR 1 <> (SELECT count(*) FROM secret x WHERE x.subject_uid = s.uid AND stage = 'current')
        OR version <> (SELECT count(*) FROM audit a WHERE a.target_kind = 'device' AND a.target_id = s.external_id
            AND a.outcome = 'succeeded'
            AND a.action IN ('DeviceService/CreateDevice', 'DeviceService/ResetAuthentication')))";
    let row = raw.query_one_raw(Statement::from_string(DbBackend::Sqlite, uneven)).await.unwrap().unwrap();
    assert_eq!(row.try_get::<i64>("", "n").unwrap(), 0, "changes by half");
}
