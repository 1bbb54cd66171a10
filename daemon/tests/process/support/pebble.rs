//! An ACME server: Pebble, with a name server that knows one host.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::{Port, record::Record};

/// Long enough for it to listen.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test wants of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Where it asks for files of HTTP-01.
    pub(crate) http: Option<SocketAddr>,
    /// Where it asks for certificates of TLS-ALPN-01.
    pub(crate) tls: Option<SocketAddr>,
    /// How many of a hundred good nonces it does not take.
    pub(crate) rejected_nonces: u8,
    /// How long its certificates are valid, in seconds; five years where it is 0.
    pub(crate) valid: u32,
    /// The name and the key, in base64url, of the account elsewhere that it wants to see.
    pub(crate) external: Option<(&'static str, &'static str)>,
}

/// A Pebble; killed when dropped.
#[derive(Debug)]
pub(crate) struct Pebble {
    directory: TempDir,
    api: Port,
    management: Port,
    names: SocketAddr,
    manner: Manner,
    child: Option<Child>,
}

impl Pebble {
    /// One that runs.
    pub(crate) fn start(manner: Manner) -> Self {
        let mut pebble = Self::absent(manner);
        pebble.run();
        pebble
    }

    /// One that does not run yet.
    pub(crate) fn absent(manner: Manner) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        fs::write(directory.path().join("api.pem"), certificate.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(directory.path().join("api.key"), key.serialize_pem()).unwrap();
        let (api, management) = (Port::reserve(), Port::reserve());
        Self { directory, api, management, names: name_server(), manner, child: None }
    }

    /// Begins anew: it knows no account and no order, and has another authority.
    pub(crate) fn run(&mut self) {
        self.stop();
        let config = self.path("pebble.json");
        fs::write(&config, self.config()).unwrap();
        let mut child = Command::new("pebble")
            .arg("-config")
            .arg(&config)
            .args(["-dnsserver", &self.names.to_string()])
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .env("PEBBLE_WFE_NONCEREJECT", self.manner.rejected_nonces.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("pebble is there: `cargo xtask test` installs it");
        let log = Arc::<Record<String>>::default();
        let (record, stdout) = (Arc::clone(&log), child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                record.push(line);
            }
            record.close();
        });
        self.child = Some(child);
        log.wait("pebble to listen", |lines| {
            lines.iter().any(|line| line.contains("ACME directory available")).then_some(())
        });
        // It says so before it listens.
        for port in [&self.api, &self.management] {
            let deadline = Instant::now() + PATIENCE;
            while let Err(error) = TcpStream::connect(port.address) {
                assert!(Instant::now() < deadline, "pebble does not listen on {}: {error}", port.address);
                thread::sleep(Duration::from_millis(2));
            }
        }
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only where it has ended and was waited for already.
            child.kill().ok();
            child.wait().ok();
        }
    }

    pub(crate) fn directory_url(&self) -> String {
        format!("https://{}/dir", self.api.address)
    }

    /// The authority that vouches for the server itself.
    pub(crate) fn ca_file(&self) -> PathBuf {
        self.path("api.pem")
    }

    /// A file with the authority of the certificates that it issues now.
    pub(crate) fn root(&self) -> PathBuf {
        let url = format!("https://{}/roots/0", self.management.address);
        let said = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--max-time", "30", "--cacert"])
            .arg(self.ca_file())
            .arg(url)
            .output()
            .unwrap();
        assert!(said.status.success(), "{said:?}");
        let path = self.path("root.pem");
        fs::write(&path, said.stdout).unwrap();
        path
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }

    fn config(&self) -> String {
        let port = |address: Option<SocketAddr>| address.map_or(1, |address| address.port());
        let (api, management) = (self.api.address, self.management.address);
        let (http, tls) = (port(self.manner.http), port(self.manner.tls));
        let (pem, key) = (self.ca_file(), self.path("api.key"));
        let (pem, key) = (Path::display(&pem), key.display());
        let external = match self.manner.external {
            None => r#""externalAccountBindingRequired": false"#.to_owned(),
            Some((id, key)) => format!(
                r#""externalAccountBindingRequired": true, "externalAccountMACKeys": {{ "{id}": "{key}" }}"#
            ),
        };
        let valid = match self.manner.valid {
            0 => String::new(),
            seconds => format!(r#", "certificateValidityPeriod": {seconds}"#),
        };
        format!(
            r#"{{ "pebble": {{ "listenAddress": "{api}", "managementListenAddress": "{management}",
            "certificate": "{pem}", "privateKey": "{key}", "httpPort": {http}, "tlsPort": {tls},
            "ocspResponderURL": "", {external}{valid} }} }}"#
        )
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A name server that knows 127.0.0.1 by any name, and nothing else (RFC 1035 §4.1). It lives as long as the process.
fn name_server() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut query = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut query) {
            if let Some(answer) = answer(&query[..length]) {
                socket.send_to(&answer, client).ok(); // or it asks again
            }
        }
    });
    address
}

fn answer(query: &[u8]) -> Option<Vec<u8>> {
    let name_end = 12 + query.get(12..)?.iter().position(|octet| *octet == 0)? + 1;
    let question = query.get(12..name_end + 4)?;
    let is_a = question.ends_with(&[0, 1, 0, 1]);
    let header = [0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0];
    let record: &[u8] = if is_a { &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1] } else { &[] };
    Some([&query[..2], &header, question, record].concat())
}
