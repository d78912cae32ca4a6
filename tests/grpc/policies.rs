//! `PolicyService`, and what policies do to passwords: P1 to P8, P18, P20 and P22 of the requirements.

use std::time::Duration;

use rekey::{
    blocklist::{Builder, Format, Lines},
    proto::{
        BatchVerifyPasswordsRequest, ChangePasswordRequest, CheckPasswordRequest, CheckPasswordResponse,
        CreateTenantRequest, CreateUserRequest, ExplainPolicyRequest, GetUserRequest, PasswordCheck, PolicyKind,
        PolicyPreset, PolicyRule, PolicyRuleKind, ResetPasswordRequest, SecretPolicy, Tenant, User,
        VerifyPasswordRequest, VerifyPasswordResponse, change_password_request, create_user_request, password_check,
        policy_service_client::PolicyServiceClient, reset_password_request, verify_password_request,
    },
};
use tonic::{Code, Status, service::interceptor::InterceptedService};
use tonic_types::StatusExt as _;

use super::robustness::database::Raw;
use crate::common::rekey::{Authorised, Bearer, Clients, Rekey, fields, reason};

const FIRST: &str = "a first long enough phrase";
const SECOND: &str = "another long enough phrase";
const THIRD: &str = "yet another phrase of length";

fn policies(rekey: &Rekey, token: &str) -> PolicyServiceClient<Authorised> {
    PolicyServiceClient::new(InterceptedService::new(rekey.channel(), Bearer(token.to_owned())))
}

async fn with_policy(rekey: &Rekey, tenant_id: &str, policy: SecretPolicy) {
    let tenant = Tenant {
        tenant_id: tenant_id.to_owned(),
        display_name: format!("The {tenant_id} company"),
        change_password_allowed: true,
        user_policy: Some(policy),
        ..Tenant::default()
    };
    rekey.make_tenant(tenant).await;
}

fn preset(preset: PolicyPreset) -> SecretPolicy {
    SecretPolicy { preset: preset.into(), ..SecretPolicy::default() }
}

/// A tenant's users and policy, asked by an administrator.
#[derive(Clone)]
struct Site {
    tenant: String,
    clients: Clients,
    policies: PolicyServiceClient<Authorised>,
}

impl Site {
    fn new(rekey: &Rekey, tenant: &str) -> Self {
        let policies = policies(rekey, &rekey.admin_token);
        Self { tenant: tenant.to_owned(), clients: rekey.admin(), policies }
    }

    async fn make(rekey: &Rekey, tenant: &str, policy: SecretPolicy) -> Self {
        with_policy(rekey, tenant, policy).await;
        Self::new(rekey, tenant)
    }

    async fn create(&self, name: &str, password: &str) -> Result<User, Status> {
        let request = CreateUserRequest {
            tenant_id: self.tenant.clone(),
            user_id: name.to_owned(),
            username: format!("{name}.doe@example.com"),
            secret_source: Some(create_user_request::SecretSource::Password(password.to_owned())),
            ..CreateUserRequest::default()
        };
        self.clients.clone().users.create_user(request).await.map(|made| made.into_inner().user.unwrap())
    }

    async fn reset(&self, name: &str, password: &str) -> Result<User, Status> {
        let request = ResetPasswordRequest {
            tenant_id: self.tenant.clone(),
            user_id: name.to_owned(),
            secret_source: Some(reset_password_request::SecretSource::NewPassword(password.to_owned())),
            ..ResetPasswordRequest::default()
        };
        self.clients.clone().users.reset_password(request).await.map(|done| done.into_inner().user.unwrap())
    }

    async fn change(&self, name: &str, current: &str, new: &str) -> Result<User, Status> {
        let request = ChangePasswordRequest {
            tenant_id: self.tenant.clone(),
            subject: Some(change_password_request::Subject::UserId(name.to_owned())),
            current_password: current.to_owned(),
            new_password: new.to_owned(),
            ..ChangePasswordRequest::default()
        };
        self.clients.clone().users.change_password(request).await.map(|done| done.into_inner().user.unwrap())
    }

