//! Random histories: a few clients at once at one subject, on several replicas, of which each call's beginning and end are
//! written down; then it is looked for an order that explains them.
//!
//! Some calls are given up, some have a deadline that is too short, some are sent to two replicas at once under one
//! request id, or again where they were given up.

use std::{
    fmt,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fastrand::Rng;
use rekey::proto::{
    ChangePasswordRequest, CreateDeviceRequest, CreateUserRequest, DeleteDeviceRequest, DeleteUserRequest, Device,
    DisableDeviceRequest, DisableUserRequest, EnableDeviceRequest, EnableUserRequest, GetDeviceRequest, GetUserRequest,
    LockDeviceRequest, LockUserRequest, ResetAuthenticationRequest, ResetPasswordRequest, SubjectState,
    UnlockDeviceRequest, UnlockUserRequest, User, VerifyAuthenticationRequest, VerifyPasswordRequest,
    change_password_request, create_device_request, create_user_request, reset_authentication_request,
    reset_password_request, verify_authentication_request, verify_password_request,
};
use tokio::task::JoinSet;
use tonic::{Request, Status};

use super::{
    fleet::{Fleet, Refusal, TENANT, refusal},
    search::{Event, is_linearizable},
    sequential::{Act, Answer, Etag, Mode, Move},
};
use crate::{
    common::rekey::{Clients, reason},
    parameters::{rounds, say, seed},
    server::Site,
};

/// Clients of one history, and calls of each: together with what is tried again, fewer than the search can hold.
const CLIENTS: u64 = 4;
const CALLS: usize = 6;
/// Histories at once.
const AT_ONCE: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Device,
    User,
}

/// One history, under way.
struct History {
    kind: Kind,
    number: u64,
    replicas: Vec<Clients>,
    counter: AtomicU64,
    passwords: AtomicU64,
    seen: Mutex<Seen>,
}

/// What its clients have learned, and what was wrong for sure.
#[derive(Default)]
struct Seen {
    events: Vec<Event>,
    etags: Vec<Etag>,
    passwords: Vec<u32>,
    faults: Vec<String>,
}

/// How a call is made.
#[derive(Clone, Copy)]
enum Way {
    Plain,
    /// It has a request id, and goes to two replicas at once.
    Twice,
    /// It is given up after so long.
    GivenUp(Duration),
    /// It has so long.
    Deadline(Duration),
    /// It has a request id, is given up after so long, and made again at another replica.
    Again(Duration),
}

impl History {
    fn new(number: u64, replicas: &[Clients]) -> Self {
        // Users' passwords are hashed: fewer of those can be had.
        let kind = if number.is_multiple_of(5) { Kind::User } else { Kind::Device };
        let one = usize::try_from(number / 3).unwrap() % replicas.len();
        let replicas = if number % 3 == 1 { &replicas[one..=one] } else { replicas };
        let (counter, passwords) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { kind, number, replicas: replicas.to_vec(), counter, passwords, seen: Mutex::default() }
    }

    /// Where a check of a device's password comes from. That it was right is remembered, and void at once where the same
    /// process changes something, but only within a second where another does. So of several replicas each is asked from
    /// a new place, of which nothing is remembered.
    fn source(&self) -> String {
        if self.replicas.len() == 1 { String::new() } else { format!("place-{}", self.tick()) }
    }

    fn id(&self) -> String {
        format!("s{}", self.number)
    }

    /// Good under the policy of every kind.
    fn password(&self, number: u32) -> String {
        format!("Kq7!{:08x}{number:08x}xY", self.number)
    }

    fn new_password(&self) -> u32 {
        let number = u32::try_from(self.passwords.fetch_add(1, Ordering::SeqCst)).unwrap();
        self.seen.lock().unwrap().passwords.push(number);
        number
    }

