//! Mixed work over gRPC: workers with subjects of their own, so that what each subject must be like follows from what its
//! worker asked and was answered.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fastrand::Rng;
use prost::Message;
use rekey::proto::{
    AtLimit, ChangePasswordRequest, CreateApiTokenRequest, CreateCallerRequest, CreateDeviceRequest,
    CreateIntegrationRequest, CreateTenantRequest, CreateUserRequest, Device, GenerateSecret, Integration,
    LockDeviceRequest, LockIntegrationRequest, LockUserRequest, ResetAuthenticationRequest, ResetIntegrationRequest,
    ResetPasswordRequest, RevokeApiTokenRequest, RollBackSecretRequest, Tenant, UnlockDeviceRequest,
    UnlockIntegrationRequest, UnlockUserRequest, UpdateDeviceRequest, UpdateIntegrationRequest, UpdateUserRequest,
    User, VerifyAuthenticationRequest, VerifyPasswordRequest, change_password_request, create_device_request,
    create_integration_request, create_user_request, reset_authentication_request, reset_password_request,
    verify_authentication_request, verify_password_request,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Status};

use crate::{
    common::rekey::Clients,
    model::{Act, Answer, Asked, Kind, Source, State, Subject},
    recorder::{Ended, Recorder},
};

/// The tenant in which all of it happens.
pub(crate) const TENANT: &str = "chaos";
/// Subjects of one worker, at most.
const OWNED: usize = 9;
/// States that a subject may be in, past which its worker leaves it alone until somebody has looked.
const DOUBT: usize = 4;
/// How long a call may take: longer than the service's own bound, so that it is seen to keep that.
const DEADLINE: Duration = Duration::from_secs(20);

/// How long a password that was replaced with an overlap is accepted: longer than any run.
const OVERLAP_S: i64 = 86_400;

/// The history of a load.
pub(crate) type Log = Recorder<Asked, Answer>;

