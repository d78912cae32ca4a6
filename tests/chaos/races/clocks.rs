//! Replicas whose machines' clocks are minutes apart, and jump: by libfaketime, where Debian's package is found.
//!
//! On PostgreSQL they take the time from there, so that nothing of it is felt. On a file there is one machine's clock, and
//! what a jump of it may do is what it says: nothing is lost, nobody is let in or kept out for good.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rekey::proto::{
    CreateApiTokenRequest, CreateCallerRequest, CreateTenantRequest, CreateUserRequest, IssueTokenRequest,
    ListAuditRecordsRequest, LockUserRequest, ResetPasswordRequest, RevokeApiTokenRequest, SecretPolicy, Tenant,
    TokenIssuer, UnlockUserRequest, VerifyPasswordRequest, WhoAmIRequest, create_user_request, issue_token_request,
    reset_password_request, verify_password_request,
};

use super::fleet::TENANT;
use crate::{
    common::rekey::Clients,
    database::Rows,
    parameters::{rounds, say, seed},
    server::{Server, Site},
};

const RIGHT: &str = "The-right-0ne-and-long-enough";
/// How old records are when they are shown, as documented; and a little.
const SETTLED: Duration = Duration::from_secs(11);
/// Longer than the first wait of a soft lock lasts, and shorter than the clocks are apart.
const FIRST_WAIT: Duration = Duration::from_secs(20);

/// Where Debian puts it.
fn library() -> Option<PathBuf> {
    let directories = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found = directories.map(|entry| entry.path().join("faketime/libfaketime.so.1")).find(|path| path.is_file());
    if found.is_none() {
        say("races::clocks: skipped: no libfaketime (Debian: apt-get install libfaketime)");
    }
    found
}

/// A process whose clock is wrong, as a file says.
struct Wrong {
    server: Server,
    file: PathBuf,
}

impl Wrong {
    async fn start(site: &Site, library: &Path, name: &str, offset: &str) -> Self {
        let file = site.path(name);
        fs::write(&file, offset).unwrap();
        let preload = format!("LD_PRELOAD={}", library.display());
        let from = format!("FAKETIME_TIMESTAMP_FILE={}", file.display());
        // Timers are of another clock, which nobody sets.
        let under =
            ["env", &preload, &from, "FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1"];
        let server = site.start(&under).unwrap_or_else(|log| panic!("it did not start:\n{log}"));
        server.wait_until_ready().await;
        Self { server, file }
    }

    /// Sets its clock off by so much: `+5m`, `-10s`.
    fn set(&self, offset: &str) {
        let next = self.file.with_extension("next");
        fs::write(&next, offset).unwrap();
        fs::rename(next, &self.file).unwrap();
    }
}

async fn prepare(admin: &Clients) {
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let user_policy = Some(SecretPolicy { temporary_ttl: ttl, ..SecretPolicy::default() });
    let token_issuer = Some(TokenIssuer { issuer: "acme".to_owned(), ..TokenIssuer::default() });
    let tenant = Tenant { tenant_id: TENANT.to_owned(), user_policy, token_issuer, ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), ..CreateTenantRequest::default() };
    admin.clone().tenants.create_tenant(request).await.unwrap();
    // Its own, and good for long.
    let policy = SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() };
    let token_issuer = Some(TokenIssuer { issuer: "lasting".to_owned(), ..TokenIssuer::default() });
    let (tenant_id, user_policy) = ("lasting".to_owned(), Some(policy));
    let tenant = Some(Tenant { tenant_id, user_policy, token_issuer, ..Tenant::default() });
    let request = CreateTenantRequest { tenant, ..CreateTenantRequest::default() };
    admin.clone().tenants.create_tenant(request).await.unwrap();
}

/// Makes a user; when that was, in seconds.
async fn create_user(clients: &Clients, tenant: &str, id: &str) -> i64 {
    let create = CreateUserRequest {
        tenant_id: tenant.to_owned(),
        user_id: id.to_owned(),
        username: format!("{id}@acme.example"),
        secret_source: Some(create_user_request::SecretSource::Password(RIGHT.to_owned())),
        request_id: format!("make-{id}"),
        ..CreateUserRequest::default()
    };
    let made = clients.clone().users.create_user(create).await.unwrap().into_inner().user.unwrap();
    made.create_time.unwrap().seconds
}

async fn verifies(clients: &Clients, tenant: &str, id: &str, password: &str) -> bool {
    let subject = Some(verify_password_request::Subject::UserId(id.to_owned()));
    let (tenant_id, password) = (tenant.to_owned(), password.to_owned());
    let verify = VerifyPasswordRequest { tenant_id, subject, password, source: "192.0.2.1".to_owned() };
    clients.clone().users.verify_password(verify).await.unwrap().into_inner().verified
}

