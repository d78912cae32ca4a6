//! Four processes, fifty clients, one subject and many: one winner for each etag, one change for each request id, a
//! record for each version, and nothing that was acknowledged missing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fastrand::Rng;
use prost::Message as _;
use rekey::proto::{
    AtLimit, CreateDeviceRequest, Device, GenerateSecret, GetDeviceRequest, ResetAuthenticationRequest,
    UpdateDeviceRequest, VerifyAuthenticationRequest, create_device_request, reset_authentication_request,
    verify_authentication_request,
};
use tokio::task::JoinSet;
use tonic::{Request, Status};

use super::fleet::{Fleet, Refusal, TENANT, refusal};
use crate::{
    common::rekey::Clients,
    database::Rows,
    parameters::{rounds, say, seed},
};

/// The one that everybody is at.
const HOT: &str = "hot";
/// Subjects that are rotated all the while, each by a client of its own.
const ROTATED: usize = 4;
/// Subjects that are made at once.
const AT_ONCE: usize = 32;

/// What is done, and to how many.
#[derive(Clone, Copy)]
struct Scale {
    replicas: usize,
    clients: u64,
    subjects: usize,
    lasts: Duration,
}

impl Scale {
    /// In so many seconds: two minutes for ten thousand.
    fn of(seconds: u64) -> Self {
        let subjects = usize::try_from(seconds.min(100) * 100).unwrap();
        Self { replicas: 4, clients: 50, subjects, lasts: Duration::from_secs(seconds) }
    }
}

/// A change that was acknowledged.
struct Done {
    /// The request, whichever replicas it was sent to.
    name: String,
    /// The etag that it asked for.
    from: String,
    etag: String,
}

#[derive(Default)]
struct Seen {
    done: Vec<Done>,
    raced: u64,
    shed: u64,
    unknown: u64,
    /// Passwords that came with an overlap: each was good at every replica, and the one before it as well.
    overlaps: u64,
    faults: Vec<String>,
}

/// One client, at all replicas.
struct Client {
    number: u64,
    rng: Rng,
    sent: u64,
    replicas: Vec<Clients>,
    subjects: usize,
    seen: Arc<Mutex<Seen>>,
}

impl Client {
    async fn work(mut self, until: Instant) {
        let mut etags = BTreeMap::<String, String>::new();
        while Instant::now() < until && self.seen.lock().unwrap().faults.is_empty() {
            let id = if self.rng.bool() { HOT.to_owned() } else { name(self.rng.usize(..self.subjects)) };
            // For the one, everybody asks for the etag that everybody sees; for the others, what was seen last.
            let etag = match (id == HOT, self.rng.u8(..3)) {
                (true, 0..2) => self.look(&id).await,
                (_, 2) => None,
                (_, _) => etags.get(&id).cloned(),
            };
            if let Some(etag) = self.change(&id, etag.unwrap_or_default()).await {
                etags.insert(id, etag);
            }
        }
    }

    fn replica(&mut self) -> Clients {
        self.replicas[self.rng.usize(..self.replicas.len())].clone()
    }

    async fn look(&mut self, id: &str) -> Option<String> {
        let get = GetDeviceRequest { tenant_id: TENANT.to_owned(), device_id: id.to_owned() };
        let found = self.replica().devices.get_device(get).await;
        found.ok()?.into_inner().device.map(|device| device.etag)
    }

