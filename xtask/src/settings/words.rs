//! Shapes and defaults in words, for the page and for what editors show.

use std::{ops::Bound, time::Duration};

use proxima_config::reference::{Absent, Shape};

/// A default in words.
pub(super) fn shown_absent(absent: &Absent) -> String {
    match absent {
        Absent::Is { literal, or: None } => format!("`{literal}`"),
        Absent::Is { literal, or: Some(other) } => format!("`{literal}`, or {other}"),
        Absent::Means(words) => (*words).to_owned(),
    }
}

/// What a value may be, in words.
pub(super) fn shown_shape(shape: &Shape) -> String {
    match shape {
        Shape::Boolean => "`true` or `false`".to_owned(),
        Shape::True => "`true`".to_owned(),
        Shape::Integer { least, most } => format!("{least} to {most}"),
        Shape::Number { from, to } => format!("{}{}", lower(*from), upper(*to)),
        Shape::Duration { least, most, or_zero, whole_seconds } => {
            let whole = if *whole_seconds { " in whole seconds" } else { "" };
            let zero = if *or_zero { ", or `\"0s\"`" } else { "" };
            format!("duration, {} to {}{whole}{zero}", shown_duration(*least), shown_duration(*most))
        }
        Shape::Words(words) => {
            words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ")
        }
        Shape::Text { what, pattern: _ } => (*what).to_owned(),
        Shape::List { of } => format!("list, each {}", shown_shape(of)),
        Shape::AnyOf(shapes) => shapes.iter().map(shown_shape).collect::<Vec<_>>().join(", or "),
    }
}

fn lower(from: Bound<f64>) -> String {
    match from {
        Bound::Included(least) => least.to_string(),
        Bound::Excluded(least) => format!("above {least}"),
        Bound::Unbounded => String::new(),
    }
}

fn upper(to: Bound<f64>) -> String {
    match to {
        Bound::Included(most) => format!(" to {most}"),
        Bound::Excluded(most) => format!(", below {most}"),
        Bound::Unbounded => String::new(),
    }
}

/// A duration with its unit, as people write it.
fn shown_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let units = [("h", 3_600_000), ("min", 60_000), ("s", 1000)];
    let unit =
        units.into_iter().find(|(_, unit)| milliseconds >= *unit && milliseconds.is_multiple_of(*unit));
    match unit {
        _ if milliseconds == 0 => "0".to_owned(),
        Some((name, unit)) => format!("{} {name}", milliseconds / unit),
        None => format!("{milliseconds} ms"),
    }
}
