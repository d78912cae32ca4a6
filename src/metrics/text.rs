//! Prometheus's text format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::Histogram;

/// What a family of series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

/// A page in the making. Names and labels are ours, and need no escaping.
#[derive(Debug, Default)]
pub struct Text(String);

impl Text {
    /// Begins a family: its series follow.
    pub fn family(&mut self, name: &str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// A series of a counter or gauge.
    pub fn value(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = writeln!(self.0, "{name}{} {value}", braced(labels));
    }

    /// A family of one series.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: impl Display) {
        self.family(name, kind, help);
        self.value(name, &[], value);
    }

    /// The series of a histogram.
    pub fn histogram(&mut self, name: &str, labels: &[(&str, &str)], histogram: &Histogram) {
        let bucket = format!("{name}_bucket");
        for (bound, count) in histogram.cumulative() {
            self.value(&bucket, &with_bound(labels, &bound.to_string()), count);
        }
        self.value(&bucket, &with_bound(labels, "+Inf"), histogram.count);
        self.value(&format!("{name}_sum"), labels, histogram.sum.as_secs_f64());
        self.value(&format!("{name}_count"), labels, histogram.count);
    }

    /// The page.
    #[must_use]
    pub fn finish(self) -> String {
        self.0
    }
}

fn with_bound<'a>(labels: &[(&'a str, &'a str)], bound: &'a str) -> Vec<(&'a str, &'a str)> {
    labels.iter().copied().chain([("le", bound)]).collect()
}

fn braced(labels: &[(&str, &str)]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
    format!("{{{}}}", pairs.join(","))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_histogram_is_told_as_prometheus_reads_it() {
        let mut histogram = Histogram::default();
        for millis in [1, 2, 30, 60_000] {
            histogram.observe(Duration::from_millis(millis));
        }
        let mut text = Text::default();
        text.family("t_seconds", Kind::Histogram, "Times.");
        text.histogram("t_seconds", &[("method", "A/B")], &histogram);
        let text = text.finish();
        assert!(text.starts_with("# HELP t_seconds Times.\n# TYPE t_seconds histogram\n"), "{text}");
        for line in [
            r#"t_seconds_bucket{method="A/B",le="0.0005"} 0"#,
            r#"t_seconds_bucket{method="A/B",le="0.001"} 1"#,
            r#"t_seconds_bucket{method="A/B",le="0.0025"} 2"#,
            r#"t_seconds_bucket{method="A/B",le="0.05"} 3"#,
            r#"t_seconds_bucket{method="A/B",le="10"} 3"#,
            r#"t_seconds_bucket{method="A/B",le="+Inf"} 4"#,
            r#"t_seconds_sum{method="A/B"} 60.033"#,
            r#"t_seconds_count{method="A/B"} 4"#,
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
