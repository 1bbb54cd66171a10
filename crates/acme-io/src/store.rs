//! The files of one issuer, which outlive the process.
//!
//! ```text
//! STATE/ISSUER/SERVER/account.json      the account there and its key
//! STATE/ISSUER/SERVER/SERVICE.pem       certificates, the own one first, and the private key: both in one file, so that they
//!                                       are never of two orders
//! ```
//!
//! SERVER is the directory's URL in one word: of another server neither the account nor the certificates are of use. Files are
//! written beside their place, and moved there when they are on disk; nobody but their owner may read them.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use instant_acme::AccountCredentials;
use proxima_types::ServiceName;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use crate::error::OrderError;

/// An account as it is kept.
#[derive(Serialize, Deserialize)]
pub(crate) struct Kept {
    /// Where the server was told that it may write to.
    pub(crate) contact: Vec<String>,
    pub(crate) credentials: AccountCredentials,
}

/// Where a service's certificate from this server is kept, in the directory of its issuer.
pub fn certificate_file(state: &Path, directory: &str, service: &ServiceName) -> PathBuf {
    state.join(word(directory)).join(format!("{service}.pem"))
}

/// `https://acme.example:14000/dir` as `acme.example-14000-dir`.
fn word(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_') { c } else { '-' };
    let word: String = rest.chars().map(plain).collect();
    // Neither hidden nor the directory above.
    word.trim_matches(['-', '.']).to_owned()
}

/// The files of an issuer.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    directory: PathBuf,
}

impl Store {
    pub(crate) fn new(state: &Path, directory: &str) -> Self {
        Self { directory: state.join(word(directory)) }
    }

    /// Makes sure that files can be written, before anything is ordered that would be lost otherwise.
    ///
    /// # Errors
    /// When they can't.
    pub(crate) async fn prepare(&self) -> Result<(), OrderError> {
        let directory = self.directory.clone();
        blocking(&self.directory, move || {
            DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
            let probe = directory.join(".writable");
            create(&probe)?.sync_all()?;
            fs::remove_file(probe)
        })
        .await
    }

    pub(crate) async fn account(&self) -> Result<Option<Kept>, OrderError> {
        let path = self.account_file();
        let read = path.clone();
        let text = blocking(&path, move || match fs::read(read) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        let text = text.await?;
        let kept = text.map(|text| serde_json::from_slice(&text)).transpose();
        kept.map_err(|error| OrderError::Account { path, error })
    }

    pub(crate) async fn keep_account(&self, kept: &Kept) -> Result<(), OrderError> {
        let path = self.account_file();
        let text =
            serde_json::to_vec(kept).map_err(|error| OrderError::Account { path: path.clone(), error })?;
        self.replace(path, text).await
    }

    pub(crate) async fn forget_account(&self) -> Result<(), OrderError> {
        let path = self.account_file();
        let remove = path.clone();
        blocking(&path, move || fs::remove_file(remove)).await
    }

    pub(crate) async fn keep_certificate(&self, service: &ServiceName, pem: &str) -> Result<(), OrderError> {
        self.replace(self.directory.join(format!("{service}.pem")), pem.as_bytes().to_vec()).await
    }

    fn account_file(&self) -> PathBuf {
        self.directory.join("account.json")
    }

    async fn replace(&self, path: PathBuf, bytes: Vec<u8>) -> Result<(), OrderError> {
        let place = path.clone();
        blocking(&path, move || replace(&place, &bytes)).await
    }
}

/// Away from the event loop: disks may be slow.
async fn blocking<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, OrderError> {
    let result = spawn_blocking(work).await.map_err(|_| OrderError::Fault)?;
    result.map_err(|error| OrderError::Store { path: path.to_owned(), error })
}

/// Has `path` hold these bytes or what it held before, whatever happens meanwhile.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A new file that nobody else may read. One that was left behind goes first: its permissions may be others.
fn create(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_server_is_one_word() {
        for (url, expected) in [
            ("https://acme.example/directory", "acme.example-directory"),
            ("https://[::1]:14000/dir?x=/../y", "1--14000-dir-x--..-y"),
            ("https://../..", ""),
        ] {
            assert_eq!(word(url), expected);
        }
        let file = certificate_file(Path::new("/s/le"), "https://a/dir", &"web".parse().unwrap());
        assert_eq!(file, Path::new("/s/le/a-dir/web.pem"));
    }

    #[tokio::test]
    async fn files_are_replaced_whole_and_are_for_nobody_else() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(&directory.path().join("deep/le"), "https://a/dir");
        store.prepare().await.unwrap();
        let web = "web".parse().unwrap();
        fs::write(store.directory.join("web.new"), "left behind").unwrap();
        for text in ["one", "another"] {
            store.keep_certificate(&web, text).await.unwrap();
            let file = store.directory.join("web.pem");
            assert_eq!(fs::read_to_string(&file).unwrap(), text);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::metadata(&store.directory).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(&store.directory).unwrap().count(), 1, "nothing is left beside it");
    }

    #[tokio::test]
    async fn a_broken_account_is_told_and_none_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::new(directory.path(), "https://a/dir");
        store.prepare().await.unwrap();
        assert!(store.account().await.unwrap().is_none());
        fs::write(store.account_file(), "{").unwrap();
        let Err(error) = store.account().await else { panic!("broken") };
        assert!(error.to_string().contains("account.json: not an account"), "{error}");
    }
}