    async fn verify(&self, name: &str, password: &str) -> VerifyPasswordResponse {
        let request = VerifyPasswordRequest {
            tenant_id: self.tenant.clone(),
            subject: Some(verify_password_request::Subject::UserId(name.to_owned())),
            password: password.to_owned(),
            source: String::new(),
        };
        self.clients.clone().users.verify_password(request).await.unwrap().into_inner()
    }

    /// Whether it is right, and whether it must be changed.
    async fn told(&self, name: &str, password: &str) -> (bool, bool) {
        let answer = self.verify(name, password).await;
        (answer.verified, answer.must_change)
    }

    async fn get(&self, name: &str) -> User {
        let request = GetUserRequest { tenant_id: self.tenant.clone(), user_id: name.to_owned() };
        self.clients.clone().users.get_user(request).await.unwrap().into_inner().user.unwrap()
    }

    async fn check(&self, password: &str) -> CheckPasswordResponse {
        self.check_for("", password).await
    }

    async fn check_for(&self, user_id: &str, password: &str) -> CheckPasswordResponse {
        let request = CheckPasswordRequest {
            tenant_id: self.tenant.clone(),
            kind: PolicyKind::User.into(),
            password: password.to_owned(),
            user_id: user_id.to_owned(),
            username: String::new(),
        };
        let answer = self.policies.clone().check_password(request).await.unwrap().into_inner();
        assert_eq!(answer.accepted, answer.violations.is_empty());
        assert!(answer.violations.iter().all(|rule| !rule.description.is_empty()));
        answer
    }

    async fn kinds(&self, password: &str) -> Vec<PolicyRuleKind> {
        kinds(&self.check(password).await)
    }
}

fn kinds(answer: &CheckPasswordResponse) -> Vec<PolicyRuleKind> {
    answer.violations.iter().map(PolicyRule::kind).collect()
}

/// What a refusal says of rules.
fn rules(status: &Status) -> String {
    status.get_details_error_info().unwrap().metadata.get("rules").cloned().unwrap_or_default()
}

fn assert_refused(status: &Status, field: &str, expected: &str) {
    assert_eq!((status.code(), reason(status).as_str()), (Code::InvalidArgument, "POLICY_VIOLATED"), "{status:?}");
    assert_eq!(rules(status), expected);
    assert!(fields(status).iter().all(|told| told == field), "{status:?}");
}

/// Text of so many code points that no list knows.
fn of(length: usize) -> String {
    "\u{1F600}k\u{e9}\u{4e00}7Q".chars().cycle().take(length - 1).chain(['z']).collect()
}

