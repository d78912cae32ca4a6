//! Statements and plans, reduced to what matters.

use super::GROWING;
use crate::fixture::Raw;

/// How the engine would do this, a line for each step.
pub(super) async fn of(raw: &Raw, statement: &str) -> Vec<String> {
    if ["SELECT", "INSERT", "UPDATE", "DELETE", "WITH"].iter().all(|verb| !statement.trim_start().starts_with(verb)) {
        return Vec::new();
    }
    let plan = raw.plan(statement).await;
    plan.lines().filter_map(|line| if raw.is_sqlite() { Some(line.to_owned()) } else { node(line) }).collect()
}

/// A node of PostgreSQL's plan without its costs; `None` for what stands below one.
fn node(line: &str) -> Option<String> {
    let (what, _) = line.split_once("  (cost=")?;
    let depth = what.chars().take_while(|letter| *letter == ' ').count();
    let what = what.trim_start().trim_start_matches("->").trim_start();
    Some(format!("{}{what}", "  ".repeat(depth.div_ceil(6))))
}

/// The growing table that a step reads from end to end, if it does. A walk along an index that holds all that is asked
/// for is none: it is bounded by a LIMIT, or it is a count that was made to be so.
pub(super) fn scanned(line: &str) -> Option<&'static str> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let table = match words.as_slice() {
        ["SCAN", table]
        | ["SCAN", table, "USING", "INTEGER", ..]
        | ["Seq", "Scan", "on", table, ..]
        | ["Parallel", "Seq", "Scan", "on", table, ..] => *table,
        _ => return None,
    };
    GROWING.into_iter().find(|growing| *growing == table)
}

/// A statement in one line, with `…` for columns and values.
pub(super) fn shortened(statement: &str) -> String {
    let statement = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    let statement = places(&statement);
    let statement = match statement.split_once(" FROM ") {
        Some((columns, rest)) if statement.starts_with("SELECT ") && columns.matches(", ").count() > 2 => {
            format!("SELECT … FROM {rest}")
        }
        _ => statement,
    };
    match (statement.strip_prefix("INSERT INTO "), statement.split_once(") VALUES ")) {
        (Some(rest), Some((_, values))) => {
            let table = rest.split(' ').next().unwrap_or_default();
            format!("INSERT INTO {table} (…) VALUES {values}")
        }
        _ => statement,
    }
}

/// With `?` for every place, and one for a row of them.
fn places(statement: &str) -> String {
    let mut text = String::new();
    let mut letters = statement.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter == '$' && letters.peek().is_some_and(char::is_ascii_digit) {
            while letters.peek().is_some_and(char::is_ascii_digit) {
                letters.next();
            }
            text.push('?');
        } else {
            text.push(letter);
        }
    }
    while text.contains("?, ?") {
        text = text.replace("?, ?", "?");
    }
    while text.contains("(?), (?)") {
        text = text.replace("(?), (?)", "(?)");
    }
    text.replace("(?)", "(…)")
}
