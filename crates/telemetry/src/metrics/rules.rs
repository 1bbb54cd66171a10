//! The alerting rules of `configs/`: they speak of metrics and labels that there are, and each says what to do.

use std::collections::{BTreeMap, BTreeSet};

use yaml_rust2::{Yaml, YamlLoader};

use super::table;

const RULES: &str = include_str!("../../../../configs/prometheus-rules.yml");
/// What Prometheus adds to every metric.
const ADDED: [&str; 2] = ["instance", "job"];
/// What a histogram is exported as.
const OF_HISTOGRAMS: [&str; 3] = ["_bucket", "_sum", "_count"];

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Every metric with its labels, as its help tells them: `… {group, state}`.
fn exported() -> BTreeMap<String, BTreeSet<&'static str>> {
    let labels = |help: &'static str| -> BTreeSet<&'static str> {
        let inside = help.rsplit_once('{').map_or("", |(_, inside)| inside.trim_end_matches('}'));
        // `region of the backend` is the label `region`.
        inside.split(", ").filter_map(|label| label.split(' ').next()).filter(|it| !it.is_empty()).collect()
    };
    let gauges = table::GAUGES.iter().map(|gauge| (gauge.name.to_owned(), labels(gauge.help)));
    let counters = table::COUNTERS.iter().map(|counter| (counter.name.to_owned(), labels(counter.help)));
    let histograms = [table::PROBE_TIME, table::PROBE_LATENESS, table::FIRST_BYTE, table::RESPONSE_TIME];
    let histograms = histograms.map(|histogram| {
        let mut labels = labels(histogram.help);
        labels.insert("le");
        OF_HISTOGRAMS.map(|end| (format!("{}{end}", histogram.name), labels.clone()))
    });
    gauges.chain(counters).chain(histograms.into_iter().flatten()).collect()
}

/// The metrics of an expression, each with the labels that it selects by.
fn metrics(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find("proxima_") {
        rest = &rest[at..];
        let (name, after) = rest.split_at(rest.find(|letter| !is_name(letter)).unwrap_or(rest.len()));
        let selector = after.strip_prefix('{').and_then(|after| after.split_once('}'));
        let labels = selector.map_or("", |(labels, _)| labels).split(',').filter(|it| !it.is_empty());
        let labels = labels.map(|matcher| matcher.split(['=', '!', '~']).next().unwrap_or(matcher).trim());
        found.push((name, labels.collect()));
        rest = after;
    }
    found
}

/// The labels that an expression groups or joins by, and those that a text speaks of.
fn named(text: &str, before: &str, after: char) -> Vec<String> {
    let lists = text.split(before).skip(1).filter_map(|rest| rest.split_once(after));
    lists.flat_map(|(list, _)| list.split(',').map(|label| label.trim().to_owned())).collect()
}

fn alerts() -> Vec<Yaml> {
    let mut documents = YamlLoader::load_from_str(RULES).expect("YAML");
    assert_eq!(documents.len(), 1);
    let groups = documents.remove(0)["groups"].clone().into_vec().expect("a list of groups");
    groups.into_iter().flat_map(|group| group["rules"].clone().into_vec().expect("a list of rules")).collect()
}

#[test]
fn rules_speak_of_metrics_and_labels_that_the_daemon_exports() {
    let exported = exported();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        let expression = alert["expr"].as_str().expect("an expression");
        let metrics = metrics(expression);
        assert!(!metrics.is_empty(), "{name}");
        let mut labels = BTreeSet::from(ADDED);
        for (metric, selected) in metrics {
            let Some(known) = exported.get(metric) else { panic!("{name}: there is no metric {metric}") };
            for label in selected {
                assert!(known.contains(label), "{name}: {metric} has no label {label}");
            }
            labels.extend(known);
        }
        let by = ["by (", "on ("].into_iter().flat_map(|before| named(expression, before, ')'));
        for label in by {
            assert!(labels.contains(&*label), "{name}: no metric of its expression has a label {label}");
        }
        for text in ["summary", "description"] {
            let text = alert["annotations"][text].as_str().expect("words for people");
            for label in named(text, "{{ $labels.", '}') {
                assert!(labels.contains(&*label), "{name}: no metric of its expression has a label {label}");
            }
        }
    }
}

#[test]
fn each_alert_has_a_name_of_its_own_a_severity_and_a_time_that_can_be() {
    let mut names = BTreeSet::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name").to_owned();
        assert!(name.starts_with("Proxima"), "{name}");
        let severity = alert["labels"]["severity"].as_str();
        assert!(matches!(severity, Some("page" | "ticket")), "{name}: {severity:?}");
        if let Some(time) = alert["for"].as_str() {
            let (number, unit) = time.split_at(time.len() - 1);
            assert!(number.parse::<u32>().is_ok() && matches!(unit, "s" | "m" | "h" | "d"), "{name}: {time}");
        }
        let open = alert["expr"].as_str().expect("an expression").matches(['(', '{', '[']).count();
        let closed = alert["expr"].as_str().expect("an expression").matches([')', '}', ']']).count();
        assert_eq!(open, closed, "{name}");
        assert!(names.insert(name.clone()), "{name} is there twice");
    }
    for alarm in proxima_api::AlarmKind::NAMES {
        assert!(
            RULES.contains(&format!("proxima_alarm{{kind=\"{alarm}\"}}")),
            "no rule for the alarm {alarm}"
        );
    }
}
