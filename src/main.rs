//! The binary: everything is in the library's [`rekey::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    rekey::cli::run()
}