/// Makes the tenant.
pub(crate) async fn prepare(admin: &mut Clients) {
    let tenant = Tenant { tenant_id: TENANT.to_owned(), change_password_allowed: true, ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
    admin.tenants.create_tenant(request).await.unwrap();
}

/// A subject, all that it may be like, and what was asked of it since somebody looked.
pub(crate) struct Owned {
    pub(crate) subject: Subject,
    pub(crate) states: Vec<State>,
    pub(crate) asked: Vec<(u64, Asked, Ended<Answer>)>,
}

/// What a worker makes, one after the other.
const MIXED: &[Kind] = &[Kind::Device, Kind::Integration, Kind::Device, Kind::User, Kind::Caller];

/// Asks for one thing after the other.
pub(crate) struct Worker {
    name: String,
    rng: Rng,
    /// What it makes, one after the other.
    pub(crate) kinds: &'static [Kind],
    pub(crate) log: Arc<Log>,
    pub(crate) owned: Vec<Owned>,
    made: u32,
    sent: u32,
    /// What was answered and cannot be.
    pub(crate) violations: Vec<String>,
}

impl Worker {
    pub(crate) fn new(name: String, rng: Rng, log: &Arc<Log>) -> Self {
        let (owned, violations) = (Vec::new(), Vec::new());
        Self { name, rng, kinds: MIXED, log: Arc::clone(log), owned, made: 0, sent: 0, violations }
    }

    /// Works until it is told to stop, or is in doubt about everything it has.
    pub(crate) async fn work(&mut self, clients: &Clients, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let Some((place, act)) = self.choose() else { return };
            let request_id = if self.rng.u8(..3) == 0 { String::new() } else { self.name_of_request() };
            let asked = self.asked(self.owned[place].subject.clone(), act, request_id);
            let ended = self.ask(clients, place, asked.clone()).await;
            if self.rng.u8(..8) == 0 && !asked.request_id.is_empty() {
                self.repeat(clients, place, asked, &ended).await;
            }
        }
    }

    /// Asks again, under the same request id: an answer that was given is given again.
    pub(crate) async fn repeat(&mut self, clients: &Clients, place: usize, asked: Asked, before: &Ended<Answer>) {
        match before {
            Ended::Acknowledged(answer) => {
                let again = self.asked(asked.subject, asked.act, asked.request_id);
                let number = self.log.invoke(again.clone());
                let ended = Ended::of(send(clients, &again).await);
                self.log.end(number, ended.clone());
                if let Ended::Acknowledged(second) = ended
                    && second.bytes != answer.bytes
                {
                    self.violations.push(format!("{again:?} was answered {answer:?} at first, and then {second:?}"));
                }
            }
            // Where it was done, the answer is its own; where it was not, it is done now. The states tell.
            Ended::Unknown { .. } => {
                let again = self.asked(asked.subject, asked.act, asked.request_id);
                self.ask(clients, place, again).await;
            }
            Ended::Refused(..) => {}
        }
    }

    /// A request, under a name of its own for the record.
    pub(crate) fn asked(&mut self, subject: Subject, act: Act, request_id: String) -> Asked {
        self.sent += 1;
        let trace = format!("{}.{}.{:08x}", self.name, self.sent, self.rng.u32(..));
        let request_id = if act.changes() { request_id } else { String::new() };
        Asked { subject, act, request_id, trace }
    }

    /// Asks, and draws what follows about what the subject may be like now.
    pub(crate) async fn ask(&mut self, clients: &Clients, place: usize, asked: Asked) -> Ended<Answer> {
        let number = self.log.invoke(asked.clone());
        let ended = Ended::of(send(clients, &asked).await);
        self.log.end(number, ended.clone());
        if let Some(wrong) = self.owned[place].note(number, asked, ended.clone()) {
            self.violations.push(wrong);
        }
        ended
    }

    /// What is to be done next, to which; nothing where everything is in doubt.
    fn choose(&mut self) -> Option<(usize, Act)> {
        let places: Vec<_> = (0..self.owned.len()).filter(|place| self.owned[*place].states.len() < DOUBT).collect();
        if self.owned.len() < OWNED && (self.rng.u8(..4) == 0 || self.owned.len() < 4) {
            return Some(self.make());
        }
        let place = *self.rng.choice(&places)?;
        let (kind, states) = (self.owned[place].subject.kind, self.owned[place].states.clone());
        let known = if states.len() == 1 { states.into_iter().next() } else { None };
        Some((place, self.act(kind, known.as_ref())))
    }

    /// A new subject.
    pub(crate) fn make(&mut self) -> (usize, Act) {
        let kind = self.kinds[self.made as usize % self.kinds.len()];
        self.made += 1;
        let subject = Subject { kind, id: format!("{}-{}", self.name, self.made) };
        let act = Act::Create {
            login: if kind == Kind::Caller { String::new() } else { self.login() },
            source: (kind != Kind::Caller).then(|| self.source()),
            settings: (kind == Kind::Integration && self.rng.bool()).then(|| self.text()),
        };
        self.owned.push(Owned { subject, states: vec![State::default()], asked: Vec::new() });
        (self.owned.len() - 1, act)
    }

    /// An act at a subject of this kind, whose state is this where it is known for sure.
    fn act(&mut self, kind: Kind, known: Option<&State>) -> Act {
        let known = known.filter(|state| state.version > 0);
        let password = known.and_then(|state| state.password.as_ref()?.value.clone());
        match (kind, self.rng.u8(..10), known) {
            (Kind::Caller, 0..4, Some(state)) => match state.tokens.values().flatten().next() {
                Some((token_id, _)) => Act::RevokeToken { token_id: token_id.clone() },
                None => Act::AddToken,
            },
            (Kind::Caller, ..) => Act::AddToken,
            (_, 0, Some(state)) => {
                if state.locked {
                    Act::Unlock
                } else {
                    Act::Lock
                }
            }
            (_, 1, Some(_)) => Act::Label { value: self.text() },
            (Kind::Device | Kind::User, 2, Some(state)) if !state.locked && password.is_some() => {
                Act::Verify { password: password.unwrap_or_default() }
            }
            (Kind::User, 3..6, Some(state)) if !state.locked && password.is_some() => {
                Act::Change { current: password.unwrap_or_default(), new: self.password() }
            }
            (Kind::User, ..) | (Kind::Device, 4, _) => Act::Reset { login: None, source: Some(self.source()) },
            (Kind::Integration, 3..7, _) => Act::Configure { settings: self.text() },
            (Kind::Integration, ..) => Act::Wipe,
            (Kind::Device, 3, _) => Act::Reset { login: Some(self.login()), source: None },
            (Kind::Device, 5, Some(_)) => Act::Rotate { source: self.source() },
            (Kind::Device, 6, Some(state)) if state.previous.is_some() => Act::RollBack,
            (Kind::Device, ..) => Act::Reset { login: Some(self.login()), source: Some(self.source()) },
        }
    }

    pub(crate) fn source(&mut self) -> Source {
        if self.rng.bool() { Source::Generated } else { Source::Given(self.password()) }
    }

    /// Good under the policy of every kind.
    fn password(&mut self) -> String {
        format!("Kq7!{:016x}x", self.rng.u64(..))
    }

    pub(crate) fn login(&mut self) -> String {
        format!("{}-{:012x}", self.name, self.rng.u64(..1 << 48))
    }

    fn text(&mut self) -> String {
        format!("{:08x}", self.rng.u32(..))
    }

    pub(crate) fn name_of_request(&mut self) -> String {
        format!("{:032x}", self.rng.u128(..))
    }
}