#[tokio::test]
async fn lengths_are_counted_in_code_points_and_have_a_floor() {
    let rekey = Rekey::start().await;
    let nist = Site::make(&rekey, "nist", SecretPolicy::default()).await;
    for (length, expected) in [
        (7, vec![PolicyRuleKind::MinLength]),
        (8, vec![PolicyRuleKind::MinLength]),
        (14, vec![PolicyRuleKind::MinLength]),
        (15, vec![]),
        (64, vec![]),
        (128, vec![]),
        (129, vec![PolicyRuleKind::MaxLength]),
        (16_000, vec![PolicyRuleKind::MaxLength]),
    ] {
        assert_eq!(nist.kinds(&of(length)).await, expected, "{length}");
    }
    // Two UTF-16 units and four bytes each; one of them fifteen times would be a repetition.
    assert_eq!(nist.kinds("\u{1F600}\u{1F601}\u{1F603}\u{1F604}\u{1F605}\u{1F606}\u{1F609}\u{1F60A}\u{1F60B}\u{1F60E}\u{1F60D}\u{1F618}\u{1F970}\u{1F617}\u{1F619}").await, []);
    assert_eq!(nist.kinds(&"\u{1F600}".repeat(15)).await, [PolicyRuleKind::Common]);
    assert_eq!(nist.kinds(&"\u{1F600}".repeat(14)).await, [PolicyRuleKind::MinLength, PolicyRuleKind::Common]);
    // Seven letters with an accent each, written as two code points: after NFC they are seven.
    assert_eq!(
        nist.kinds("e\u{301}a\u{301}o\u{301}i\u{301}u\u{301}n\u{303}c\u{327}").await,
        [PolicyRuleKind::MinLength]
    );
    nist.create("jane", &of(64)).await.unwrap();
    assert_refused(&nist.reset("jane", &of(14)).await.unwrap_err(), "new_password", "MIN_LENGTH");
    assert_refused(&nist.reset("jane", &of(129)).await.unwrap_err(), "new_password", "MAX_LENGTH");
    nist.reset("jane", &of(128)).await.unwrap();
    assert!(nist.verify("jane", &of(128)).await.verified);

    let eight = Site::make(&rekey, "eight", preset(PolicyPreset::Applivery)).await;
    assert_eq!(eight.kinds(&of(7)).await, [PolicyRuleKind::MinLength]);
    assert_eq!(eight.kinds(&of(8)).await, []);
    assert_eq!(eight.kinds("password").await, []);

    let low = SecretPolicy { min_length: Some(4), ..SecretPolicy::default() };
    let tenant = Tenant { user_policy: Some(low), ..Tenant::default() };
    let request = CreateTenantRequest { tenant: Some(tenant), ..Default::default() };
    let refused = rekey.admin().tenants.create_tenant(request).await.unwrap_err();
    assert_eq!(fields(&refused), ["tenant.user_policy.min_length"]);
    rekey.stop().await;
}

#[tokio::test]
async fn two_ways_to_write_a_password_are_one_and_no_byte_is_cut_off() {
    let rekey = Rekey::start().await;
    let site = Site::make(&rekey, "acme", preset(PolicyPreset::Ocariot)).await;
    site.create("jane", "caf\u{65}\u{301} au lait").await.unwrap();
    assert!(site.verify("jane", "caf\u{e9} au lait").await.verified);
    assert!(!site.verify("jane", "cafe au lait").await.verified);
    for length in [72, 128, 1_024] {
        let long = format!("{}a", "x".repeat(length - 1));
        site.reset("jane", &long).await.unwrap();
        assert!(site.verify("jane", &long).await.verified, "{length}");
        assert!(!site.verify("jane", &format!("{}b", "x".repeat(length - 1))).await.verified, "{length}");
    }
    // Neither is one that no policy takes, whichever way it comes in.
    for (text, expected) in [
        ("null\0in the midst of it", PolicyRuleKind::Characters),
        ("unassigned \u{378} in it", PolicyRuleKind::Characters),
        ("no character \u{ffff} at all", PolicyRuleKind::Characters),
        ("", PolicyRuleKind::MinLength),
    ] {
        let answer = site.check(text).await;
        assert_eq!((kinds(&answer), answer.strength), (vec![expected], None), "{text:?}");
        let refused = site.reset("jane", text).await.unwrap_err();
        assert_eq!((reason(&refused).as_str(), fields(&refused)), ("FIELDS_INVALID", vec!["new_password".to_owned()]));
        assert_eq!(rules(&refused), expected.as_str_name().trim_start_matches("POLICY_RULE_KIND_"));
    }
    rekey.stop().await;
}

