//! What must hold once the service runs again: what was acknowledged is there, what is unknown is there wholly or not at
//! all, each change has one record and, where its request had an id, one answer that is kept and given again; the secret
//! in force verifies, and the one it replaced does not.

use std::collections::BTreeSet;

use rekey::proto::{
    RevealAuthenticationRequest, RevealIntegrationRequest, VerifyAuthenticationRequest, VerifyPasswordRequest,
    WhoAmIRequest, verify_authentication_request, verify_password_request,
};
use tonic::{Code, Status};

use crate::{
    common::rekey::Clients,
    database::{Facts, Rows},
    load::{Owned, SOURCE, TENANT, Worker, named_settings},
    model::{Act, Asked, Kept, Kind, State, Subject},
    recorder::Ended,
    server::{Server, Site},
};

/// How many answers of each worker are asked for again at each check.
const REPEATED: usize = 2;
/// Of subjects of which nothing is unknown, every so manieth signs in. The others are held against their rows alone.
const SIGNS_IN: usize = 4;

/// Looks at all that was asked of these workers' subjects since the last time; what is wrong, in sentences. Afterwards
/// each subject is in one known state.
pub(crate) async fn settle(site: &Site, server: &Server, workers: &mut [Worker]) -> Vec<String> {
    let clients = server.clients(&site.admin_token);
    let rows = Rows::open(&site.url).await;
    rows.wait_until_quiet().await;
    let mut wrong = rows.defects().await;

    wrong.extend(compare(&rows, workers).await);
    for worker in &mut *workers {
        repeat(worker, &clients).await;
    }
    // Once more, with what the repetitions may have done, and nothing else.
    wrong.extend(compare(&rows, workers).await);
    for worker in &mut *workers {
        for (place, owned) in worker.owned.iter().enumerate().filter(|(_, owned)| !owned.asked.is_empty()) {
            let doubted = owned.asked.iter().any(|(.., ended)| matches!(ended, Ended::Unknown { .. }));
            if let [state] = owned.states.as_slice()
                && (doubted || (place + owned.asked.len()).is_multiple_of(SIGNS_IN))
            {
                wrong.extend(sign_in(server, &clients, &owned.subject, state).await);
            }
        }
        wrong.append(&mut worker.violations);
    }
    rows.close().await;

    for owned in workers.iter_mut().flat_map(|worker| &mut worker.owned) {
        owned.asked.clear();
        owned.states.iter_mut().for_each(|state| state.applied.clear());
    }
    wrong
}

/// Signs each subject in whose state is known; what is wrong.
pub(crate) async fn all_sign_in(site: &Site, server: &Server, workers: &[Worker]) -> Vec<String> {
    let clients = server.clients(&site.admin_token);
    let mut wrong = Vec::new();
    for owned in workers.iter().flat_map(|worker| &worker.owned) {
        if let [state] = owned.states.as_slice() {
            wrong.extend(sign_in(server, &clients, &owned.subject, state).await);
        }
    }
    wrong
}

/// Holds each subject's rows against the states it may be in, and leaves it the one that fits.
async fn compare(rows: &Rows, workers: &mut [Worker]) -> Vec<String> {
    let mut wrong = Vec::new();
    let touched = || workers.iter().flat_map(|worker| &worker.owned).filter(|owned| !owned.asked.is_empty());
    let subjects: Vec<&Subject> = touched().map(|owned| &owned.subject).collect();
    let facts = rows.facts(TENANT, &subjects).await;
    let asked = touched().flat_map(|owned| &owned.asked).map(|(_, asked, _)| asked.request_id.as_str());
    let replies = rows.replies(asked.filter(|id| !id.is_empty())).await;
    for owned in workers.iter_mut().flat_map(|worker| &mut worker.owned).filter(|owned| !owned.asked.is_empty()) {
        let found = &facts[&owned.subject];
        let told = owned.states.iter().map(|state| (differences(owned, state, found, &replies), state.clone()));
        let Some((differences, state)) = told.min_by_key(|(differences, _)| differences.len()) else { continue };
        if !differences.is_empty() {
            let asked: Vec<_> = owned.asked.iter().map(|asked| format!("\n    {asked:?}")).collect();
            let states: Vec<_> = owned.states.iter().map(|state| format!("\n    {state:?}")).collect();
            wrong.push(format!(
                "{:?}: {}\n  asked:{}\n  so it may be:{}\n  found: {found:?}",
                owned.subject,
                differences.join("; "),
                asked.concat(),
                states.concat(),
            ));
        }
        for (_, asked, ended) in owned.asked.iter().filter(|(number, ..)| state.applied.contains(number)) {
            if let Ended::Unknown { said, denied: true } = ended {
                wrong.push(format!("{asked:?} was answered {said}, which says that nothing was changed, and it was"));
            }
        }
        owned.states = vec![state];
    }
    wrong
}

