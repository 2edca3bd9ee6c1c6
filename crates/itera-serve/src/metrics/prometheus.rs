//! The text form that Prometheus reads.

use std::fmt::Write as _;

use super::Histogram;

/// Upper ends of the classes that are told, in seconds.
const BOUNDS: [f64; 14] = [
    0.0001, 0.0003, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

/// Lines of metrics. Writing to a string cannot fail.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// What a metric is.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value; labels by name.
    pub(crate) fn value(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0 += name;
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text
                .replace('\\', "\\\\")
                .replace('"', "\\\"")
                .replace('\n', "\\n");
            let before = if index == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{label}=\"{text}\"");
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }

    /// A metric of one value.
    pub(crate) fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.value(name, &[], value);
    }

    /// A histogram with its sum and count.
    pub(crate) fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        self.histogram_of(name, &[], histogram);
    }

    /// A histogram of one of several of a name.
    pub(crate) fn histogram_of(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        histogram: &Histogram,
    ) {
        let mut bucket = |bound: &str, below: u64| {
            let labels = [labels, &[("le", bound)]].concat();
            self.value(&format!("{name}_bucket"), &labels, below as f64);
        };
        for bound in BOUNDS {
            bucket(&bound.to_string(), histogram.at_most(bound));
        }
        // Read last, so that it is no less than what has come meanwhile.
        let count = histogram.at_most(f64::INFINITY);
        bucket("+Inf", count);
        self.value(&format!("{name}_sum"), labels, histogram.sum_s());
        self.value(&format!("{name}_count"), labels, count as f64);
    }

    pub(crate) fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut text = Text::default();
        text.value("x", &[("a", "q\"\\\n"), ("b", "é")], 1.5);
        assert_eq!(text.into_string(), "x{a=\"q\\\"\\\\\\n\",b=\"é\"} 1.5\n");
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let histogram = Histogram::new();
        histogram.add(Duration::from_millis(2));
        histogram.add(Duration::from_millis(30));
        let mut text = Text::default();
        text.histogram("x", "Help.", &histogram);
        let text = text.into_string();
        assert!(text.contains("# TYPE x histogram"), "{text}");
        assert!(text.contains("x_bucket{le=\"0.001\"} 0\n"), "{text}");
        assert!(text.contains("x_bucket{le=\"0.0025\"} 1\n"), "{text}");
        assert!(text.contains("x_bucket{le=\"0.05\"} 2\n"), "{text}");
        assert!(
            text.contains("x_bucket{le=\"+Inf\"} 2\nx_sum 0.032"),
            "{text}"
        );
    }
}