#[tokio::test]
async fn every_rule_is_explained_and_told_by_its_kind() {
    use PolicyRuleKind::{
        Characters, Common, Context, Digit, History, Lower, MaxLength, MinLength, Strength, Symbol, Upper,
    };
    let rekey = Rekey::start().await;
    let policy = SecretPolicy {
        blocklist: Some(true),
        min_strength: Some(3),
        history: Some(2),
        words: vec!["Swordfish and Trombone".to_owned()],
        ..preset(PolicyPreset::Roma)
    };
    let site = Site::make(&rekey, "acme", policy.clone()).await;
    let explain = async |kind: PolicyKind| {
        let request = ExplainPolicyRequest { tenant_id: "acme".to_owned(), kind: kind.into() };
        site.policies.clone().explain_policy(request).await.unwrap().into_inner()
    };
    let explained = explain(PolicyKind::User).await;
    let told: Vec<_> = explained.rules.iter().map(PolicyRule::kind).collect();
    assert_eq!(
        told,
        [MinLength, MaxLength, Digit, Upper, Lower, Symbol, Common, Context, Strength, History, Characters]
    );
    assert_eq!(explained.rules[0].description, "must have at least 16 characters");
    assert_eq!(explained.rules[9].description, "must not be one of the last 2 passwords of its user");
    let kept = explained.policy.unwrap();
    assert_eq!((kept.preset(), kept.history, kept.words), (PolicyPreset::Roma, Some(2), policy.words));
    assert_eq!((kept.reset_must_change, kept.breached), (Some(false), Some(false)));
    // The default of integrations: the dialect's own.
    let told: Vec<_> = explain(PolicyKind::Integration).await.rules.iter().map(PolicyRule::kind).collect();
    assert_eq!(told, [MinLength, MaxLength, Characters]);

    assert_eq!(site.kinds("swordfish AND trombone").await, [Digit, Symbol, Context, Strength]);
    assert_eq!(site.kinds("aaaaaaaaaaaaaaaa").await, [Digit, Upper, Symbol, Common, Strength]);
    let strong = site.check("vT3k9Wq1#zR7mX0aB").await;
    assert!(strong.accepted && strong.strength.as_ref().unwrap().score == 4, "{strong:?}");
    let weak = site.check("Aa1!Aa1!Aa1!Aa1!").await;
    assert_eq!(kinds(&weak), [Strength]);
    let weak = weak.strength.unwrap();
    assert!(weak.score < 3 && weak.guesses_log10 > 0.0 && !weak.suggestions.is_empty(), "{weak:?}");

    // What is generated is exempt from the estimate, and what is given is not.
    let refused = site.create("jane", "Aa1!Aa1!Aa1!Aa1!").await.unwrap_err();
    assert_refused(&refused, "password", "STRENGTH");
    let refused = site.create("jane", "aaaaaaaaaaaaaaaa").await.unwrap_err();
    assert_refused(&refused, "password", "DIGIT,UPPER,SYMBOL,COMMON,STRENGTH");
    assert_eq!(fields(&refused).len(), 5);
    rekey.stop().await;
}

#[tokio::test]
async fn names_are_refused_as_a_whole_and_for_who_may_know_them() {
    let rekey = Rekey::start().await;
    let tenant = "long-tenant-name";
    let site = Site::make(&rekey, tenant, SecretPolicy::default()).await;
    site.create("jane-the-second", FIRST).await.unwrap();
    let context = [PolicyRuleKind::Context];
    for word in ["LONG-tenant-NAME", "The long-tenant-name company", "rekeyrekeyrekey"] {
        assert_eq!(site.kinds(word).await, context, "{word}");
        assert_eq!(site.kinds(&format!("{word} with more")).await, [], "{word}");
    }
    for word in ["jane-the-second.doe@example.com", "Jane-the-Second.Doe"] {
        assert_eq!(site.kinds(word).await, [], "{word}");
        assert_eq!(kinds(&site.check_for("jane-the-second", word).await), context, "{word}");
        assert_eq!(kinds(&site.check_for("nobody", word).await), [], "{word}");
        assert_refused(&site.reset("jane-the-second", word).await.unwrap_err(), "new_password", "CONTEXT");
    }
    let request = CheckPasswordRequest {
        tenant_id: tenant.to_owned(),
        password: "somebody.new.here".to_owned(),
        username: "Somebody.New.Here@example.com".to_owned(),
        ..CheckPasswordRequest::default()
    };
    assert_eq!(kinds(&site.policies.clone().check_password(request).await.unwrap().into_inner()), context);

    // Who may only check learns nothing of a user.
    let token = rekey.make_caller(tenant, &["policies:check"]).await;
    let stranger = Site { policies: policies(&rekey, &token), ..site.clone() };
    assert_eq!(kinds(&stranger.check_for("jane-the-second", "Jane-the-Second.Doe").await), []);
    rekey.stop().await;
}