/// Where a subject's rows are otherwise than a state has them. None: it is in this state, wholly.
fn differences(owned: &Owned, state: &State, found: &Facts, replies: &BTreeSet<String>) -> Vec<String> {
    let mut differences = Vec::new();
    let mut same = |what: &str, expected: String, actual: String| {
        if expected != actual {
            differences.push(format!("{what}: {actual} instead of {expected}"));
        }
    };
    same("version", state.version.to_string(), found.version.to_string());
    same("login", state.login.clone(), found.login.clone());
    same("locked", state.locked.to_string(), found.locked.to_string());
    same("label", state.label.clone(), found.label.clone());
    same("records of all changes", state.version.to_string(), found.records.len().to_string());
    same("secrets that were not wiped", "[]".to_owned(), format!("{:?}", found.unwiped));

    let live = |slot: &str| found.live.get(slot).cloned().unwrap_or_default();
    let version = |kept: &Option<Kept>| kept.iter().map(|kept| kept.version).collect::<Vec<_>>();
    let accepted = [version(&state.previous), version(&state.password)].concat();
    same("password", format!("{accepted:?}"), format!("{:?}", live("password")));
    same("settings", format!("{:?}", version(&state.settings)), format!("{:?}", live("settings")));
    let mut tokens: Vec<_> =
        found.live.iter().filter(|(slot, _)| slot.starts_with("token/")).flat_map(|(_, versions)| versions).collect();
    tokens.sort();
    same("tokens", format!("{:?}", state.tokens.keys().collect::<Vec<_>>()), format!("{tokens:?}"));

    for (number, asked, _) in owned.asked.iter().filter(|(_, asked, _)| asked.act.changes()) {
        let applied = state.applied.contains(number);
        let records: Vec<_> = found.records.iter().filter(|record| record.trace == asked.trace).collect();
        same(&format!("records of {}", asked.trace), u8::from(applied).to_string(), records.len().to_string());
        if let (true, Some(password), [record]) = (applied, &state.password, records.as_slice())
            && state.applied.last() == Some(number)
            && password.version == state.version
            && !matches!(asked.act, Act::Create { .. })
        {
            // Where the one before is accepted besides, it ends nothing that was begun with it.
            let name = if matches!(asked.act, Act::Rotate { .. }) { "version" } else { "epoch" };
            let told = record.detail.contains(&format!("{name} {}", password.version));
            same(&format!("the record's {name}"), "true".to_owned(), told.to_string());
        }
        if !asked.request_id.is_empty() {
            let done = |(number, other, _): &&(u64, Asked, _)| {
                other.request_id == asked.request_id && state.applied.contains(number)
            };
            let expected = owned.asked.iter().any(|asked| done(&asked));
            let kept = replies.contains(&asked.request_id);
            same(&format!("answers kept of {}", asked.trace), expected.to_string(), kept.to_string());
        }
    }
    differences
}

/// Asks again for what nobody knows of, and for some of what was answered.
async fn repeat(worker: &mut Worker, clients: &Clients) {
    for place in 0..worker.owned.len() {
        let asked = worker.owned[place].asked.clone();
        let again = asked.into_iter().filter(|(_, asked, _)| !asked.request_id.is_empty());
        let (mut unknown, mut answered): (Vec<_>, Vec<_>) =
            again.partition(|(.., ended)| matches!(ended, Ended::Unknown { .. }));
        answered.retain(|(.., ended)| matches!(ended, Ended::Acknowledged(_)));
        let some = answered.len().saturating_sub(REPEATED);
        // A change by its owner names the password that was in force: by now that may be another.
        unknown.retain(|(number, asked, _)| {
            !matches!(asked.act, Act::Change { .. }) || worker.owned[place].states[0].applied.contains(number)
        });
        for (_, asked, ended) in unknown.into_iter().chain(answered.into_iter().skip(some)) {
            worker.repeat(clients, place, asked, &ended).await;
        }
    }
}

