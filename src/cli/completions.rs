//! `rekey completions`: what a shell needs to complete our commands.

use std::io;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, failure::Failure};

const HELP: &str = "\
Examples:
  rekey completions bash > /etc/bash_completion.d/rekey
  rekey completions zsh > ~/.zfunc/_rekey";

/// Print a completion script
#[derive(clap::Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Arguments {
    /// For which shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every command has this shape")]
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    clap_complete::generate(arguments.shell, &mut Cli::command(), "rekey", &mut io::stdout().lock());
    Ok(())
}