    /// Changes it, under a request id or without one, at one replica or at several at once; its etag where it was done.
    async fn change(&mut self, id: &str, from: String) -> Option<String> {
        self.sent += 1;
        let name = format!("h{}-{}", self.number, self.sent);
        let resets = self.rng.u8(..4) > 0;
        let copies = if self.rng.bool() { 1 } else { 2 + self.rng.usize(..2) };
        let request_id = if copies > 1 || self.rng.bool() { name.clone() } else { String::new() };
        let mut calls = JoinSet::new();
        for copy in 0..copies {
            let clients = self.replica();
            let (id, from, request_id) = (id.to_owned(), from.clone(), request_id.clone());
            let trace = format!("{name}.{copy}");
            calls.spawn(async move { send(clients, &id, &from, &request_id, &trace, resets).await });
        }
        let mut answers = BTreeSet::new();
        let mut etag = None;
        let mut seen = Seen::default();
        for outcome in calls.join_all().await {
            match outcome {
                Ok((device, bytes)) => {
                    etag = Some(device.etag);
                    answers.insert(bytes);
                }
                Err(status) => match refusal(&status) {
                    Ok(Refusal::Raced) => seen.raced += 1,
                    Ok(Refusal::Shed) => seen.shed += 1,
                    Ok(Refusal::Unknown) => seen.unknown += 1,
                    Err(fault) => seen.faults.push(format!("{name} at {id}: {fault}")),
                },
            }
        }
        if answers.len() > 1 {
            seen.faults.push(format!("{name} has one request id and {} answers", answers.len()));
        }
        let mut all = self.seen.lock().unwrap();
        all.done.extend(etag.clone().map(|etag| Done { name, from, etag }));
        all.raced += seen.raced;
        all.shed += seen.shed;
        all.unknown += seen.unknown;
        all.faults.extend(seen.faults);
        etag
    }
}

/// A device whose password is rotated all the while: at every replica the new one and the one before are good.
async fn overlap(replicas: Vec<Clients>, device: usize, until: Instant, all: Arc<Mutex<Seen>>) {
    let id = rotated(device);
    let mut in_force = None;
    for turn in 0.. {
        if Instant::now() >= until || !all.lock().unwrap().faults.is_empty() {
            return;
        }
        let reset = ResetAuthenticationRequest {
            tenant_id: TENANT.to_owned(),
            device_id: id.clone(),
            secret_source: Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default())),
            overlap: Some(prost_types::Duration { seconds: 600, nanos: 0 }),
            at_limit: AtLimit::DropOldest.into(),
            ..ResetAuthenticationRequest::default()
        };
        let reset = replicas[turn % replicas.len()].clone().devices.reset_authentication(reset).await;
        let before = match reset {
            Ok(answer) => in_force.replace(answer.into_inner().authentication.unwrap().password),
            Err(status) => {
                if let Err(fault) = refusal(&status) {
                    all.lock().unwrap().faults.push(format!("a rotation of {id}: {fault}"));
                }
                // It may have been done: which one is in force is known after the next one.
                in_force = None;
                continue;
            }
        };
        let (Some(before), Some(new)) = (before, &in_force) else { continue };
        let mut faults = Vec::new();
        for (replica, clients) in replicas.iter().enumerate() {
            for (name, password) in [("new", new), ("previous", &before)] {
                let verify = VerifyAuthenticationRequest {
                    tenant_id: TENANT.to_owned(),
                    subject: Some(verify_authentication_request::Subject::DeviceId(id.clone())),
                    password: password.clone(),
                    ..VerifyAuthenticationRequest::default()
                };
                match clients.clone().devices.verify_authentication(verify).await {
                    Ok(answer) if answer.get_ref().verified => {}
                    Ok(_) => faults.push(format!("replica {replica} refuses the {name} password of {id}, turn {turn}")),
                    Err(status) => faults.extend(refusal(&status).err()),
                }
            }
        }
        let mut all = all.lock().unwrap();
        all.overlaps += 1;
        all.faults.extend(faults);
    }
}

