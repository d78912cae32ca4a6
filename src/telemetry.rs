//! The log: lines on standard error, as text or JSON.
//!
//! No line holds a header's value, a body or SQL. Ours do not write them; other people's crates promise nothing of the kind
//! below INFO, where they tell of frames, headers and statements. So these are held at INFO whatever the level says, and
//! at WARN where it does not name them.

use std::io;

use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer as _,
    filter::filter_fn,
    fmt,
    layer::{Layered, SubscriberExt as _},
    registry::Registry,
    util::SubscriberInitExt as _,
};

use crate::config::{Log, LogFormat};

/// Begins to log.
///
/// # Errors
/// A sentence, where the level is none or a log was begun before.
pub fn start(log: &Log) -> Result<(), String> {
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr())).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let registry: Layered<EnvFilter, Registry> = tracing_subscriber::registry().with(filter(&log.level)?);
    registry.with(lines.with_filter(filter_fn(may_be_seen))).try_init().map_err(|cause| cause.to_string())
}

/// Whether this is a level.
///
/// # Errors
/// A sentence, where it is not.
pub fn check(level: &str) -> Result<(), String> {
    filter(level).map(|_| ())
}

fn filter(level: &str) -> Result<EnvFilter, String> {
    let directives = match level {
        "off" | "error" => level.to_owned(),
        "warn" | "info" | "debug" | "trace" => format!("warn,rekey={level}"),
        directives => directives.to_owned(),
    };
    EnvFilter::builder().parse(directives).map_err(|cause| {
        format!(
            "not a level (off, error, warn, info, debug, trace) nor directives such as warn,rekey::store=debug: {cause}"
        )
    })
}

/// Ours at every level, others' from INFO up; statements never.
fn may_be_seen(metadata: &Metadata<'_>) -> bool {
    let target = metadata.target();
    let ours = target == "rekey" || target.starts_with("rekey::");
    ours || (*metadata.level() <= Level::INFO && target != "sqlx::query")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn lines(level: &str, write: impl FnOnce()) -> String {
        let buffer = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&buffer);
        let layer = fmt::layer().with_writer(move || Writer(Arc::clone(&writer)));
        let log = tracing_subscriber::registry().with(filter(level).unwrap());
        tracing::subscriber::with_default(log.with(layer.with_filter(filter_fn(may_be_seen))), write);
        String::from_utf8(buffer.lock().unwrap().clone()).unwrap()
    }

    struct Writer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Writer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn everybody() {
        tracing::trace!(target: "rekey::api", "our trace");
        tracing::debug!(target: "h2::codec", "their debug");
        tracing::info!(target: "h2::codec", "their info");
        tracing::warn!(target: "h2::codec", "their warning");
        tracing::warn!(target: "sqlx::query", "slow: SELECT 1");
        tracing::debug!(target: "rekeyed", "a stranger of a similar name");
        tracing::trace_span!(target: "hyper", "request", authorization = "Bearer canary")
            .in_scope(|| tracing::info!(target: "rekey", "within their span"));
    }

    #[test]
    fn other_peoples_crates_are_quiet_until_asked() {
        let lines = lines("trace", everybody);
        for part in ["our trace", "their warning", "within their span"] {
            assert!(lines.contains(part), "{part:?} is not in {lines}");
        }
        for part in ["their info", "their debug", "stranger", "SELECT", "canary"] {
            assert!(!lines.contains(part), "{part:?} is in {lines}");
        }
    }

    #[test]
    fn other_peoples_crates_stay_at_info_even_when_asked_for_more() {
        let lines = lines("trace,sqlx=trace,h2=trace,hyper=trace", everybody);
        for part in ["our trace", "their info", "their warning"] {
            assert!(lines.contains(part), "{part:?} is not in {lines}");
        }
        for part in ["their debug", "SELECT", "canary"] {
            assert!(!lines.contains(part), "{part:?} is in {lines}");
        }
    }

    #[test]
    fn what_is_no_level_is_refused() {
        for level in ["off", "error", "warn", "info", "debug", "trace", "warn,rekey::store=debug"] {
            check(level).unwrap();
        }
        check("rekey=loud").unwrap_err();
    }
}
