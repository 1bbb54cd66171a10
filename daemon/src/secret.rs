//! Keys in files: read at the start and at each reload, never shown.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Why a key can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("can't read the {what} in {}: {error}; correct the path, or let the daemon's user read it", path.display())]
    Read { what: &'static str, path: PathBuf, error: io::Error },
    #[error("{}: the {what} has {length} octets, and it takes 1 to {most}", path.display())]
    Length { what: &'static str, path: PathBuf, length: usize, most: usize },
    #[error("{}: others than its owner may use the {what} (mode {mode:04o}); chmod 600 it", path.display())]
    Shared { what: &'static str, path: PathBuf, mode: u32 },
}

/// The key in a file, without the line end behind it. `what` is what it is for.
pub(crate) fn read(what: &'static str, path: &Path, most: usize) -> Result<Vec<u8>, SecretError> {
    let mut key = fs::read(path).map_err(|error| SecretError::Read { what, path: path.to_owned(), error })?;
    if key.pop_if(|last| *last == b'\n').is_some() {
        key.pop_if(|last| *last == b'\r');
    }
    if key.is_empty() || key.len() > most {
        return Err(SecretError::Length { what, path: path.to_owned(), length: key.len(), most });
    }
    warn_if_others_may_read(what, path);
    Ok(key)
}

/// Says so where a key is readable by everyone on this host.
pub(crate) fn warn_if_others_may_read(what: &str, path: &Path) {
    if fs::metadata(path).is_ok_and(|found| found.mode() & 0o004 != 0) {
        tracing::warn!(file = %path.display(), "everyone on this host can read the {what}; chmod o-r it");
    }
}

/// That nobody but its owner may read or write a key.
pub(crate) fn refuse_if_others_may_use(what: &'static str, path: &Path) -> Result<(), SecretError> {
    let read = |error| SecretError::Read { what, path: path.to_owned(), error };
    let mode = fs::metadata(path).map_err(read)?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Shared { what, path: path.to_owned(), mode });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_file_without_its_line_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        for (text, key) in
            [("secret", "secret"), ("secret\n", "secret"), ("secret\r\n", "secret"), (" a b \n\n", " a b \n")]
        {
            fs::write(&path, text).unwrap();
            assert_eq!(read("password", &path, 80).unwrap(), key.as_bytes(), "{text:?}");
        }
    }

    #[test]
    fn what_can_t_be_a_key_is_refused_with_its_file_and_never_shown() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let missing = read("password of peer tor1", &path, 80).unwrap_err().to_string();
        assert!(
            missing.contains("can't read the password of peer tor1") && missing.contains("key"),
            "{missing}"
        );
        for text in ["", "\n", "x".repeat(81).as_str()] {
            fs::write(&path, text).unwrap();
            let error = read("password", &path, 80).unwrap_err().to_string();
            assert!(error.contains("1 to 80") && !error.contains("xx"), "{error}");
        }
    }
}