/// Asks until it is so, for no longer than this.
async fn becomes(within: Duration, mut is_so: impl AsyncFnMut() -> bool) -> bool {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(within, asked).await.is_ok()
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// What does not hold for replicas that are seven minutes ahead, right, and seven behind.
async fn apart(site: &Site, library: &Path) -> Vec<String> {
    let replicas = [
        Wrong::start(site, library, "ahead", "+7m").await,
        Wrong::start(site, library, "right", "+0").await,
        Wrong::start(site, library, "behind", "-7m").await,
    ];
    let clients: Vec<_> = replicas.iter().map(|wrong| wrong.server.clients(&site.admin_token)).collect();
    let [ahead, right, behind] = clients.as_slice() else { panic!("three") };
    prepare(right).await;
    let mut violations = Vec::new();

    // When it was; and that what ends soon ends at the same time everywhere.
    for (maker, id) in [(ahead, "a"), (right, "r"), (behind, "b")] {
        let off = create_user(maker, TENANT, id).await - now_s();
        if off.abs() > 5 {
            violations.push(format!("{id} was made {off} s off"));
        }
        for (place, other) in clients.iter().enumerate() {
            if !verifies(other, TENANT, id, RIGHT).await {
                violations.push(format!("the password of {id}, good for a minute, is not taken by replica {place}"));
            }
        }
    }

    // One request id, three replicas, one user.
    let again = [create_user(right, TENANT, "a").await, create_user(behind, TENANT, "a").await];
    if again[0] != again[1] {
        violations.push("one request id has two answers".to_owned());
    }

    // A token is good where it is used at once.
    create_user(ahead, "lasting", "eve").await;
    for (place, issuing) in clients.iter().enumerate() {
        let subject = Some(issue_token_request::Subject::UserId("eve".to_owned()));
        let (tenant_id, password) = ("lasting".to_owned(), RIGHT.to_owned());
        let issue = IssueTokenRequest { tenant_id, subject, password, ..IssueTokenRequest::default() };
        let token = issuing.clone().users.issue_token(issue).await;
        let token = match token {
            Ok(token) => token.into_inner().access_token,
            Err(status) => {
                violations.push(format!("replica {place} issues no token: {status:?}"));
                continue;
            }
        };
        for (there, wrong) in replicas.iter().enumerate() {
            let who = wrong.server.clients(&token).callers.who_am_i(WhoAmIRequest::default()).await;
            violations.extend(who.err().map(|status| format!("{place}'s token is refused by {there}: {status:?}")));
        }
    }

    // A soft lock that began at one ends at the others when it is over, and not before.
    for (locking, id) in [(ahead, "l1"), (behind, "l2")] {
        create_user(right, "lasting", id).await;
        for _ in 0..5 {
            verifies(locking, "lasting", id, "a wrong one, and long enough").await;
        }
        for other in &clients {
            if !becomes(FIRST_WAIT, async || verifies(other, "lasting", id, RIGHT).await).await {
                violations.push(format!("a wait of a second holds {id} up for longer than {FIRST_WAIT:?}"));
            }
        }
    }

    // Acts at one after the other are recorded in their order.
    for number in 0..9 {
        let id = format!("o{number}");
        create_user(&clients[number % clients.len()], "lasting", &id).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(SETTLED).await;
    for (place, reader) in clients.iter().enumerate() {
        let filter = "action = \"UserService/CreateUser\"".to_owned();
        let list =
            ListAuditRecordsRequest { tenant_id: "lasting".to_owned(), page_size: 100, filter, ..Default::default() };
        let records = reader.clone().audit.list_audit_records(list).await.unwrap().into_inner().records;
        let made: Vec<_> =
            records.iter().map(|record| record.target_id.as_str()).filter(|id| id.starts_with('o')).collect();
        if made != ["o0", "o1", "o2", "o3", "o4", "o5", "o6", "o7", "o8"] {
            violations.push(format!("replica {place} shows the record in the order {made:?}"));
        }
    }
    for Wrong { server, .. } in replicas {
        violations.extend(Some(server.log()).filter(|log| log.contains("panicked")));
    }
    violations
}

/// What does not hold while a process's clock jumps.
async fn jumping(site: &Site, library: &Path, steps_back: u64) -> Vec<String> {
    let wrong = Wrong::start(site, library, "jumping", "+0").await;
    let clients = wrong.server.clients(&site.admin_token);
    prepare(&clients).await;
    create_user(&clients, "lasting", "ada").await;
    let jumps = ["+1h", "+0", "-1h", "+0", "+400d", "+0"].map(str::to_owned);
    // Back by ten seconds each time.
    let back = (1..=steps_back).map(|step| format!("-{}s", step * 10));
    let mut violations = Vec::new();
    for (number, offset) in jumps.into_iter().chain(back).enumerate() {
        wrong.set(&offset);
        let mut expect = |is_so: bool, what: &str| {
            if !is_so {
                violations.push(format!("at {offset}: {what}"));
            }
        };
        expect(verifies(&clients, "lasting", "ada", RIGHT).await, "a right password is not taken");
        expect(!verifies(&clients, "lasting", "ada", "a wrong one, and long enough").await, "a wrong one is taken");
        expect(verifies(&clients, "lasting", "ada", RIGHT).await, "one wrong one holds up a right one");
        let id = format!("u{number}");
        create_user(&clients, "lasting", &id).await;
        let (tenant_id, user_id) = ("lasting".to_owned(), id.clone());
        let secret_source = Some(reset_password_request::SecretSource::NewPassword(format!("{RIGHT}-{number}")));
        let reset = ResetPasswordRequest { tenant_id, user_id, secret_source, ..Default::default() };
        let reset = clients.clone().users.reset_password(reset).await;
        expect(reset.is_ok(), "a password is not reset");
        expect(!verifies(&clients, "lasting", &id, RIGHT).await, "a password is taken that was reset");
        expect(verifies(&clients, "lasting", &id, &format!("{RIGHT}-{number}")).await, "a new one is not taken");
        let (tenant_id, user_id) = ("lasting".to_owned(), id.clone());
        let lock = LockUserRequest { tenant_id, user_id, ..Default::default() };
        expect(clients.clone().users.lock_user(lock).await.is_ok(), "a user is not locked");
        expect(!verifies(&clients, "lasting", &id, &format!("{RIGHT}-{number}")).await, "a locked user is let in");
        let (tenant_id, user_id) = ("lasting".to_owned(), id.clone());
        let unlock = UnlockUserRequest { tenant_id, user_id, ..Default::default() };
        expect(clients.clone().users.unlock_user(unlock).await.is_ok(), "a user is not unlocked");
    }
    wrong.set("+0");
    let (status, log) = wrong.server.stop();
    if !status.success() || log.contains("panicked") {
        violations.push(format!("{status}:\n{log}"));
    }
    violations.extend(Rows::open(&site.url).await.miscounted("lasting").await);
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_of_minutes_apart_agree() {
    let (Some(library), Some(site)) = (library(), Site::on_postgres()) else { return };
    let _ = seed("races::clocks");
    let violations = apart(&site, &library).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    say("races::clocks: three replicas, 14 minutes apart, agree");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_of_one_s_own_is_found() {
    let (Some(library), Some(mut site)) = (library(), Site::on_postgres()) else { return };
    site.plant("own_clock");
    assert!(!apart(&site, &library).await.is_empty(), "the planted bug was not found");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_felt_of_a_jump_on_postgresql() {
    let (Some(library), Some(site)) = (library(), Site::on_postgres()) else { return };
    let steps = rounds(10);
    let violations = jumping(&site, &library, steps).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    say(format_args!("races::clocks: ±1 h, +400 d, {steps} times 10 s back on PostgreSQL"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_by_a_jump_on_sqlite() {
    let Some(library) = library() else { return };
    let steps = rounds(10);
    let violations = jumping(&Site::on_sqlite(), &library, steps).await;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    say(format_args!("races::clocks: ±1 h, +400 d, {steps} times 10 s back on SQLite"));
}

/// What a process remembers is no younger for its clock having been set back since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_comes_to_the_same_time_again_brings_nothing_back() {
    let Some(library) = library() else { return };
    let site = Site::on_sqlite();
    let other = site.serve().await;
    let wrong = Wrong::start(&site, &library, "back", "+0").await;
    let mut admin = other.clients(&site.admin_token);
    let tenant_id = || "system".to_owned();
    let caller_id = || "ops".to_owned();
    let create = CreateCallerRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
    admin.callers.create_caller(create).await.unwrap();
    let create = CreateApiTokenRequest { tenant_id: tenant_id(), caller_id: caller_id(), ..Default::default() };
    let made = admin.callers.create_api_token(create).await.unwrap().into_inner();
    let mut holder = wrong.server.clients(&made.token).callers;
    holder.who_am_i(WhoAmIRequest::default()).await.unwrap();
    let revoke = RevokeApiTokenRequest {
        tenant_id: tenant_id(),
        caller_id: caller_id(),
        token_id: made.token_id,
        ..Default::default()
    };
    admin.callers.revoke_api_token(revoke).await.unwrap();
    tokio::time::sleep(Duration::from_millis(4_200)).await;
    wrong.set("-4s");
    assert!(
        holder.who_am_i(WhoAmIRequest::default()).await.is_err(),
        "a token is taken that was revoked four seconds ago"
    );
}
