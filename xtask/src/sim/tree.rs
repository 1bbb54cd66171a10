//! A copy of the source tree, in which something can be changed.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};

/// A copy. What is as it was before keeps its time, so that Cargo builds only what has changed.
pub(super) struct Copy {
    root: PathBuf,
}

impl Copy {
    /// Copies what Git knows of, or would, from `from` to `to`; what else is in `to` goes.
    pub(super) fn of(from: &Path, to: &Path) -> Result<Self> {
        let listing = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(from)
            .output()
            .context("running git ls-files")?;
        ensure!(listing.status.success(), "git ls-files ended with {}", listing.status);
        let listing = String::from_utf8(listing.stdout).context("a file's name is not UTF-8")?;
        let copy = Self { root: to.to_owned() };
        let mut present = BTreeSet::new();
        for file in listing.split_terminator('\0') {
            let source = from.join(file);
            if source.is_file() {
                let contents = fs::read(&source).with_context(|| format!("reading {}", source.display()))?;
                copy.write(file, &contents)?;
                present.insert(to.join(file));
            }
        }
        prune(to, &present).with_context(|| format!("tidying {}", to.display()))?;
        Ok(copy)
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Replaces a passage that is in a file exactly once; returns the file as it was.
    pub(super) fn replace(&self, file: &str, from: &str, to: &str) -> Result<String> {
        let path = self.root.join(file);
        let before = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        self.write(file, replaced(&before, from, to).with_context(|| file.to_owned())?.as_bytes())?;
        Ok(before)
    }

    /// Writes a file, unless it is like that already.
    pub(super) fn write(&self, file: &str, contents: &[u8]) -> Result<()> {
        let path = self.root.join(file);
        if fs::read(&path).is_ok_and(|present| present == contents) {
            return Ok(());
        }
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        fs::write(&path, contents).with_context(|| format!("writing {}", path.display()))
    }
}

/// Removes the files below a directory that are not among `kept`.
fn prune(directory: &Path, kept: &BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            prune(&entry.path(), kept)?;
        } else if !kept.contains(&entry.path()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `text` with the one passage replaced.
pub(super) fn replaced(text: &str, from: &str, to: &str) -> Result<String> {
    let found = text.matches(from).count();
    ensure!(found == 1, "`{from}` is there {found} times, not once");
    Ok(text.replacen(from, to, 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_that_is_not_there_just_once_is_not_replaced() {
        assert_eq!(replaced("a b c", "b", "x").unwrap(), "a x c");
        assert!(replaced("a b c", "d", "x").is_err());
        assert!(replaced("a b b", "b", "x").is_err());
    }
}