/// What is wrong with a subject's secrets, by the front door.
async fn sign_in(server: &Server, clients: &Clients, subject: &Subject, state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut expect = |what: &str, expected: String, actual: Result<String, Status>| {
        // Checks that a kill left reserved are void after a while; until then there may be no room for another.
        let is_crowded = |status: &Status| {
            status.code() == Code::ResourceExhausted
                && status.message().starts_with("too many attempts at this subject")
        };
        if actual.as_ref().is_err_and(is_crowded) {
            return;
        }
        let actual = actual.unwrap_or_else(|status| format!("{:?}: {}", status.code(), status.message()));
        if expected != actual {
            wrong.push(format!("{subject:?}: {what} {actual} instead of {expected}; it is {state:?}"));
        }
    };
    if state.version == 0 {
        return wrong;
    }
    let password = state.password.as_ref().and_then(|kept| kept.value.as_deref());
    let (tenant_id, id) = (TENANT.to_owned(), subject.id.clone());
    let Clients { mut devices, mut integrations, .. } = clients.clone();
    match subject.kind {
        Kind::Device => {
            let request = RevealAuthenticationRequest { tenant_id, device_id: id, ..Default::default() };
            let shown = devices.reveal_authentication(request).await;
            let shown = shown.map(|shown| shown.into_inner().authentication.unwrap());
            if let Some(password) = password {
                expect("shows the password", password.to_owned(), shown.clone().map(|shown| shown.password));
            }
            expect("shows the user name", state.login.clone(), shown.map(|shown| shown.user_name));
        }
        Kind::Integration => {
            let request = RevealIntegrationRequest { tenant_id, integration_id: id, ..Default::default() };
            let shown = integrations.reveal_integration(request).await;
            let shown = shown.map(|shown| shown.into_inner().credentials.unwrap());
            if let Some(password) = password {
                expect("shows the password", password.to_owned(), shown.clone().map(|shown| shown.password));
            }
            let settings = state.settings.as_ref().and_then(|kept| kept.value.as_deref());
            let settings = settings.map(named_settings).unwrap_or_default();
            expect("shows the settings", format!("{settings:?}"), shown.map(|shown| format!("{:?}", shown.settings)));
        }
        Kind::User => {}
        Kind::Caller => {
            for (_, token) in state.tokens.values().flatten() {
                let answer = server.clients(token).callers.who_am_i(WhoAmIRequest {}).await;
                expect("is known by its token as", id.clone(), answer.map(|answer| answer.into_inner().caller_id));
            }
            if let Some(token) = &state.revoked {
                let answer = server.clients(token).callers.who_am_i(WhoAmIRequest {}).await;
                let answer = answer.map_or_else(|status| status.code(), |_| Code::Ok);
                expect(
                    "is met with its revoked token by",
                    format!("{:?}", Code::Unauthenticated),
                    Ok(format!("{answer:?}")),
                );
            }
        }
    }
    // The wrong one first, so that the right one clears what it counts for.
    if matches!(subject.kind, Kind::Device | Kind::User) {
        if let Some(replaced) = state.replaced.as_deref().filter(|replaced| Some(*replaced) != password) {
            let verified = verify(clients, subject, replaced).await;
            expect(
                "verifies the replaced password:",
                "false".to_owned(),
                verified.map(|verified| verified.to_string()),
            );
        }
        let previous = state.previous.as_ref().and_then(|kept| kept.value.as_deref());
        for password in previous.into_iter().chain(password) {
            let verified = verify(clients, subject, password).await;
            let expected = (!state.locked).to_string();
            expect("verifies a password in force:", expected, verified.map(|verified| verified.to_string()));
        }
    }
    wrong
}

/// Whether a password is right.
async fn verify(clients: &Clients, subject: &Subject, password: &str) -> Result<bool, Status> {
    let Clients { mut devices, mut users, .. } = clients.clone();
    let (tenant_id, password, source) = (TENANT.to_owned(), password.to_owned(), SOURCE.to_owned());
    if subject.kind == Kind::User {
        let subject = Some(verify_password_request::Subject::UserId(subject.id.clone()));
        let request = VerifyPasswordRequest { tenant_id, subject, password, source };
        return Ok(users.verify_password(request).await?.into_inner().verified);
    }
    let subject = Some(verify_authentication_request::Subject::DeviceId(subject.id.clone()));
    let request = VerifyAuthenticationRequest { tenant_id, subject, password, source };
    Ok(devices.verify_authentication(request).await?.into_inner().verified)
}