    fn tick(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::SeqCst)
    }

    /// Runs it to its end.
    async fn run(self, seed: u64) -> Seen {
        let history = Arc::new(self);
        let mut rng = Rng::with_seed(seed ^ history.number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let create = Act::Create { password: history.new_password() };
        history.call(0, &mut rng, create, Way::Plain).await;
        let mut clients = JoinSet::new();
        for client in 1..=CLIENTS {
            let (history, mut rng) = (Arc::clone(&history), rng.fork());
            clients.spawn(async move {
                for _ in 0..CALLS {
                    let act = history.choose(&mut rng);
                    let way = choose_way(&mut rng, act);
                    history.call(client, &mut rng, act, way).await;
                }
            });
        }
        clients.join_all().await;
        std::mem::take(&mut *history.seen.lock().unwrap())
    }

    fn choose(&self, rng: &mut Rng) -> Act {
        let fresh = || self.new_password();
        let (old, etag) = {
            let seen = self.seen.lock().unwrap();
            // Mostly the latest: an old one tells little.
            let late = |length: usize, rng: &mut Rng| length.saturating_sub(1 + rng.usize(..3).min(rng.usize(..3)));
            let old = seen.passwords.get(late(seen.passwords.len(), rng)).copied().unwrap_or_default();
            let etag = seen.etags.get(late(seen.etags.len(), rng)).copied();
            (old, etag.filter(|_| rng.bool()))
        };
        let moves = [Move::Lock, Move::Unlock, Move::Unlock, Move::Disable, Move::Enable, Move::Enable];
        match (rng.u8(..20), self.kind) {
            (0, _) => Act::Create { password: fresh() },
            (1, _) => Act::Delete { etag },
            (2..=4, _) => Act::Moved { to: moves[rng.usize(..moves.len())], etag },
            (5..=7, Kind::User) => Act::Change { current: old, new: fresh() },
            (5..=10, _) => Act::Reset { password: fresh(), etag },
            (11..=13, _) => Act::Get,
            _ => Act::Verify { password: old },
        }
    }

    /// Makes a call, and writes down what there is to say of it.
    async fn call(&self, client: u64, rng: &mut Rng, act: Act, way: Way) {
        let (here, there) = (rng.usize(..self.replicas.len()), rng.usize(..self.replicas.len()));
        let id = format!("{}.{client}.{:08x}", self.number, rng.u32(..));
        let begun = self.tick();
        match way {
            Way::Plain => {
                let answer = self.send(here, act, "", None).await;
                self.note(act, begun, answer);
            }
            Way::Deadline(within) => {
                let answer = self.send(here, act, "", Some(within)).await;
                self.note(act, begun, answer);
            }
            Way::GivenUp(within) => {
                let sent = tokio::time::timeout(within, self.send(here, act, "", None)).await;
                self.note(act, begun, sent.unwrap_or(Ok(Some(Answer::Unknown))));
            }
            Way::Twice => {
                let (one, other) = tokio::join!(self.send(here, act, &id, None), self.send(there, act, &id, None));
                self.note_both(act, begun, [one, other]);
            }
            Way::Again(within) => {
                let first = tokio::time::timeout(within, self.send(here, act, &id, None)).await;
                let first = first.unwrap_or(Ok(Some(Answer::Unknown)));
                let second = self.send(there, act, &id, None).await;
                self.note_both(act, begun, [first, second]);
            }
        }
    }

    /// Two of one request id are one, where one of them was done; and both have the same answer then.
    fn note_both(&self, act: Act, begun: u64, answers: [Result<Option<Answer>, String>; 2]) {
        match answers {
            [Ok(Some(Answer::Done(one))), Ok(Some(Answer::Done(other)))] => {
                if one != other {
                    let fault = format!("{act:?} under one request id is answered {one:?} and {other:?}");
                    self.seen.lock().unwrap().faults.push(fault);
                }
                self.note(act, begun, Ok(Some(Answer::Done(one))));
            }
            [Ok(Some(done @ Answer::Done(_))), Ok(None | Some(Answer::Unknown))]
            | [Ok(None | Some(Answer::Unknown)), Ok(Some(done @ Answer::Done(_)))] => {
                self.note(act, begun, Ok(Some(done)));
            }
            // What is refused leaves no answer, so that each is decided by itself.
            [one, other] => {
                self.note(act, begun, one);
                self.note(act, begun, other);
            }
        }
    }

    fn note(&self, act: Act, begun: u64, answer: Result<Option<Answer>, String>) {
        let ended = self.tick();
        let mut seen = self.seen.lock().unwrap();
        match answer {
            Err(fault) => seen.faults.push(format!("{act:?}: {fault}")),
            // Nothing was done, or nothing was to be.
            Ok(None) => {}
            Ok(Some(Answer::Unknown)) if !act.changes() => {}
            Ok(Some(answer)) => {
                if let Answer::Done(Some(etag)) | Answer::Shown(etag, _) = answer {
                    seen.etags.push(etag);
                }
                let ended = if answer == Answer::Unknown { u64::MAX } else { ended };
                seen.events.push(Event { act, answer, begun, ended });
            }
        }
    }

    /// Sends it to a replica. No answer where it was not worked on.
    async fn send(
        &self,
        replica: usize,
        act: Act,
        request_id: &str,
        within: Option<Duration>,
    ) -> Result<Option<Answer>, String> {
        let clients = self.replicas[replica].clone();
        let sent = match self.kind {
            Kind::Device => self.send_to_device(clients, act, request_id, within).await,
            Kind::User => self.send_to_user(clients, act, request_id, within).await,
        };
        let status = match sent {
            Ok(answer) => return Ok(Some(answer)),
            Err(status) => status,
        };
        match reason(&status).as_str() {
            "DEVICE_NOT_FOUND" | "USER_NOT_FOUND" => Ok(Some(Answer::NotThere)),
            "ALREADY_EXISTS" => Ok(Some(Answer::Taken)),
            "ETAG_MISMATCH" => Ok(Some(Answer::Stale)),
            "SUBJECT_LOCKED" | "SUBJECT_DISABLED" => Ok(Some(Answer::InTheWay)),
            "CURRENT_PASSWORD_MISMATCH" => Ok(Some(Answer::Mismatch)),
            _ => match refusal(&status)? {
                Refusal::Raced => Ok(Some(Answer::Beaten)),
                Refusal::Shed => Ok(None),
                Refusal::Unknown => Ok(Some(Answer::Unknown)),
            },
        }
    }

    async fn send_to_device(
        &self,
        clients: Clients,
        act: Act,
        request_id: &str,
        within: Option<Duration>,
    ) -> Result<Answer, Status> {
        let mut devices = clients.devices;
        let (tenant_id, device_id, request_id) = (TENANT.to_owned(), self.id(), request_id.to_owned());
        let done = |device: Option<Device>| device.and_then(|device| Etag::read(&device.etag));
        Ok(match act {
            Act::Create { password } => {
                let secret_source = Some(create_device_request::SecretSource::Password(self.password(password)));
                let user_name = format!("name-{device_id}");
                let create = CreateDeviceRequest {
                    tenant_id,
                    device_id,
                    user_name,
                    secret_source,
                    request_id,
                    ..Default::default()
                };
                Answer::Done(done(devices.create_device(timed(create, within)).await?.into_inner().device))
            }
            Act::Delete { etag } => {
                let delete =
                    DeleteDeviceRequest { tenant_id, device_id, etag: text(etag), request_id, ..Default::default() };
                devices.delete_device(timed(delete, within)).await?;
                Answer::Done(None)
            }
            Act::Reset { password, etag } => {
                let secret_source = Some(reset_authentication_request::SecretSource::Password(self.password(password)));
                let etag = text(etag);
                let reset = ResetAuthenticationRequest {
                    tenant_id,
                    device_id,
                    secret_source,
                    etag,
                    request_id,
                    ..Default::default()
                };
                Answer::Done(done(devices.reset_authentication(timed(reset, within)).await?.into_inner().device))
            }
            Act::Moved { to, etag } => {
                let etag = text(etag);
                Answer::Done(done(match to {
                    Move::Lock => {
                        let lock = LockDeviceRequest { tenant_id, device_id, etag, request_id };
                        devices.lock_device(timed(lock, within)).await?.into_inner().device
                    }
                    Move::Unlock => {
                        let unlock = UnlockDeviceRequest { tenant_id, device_id, etag, request_id };
                        devices.unlock_device(timed(unlock, within)).await?.into_inner().device
                    }
                    Move::Disable => {
                        let disable = DisableDeviceRequest { tenant_id, device_id, etag, request_id };
                        devices.disable_device(timed(disable, within)).await?.into_inner().device
                    }
                    Move::Enable => {
                        let enable = EnableDeviceRequest { tenant_id, device_id, etag, request_id };
                        devices.enable_device(timed(enable, within)).await?.into_inner().device
                    }
                }))
            }
            Act::Verify { password } => {
                let subject = Some(verify_authentication_request::Subject::DeviceId(device_id));
                let (password, source) = (self.password(password), self.source());
                let verify = VerifyAuthenticationRequest { tenant_id, subject, password, source };
                Answer::Verified(devices.verify_authentication(timed(verify, within)).await?.into_inner().verified)
            }
            Act::Get => {
                let get = GetDeviceRequest { tenant_id, device_id };
                let device = devices.get_device(timed(get, within)).await?.into_inner().device.unwrap_or_default();
                shown(&device.etag, device.state())
            }
            Act::Change { .. } => panic!("no device changes its own password"),
        })
    }

    async fn send_to_user(
        &self,
        clients: Clients,
        act: Act,
        request_id: &str,
        within: Option<Duration>,
    ) -> Result<Answer, Status> {
        let mut users = clients.users;
        let (tenant_id, user_id, request_id) = (TENANT.to_owned(), self.id(), request_id.to_owned());
        let done = |user: Option<User>| user.and_then(|user| Etag::read(&user.etag));
        Ok(match act {
            Act::Create { password } => {
                let secret_source = Some(create_user_request::SecretSource::Password(self.password(password)));
                let username = format!("name-{user_id}");
                let create =
                    CreateUserRequest { tenant_id, user_id, username, secret_source, request_id, ..Default::default() };
                Answer::Done(done(users.create_user(timed(create, within)).await?.into_inner().user))
            }
            Act::Delete { etag } => {
                let delete =
                    DeleteUserRequest { tenant_id, user_id, etag: text(etag), request_id, ..Default::default() };
                users.delete_user(timed(delete, within)).await?;
                Answer::Done(None)
            }
            Act::Reset { password, etag } => {
                let secret_source = Some(reset_password_request::SecretSource::NewPassword(self.password(password)));
                let etag = text(etag);
                let reset =
                    ResetPasswordRequest { tenant_id, user_id, secret_source, etag, request_id, ..Default::default() };
                Answer::Done(done(users.reset_password(timed(reset, within)).await?.into_inner().user))
            }
            Act::Change { current, new } => {
                let change = ChangePasswordRequest {
                    tenant_id,
                    subject: Some(change_password_request::Subject::UserId(user_id)),
                    current_password: self.password(current),
                    new_password: self.password(new),
                    request_id,
                    ..ChangePasswordRequest::default()
                };
                Answer::Done(done(users.change_password(timed(change, within)).await?.into_inner().user))
            }
            Act::Moved { to, etag } => {
                let etag = text(etag);
                Answer::Done(done(match to {
                    Move::Lock => {
                        let lock = LockUserRequest { tenant_id, user_id, etag, request_id };
                        users.lock_user(timed(lock, within)).await?.into_inner().user
                    }
                    Move::Unlock => {
                        let unlock = UnlockUserRequest { tenant_id, user_id, etag, request_id };
                        users.unlock_user(timed(unlock, within)).await?.into_inner().user
                    }
                    Move::Disable => {
                        let disable = DisableUserRequest { tenant_id, user_id, etag, request_id };
                        users.disable_user(timed(disable, within)).await?.into_inner().user
                    }
                    Move::Enable => {
                        let enable = EnableUserRequest { tenant_id, user_id, etag, request_id };
                        users.enable_user(timed(enable, within)).await?.into_inner().user
                    }
                }))
            }
            Act::Verify { password } => {
                let subject = Some(verify_password_request::Subject::UserId(user_id));
                let (password, source) = (self.password(password), String::new());
                let verify = VerifyPasswordRequest { tenant_id, subject, password, source };
                Answer::Verified(users.verify_password(timed(verify, within)).await?.into_inner().verified)
            }
            Act::Get => {
                let get = GetUserRequest { tenant_id, user_id };
                let user = users.get_user(timed(get, within)).await?.into_inner().user.unwrap_or_default();
                shown(&user.etag, user.state())
            }
        })
    }
}

