//! What the measurements have in common: the daemon they are about, the middle of many figures, a file of them all.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde::Serialize;

use crate::error::{Error, Result};

/// The daemon that was named, or the one beside this program, which need not exist.
///
/// # Errors
/// When this program's own place is unknown.
pub fn proximad(named: Option<&Path>) -> Result<PathBuf> {
    match named {
        Some(program) => Ok(program.to_owned()),
        None => Ok(env::current_exe()
            .map_err(Error::io("finding this program's own binary"))?
            .with_file_name("proximad")),
    }
}

/// The middle of what is in order. With an even number the later of the middle two: never flatter than the truth where
/// later is worse.
pub fn middle<T>(in_order: &[T]) -> Option<&T> {
    in_order.get(in_order.len() / 2)
}

/// The [`middle`] of figures in any order.
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut figures: Vec<f64> = figures.into_iter().collect();
    figures.sort_by(f64::total_cmp);
    middle(&figures).copied()
}

/// Writes figures to a file, for programs to read.
///
/// # Errors
/// [`Error::Io`] with the file's name.
pub fn write_json(figures: &impl Serialize, path: &Path) -> Result<()> {
    let doing = format!("writing {}", path.display());
    let text = serde_json::to_string_pretty(figures)
        .map_err(|error| Error::Io { doing: doing.clone(), source: error.into() })?;
    fs::write(path, text + "\n").map_err(Error::io(doing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_even_number_the_median_is_the_later_of_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([2.0, 1.0]), Some(2.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn the_daemon_is_the_one_named_or_else_the_one_beside_this_program() {
        assert_eq!(proximad(Some(Path::new("/opt/proximad"))).unwrap(), Path::new("/opt/proximad"));
        let beside = proximad(None).unwrap();
        assert_eq!(beside.parent(), env::current_exe().unwrap().parent());
        assert_eq!(beside.file_name().unwrap(), "proximad");
    }
}