/// A new password that nobody has chosen, or another label.
async fn send(
    clients: Clients,
    id: &str,
    etag: &str,
    request_id: &str,
    trace: &str,
    resets: bool,
) -> Result<(Device, Vec<u8>), Status> {
    let (tenant_id, device_id) = (TENANT.to_owned(), id.to_owned());
    let (etag, request_id) = (etag.to_owned(), request_id.to_owned());
    let mut devices = clients.devices;
    if resets {
        let secret_source = Some(reset_authentication_request::SecretSource::Generate(GenerateSecret::default()));
        let reset =
            ResetAuthenticationRequest { tenant_id, device_id, secret_source, etag, request_id, ..Default::default() };
        let answer = devices.reset_authentication(traced(reset, trace)).await?.into_inner();
        let bytes = answer.encode_to_vec();
        return Ok((answer.device.unwrap(), bytes));
    }
    // The same for every copy of a request.
    let value = trace.split('.').next().unwrap_or_default().to_owned();
    let device = Some(Device { labels: [("by".to_owned(), value)].into(), ..Device::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["labels".to_owned()] });
    let update =
        UpdateDeviceRequest { tenant_id, device_id, device, update_mask, etag, request_id, ..Default::default() };
    let answer = devices.update_device(traced(update, trace)).await?.into_inner();
    let bytes = answer.encode_to_vec();
    Ok((answer.device.unwrap(), bytes))
}

/// Under a name by which its record is found.
fn traced<T>(message: T, trace: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", trace.parse().unwrap());
    request
}

fn name(number: usize) -> String {
    format!("d{number}")
}

/// The device that this task rotates.
fn rotated(device: usize) -> String {
    format!("r{device}")
}

async fn furnish(fleet: &Fleet, subjects: usize) {
    let mut calls = JoinSet::new();
    let ids = (0..subjects).map(name).chain((0..ROTATED).map(rotated));
    for (number, id) in [HOT.to_owned()].into_iter().chain(ids).enumerate() {
        if calls.len() >= AT_ONCE {
            calls.join_next().await.unwrap().unwrap();
        }
        let mut devices = fleet.admin(number).devices;
        calls.spawn(async move {
            let secret_source = Some(create_device_request::SecretSource::Generate(GenerateSecret::default()));
            let (tenant_id, user_name) = (TENANT.to_owned(), format!("name-{id}"));
            let create =
                CreateDeviceRequest { tenant_id, device_id: id, user_name, secret_source, ..Default::default() };
            devices.create_device(create).await.unwrap();
        });
    }
    calls.join_all().await;
}

