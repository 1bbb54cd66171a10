//! Passwords come from files, read at each login: a password that is changed there needs no reload.

use std::{fs::File, io::Read, path::Path};

use proxima_health::Failure;
use tokio::task::spawn_blocking;

/// The longest password, in bytes.
const MAX_PASSWORD: usize = 4 * 1024;

/// The first line of the file, without its end. A file that can't be read is this host's fault, not the backend's.
pub(crate) async fn password(file: &Path) -> Result<Vec<u8>, Failure> {
    let file = file.to_owned();
    let read = spawn_blocking(move || read(&file)).await;
    read.unwrap_or_else(|error| Err(error.to_string())).map_err(|error| Failure::Local { error })
}

/// The same, on a thread that may wait; else what is wrong with which file.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, String> {
    let wrong = |error: &str| format!("password file {}: {error}", file.display());
    let mut content = Vec::new();
    File::open(file)
        .and_then(|opened| opened.take(MAX_PASSWORD as u64 + 1).read_to_end(&mut content))
        .map_err(|error| wrong(&error.to_string()))?;
    let line = content.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match line.len() {
        0 => Err(wrong("it is empty; its first line is the password")),
        1..=MAX_PASSWORD => Ok(line.to_owned()),
        _ => Err(wrong(&format!("its first line is longer than {MAX_PASSWORD} bytes"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(content: &[u8]) -> Result<Vec<u8>, Failure> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        password(file.path()).await
    }

    #[tokio::test]
    async fn a_password_is_the_first_line_of_its_file() {
        for content in ["geheim #1", "geheim #1\n", "geheim #1\r\n", "geheim #1\nnotes\n"] {
            assert_eq!(of(content.as_bytes()).await, Ok(b"geheim #1".to_vec()), "{content:?}");
        }
    }

    #[tokio::test]
    async fn a_file_without_a_password_is_this_host_s_fault() {
        for content in [b"".as_slice(), b"\nsecond", &[b'a'; MAX_PASSWORD + 1]] {
            assert!(of(content).await.unwrap_err().is_local());
        }
        let missing = password(Path::new("/nonexistent/password")).await.unwrap_err();
        assert!(missing.is_local() && missing.to_string().contains("/nonexistent/password"), "{missing}");
    }
}