#[tokio::test]
async fn a_password_that_an_administrator_chose_is_good_for_being_changed_and_for_a_while() {
    let rekey = Rekey::start().await;
    let week = prost_types::Duration { seconds: 7 * 86_400, nanos: 0 };
    let site = Site::make(&rekey, "acme", SecretPolicy::default()).await;
    let made = site.create("jane", FIRST).await.unwrap();
    assert!(made.password_must_change && made.password_change_time.is_some());
    let end = made.password_expire_time.unwrap().seconds;
    assert_eq!(end, rekey.clock.seconds() + week.seconds);
    assert_eq!(site.told("jane", FIRST).await, (true, true));
    assert_eq!(site.told("jane", SECOND).await, (false, false));
    // Not used up: it is needed once to sign in and once to be changed.
    assert_eq!(site.told("jane", FIRST).await, (true, true));
    let check = PasswordCheck {
        subject: Some(password_check::Subject::UserId("jane".to_owned())),
        password: FIRST.to_owned(),
        source: String::new(),
    };
    let batch = BatchVerifyPasswordsRequest { tenant_id: "acme".to_owned(), checks: vec![check] };
    let results = site.clients.clone().users.batch_verify_passwords(batch).await.unwrap().into_inner().results;
    assert!(results[0].verified && results[0].must_change);

    // It does not become its owner's by being set again.
    assert_refused(&site.change("jane", FIRST, FIRST).await.unwrap_err(), "new_password", "HISTORY");
    let changed = site.change("jane", FIRST, SECOND).await.unwrap();
    assert!(!changed.password_must_change && changed.password_expire_time.is_none());
    assert_eq!(changed.password_change_time, changed.update_time);
    assert_eq!(site.told("jane", SECOND).await, (true, false));

    let reset = site.reset("jane", FIRST).await.unwrap();
    assert_eq!(site.get("jane").await, reset);
    assert!(reset.password_must_change);
    rekey.clock.advance(Duration::from_hours(7 * 24 + 1));
    assert_eq!(site.told("jane", FIRST).await, (false, false));
    let late = site.change("jane", FIRST, THIRD).await.unwrap_err();
    assert_eq!(reason(&late), "CURRENT_PASSWORD_MISMATCH");
    let ended = site.get("jane").await;
    assert!(ended.password_must_change && ended.password_change_time.is_none(), "{ended:?}");
    assert_eq!(ended.password_expire_time, reset.password_expire_time);

    // What its owner chose has no end: nothing is asked to be changed for its age.
    site.reset("jane", SECOND).await.unwrap();
    site.change("jane", SECOND, THIRD).await.unwrap();
    rekey.clock.advance(Duration::from_hours(10 * 365 * 24));
    assert_eq!(site.told("jane", THIRD).await, (true, false));
    rekey.stop().await;
}