/// Checks and looks are not tried twice: they have no request id.
fn choose_way(rng: &mut Rng, act: Act) -> Way {
    let soon = Duration::from_micros(rng.u64(100..12_000));
    match (rng.u8(..20), act.changes()) {
        (0, _) => Way::GivenUp(soon),
        (1, _) => Way::Deadline(soon),
        (2..=4, true) => Way::Twice,
        (5..=6, true) => Way::Again(soon),
        _ => Way::Plain,
    }
}

fn timed<T>(message: T, within: Option<Duration>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(within) = within {
        request.set_timeout(within);
    }
    request
}

fn text(etag: Option<Etag>) -> String {
    etag.map(Etag::text).unwrap_or_default()
}

fn shown(etag: &str, state: SubjectState) -> Answer {
    let mode = match state {
        SubjectState::Active => Mode::Active,
        SubjectState::Locked => Mode::Locked,
        SubjectState::Disabled => Mode::Disabled,
        SubjectState::Unspecified => panic!("no state"),
    };
    Answer::Shown(Etag::read(etag).unwrap(), mode)
}

/// What came of many histories.
#[derive(Default)]
pub(super) struct Tally {
    histories: u64,
    calls: usize,
    unanswered: usize,
    pub(super) violations: Vec<String>,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { histories, calls, unanswered, violations } = self;
        let violations = violations.len();
        write!(f, "{histories} histories, {calls} calls, {unanswered} without an answer, {violations} violations")
    }
}