impl Owned {
    /// What the end of a call tells of the subject; what is wrong with it, if anything.
    pub(crate) fn note(&mut self, number: u64, asked: Asked, ended: Ended<Answer>) -> Option<String> {
        let mut wrong = None;
        match &ended {
            Ended::Acknowledged(answer) => {
                // Of one that was asked before and unknown, it may be the old answer.
                let earlier: Vec<u64> = self.earlier(&asked).collect();
                let mut states = Vec::new();
                for state in &self.states {
                    if earlier.iter().any(|number| state.applied.contains(number)) {
                        let mut state = state.clone();
                        state.learn(answer);
                        states.push(state);
                        continue;
                    }
                    let after = state.after(number, &asked.act, Some(answer));
                    if answer.version.is_none_or(|version| version == after.version) {
                        states.push(after);
                    }
                }
                if states.is_empty() {
                    wrong = Some(format!("{asked:?} was answered {answer:?}, but the subject was {:?}", self.states));
                } else {
                    self.states = states;
                }
                if let Act::Verify { .. } = asked.act
                    && !answer.verified
                    && self.states.len() == 1
                {
                    wrong = Some(format!("{asked:?} is in force and was not verified: {:?}", self.states));
                }
            }
            Ended::Unknown { said, .. } => {
                if said.starts_with("Internal") || said.contains("INTERNAL") {
                    wrong = Some(format!("{asked:?}: {said}"));
                }
                if asked.act.changes() {
                    let earlier: Vec<u64> = self.earlier(&asked).collect();
                    let fresh = self.states.iter().filter(|state| !earlier.iter().any(|it| state.applied.contains(it)));
                    let done: Vec<State> = fresh.map(|state| state.after(number, &asked.act, None)).collect();
                    self.states.extend(done);
                }
            }
            Ended::Refused(code, reason) => {
                let expected = matches!(
                    reason.as_str(),
                    // Shed, or another call's turn; and what follows from a state that was not known.
                    "OVERLOADED" | "RATE_LIMITED" | "CONCURRENT_CHANGE" | "ALREADY_EXISTS"
                ) || self.states.len() > 1
                    || self.states.iter().any(|state| state.version == 0);
                if !expected {
                    wrong = Some(format!("{asked:?} was refused: {code:?} {reason}, though it is {:?}", self.states));
                }
            }
        }
        self.asked.push((number, asked, ended));
        wrong
    }

    /// The calls that asked for the same under the same request id.
    fn earlier<'a>(&'a self, asked: &'a Asked) -> impl Iterator<Item = u64> + 'a {
        let same = move |other: &Asked| !asked.request_id.is_empty() && other.request_id == asked.request_id;
        self.asked.iter().filter(move |(_, other, _)| same(other)).map(|(number, ..)| *number)
    }
}

