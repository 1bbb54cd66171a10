//! curl and openssl.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Stdio,
};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{common::soon, pki::Issued};

/// What a program said, and whether it was content.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

async fn run(command: &mut Command) -> Said {
    let command =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // What it reads ends at once.
    let mut child = command.spawn().unwrap();
    drop(child.stdin.take());
    let output = soon("the end of a program", child.wait_with_output()).await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said { ok: output.status.success(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// `https://NAME/`, answered at `address`, trusting `ca` alone.
pub(crate) async fn curl(address: SocketAddr, name: &str, ca: &Path, more: &[&str]) -> Said {
    let (port, ip) = (address.port(), address.ip());
    let mut command = Command::new("curl");
    command
        .args(["--silent", "--show-error", "--fail", "--noproxy", "*", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("{name}:{port}:{ip}")])
        .args(more)
        .arg(format!("https://{name}:{port}/"));
    run(&mut command).await
}

/// As many requests by `h2load`, which trusts anyone.
pub(crate) async fn h2load(address: SocketAddr, requests: usize) -> Said {
    let mut command = Command::new("h2load");
    command.args(["--clients=4", "--max-concurrent-streams=10", &format!("--requests={requests}")]);
    run(command.arg(format!("https://{address}/"))).await
}

/// A request by `openssl s_client`, with what it tells of the handshake.
pub(crate) async fn s_client(address: SocketAddr, name: &str, more: &[&str]) -> Said {
    let script = r#"printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$1" |
        openssl s_client -connect "$2" -servername "$1" -ign_eof "${@:3}""#;
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash", name, &address.to_string()]).args(more);
    run(&mut command).await
}

/// Where a server's program is: not in everyone's path.
fn server(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("`{name}` is missing: apt-get install --no-install-recommends {package}"))
}

/// A running nginx that answers `hi` over TLS, and over nothing else; it ends when dropped.
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    _process: Child,
    _directory: TempDir,
}

impl Nginx {
    pub(crate) async fn start(issued: &Issued) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {};", directory.path().join(kind).display()))
            .concat();
        let configuration = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr notice; events {{}} \
             http {{ access_log off; {paths} \
             server {{ listen {address} ssl; ssl_certificate {certificate}; ssl_certificate_key {key}; \
             location / {{ default_type text/plain; return 200 'hi $ssl_session_reused $ssl_server_name'; }} }} }}",
            pid = directory.path().join("pid").display(),
            certificate = issued.files.0.display(),
            key = issued.files.1.display(),
        );
        let file = directory.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        let mut command = Command::new(server("nginx", "nginx-light"));
        command.args(["-e", "stderr", "-c"]).arg(&file).stderr(Stdio::null()).kill_on_drop(true);
        let process = command.spawn().unwrap();
        soon("nginx", async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
        Self { address, _process: process, _directory: directory }
    }
}
