//! The statement budget: what each operation asks of the database, in order, and how the database does it.
//!
//! `sqlite.txt` and `postgres.txt` beside this file list it, from a real service on a filled database. A change of them is
//! a change of what an operation costs: read the difference, then `REKEY_WRITE_GOLDEN=1 cargo test --test store budget`
//! writes them anew. What no list may hold is refused even then: a scan of a table that grows ([`GROWING`]), and a number
//! of statements that depends on the number of rows ([`Budget::same`]).
//!
//! To add an operation: a line in [`operations`], `budget.op("what it is", "Service/Method", json!({…})).await`, or
//! `budget.run("what it is", async { … }).await` for what no method does; with `same`, two requests of which one is about
//! many more rows.
//!
//! Not listed is a batch of checks: each of them reserves and settles an attempt of its own, a few statements for each, in
//! as few transactions as there are turns.
//!
//! `…` stands for columns and for values, so that a new column changes nothing here; `×3` for a statement that came three
//! times in a row. Of checks, what is written behind the answer stands at the end, the attempt before the record. BEGIN
//! and COMMIT are not told. The caller, the tenant and its key are known already, but for the first operation.

mod fill;
mod plan;

use std::{
    env,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicI64},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use prost_reflect::DynamicMessage;
use rekey::{
    api,
    crypto::{Hasher, Keyring, KeyringInUse, SystemEntropy},
    domain::{Clock, Entropy},
    listen::{Incoming, Limits},
    metrics::Calls,
    ops::Ops,
    proto::{BytesCodec, DESCRIPTORS},
    store::Store,
};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeSeed as _;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, transport::Channel};

use crate::{
    common::rekey::{START, TestClock, connect, limits, options},
    fixture::{Database, Raw},
};

const LIMITS: Limits = Limits {
    first_bytes: 24,
    first_bytes_within: Duration::from_secs(5),
    idle: Duration::from_mins(10),
    connections: 4,
    connections_per_peer: 4,
};

/// Tables that have a row for each subject, change, tenant or request.
pub(crate) const GROWING: [&str; 14] = [
    "audit",
    "audit_link",
    "data_key",
    "failure",
    "job",
    "jwt_issuer",
    "reply",
    "secret",
    "subject",
    "subject_label",
    "tenant",
    "tenant_alias",
    "tenant_label",
    "used_signature",
];

/// What may be read from end to end all the same: by whom, and which table.
const ALLOWED: [(&str, &str); 1] =
    // A row for each tenant, once for each process.
    [("which wrapping keys are needed, at a start", "data_key")];

/// Written behind by a clock of its own, so it may come at any place: it is listed last, and once.
const BEHIND: &str = "SET use_count = use_count";

/// Which of a tenant's keys seals is looked up again from time to time, by a clock that no test sets.
const REMEMBERED: [&str; 2] = ["FROM \"data_key\"", "\"is_primary\" = "];

const PASSWORD: &str = "Long-enough-Phrase-42";
const OTHER: &str = "Another-long-Phrase-43";