/// Sends a request, and reads its answer.
#[expect(clippy::too_many_lines, reason = "one arm for each act at each kind of subject")]
pub(crate) async fn send(clients: &Clients, asked: &Asked) -> Result<Answer, Status> {
    let Asked { subject: Subject { kind, id }, act, request_id, trace } = asked;
    let Clients { mut users, mut devices, mut integrations, mut callers, .. } = clients.clone();
    let (tenant_id, id, request_id) = (TENANT.to_owned(), id.clone(), request_id.clone());
    /// Sends, under the name for the record, and within the time that a call may take.
    macro_rules! sent {
        ($client:ident . $method:ident ($request:expr)) => {{
            let mut request = Request::new($request);
            request.metadata_mut().insert("x-request-id", trace.parse().unwrap());
            request.set_timeout(DEADLINE);
            $client.$method(request).await?.into_inner()
        }};
    }
    Ok(match (kind, act) {
        (Kind::Device, Act::Create { login, source: Some(source), .. }) => {
            use create_device_request::SecretSource::{Generate, Password};
            let secret_source = Some(source.map(Password, Generate));
            let user_name = login.clone();
            let request = CreateDeviceRequest {
                tenant_id,
                device_id: id,
                user_name,
                secret_source,
                request_id,
                ..Default::default()
            };
            let answer = sent!(devices.create_device(request));
            of_device(&answer, answer.device.as_ref(), answer.authentication.as_ref())
        }
        (Kind::Device, Act::Reset { login, source }) => {
            use reset_authentication_request::SecretSource::{Generate, Password};
            let secret_source = source.as_ref().map(|source| source.map(Password, Generate));
            let user_name = login.clone();
            let request = ResetAuthenticationRequest {
                tenant_id,
                device_id: id,
                user_name,
                secret_source,
                request_id,
                ..Default::default()
            };
            let answer = sent!(devices.reset_authentication(request));
            of_device(&answer, answer.device.as_ref(), answer.authentication.as_ref())
        }
        (Kind::Device, Act::Rotate { source }) => {
            use reset_authentication_request::SecretSource::{Generate, Password};
            let request = ResetAuthenticationRequest {
                tenant_id,
                device_id: id,
                secret_source: Some(source.map(Password, Generate)),
                overlap: Some(prost_types::Duration { seconds: OVERLAP_S, nanos: 0 }),
                at_limit: AtLimit::DropOldest.into(),
                request_id,
                ..Default::default()
            };
            let answer = sent!(devices.reset_authentication(request));
            of_device(&answer, answer.device.as_ref(), answer.authentication.as_ref())
        }
        (Kind::Device, Act::RollBack) => {
            let request = RollBackSecretRequest { tenant_id, device_id: id, request_id, ..Default::default() };
            let answer = sent!(devices.roll_back_secret(request));
            of_device(&answer, answer.device.as_ref(), None)
        }
        (Kind::Device, Act::Label { value }) => {
            let device = Some(Device { labels: labels(value), ..Device::default() });
            let update_mask = Some(mask());
            let request =
                UpdateDeviceRequest { tenant_id, device_id: id, device, update_mask, request_id, ..Default::default() };
            let answer = sent!(devices.update_device(request));
            of_device(&answer, answer.device.as_ref(), None)
        }
        (Kind::Device, Act::Lock) => {
            let request = LockDeviceRequest { tenant_id, device_id: id, request_id, ..Default::default() };
            let answer = sent!(devices.lock_device(request));
            of_device(&answer, answer.device.as_ref(), None)
        }
        (Kind::Device, Act::Unlock) => {
            let request = UnlockDeviceRequest { tenant_id, device_id: id, request_id, ..Default::default() };
            let answer = sent!(devices.unlock_device(request));
            of_device(&answer, answer.device.as_ref(), None)
        }
        (Kind::Device, Act::Verify { password }) => {
            let subject = Some(verify_authentication_request::Subject::DeviceId(id));
            let (password, source) = (password.clone(), SOURCE.to_owned());
            let request = VerifyAuthenticationRequest { tenant_id, subject, password, source };
            Answer { verified: sent!(devices.verify_authentication(request)).verified, ..Answer::default() }
        }
        (Kind::Integration, Act::Create { login, source: Some(source), settings }) => {
            use create_integration_request::SecretSource::{Generate, Password};
            let request = CreateIntegrationRequest {
                tenant_id,
                integration_id: id,
                username: login.clone(),
                secret_source: Some(source.map(Password, Generate)),
                settings: settings.as_deref().map(named_settings).unwrap_or_default(),
                request_id,
                ..Default::default()
            };
            let answer = sent!(integrations.create_integration(request));
            let password = answer.credentials.as_ref().map(|credentials| credentials.password.clone());
            of_integration(&answer, answer.integration.as_ref(), password)
        }
        (Kind::Integration, Act::Wipe) => {
            let request = ResetIntegrationRequest { tenant_id, integration_id: id, request_id, ..Default::default() };
            let answer = sent!(integrations.reset_integration(request));
            let password = answer.credentials.as_ref().map(|credentials| credentials.password.clone());
            of_integration(&answer, answer.integration.as_ref(), password)
        }
        (Kind::Integration, Act::Configure { settings }) => {
            let settings = named_settings(settings);
            let request =
                UpdateIntegrationRequest { tenant_id, integration_id: id, settings, request_id, ..Default::default() };
            let answer = sent!(integrations.update_integration(request));
            of_integration(&answer, answer.integration.as_ref(), None)
        }
        (Kind::Integration, Act::Label { value }) => {
            let (labels, update_mask) = (labels(value), Some(mask()));
            let request = UpdateIntegrationRequest {
                tenant_id,
                integration_id: id,
                labels,
                update_mask,
                request_id,
                ..Default::default()
            };
            let answer = sent!(integrations.update_integration(request));
            of_integration(&answer, answer.integration.as_ref(), None)
        }
        (Kind::Integration, Act::Lock) => {
            let request = LockIntegrationRequest { tenant_id, integration_id: id, request_id, ..Default::default() };
            let answer = sent!(integrations.lock_integration(request));
            of_integration(&answer, answer.integration.as_ref(), None)
        }
        (Kind::Integration, Act::Unlock) => {
            let request = UnlockIntegrationRequest { tenant_id, integration_id: id, request_id, ..Default::default() };
            let answer = sent!(integrations.unlock_integration(request));
            of_integration(&answer, answer.integration.as_ref(), None)
        }
        (Kind::User, Act::Create { login, source: Some(source), .. }) => {
            use create_user_request::SecretSource::{Generate, Password};
            let secret_source = Some(source.map(Password, Generate));
            let username = login.clone();
            let request =
                CreateUserRequest { tenant_id, user_id: id, username, secret_source, request_id, ..Default::default() };
            let answer = sent!(users.create_user(request));
            of_user(&answer, answer.user.as_ref(), &answer.generated_password)
        }
        (Kind::User, Act::Reset { source: Some(source), .. }) => {
            use reset_password_request::SecretSource::{Generate, NewPassword};
            let secret_source = Some(source.map(NewPassword, Generate));
            let request =
                ResetPasswordRequest { tenant_id, user_id: id, secret_source, request_id, ..Default::default() };
            let answer = sent!(users.reset_password(request));
            of_user(&answer, answer.user.as_ref(), &answer.generated_password)
        }
        (Kind::User, Act::Change { current, new }) => {
            let request = ChangePasswordRequest {
                tenant_id,
                subject: Some(change_password_request::Subject::UserId(id)),
                current_password: current.clone(),
                new_password: new.clone(),
                source: SOURCE.to_owned(),
                request_id,
                ..Default::default()
            };
            let answer = sent!(users.change_password(request));
            of_user(&answer, answer.user.as_ref(), "")
        }
        (Kind::User, Act::Label { value }) => {
            let user = Some(User { labels: labels(value), ..User::default() });
            let update_mask = Some(mask());
            let request =
                UpdateUserRequest { tenant_id, user_id: id, user, update_mask, request_id, ..Default::default() };
            let answer = sent!(users.update_user(request));
            of_user(&answer, answer.user.as_ref(), "")
        }
        (Kind::User, Act::Lock) => {
            let request = LockUserRequest { tenant_id, user_id: id, request_id, ..Default::default() };
            let answer = sent!(users.lock_user(request));
            of_user(&answer, answer.user.as_ref(), "")
        }
        (Kind::User, Act::Unlock) => {
            let request = UnlockUserRequest { tenant_id, user_id: id, request_id, ..Default::default() };
            let answer = sent!(users.unlock_user(request));
            of_user(&answer, answer.user.as_ref(), "")
        }
        (Kind::User, Act::Verify { password }) => {
            let subject = Some(verify_password_request::Subject::UserId(id));
            let (password, source) = (password.clone(), SOURCE.to_owned());
            let request = VerifyPasswordRequest { tenant_id, subject, password, source };
            Answer { verified: sent!(users.verify_password(request)).verified, ..Answer::default() }
        }
        (Kind::Caller, Act::Create { .. }) => {
            let permissions = vec!["users:get".to_owned()];
            let request =
                CreateCallerRequest { tenant_id, caller_id: id, permissions, request_id, ..Default::default() };
            let answer = sent!(callers.create_caller(request));
            let version = answer.caller.as_ref().and_then(|caller| version(&caller.etag));
            Answer { version, bytes: answer.encode_to_vec(), ..Answer::default() }
        }
        (Kind::Caller, Act::AddToken) => {
            let request = CreateApiTokenRequest { tenant_id, caller_id: id, request_id, ..Default::default() };
            let answer = sent!(callers.create_api_token(request));
            let bytes = answer.encode_to_vec();
            Answer { token: Some((answer.token_id, answer.token)), bytes, ..Answer::default() }
        }
        (Kind::Caller, Act::RevokeToken { token_id }) => {
            let token_id = token_id.clone();
            let request =
                RevokeApiTokenRequest { tenant_id, caller_id: id, token_id, request_id, ..Default::default() };
            let answer = sent!(callers.revoke_api_token(request));
            Answer { bytes: answer.encode_to_vec(), ..Answer::default() }
        }
        (kind, act) => panic!("no {act:?} of a {kind:?}"),
    })
}

