//! Secrets and confirmations, from a person or a file.

use std::{
    fs,
    io::{self, BufRead as _, IsTerminal as _},
    path::Path,
};

use console::Term;
use zeroize::Zeroizing;

use super::{
    failure::{Exit, Failure},
    output,
};

/// Whether there is a person to ask.
pub(super) fn possible() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks for a secret, unseen.
pub(super) fn secret(what: &str) -> Result<Zeroizing<String>, Failure> {
    let term = Term::stderr();
    let asked = term.write_str(&format!("{what}: ")).and_then(|()| term.read_secure_line());
    asked.map(Zeroizing::new).map_err(|cause| Failure::new(Exit::Failed, format!("cannot ask for the {what}: {cause}")))
}

/// A secret out of a file's first line (`-`: standard input), or asked for; twice where it is a new one.
pub(super) fn secret_from(file: Option<&Path>, what: &str, is_new: bool) -> Result<Zeroizing<String>, Failure> {
    if let Some(file) = file {
        return first_line(file, what);
    }
    if !possible() {
        let sentence =
            format!("no {what}: name a file with --{}-file, or - for standard input", what.replace(' ', "-"));
        return Err(Failure::new(Exit::Config, sentence));
    }
    let first = secret(what)?;
    // People are asked here; nobody measures the time.
    if is_new && secret(&format!("{what}, once more"))? != first {
        return Err(Failure::new(Exit::Failed, "the two are not the same; nothing was changed"));
    }
    Ok(first)
}

/// A file's first line; `-` is standard input.
pub(super) fn first_line(file: &Path, what: &str) -> Result<Zeroizing<String>, Failure> {
    let unreadable =
        |cause: io::Error| Failure::new(Exit::Config, format!("cannot read {what} in {}: {cause}", file.display()));
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        io::stdin().lock().read_line(&mut text).map_err(unreadable)?;
    } else {
        *text = fs::read_to_string(file).map_err(unreadable)?;
    }
    Ok(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
}

/// Asks whether to go on with what cannot be undone; without a person, only `--yes` will do.
pub(super) fn confirm(yes: bool, what: &str) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !possible() {
        return Err(Failure::new(Exit::Failed, format!("{what} cannot be undone: say --yes")));
    }
    output::say(&format!("{what}? This cannot be undone. Type yes to go on."));
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    if read.is_ok() && answer.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, "nothing was changed"))
}
