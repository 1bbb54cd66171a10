//! Histograms that are counted elsewhere, as Prometheus text.

use std::fmt::Write;

/// How often a value fell where.
#[derive(Debug, Clone, Copy)]
pub struct Histogram {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
}

/// One labelled series of a histogram.
#[derive(Debug, Clone, PartialEq)]
pub struct Series<'a> {
    /// Its labels; values hold no quote, backslash or line break, as no name of ours does.
    pub labels: &'a [(&'static str, &'a str)],
    /// Upper ends in base units, rising, each with how many values lie below it.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all values, in base units.
    pub sum: f64,
    /// How many values there are.
    pub count: u64,
}

impl Histogram {
    pub(super) const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// Appends the histogram in the Prometheus text format; nothing when there is no series.
    pub fn render<'a>(self, series: impl IntoIterator<Item = Series<'a>>, text: &mut String) {
        let mut series = series.into_iter().peekable();
        if series.peek().is_none() {
            return;
        }
        let Self { name, help } = self;
        write_line(text, format_args!("# HELP {name} {help}"));
        write_line(text, format_args!("# TYPE {name} histogram"));
        for Series { labels, buckets, sum, count } in series {
            let labels: Vec<String> =
                labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            let labels = labels.join(",");
            let comma = if labels.is_empty() { "" } else { "," };
            for (end, below) in buckets {
                write_line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"{end}\"}} {below}"));
            }
            write_line(text, format_args!("{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}"));
            write_line(text, format_args!("{name}_sum{{{labels}}} {sum}"));
            write_line(text, format_args!("{name}_count{{{labels}}} {count}"));
        }
        text.push('\n');
    }
}

fn write_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all that fits into memory");
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Histogram = Histogram { name: "proxima_test_seconds", help: "A test {service}" };

    #[test]
    fn a_series_is_its_buckets_then_all_of_them_then_sum_and_count() {
        let mut text = String::new();
        let labels = [("service", "web"), ("region", "eu")];
        let series = Series { labels: &labels, buckets: vec![(0.001, 2), (0.25, 3)], sum: 1.5, count: 4 };
        LATENCY.render([series], &mut text);
        assert_eq!(
            text,
            "# HELP proxima_test_seconds A test {service}\n\
             # TYPE proxima_test_seconds histogram\n\
             proxima_test_seconds_bucket{service=\"web\",region=\"eu\",le=\"0.001\"} 2\n\
             proxima_test_seconds_bucket{service=\"web\",region=\"eu\",le=\"0.25\"} 3\n\
             proxima_test_seconds_bucket{service=\"web\",region=\"eu\",le=\"+Inf\"} 4\n\
             proxima_test_seconds_sum{service=\"web\",region=\"eu\"} 1.5\n\
             proxima_test_seconds_count{service=\"web\",region=\"eu\"} 4\n\n"
        );
    }

    #[test]
    fn no_series_is_no_text() {
        let mut text = String::new();
        LATENCY.render([], &mut text);
        assert_eq!(text, "");
    }
}
