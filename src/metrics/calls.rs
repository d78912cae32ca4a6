//! Calls by method and code, and how long they took.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Histogram, Kind, Text};

/// Calls since the start. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<&'static str, Method>>>);

#[derive(Debug, Default)]
struct Method {
    by_code: BTreeMap<&'static str, u64>,
    times: Histogram,
    running: u64,
}

/// The code of a call that was dropped before it had one: its client went away, or its time was over.
const DROPPED: &str = "CANCELLED";

impl Calls {
    /// Notes that a call begins; the rest is noted when it ends, or is dropped.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "calls are timed here, and nowhere else")]
    pub fn begin(&self, method: &'static str) -> Running {
        self.lock().entry(method).or_default().running += 1;
        Running { calls: self.clone(), method, begin: Instant::now(), code: DROPPED }
    }

    /// Writes them down.
    pub fn write(&self, text: &mut Text) {
        let methods = self.lock();
        text.family("rekey_calls_total", Kind::Counter, "Calls that ended, by method and gRPC code.");
        for (name, method) in &*methods {
            for (code, count) in &method.by_code {
                text.value("rekey_calls_total", &[("method", name), ("code", code)], count);
            }
        }
        text.family("rekey_calls_running", Kind::Gauge, "Calls that run.");
        for (name, method) in &*methods {
            text.value("rekey_calls_running", &[("method", name)], method.running);
        }
        text.family("rekey_call_duration_seconds", Kind::Histogram, "From a call's headers to its answer's.");
        for (name, method) in &*methods {
            text.histogram("rekey_call_duration_seconds", &[("method", name)], &method.times);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Method>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that runs; its drop is its end.
#[derive(Debug)]
pub struct Running {
    calls: Calls,
    method: &'static str,
    begin: Instant,
    code: &'static str,
}

impl Running {
    /// It ended with this code.
    pub fn end(mut self, code: &'static str) {
        self.code = code;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let time = self.begin.elapsed();
        let mut methods = self.calls.lock();
        let method = methods.entry(self.method).or_default();
        method.running = method.running.saturating_sub(1);
        *method.by_code.entry(self.code).or_default() += 1;
        method.times.observe(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_how_they_end() {
        let calls = Calls::default();
        calls.begin("A/B").end("OK");
        calls.begin("A/B").end("OK");
        drop(calls.begin("A/B"));
        let _running = calls.begin("A/C");
        let mut text = Text::default();
        calls.write(&mut text);
        let text = text.finish();
        for line in [
            r#"rekey_calls_total{method="A/B",code="OK"} 2"#,
            r#"rekey_calls_total{method="A/B",code="CANCELLED"} 1"#,
            r#"rekey_calls_running{method="A/B"} 0"#,
            r#"rekey_calls_running{method="A/C"} 1"#,
            r#"rekey_call_duration_seconds_count{method="A/B"} 3"#,
            r#"rekey_call_duration_seconds_count{method="A/C"} 0"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