/// Where all attempts come from.
pub(crate) const SOURCE: &str = "192.0.2.7";

impl Source {
    fn map<T>(&self, given: fn(String) -> T, generate: fn(GenerateSecret) -> T) -> T {
        match self {
            Self::Given(password) => given(password.clone()),
            Self::Generated => generate(GenerateSecret::default()),
        }
    }
}

fn of_device(
    message: &impl Message,
    device: Option<&Device>,
    authentication: Option<&rekey::proto::DeviceAuthentication>,
) -> Answer {
    let device = device.unwrap();
    Answer {
        version: version(&device.etag),
        login: device.user_name.clone(),
        password: authentication.map(|shown| shown.password.clone()).filter(|password| !password.is_empty()),
        bytes: message.encode_to_vec(),
        ..Answer::default()
    }
}

fn of_integration(message: &impl Message, integration: Option<&Integration>, password: Option<String>) -> Answer {
    let integration = integration.unwrap();
    Answer {
        version: version(&integration.etag),
        login: integration.username.clone(),
        password,
        bytes: message.encode_to_vec(),
        ..Answer::default()
    }
}

fn of_user(message: &impl Message, user: Option<&User>, generated: &str) -> Answer {
    let user = user.unwrap();
    Answer {
        version: version(&user.etag),
        login: user.username.clone(),
        password: (!generated.is_empty()).then(|| generated.to_owned()),
        bytes: message.encode_to_vec(),
        ..Answer::default()
    }
}

/// The version that an etag tells.
pub(crate) fn version(etag: &str) -> Option<i64> {
    i64::from_str_radix(etag.rsplit_once('-')?.1, 16).ok()
}

fn labels(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("chaos".to_owned(), value.to_owned())])
}

/// Settings with this one value, in two, so that halves of them could be told.
pub(crate) fn named_settings(value: &str) -> BTreeMap<String, String> {
    BTreeMap::from([("account".to_owned(), value.to_owned()), ("realm".to_owned(), value.to_owned())])
}

fn mask() -> prost_types::FieldMask {
    prost_types::FieldMask { paths: vec!["labels".to_owned()] }
}