#[tokio::test]
async fn where_the_tenant_says_so_a_reset_is_final() {
    let rekey = Rekey::start().await;
    let never = SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() };
    let endless = prost_types::Duration { seconds: 0, nanos: 0 };
    let always =
        SecretPolicy { reset_must_change: Some(true), temporary_ttl: Some(endless), ..preset(PolicyPreset::Applivery) };
    for (tenant, policy, expected) in [
        ("ocariot", preset(PolicyPreset::Ocariot), false),
        ("licensespring", preset(PolicyPreset::Licensespring), false),
        ("never", never, false),
        ("always", always, true),
    ] {
        let site = Site::make(&rekey, tenant, policy).await;
        let made = site.create("jane", FIRST).await.unwrap();
        assert_eq!((made.password_must_change, made.password_expire_time), (expected, None), "{tenant}");
        rekey.clock.advance(Duration::from_hours(100 * 24));
        assert_eq!(site.told("jane", FIRST).await, (true, expected), "{tenant}");
    }
    // The same again is no history where there is none.
    let site = Site::new(&rekey, "licensespring");
    site.change("jane", FIRST, FIRST).await.unwrap();

    let long = prost_types::Duration { seconds: 90 * 86_400 + 1, nanos: 0 };
    let odd = prost_types::Duration { seconds: 1, nanos: 5 };
    let before = prost_types::Duration { seconds: -1, nanos: 0 };
    for ttl in [long, odd, before] {
        let policy = SecretPolicy {
            temporary_ttl: Some(ttl),
            history: Some(25),
            min_strength: Some(5),
            words: vec!["fine".to_owned(), String::new(), "x".repeat(65)],
            ..SecretPolicy::default()
        };
        let tenant = Tenant { user_policy: Some(policy), ..Tenant::default() };
        let request = CreateTenantRequest { tenant: Some(tenant), ..Default::default() };
        let refused = rekey.admin().tenants.create_tenant(request).await.unwrap_err();
        let mut told = fields(&refused);
        told.sort();
        let expected = ["history", "min_strength", "temporary_ttl", "words[1]", "words[2]"];
        assert_eq!(told, expected.map(|field| format!("tenant.user_policy.{field}")));
    }
    rekey.stop().await;
}

async fn the_last_passwords_are_refused(rekey: Rekey) {
    let policy = SecretPolicy { history: Some(3), reset_must_change: Some(false), ..SecretPolicy::default() };
    let site = Site::make(&rekey, "acme", policy).await;
    let phrase = |number: u32| format!("a long enough phrase, number {number}");
    site.create("jane", &phrase(1)).await.unwrap();
    let refused = async |site: &Site, current: u32, new: u32| {
        assert_refused(
            &site.change("jane", &phrase(current), &phrase(new)).await.unwrap_err(),
            "new_password",
            "HISTORY",
        );
        assert_refused(&site.reset("jane", &phrase(new)).await.unwrap_err(), "new_password", "HISTORY");
    };
    refused(&site, 1, 1).await;
    site.change("jane", &phrase(1), &phrase(2)).await.unwrap();
    site.reset("jane", &phrase(3)).await.unwrap();
    for number in [1, 2, 3] {
        refused(&site, 3, number).await;
    }
    site.change("jane", &phrase(3), &phrase(4)).await.unwrap();
    // The first is forgotten, and its hash with it.
    let raw = Raw::open(&rekey.options).await;
    let kept = "SELECT count(*) FROM secret WHERE stage = 'revoked' AND length(payload) > 0";
    assert_eq!(raw.number(kept).await, 2);
    // Void ones verify nothing.
    assert_eq!(site.told("jane", &phrase(3)).await, (false, false));

    // Who sets passwords is told of earlier ones, but not whether it is the one in force; the others of none.
    assert_eq!(kinds(&site.check_for("jane", &phrase(3)).await), [PolicyRuleKind::History]);
    assert_eq!(kinds(&site.check_for("jane", &phrase(4)).await), []);
    assert_eq!(kinds(&site.check_for("jane", &phrase(1)).await), []);
    let token = rekey.make_caller("acme", &["policies:check", "users:get"]).await;
    let stranger = Site { policies: policies(&rekey, &token), ..site.clone() };
    assert_eq!(kinds(&stranger.check_for("jane", &phrase(3)).await), []);

    refused(&site, 4, 2).await;
    site.reset("jane", &phrase(1)).await.unwrap();
    assert_eq!(raw.number(kept).await, 2);

    // Each change is recorded with the version that came of it, which only grows.
    let details = "SELECT detail FROM audit WHERE outcome = 'succeeded' AND target_id = 'jane'
                       AND detail LIKE '%epoch%' ORDER BY time";
    let expected = ["with password, epoch 1", "by its owner, epoch 2", "given, epoch 3", "by its owner, epoch 4"];
    assert_eq!(raw.texts(details).await, [&expected[..], &["given, epoch 5"]].concat());

    // Written behind, and at the latest when it stops.
    let _directory = rekey.stop().await;
    let tried = "SELECT count(*) FROM audit WHERE detail = 'tried against earlier passwords' AND target_id = 'jane'";
    assert_eq!(raw.number(tried).await, 3);
}