#[tokio::test(flavor = "multi_thread")]
async fn budget_on_sqlite() {
    check(Database::sqlite().await, "sqlite").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budget_on_postgres() {
    if let Some(database) = Database::postgres().await {
        check(database, "postgres").await;
    }
}

async fn check(database: Database, engine: &str) {
    let mut budget = Budget::start(&database).await;
    fill::fill(&database.raw, budget.tenant_uid().await.as_str()).await;
    operations(&mut budget).await;
    let Budget { text, faults, .. } = budget;
    assert!(faults.is_empty(), "{}", faults.join("\n"));

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/store/statements/{engine}.txt"));
    if env::var_os("REKEY_WRITE_GOLDEN").is_some() {
        fs::write(&file, &text).unwrap();
    }
    let golden = fs::read_to_string(&file).unwrap_or_default();
    if text == golden {
        return;
    }
    let difference = text.lines().zip(golden.lines()).find(|(found, expected)| found != expected);
    panic!(
        "{} is not what runs; first difference: {difference:?}. Read what changed, then write it anew with \
         REKEY_WRITE_GOLDEN=1",
        file.display()
    );
}

/// What is measured.
#[expect(clippy::too_many_lines, reason = "a list: each operation and its request")]
async fn operations(budget: &mut Budget) {
    let acme = "acme";
    let device = |id: &str| json!({"tenantId": acme, "deviceId": id});
    let user = |id: &str| json!({"tenantId": acme, "userId": id});
    let with = |mut request: Value, more: Value| {
        let more = more.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(more);
        request
    };

    budget.forget().await;
    budget.cold("a token and a tenant that are not known yet", "CallerService/WhoAmI", json!({})).await;
    budget
        .op("verify a device", "DeviceService/VerifyAuthentication", with(device("d1"), json!({"password": PASSWORD})))
        .await;
    budget
        .op(
            "verify a device, wrong",
            "DeviceService/VerifyAuthentication",
            with(device("d1"), json!({"password": OTHER})),
        )
        .await;
    budget
        .op(
            "verify a password",
            "UserService/VerifyPassword",
            with(user("u1"), json!({"password": PASSWORD, "source": "192.0.2.1"})),
        )
        .await;
    budget
        .op(
            "verify a password from a known source",
            "UserService/VerifyPassword",
            with(user("u1"), json!({"password": PASSWORD, "source": "192.0.2.1"})),
        )
        .await;
    budget
        .op(
            "verify a password, wrong",
            "UserService/VerifyPassword",
            with(user("u1"), json!({"password": OTHER, "source": "198.51.100.1"})),
        )
        .await;
    budget
        .op(
            "verify a password of nobody",
            "UserService/VerifyPassword",
            with(user("nobody"), json!({"password": OTHER})),
        )
        .await;
    budget
        .op(
            "verify a password by user name",
            "UserService/VerifyPassword",
            json!({"tenantId": acme, "username": "u1@example.com", "password": PASSWORD}),
        )
        .await;
    budget.op("reset a device", "DeviceService/ResetAuthentication", with(device("d1"), json!({"generate": {}}))).await;
    budget
        .op(
            "reset a device with a request id",
            "DeviceService/ResetAuthentication",
            with(device("d1"), json!({"generate": {}, "requestId": "4a1ccc3e-5a1d-4f6d-9b1e-0c1f2b3a4d5e"})),
        )
        .await;
    budget
        .op(
            "the same request id again",
            "DeviceService/ResetAuthentication",
            with(device("d1"), json!({"generate": {}, "requestId": "4a1ccc3e-5a1d-4f6d-9b1e-0c1f2b3a4d5e"})),
        )
        .await;
    budget
        .op("reveal a device", "DeviceService/RevealAuthentication", with(device("d1"), json!({"purpose": "a test"})))
        .await;
    budget
        .op("reset a password", "UserService/ResetPassword", with(user("u1"), json!({"newPassword": PASSWORD})))
        .await;
    budget
        .op(
            "change a password",
            "UserService/ChangePassword",
            with(user("u2"), json!({"currentPassword": PASSWORD, "newPassword": OTHER})),
        )
        .await;
    budget.op("lock a user", "UserService/LockUser", user("u3")).await;

    budget.op("get a user", "UserService/GetUser", user("u1")).await;
    budget.op("get a device", "DeviceService/GetDevice", device("d1")).await;
    let page = |size: u32| json!({"tenantId": acme, "pageSize": size});
    budget.same("list users", "UserService/ListUsers", page(5), page(50)).await;
    budget.same("list devices", "DeviceService/ListDevices", page(5), page(50)).await;
    budget.same("list callers", "CallerService/ListCallers", page(1), page(50)).await;
    budget.same("list tenants", "TenantService/ListTenants", json!({"pageSize": 5}), json!({"pageSize": 20})).await;
    for (what, filter) in [
        ("state", "state = LOCKED"),
        ("label", "labels.site = \"north\""),
        ("time", "create_time > \"2026-01-01T00:00:00Z\""),
    ] {
        let page = |size: u32| json!({"tenantId": acme, "pageSize": size, "filter": filter});
        budget.same(&format!("list users by {what}"), "UserService/ListUsers", page(5), page(50)).await;
    }
    budget
        .same(
            "list users by the time of their change",
            "UserService/ListUsers",
            with(page(5), json!({"orderBy": "update_time desc"})),
            with(page(50), json!({"orderBy": "update_time desc"})),
        )
        .await;
    budget.same("read the record", "AuditService/ListAuditRecords", page(5), page(50)).await;
    let about = |size: u32| with(page(size), json!({"filter": "target_id = \"u1\""}));
    budget.same("read the record of a user", "AuditService/ListAuditRecords", about(5), about(50)).await;
    let denied = |size: u32| with(page(size), json!({"filter": "outcome = \"denied\""}));
    budget.same("read the record of refusals", "AuditService/ListAuditRecords", denied(5), denied(50)).await;
    budget.op("a call that is refused", "UserService/GetUser", user("nobody")).await;

    budget.op("make a user", "UserService/CreateUser", json!({"tenantId": acme, "userId": "new", "username": "new@example.com", "generate": {}, "labels": {"site": "north"}})).await;
    budget.op("delete a user", "UserService/DeleteUser", user("new")).await;
    budget.op("make a token", "CallerService/CreateApiToken", json!({"tenantId": acme, "callerId": "svc"})).await;
    budget.op("list credentials", "CallerService/ListCredentials", json!({"tenantId": acme, "callerId": "svc"})).await;

    let (store, now) = (budget.store.clone(), budget.clock.now());
    budget
        .run("forget answers whose time is over", async || {
            store.delete_expired_replies(now).await.unwrap();
        })
        .await;
    let store = budget.store.clone();
    budget
        .run("forget failures that say nothing any more", async || {
            store.forget_attempts(now).await.unwrap();
        })
        .await;
    let store = budget.store.clone();
    budget
        .run("which wrapping keys are needed, at a start", async || {
            store.wrapping_keys_in_use().await.unwrap();
        })
        .await;
    let (store, uid) = (budget.store.clone(), crate::fixture::new_uid());
    let seen = store.find_or_make_installation(uid, now).await.unwrap();
    budget
        .run("raise the database's mark", async || {
            store.raise_epoch(&seen).await.unwrap();
        })
        .await;
    let store = budget.store.clone();
    budget
        .run("count passwords by how they are kept, for the metrics", async || {
            store.whole_password_census().await.unwrap();
        })
        .await;
}

/// What some statement was, with places and with values.
type Told = (String, String);

struct Budget {
    raw: Raw,
    store: Store,
    ops: Ops,
    clock: Arc<TestClock>,
    channel: Channel,
    token: String,
    told: Arc<Mutex<Vec<Told>>>,
    text: String,
    faults: Vec<String>,
}

impl Budget {
    /// A service on this database, of which every statement is told.
    async fn start(database: &Database) -> Self {
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let sink = Arc::clone(&told);
        let store = Store::connect(&database.options).await.unwrap();
        let store = store.observed(move |places, values| sink.lock().unwrap().push((places.to_owned(), values)));
        let directory = tempfile::tempdir().unwrap();
        let options = options(directory.path());
        let clock = Arc::new(TestClock(AtomicI64::new(START * 1_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let keyring = Keyring::create(&options.keyring_file, clock.now(), &*entropy).unwrap();
        let hasher = Hasher::start(options.hasher, Arc::clone(&entropy)).unwrap();
        let time = Arc::clone(&clock) as Arc<dyn Clock>;
        let ops = Ops::new(store.clone(), KeyringInUse::new(keyring), hasher, time, entropy, &limits());
        let token = ops.initialise().await.unwrap();
        #[expect(clippy::disallowed_methods, reason = "the administrator's token of a test")]
        let token = token.expose_secret().to_owned();

        let incoming = Incoming::bind(SocketAddr::from(([127, 0, 0, 1], 0)), LIMITS).await.unwrap();
        let address = incoming.address();
        let gate = api::gate(&ops, &Calls::default(), api::routes(&ops, false).unwrap());
        tokio::spawn(api::serve(incoming, None, gate, CancellationToken::new()));
        let channel = connect(address).await;
        let raw = Raw::open(&database.options).await;
        let mut budget = Self { raw, store, ops, clock, channel, token, told, text: String::new(), faults: Vec::new() };
        budget.furnish().await;
        budget
    }

    async fn furnish(&mut self) {
        let made = |method: &'static str, request: Value| (method, request);
        let mut requests = vec![made(
            "TenantService/CreateTenant",
            json!({"tenant": {"tenantId": "acme", "changePasswordAllowed": true, "userPolicy": {"resetMustChange": false}}}),
        )];
        for number in 1..=3 {
            let id = format!("u{number}");
            let request = json!({"tenantId": "acme", "userId": id, "username": format!("{id}@example.com"), "password": PASSWORD});
            requests.push(made("UserService/CreateUser", request));
        }
        for number in 1..=30 {
            let request = json!({"tenantId": "acme", "deviceId": format!("d{number}"), "userName": format!("cam{number}"), "password": PASSWORD});
            requests.push(made("DeviceService/CreateDevice", request));
        }
        requests.push(made("CallerService/CreateCaller", json!({"tenantId": "acme", "callerId": "svc"})));
        for (method, request) in requests {
            let code = self.call(method, &request).await;
            assert_eq!(code, Code::Ok, "{method}");
        }
    }

    async fn tenant_uid(&self) -> String {
        self.raw.text("SELECT uid FROM tenant WHERE external_id = 'acme'").await.unwrap()
    }

    /// Lets what is remembered of callers and tenants become old.
    async fn forget(&self) {
        self.clock.advance(Duration::from_secs(2));
        self.drain().await;
    }

    /// What was told since the last time, once everything is written that is written behind answers.
    async fn drain(&self) -> Vec<Told> {
        self.ops.close().await;
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let (behind, mut told): (Vec<_>, Vec<_>) = told.into_iter().partition(|(places, _)| places.contains(BEHIND));
        told.retain(|(places, _)| !REMEMBERED.iter().all(|part| places.contains(part)));
        told.extend(behind.into_iter().last());
        told
    }

    async fn call(&self, method: &str, request: &Value) -> Code {
        let (service, name) = method.split_once('/').unwrap();
        let service = DESCRIPTORS.get_service_by_name(&format!("rekey.v1.{service}")).unwrap();
        let descriptor = service.methods().find(|found| found.name() == name).unwrap();
        let text = request.to_string();
        let mut json = serde_json::Deserializer::from_str(&text);
        let message = descriptor.input().deserialize(&mut json).unwrap_or_else(|error| panic!("{method}: {error}"));
        let message: DynamicMessage = message;
        let mut request = Request::new(Bytes::from(message.encode_to_vec()));
        request.metadata_mut().insert("authorization", format!("Bearer {}", self.token).parse().unwrap());
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        grpc.ready().await.unwrap();
        let path = format!("/rekey.v1.{method}").parse().unwrap();
        grpc.unary(request, path, BytesCodec).await.map_or_else(|status| status.code(), |_| Code::Ok)
    }

    /// Lists what a method does, by a caller and in a tenant that are known already.
    async fn op(&mut self, what: &str, method: &str, request: Value) {
        self.warm().await;
        self.cold(what, method, request).await;
    }

    /// The same, by a caller that is not known.
    async fn cold(&mut self, what: &str, method: &str, request: Value) {
        let code = self.call(method, &request).await;
        let mut told = self.drain().await;
        assert!(code == Code::Ok || what.contains("refused"), "{what}: {code:?}");
        if method.contains("Verify") {
            // The attempt is settled and the record written side by side, by two that do not wait for each other.
            told.sort_by_key(|(places, _)| places.contains("\"failure\"") || places.contains(BEHIND));
            told.sort_by_key(|(places, _)| places.contains("INTO audit") || places.contains(BEHIND));
        }
        self.list(what, method, told).await;
    }

    /// Lists what a method does, and sees to it that it is the same for few rows and for many.
    async fn same(&mut self, what: &str, method: &str, few: Value, many: Value) {
        let mut runs = Vec::new();
        for request in [few, many] {
            self.warm().await;
            let code = self.call(method, &request).await;
            assert_eq!(code, Code::Ok, "{what}");
            runs.push(self.drain().await);
        }
        let shape = |told: &[Told]| told.iter().map(|(places, _)| plan::shortened(places)).collect::<Vec<_>>();
        let (few, many) = (shape(&runs[0]), shape(&runs[1]));
        if few != many {
            self.faults.push(format!("{what}: more rows, other statements: {few:#?} and {many:#?}"));
        }
        self.list(what, method, runs.remove(1)).await;
    }

    /// Lists what something does that no method does.
    async fn run(&mut self, what: &str, act: impl AsyncFnOnce()) {
        self.drain().await;
        act().await;
        let told = self.drain().await;
        self.list(what, "", told).await;
    }

    async fn warm(&self) {
        self.clock.advance(Duration::from_secs(2));
        let request = json!({"tenantId": "acme", "deviceId": "d30", "password": PASSWORD});
        assert_eq!(self.call("DeviceService/VerifyAuthentication", &request).await, Code::Ok);
        self.drain().await;
    }

    async fn list(&mut self, what: &str, method: &str, told: Vec<Told>) {
        let colon = if method.is_empty() { "" } else { ": " };
        let _ = writeln!(self.text, "== {what}{colon}{method}");
        let mut listed: Vec<(String, usize)> = Vec::new();
        for (places, values) in told {
            let plan = plan::of(&self.raw, &values).await;
            for line in &plan {
                if let Some(table) = plan::scanned(line)
                    && !ALLOWED.contains(&(what, table))
                {
                    self.faults.push(format!("{what}: {table} is read from end to end: {line}\n  {values}"));
                }
            }
            let lines = std::iter::once(plan::shortened(&places)).chain(plan.iter().map(|line| format!("    {line}")));
            let entry = lines.collect::<Vec<_>>().join("\n");
            match listed.last_mut() {
                Some((last, times)) if *last == entry => *times += 1,
                _ => listed.push((entry, 1)),
            }
        }
        for (entry, times) in listed {
            let (statement, plan) = entry.split_once('\n').unwrap_or((&entry, ""));
            let times = if times > 1 { format!(" ×{times}") } else { String::new() };
            let end = if plan.is_empty() { "" } else { "\n" };
            let _ = write!(self.text, "  {statement}{times}\n{plan}{end}");
        }
        self.text.push('\n');
    }
}
