//! What is written from the settings that the daemon reads: the JSON Schema for editors, and the reference page.
//!
//! Both are checked in; `cargo xtask docs` writes them anew, and `cargo xtask test` fails where they are stale.

mod page;
mod schema;
mod words;

use std::{fs, path::Path};

use anyhow::{Context, Result};
use proxima_config::reference::reference;

/// A file that is generated.
struct Generated {
    path: &'static str,
    text: String,
}

fn generated() -> [Generated; 2] {
    let reference = reference();
    [
        Generated { path: "configs/proxima.schema.json", text: schema::write(&reference) },
        Generated { path: "docs/config.md", text: page::write(&reference) },
    ]
}

/// Writes what is stale; gives the paths of these.
pub(crate) fn renew(root: &Path) -> Result<Vec<&'static str>> {
    let mut renewed = Vec::new();
    for Generated { path, text } in generated() {
        let file = root.join(path);
        if fs::read_to_string(&file).ok().as_deref() != Some(&text) {
            fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
            renewed.push(path);
        }
    }
    Ok(renewed)
}

/// Every generated file that is not what it would be now.
pub(crate) fn violations(root: &Path) -> Vec<String> {
    let stale = generated().into_iter().filter(|Generated { path, text }| {
        fs::read_to_string(root.join(path)).ok().as_deref() != Some(text.as_str())
    });
    stale
        .map(|Generated { path, .. }| format!("{path} is stale: run `cargo xtask docs`, and commit it"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stale_or_missing_is_named_with_the_command_that_renews_it() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["configs", "docs"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        let found = violations(root.path());
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.iter().all(|line| line.contains("cargo xtask docs")), "{found:?}");
        assert_eq!(renew(root.path()).unwrap(), ["configs/proxima.schema.json", "docs/config.md"]);
        assert_eq!(violations(root.path()), [""; 0]);
        fs::write(root.path().join("docs/config.md"), "old").unwrap();
        assert_eq!(violations(root.path()).len(), 1);
        assert_eq!(renew(root.path()).unwrap(), ["docs/config.md"]);
    }
}
