//! Standard output and standard error, for what people and shells read. The log is `telemetry`'s.

use std::io::{self, Write as _};

/// A result, on standard output. Where nobody reads any more there is nobody to tell.
pub(super) fn line(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A sentence, on standard error.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