#[tokio::test]
async fn the_last_passwords_are_refused_on_sqlite() {
    Box::pin(the_last_passwords_are_refused(Rekey::start().await)).await;
}

#[tokio::test]
async fn the_last_passwords_are_refused_on_postgres() {
    if let Some(rekey) = Rekey::start_on_postgres().await {
        Box::pin(the_last_passwords_are_refused(rekey)).await;
    }
}

#[tokio::test]
async fn what_leaked_elsewhere_is_refused_and_found_at_a_login() {
    let leaked = "a leaked but otherwise fine phrase";
    let directory = tempfile::tempdir().unwrap();
    let list = directory.path().join("list");
    let mut builder = Builder::new(&list);
    let mut lines = Lines::new(leaked.as_bytes(), Format::Plain, 1);
    while let Some(fingerprint) = lines.next_fingerprint().unwrap() {
        builder.add(fingerprint).unwrap();
    }
    builder.finish(|_| {}).unwrap();

    // Set while there was no list.
    let mut stopped = {
        let rekey = Rekey::start().await;
        let policy = SecretPolicy { reset_must_change: Some(false), ..SecretPolicy::default() };
        let site = Site::make(&rekey, "acme", policy).await;
        site.create("jane", leaked).await.unwrap();
        assert_eq!(site.told("jane", leaked).await, (true, false));
        let others = SecretPolicy { breached: Some(false), reset_must_change: Some(false), ..SecretPolicy::default() };
        Site::make(&rekey, "other", others).await.create("jane", leaked).await.unwrap();
        rekey.pause().await
    };
    stopped.options.blocklist = Some(list);
    let rekey = stopped.start().await;
    let site = Site::new(&rekey, "acme");
    assert_eq!(site.kinds(leaked).await, [PolicyRuleKind::Breached]);
    let explained = ExplainPolicyRequest { tenant_id: "acme".to_owned(), kind: PolicyKind::User.into() };
    let explained = site.policies.clone().explain_policy(explained).await.unwrap().into_inner().rules;
    assert!(explained.iter().any(|rule| rule.kind() == PolicyRuleKind::Breached));
    assert_refused(&site.create("john", leaked).await.unwrap_err(), "password", "BREACHED");
    assert_refused(&site.reset("jane", leaked).await.unwrap_err(), "new_password", "BREACHED");
    assert_refused(&site.change("jane", leaked, leaked).await.unwrap_err(), "new_password", "BREACHED");

    assert_eq!(site.told("jane", leaked).await, (true, true));
    let raw = Raw::open(&rekey.options).await;
    let marked = "SELECT count(*) FROM audit WHERE action = 'UserService/VerifyPassword#breached'";
    while raw.number(marked).await == 0 {
        tokio::task::yield_now().await;
    }
    let user = site.get("jane").await;
    assert!(user.password_must_change && user.password_expire_time.is_none(), "{user:?}");
    assert_eq!(site.told("jane", leaked).await, (true, true));
    assert_eq!(raw.number(marked).await, 1);
    site.change("jane", leaked, FIRST).await.unwrap();
    assert_eq!(site.told("jane", FIRST).await, (true, false));
    // Elsewhere nobody minds.
    assert_eq!(Site::new(&rekey, "other").told("jane", leaked).await, (true, false));
    rekey.stop().await;
}