/// What does not hold; nothing where all does.
async fn hammer(fleet: Fleet, scale: Scale, seed: u64, what: &str) -> Vec<String> {
    furnish(&fleet, scale.subjects).await;
    let told = Arc::new(Mutex::new(Seen::default()));
    // A channel for each client and replica would be more than one peer may have.
    let channels: Vec<_> = (0..5).map(|_| fleet.admins()).collect();
    let until = Instant::now() + scale.lasts;
    let mut rng = Rng::with_seed(seed);
    let mut clients = JoinSet::new();
    for (number, replicas) in (0..scale.clients).zip(channels.iter().cycle()) {
        let (rng, replicas, told) = (rng.fork(), replicas.clone(), Arc::clone(&told));
        let client = Client { number, rng, sent: 0, replicas, subjects: scale.subjects, seen: told };
        clients.spawn(client.work(until));
    }
    for device in 0..ROTATED {
        clients.spawn(overlap(channels[device % channels.len()].clone(), device, until, Arc::clone(&told)));
    }
    clients.join_all().await;
    let told = std::mem::take(&mut *told.lock().unwrap());
    say(format_args!(
        "{what}: {} replicas, {} clients, {} subjects, {} s: {} changes done, {} raced, {} shed, {} unknown, {} overlaps good \
         everywhere",
        scale.replicas,
        scale.clients,
        scale.subjects,
        scale.lasts.as_secs(),
        told.done.len(),
        told.raced,
        told.shed,
        told.unknown,
        told.overlaps,
    ));

    let errors = fleet.errors();
    let (site, mut violations) = fleet.stop();
    if !told.faults.is_empty() {
        violations.extend(errors);
    }
    let rows = Rows::open(&site.url).await;
    violations.extend(told.faults);
    violations.extend(winners(&told.done));
    violations.extend(rows.miscounted(TENANT).await);
    let of_hammer = "FROM audit WHERE request_id LIKE 'h%-%.%' AND outcome = 'succeeded'";
    let recorded = rows.texts(&format!("SELECT request_id {of_hammer}")).await;
    let mut times = BTreeMap::<&str, u32>::new();
    for trace in &recorded {
        *times.entry(trace.split('.').next().unwrap_or_default()).or_default() += 1;
    }
    violations.extend(
        times.iter().filter(|(_, times)| **times > 1).map(|(name, times)| format!("{name} was done {times} times")),
    );
    let missing = told.done.iter().filter(|done| !times.contains_key(done.name.as_str()));
    violations.extend(missing.map(|done| format!("{} was acknowledged, and there is no record", done.name)));
    let extra = times.len().saturating_sub(told.done.len());
    if extra as u64 > told.unknown {
        violations.push(format!("{extra} changes were recorded that nobody was told of"));
    }

    // Each password is of the version that set it, and the last one is in force.
    let gaps = "SELECT count(*) FROM subject WHERE kind = 'device' AND 1 <> (SELECT count(*) FROM secret \
                WHERE subject_uid = uid AND stage = 'current' AND secret.version = (SELECT max(s.version) FROM secret s \
                WHERE s.subject_uid = uid))";
    let resets = "SELECT count(*) FROM audit WHERE target_kind = 'device' AND outcome = 'succeeded' \
                  AND action IN ('DeviceService/CreateDevice', 'DeviceService/ResetAuthentication')";
    let passwords = "SELECT count(*) FROM secret WHERE slot = 'password'";
    if rows.number(gaps).await > 0 {
        violations.push("a device whose last password is not the one in force".to_owned());
    }
    let (passwords, resets) = (rows.number(passwords).await, rows.number(resets).await);
    if passwords != resets {
        violations.push(format!("{passwords} passwords were kept, and {resets} set"));
    }
    violations
}

/// One for each etag, and each the one after what it asked for.
fn winners(done: &[Done]) -> Vec<String> {
    let mut by_etag = BTreeMap::<&str, &str>::new();
    let mut violations = Vec::new();
    for Done { name, from, etag } in done {
        if let Some(other) = by_etag.insert(etag, name) {
            violations.push(format!("{name} and {other} both led to {etag}"));
        }
        let version = |etag: &str| u64::from_str_radix(etag.rsplit('-').next().unwrap_or_default(), 16).unwrap();
        if !from.is_empty() && version(from) + 1 != version(etag) {
            violations.push(format!("{name} asked for {from}, and led to {etag}"));
        }
    }
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_clients_at_four_replicas_leave_one_history() {
    let name = "races::hammer";
    let (seed, scale) = (seed(name), Scale::of(rounds(4)));
    let Some(fleet) = Fleet::on_postgres(scale.replicas, None).await else { return };
    let violations = hammer(fleet, scale, seed, name).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

async fn finds(bug: &str) {
    let name = format!("races::hammer with {bug}");
    let (seed, scale) = (seed(&name), Scale { replicas: 2, clients: 20, subjects: 50, lasts: Duration::from_secs(20) });
    let Some(fleet) = Fleet::on_postgres(scale.replicas, Some(bug)).await else { return };
    // Ends at the first fault that a client sees; what only the database shows is there soon as well.
    let scale = if bug == "request_id_in_memory" { Scale { lasts: Duration::from_secs(2), ..scale } } else { scale };
    let violations = hammer(fleet, scale, seed, &name).await;
    assert!(!violations.is_empty(), "the planted bug was not found");
    say(format_args!("{name}: found: {}", violations[0].lines().next().unwrap_or_default()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_that_only_a_process_looks_at_is_found() {
    finds("etag_in_memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_id_that_only_a_process_knows_is_found() {
    finds("request_id_in_memory").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_a_process_remembers_is_found() {
    finds("subject_in_memory").await;
}
