//! `[quic-lb]`: the connection IDs that all hosts can read.

use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result, ensure};
use proxima_config::QuicLb;
use proxima_proxy::quic::{ConnectionIds, SharedIds};

use crate::secret;

/// The connection IDs of this process.
pub(crate) fn connection_ids(config: &QuicLb) -> Result<Arc<ConnectionIds>> {
    let &QuicLb { config_id, pop, host, nonce_length, ref key_file } = config;
    let key = key(key_file)?;
    let ids = ConnectionIds::shared(&SharedIds { config_id, nonce_length, key, pop, host });
    ids.map(Arc::new).context("quic-lb")
}

/// The key in a file: 16 octets in hexadecimal digits. It is never shown.
fn key(path: &Path) -> Result<[u8; 16]> {
    const MAKE: &str = "make one with `openssl rand -hex 16`";
    let file = path.display();
    let text = fs::read_to_string(path)
        .with_context(|| format!("quic-lb: can't read the key in {file}; correct the path, or {MAKE}"))?;
    secret::refuse_if_others_may_use("key of connection IDs", path)?;
    let digits = text.trim();
    let count = digits.chars().count();
    ensure!(
        count == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()),
        "quic-lb: {file}: a key has 32 hexadecimal digits, and there are {count} characters; {MAKE}"
    );
    let number = u128::from_str_radix(digits, 16).with_context(|| format!("quic-lb: {file}"))?;
    Ok(number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGITS: &str = "000102030405060708090A0b0c0d0e0f";

    fn file(text: &str, mode: u32) -> (tempfile::TempDir, QuicLb) {
        let directory = tempfile::tempdir().unwrap();
        let key_file = directory.path().join("key");
        fs::write(&key_file, text).unwrap();
        fs::set_permissions(&key_file, fs::Permissions::from_mode(mode)).unwrap();
        let config = QuicLb { config_id: 1, pop: 2, host: 3, nonce_length: 11, key_file };
        (directory, config)
    }

    #[test]
    fn a_key_is_32_digits_with_or_without_a_line_end() {
        for text in [DIGITS.to_owned(), format!("{DIGITS}\n")] {
            let (_directory, config) = file(&text, 0o600);
            let expected: [u8; 16] = std::array::from_fn(|at| at as u8);
            assert_eq!(key(&config.key_file).unwrap(), expected);
            assert!(connection_ids(&config).is_ok());
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_file_and_never_shown() {
        for text in [
            "",
            "abc",
            &DIGITS[1..],
            &format!("{DIGITS}0"),
            &DIGITS.replace('0', "g"),
            &DIGITS.replace('0', "+"),
        ] {
            let (_directory, config) = file(text, 0o600);
            let error = format!("{:#}", connection_ids(&config).unwrap_err());
            assert!(error.contains("32 hexadecimal digits") && error.contains("/key"), "{error}");
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
        let missing = QuicLb { key_file: "/nonexistent/key".into(), ..file(DIGITS, 0o600).1 };
        let error = format!("{:#}", connection_ids(&missing).unwrap_err());
        assert!(error.contains("/nonexistent/key") && error.contains("openssl rand -hex 16"), "{error}");
    }

    #[test]
    fn a_key_that_others_may_use_is_refused() {
        for mode in [0o640, 0o604, 0o620, 0o666] {
            let (_directory, config) = file(DIGITS, mode);
            let error = format!("{:#}", connection_ids(&config).unwrap_err());
            assert!(error.contains("chmod 600") && error.contains(&format!("{mode:04o}")), "{error}");
        }
        let (_directory, config) = file(DIGITS, 0o400);
        assert!(connection_ids(&config).is_ok());
    }
}
