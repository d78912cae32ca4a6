//! Several processes that start at once: on an empty database, and on one file.

use std::{process::Output, time::Instant};

use rekey::proto::WhoAmIRequest;

use super::fleet::without_limits;
use crate::{
    common::postgres,
    database::Rows,
    parameters::{rounds, say},
    server::{Server, Site},
};

/// So many at once.
const AT_ONCE: usize = 4;

/// `rekey init` from so many machines at once, each with a keyring of its own: what does not hold.
async fn init_at_once(url: &str) -> Vec<String> {
    let sites: Vec<_> = (0..AT_ONCE).map(|_| Site::empty(url.to_owned())).collect();
    let ended: Vec<Output> = std::thread::scope(|scope| {
        let threads: Vec<_> = sites.iter().map(|site| scope.spawn(|| site.run(&["init"]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut violations = Vec::new();
    let mut winners = Vec::new();
    for (site, ended) in sites.into_iter().zip(ended) {
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        match ended.status.code() {
            Some(0) => winners.push((site, String::from_utf8(ended.stdout).unwrap().trim().to_owned())),
            Some(5) if said.contains("holds an installation") => {}
            // It came in between, and has no keys for what is there by then.
            Some(4) if said.contains("lacks keys") => {}
            other => violations.push(format!("init ended with {other:?}: {said}")),
        }
    }
    let [(site, token)] = winners.as_slice() else {
        violations.push(format!("{} installations were made", winners.len()));
        return violations;
    };
    // Keys, database and token belong together.
    match site.start(&[]) {
        Ok(server) => {
            server.wait_until_ready().await;
            let who = server.clients(token).callers.who_am_i(WhoAmIRequest::default()).await;
            violations.extend(who.err().map(|status| format!("the token that was printed: {status:?}")));
        }
        Err(log) => violations.push(format!("the installation does not start:\n{log}")),
    }
    violations
}

/// `rekey serve --migrate` of so many at once on an empty database: what does not hold.
async fn serve_at_once(url: &str, bug: Option<&str>) -> Vec<String> {
    let mut site = Site::empty(url.to_owned());
    site.make_keyring();
    if let Some(bug) = bug {
        site.plant(bug);
    }
    let starts: Vec<Result<Server, String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(|| site.start_with(&[], &["--migrate"]))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let mut violations = Vec::new();
    for start in starts {
        match start {
            Ok(server) => server.wait_until_ready().await,
            Err(log) => violations.push(format!("it did not start:\n{log}")),
        }
    }
    let rows = Rows::open(url).await;
    let twice = "SELECT count(*) - count(DISTINCT version) FROM seaql_migrations";
    if violations.is_empty() && rows.number(twice).await > 0 {
        violations.push("a migration was applied twice".to_owned());
    }
    violations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_that_begin_an_installation_one_makes_it() {
    let begun = Instant::now();
    let rounds = rounds(2);
    for round in 0..rounds {
        let Some(url) = postgres::url() else { return };
        let violations = init_at_once(&url).await;
        assert!(violations.is_empty(), "round {round}: {}", violations.join("\n"));
    }
    say(format_args!("races::beginning: {rounds} × {AT_ONCE} init at once, {:.1} s", begun.elapsed().as_secs_f64()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_that_start_on_an_empty_database_all_serve() {
    let begun = Instant::now();
    let rounds = rounds(2);
    for round in 0..rounds {
        let Some(url) = postgres::url() else { return };
        let violations = serve_at_once(&url, None).await;
        assert!(violations.is_empty(), "round {round}: {}", violations.join("\n"));
    }
    say(format_args!(
        "races::beginning: {rounds} × {AT_ONCE} serve --migrate at once, {:.1} s",
        begun.elapsed().as_secs_f64()
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_without_a_lock_are_found() {
    for _ in 0..5 {
        let Some(url) = postgres::url() else { return };
        if !serve_at_once(&url, Some("migration_unlocked")).await.is_empty() {
            return;
        }
    }
    panic!("the planted bug was not found");
}

/// One file is one process's; another one may use it meanwhile all the same, as `rekey migrate` does, and is told no lies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_process_on_one_file_serves_it_too() {
    let mut site = Site::on_sqlite();
    without_limits(&mut site);
    let servers = [site.serve().await, site.serve().await];
    for server in &servers {
        let mut callers = server.clients(&site.admin_token).callers;
        callers.who_am_i(WhoAmIRequest::default()).await.unwrap();
    }
    assert!(site.run(&["migrate"]).status.success());
    for server in servers {
        assert!(server.stop().0.success());
    }
}