/// Runs the histories of these numbers on these replicas, and looks at each; no longer than until the first violation.
pub(super) async fn explore(replicas: &[Clients], seed: u64, mut numbers: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let mut running = JoinSet::new();
    while tally.violations.is_empty() {
        while running.len() < AT_ONCE
            && let Some(number) = numbers.next()
        {
            let history = History::new(number, replicas);
            running.spawn(async move {
                let told = history.run(seed).await;
                // So much to think about that others must not wait for it.
                let events = told.events.clone();
                let explained = tokio::task::spawn_blocking(move || is_linearizable(&events)).await.unwrap();
                (number, told, explained)
            });
        }
        let Some(ended) = running.join_next().await else { break };
        let (number, told, explained) = ended.unwrap();
        tally.histories += 1;
        tally.calls += told.events.len();
        tally.unanswered += told.events.iter().filter(|event| event.answer == Answer::Unknown).count();
        tally.violations.extend(told.faults);
        if !explained {
            let mut events = told.events;
            events.sort_by_key(|event| event.begun);
            let lines: Vec<_> = events.iter().map(|event| format!("  {event:?}")).collect();
            tally.violations.push(format!("history {number} has no order:\n{}", lines.join("\n")));
        }
    }
    tally
}

async fn on(site: Option<Site>, replicas: usize, histories: u64, bug: Option<&str>, name: &str) -> Option<Tally> {
    let seed = seed(name);
    let fleet = Fleet::at(site?, replicas, bug).await;
    let begun = Instant::now();
    let mut tally = explore(&fleet.admins(), seed, 0..histories).await;
    say(format_args!("{name}: {tally}, {:.1} s", begun.elapsed().as_secs_f64()));
    if !tally.violations.is_empty() {
        tally.violations.extend(fleet.errors());
    }
    let (_, faults) = fleet.stop();
    tally.violations.extend(faults);
    Some(tally)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_on_two_replicas_could_have_been_one_process_s() {
    let name = "races::history on PostgreSQL";
    let Some(tally) = on(Site::on_postgres(), 2, rounds(100), None, name).await else { return };
    assert!(tally.violations.is_empty(), "{}", tally.violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_on_one_file_could_have_been_one_process_s() {
    let name = "races::history on SQLite";
    let tally = on(Some(Site::on_sqlite()), 2, rounds(100), None, name).await.unwrap();
    assert!(tally.violations.is_empty(), "{}", tally.violations.join("\n"));
}

/// By what it does: a history without an order, or two who write what one may. A call that is refused for another reason
/// is none of it.
fn assert_found(tally: &Tally) {
    let violations = tally.violations.join("\n");
    let found = ["has no order", "code: Internal"].iter().any(|effect| violations.contains(effect));
    assert!(found, "the planted bug was not found: {violations}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etag_that_only_a_process_looks_at_is_found() {
    let name = "races::history with etag_in_memory";
    let Some(tally) = on(Site::on_postgres(), 2, 1_000, Some("etag_in_memory"), name).await else { return };
    assert_found(&tally);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subject_that_a_process_remembers_is_found() {
    let name = "races::history with subject_in_memory";
    let Some(tally) = on(Site::on_postgres(), 2, 1_000, Some("subject_in_memory"), name).await else { return };
    assert_found(&tally);
}
