//! The version before beside this one, on one database, under load: `REKEY_CHAOS_PREVIOUS` names its program.

use std::{env, path::PathBuf, time::Instant};

use super::{
    fleet::{errors, prepare, without_limits},
    history::explore,
};
use crate::{
    common::postgres,
    parameters::{rounds, say, seed},
    server::Site,
};

const PREVIOUS: &str = "REKEY_CHAOS_PREVIOUS";

/// Histories while one replaces the other, and on both together: what does not hold; nothing where it cannot be tried.
async fn replace(bug: Option<&str>, histories: u64, name: &str) -> Option<Vec<String>> {
    let Some(program) = env::var_os(PREVIOUS).map(PathBuf::from) else {
        say(format_args!("{name}: skipped: {PREVIOUS} names no program of the version before"));
        return None;
    };
    let url = postgres::url()?;
    let (seed, begun) = (seed(name), Instant::now());
    // As it was installed then.
    let mut site = Site::by(program.clone(), url);
    without_limits(&mut site);
    let old = site.serve().await;
    prepare(&mut old.clients(&site.admin_token)).await;
    let before = explore(&[old.clients(&site.admin_token)], seed, 0..histories / 4).await;

    // The new one migrates while the old one works, and comes beside it.
    site.use_own_program();
    if let Some(bug) = bug {
        site.plant(bug);
    }
    let replicas = [old.clients(&site.admin_token)];
    let mut migrate = site.command(&[], &["migrate"]);
    let (during, migrated) = tokio::join!(
        // Each number is a subject of its own.
        explore(&replicas, seed, histories..histories + histories / 4),
        async { tokio::task::spawn_blocking(move || migrate.output().unwrap()).await.unwrap() },
    );
    let new = site.serve().await;
    let replicas = [old.clients(&site.admin_token), new.clients(&site.admin_token)];
    let beside = explore(&replicas, seed, 2 * histories..2 * histories + histories / 2).await;

    let mut violations = Vec::new();
    if !migrated.status.success() {
        violations.push(format!("rekey migrate: {}", String::from_utf8_lossy(&migrated.stderr)));
    }
    say(format_args!(
        "{name}: before: {before}; during the migration: {during}; side by side: {beside}, {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
    for tally in [before, during, beside] {
        violations.extend(tally.violations);
    }
    if !violations.is_empty() {
        violations.extend([&old, &new].into_iter().flat_map(errors));
    }
    for server in [old, new] {
        let (status, log) = server.stop();
        if !status.success() || log.contains("panicked") {
            violations.push(format!("{status}:\n{log}"));
        }
    }
    Some(violations)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_version_before_works_beside_this_one() {
    let Some(violations) = replace(None, rounds(100), "races::versions").await else { return };
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_writes_what_the_other_cannot_read_is_found() {
    let Some(violations) = replace(Some("stage_renamed"), 100, "races::versions with stage_renamed").await else {
        return;
    };
    assert!(!violations.is_empty(), "the planted bug was not found");
}
