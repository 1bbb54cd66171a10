//! "Did you mean …?"

use std::fmt::Display;

/// The hint for `word`, which is none of `known`: the closest one, if it is close, and the list of all.
/// `kind` is the plural the list is introduced with, such as "regions".
pub(crate) fn hint<K: Display>(word: &str, kind: &str, known: impl IntoIterator<Item = K>) -> String {
    let mut known: Vec<String> = known.into_iter().map(|name| name.to_string()).collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        return format!("there are no {kind}");
    }
    let list = known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    match closest(word, &known) {
        Some(name) => format!("did you mean `{name}`? The {kind} are {list}"),
        None => format!("the {kind} are {list}"),
    }
}

fn closest<'k>(word: &str, known: &'k [String]) -> Option<&'k str> {
    let word = word.to_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    known
        .iter()
        .map(|name| (distance(&word, &name.to_lowercase()), name.as_str()))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitution = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = substitution.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_counts_edits_and_swaps() {
        for (a, b, edits) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("hold-tme", "hold-time", 1),
            ("hold-tiem", "hold-time", 1),
            ("router_id", "router-id", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_close_is_suggested() {
        assert_eq!(hint("EU", "regions", ["us", "eu"]), "did you mean `eu`? The regions are `eu`, `us`");
        assert_eq!(hint("mars", "regions", ["us", "eu"]), "the regions are `eu`, `us`");
        assert_eq!(hint("mars", "regions", [""; 0]), "there are no regions");
    }
}
