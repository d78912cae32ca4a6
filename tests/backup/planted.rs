//! Bugs that the other tests must catch (`src/planted.rs`): each is run once more, with one planted.

use std::{env, process::Command};

#[test]
fn a_backup_of_several_moments_would_be_found() {
    must_fail("load::what_was_acknowledged_before_a_backup_is_in_it_and_nothing_by_half", "torn_backup");
}

#[test]
fn an_anchor_that_is_ahead_would_be_found() {
    must_fail("anchor::the_anchor_is_never_ahead_of_the_database", "anchor_ahead");
}

fn must_fail(test: &str, bug: &str) {
    let mut command = Command::new(env::current_exe().unwrap());
    let run = command.args(["--exact", test]).env("PLANTED_BUG", bug).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(said.contains(&format!("test {test} ... ")), "it was not run: {said}");
    assert!(!run.status.success() && said.contains("panicked at tests/"), "{bug} was not caught: {said}");
}
