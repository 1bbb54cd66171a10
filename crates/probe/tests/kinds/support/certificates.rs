//! An authority of the test's own, and what it signs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// The name that servers have.
pub(crate) const NAME: &str = "app.example";

/// Who signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate.
    pub(crate) file: PathBuf,
}

/// A certificate and its key, as files.
pub(crate) struct Certificate {
    pub(crate) chain: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) chain_der: Vec<u8>,
    pub(crate) key_der: Vec<u8>,
}

impl Authority {
    /// One whose files are in `directory`.
    pub(crate) fn new(directory: &Path) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Each its own: two of one name could not be told apart.
        parameters.distinguished_name.push(DnType::CommonName, directory.display().to_string());
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let file = directory.join("ca.pem");
        fs::write(&file, certificate.pem()).unwrap();
        Self { issuer: Issuer::new(parameters, key), file }
    }

    /// A certificate for `name` that ends with January of `year`.
    pub(crate) fn sign(&self, name: &str, year: i32) -> Certificate {
        let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
        parameters.not_before = date_time_ymd(2019, 1, 1);
        parameters.not_after = date_time_ymd(year, 2, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        let directory = self.file.parent().unwrap();
        let file = |kind: &str| directory.join(format!("{name}-{year}.{kind}.pem"));
        let files = Certificate {
            chain: file("chain"),
            key: file("key"),
            chain_der: certificate.der().to_vec(),
            key_der: key.serialize_der(),
        };
        fs::write(&files.chain, certificate.pem()).unwrap();
        fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }
}
