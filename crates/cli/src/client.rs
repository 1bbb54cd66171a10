//! Asks the daemon: HTTP/1.1 over its Unix socket.

use std::{
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use nix::unistd::{Gid, Group};
use proxima_api::{ErrorBody, patience};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, time::timeout};

/// How much longer than the daemon itself waits for its control task: what it says of that is to be heard.
const LONGER: Duration = Duration::from_secs(5);

/// Why the daemon did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error("cannot reach proximad at {socket}: {error}", socket = socket.display())]
    Connect { socket: PathBuf, error: io::Error },
    #[error("proximad at {socket} broke off: {error}", socket = socket.display())]
    Broken { socket: PathBuf, error: hyper::Error },
    #[error("proximad at {socket} has not answered for {} s", waited.as_secs(), socket = socket.display())]
    Silent { socket: PathBuf, waited: Duration },
    #[error("{}", .0.error)]
    Refused(ErrorBody),
    #[error("{socket} answered {status} with something else than the admin interface's JSON: {detail}", socket = socket.display())]
    Foreign { socket: PathBuf, status: StatusCode, detail: String },
}

impl ClientError {
    /// The remedy.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Connect { socket, error } => Some(connect_hint(socket, error)),
            Self::Broken { .. } => {
                Some("did it stop or crash? see `systemctl status proximad` and its log".to_owned())
            }
            Self::Silent { .. } => Some("its control thread is stuck or starved; see its log".to_owned()),
            Self::Refused(body) => body.hint.clone(),
            Self::Foreign { .. } => {
                Some("is this proximad's socket, and are proxima and proximad of one version?".to_owned())
            }
        }
    }
}

fn connect_hint(socket: &Path, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "is it running? see `systemctl status proximad`; name another socket by --socket or PROXIMA_SOCKET".to_owned()
        }
        io::ErrorKind::ConnectionRefused => {
            "the socket is left over and nobody listens: start proximad, it replaces the socket".to_owned()
        }
        io::ErrorKind::PermissionDenied => match group_of(socket) {
            Some(group) => format!(
                "the socket is for root and the group {group}: run this as root, or join by `usermod -aG {group} $USER` and log in anew"
            ),
            None => "run this as root, or as a member of the group in `admin.group`".to_owned(),
        },
        _ => "name proximad's socket by --socket or PROXIMA_SOCKET".to_owned(),
    }
}

fn group_of(socket: &Path) -> Option<String> {
    let gid = Gid::from_raw(std::fs::metadata(socket).ok()?.gid());
    if gid.as_raw() == 0 {
        return None;
    }
    Some(Group::from_gid(gid).ok()??.name)
}

/// An answer, as it came and as it is understood.
pub(crate) struct Answer<T> {
    /// The body as it came.
    pub(crate) json: Bytes,
    /// The body understood.
    pub(crate) value: T,
}

/// Asks one daemon. Each request has its own connection.
pub(crate) struct Client {
    socket: PathBuf,
}

impl Client {
    pub(crate) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Answer<T>, ClientError> {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Answer<T>, ClientError> {
        let body = serde_json::to_vec(body).expect("requests have string keys only");
        self.whole(Method::POST, path, body.into()).await
    }

    /// Asks for a stream of lines.
    pub(crate) async fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        let response = self.in_time(path, self.send(Method::GET, path, Bytes::new())).await?;
        if !response.status().is_success() {
            return Err(self.in_time(path, self.refusal(response)).await);
        }
        Ok(Lines { socket: self.socket.clone(), body: response.into_body(), rest: Vec::new() })
    }

    async fn whole<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Answer<T>, ClientError> {
        self.in_time(path, async {
            let response = self.send(method, path, body).await?;
            let status = response.status();
            if !status.is_success() {
                return Err(self.refusal(response).await);
            }
            let json = self.collect(response).await?;
            let value =
                serde_json::from_slice(&json).map_err(|error| self.foreign(status, &error.to_string()))?;
            Ok(Answer { json, value })
        })
        .await
    }

    async fn send(&self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>, ClientError> {
        let connected = UnixStream::connect(&self.socket).await;
        let stream =
            connected.map_err(|error| ClientError::Connect { socket: self.socket.clone(), error })?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.broken(error))?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "proximad")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .expect("paths are made of checked names and numbers");
        sender.send_request(request).await.map_err(|error| self.broken(error))
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status();
        match self.collect(response).await {
            Ok(json) => match serde_json::from_slice(&json) {
                Ok(body) => ClientError::Refused(body),
                Err(error) => self.foreign(status, &error.to_string()),
            },
            Err(error) => error,
        }
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = response.into_body().collect().await.map_err(|error| self.broken(error))?;
        Ok(body.to_bytes())
    }

    async fn in_time<T: FromSilence>(&self, path: &str, answer: impl Future<Output = T>) -> T {
        let waited = patience(path) + LONGER;
        match timeout(waited, answer).await {
            Ok(answer) => answer,
            Err(_) => T::from_silence(ClientError::Silent { socket: self.socket.clone(), waited }),
        }
    }

    fn broken(&self, error: hyper::Error) -> ClientError {
        ClientError::Broken { socket: self.socket.clone(), error }
    }

    fn foreign(&self, status: StatusCode, detail: &str) -> ClientError {
        ClientError::Foreign { socket: self.socket.clone(), status, detail: detail.to_owned() }
    }
}

trait FromSilence {
    fn from_silence(error: ClientError) -> Self;
}

impl FromSilence for ClientError {
    fn from_silence(error: ClientError) -> Self {
        error
    }
}

impl<T> FromSilence for Result<T, ClientError> {
    fn from_silence(error: ClientError) -> Self {
        Err(error)
    }
}

/// Lines as they come.
pub(crate) struct Lines {
    socket: PathBuf,
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line without its end; none when the daemon ended the stream in order.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ClientError> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.rest.extend(frame.into_data().unwrap_or_default()),
                Some(Err(error)) => return Err(ClientError::Broken { socket: self.socket.clone(), error }),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_denied_socket_names_the_group_to_join() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("admin.sock");
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        assert!(connect_hint(&socket, &denied()).contains("`admin.group`"));
        std::fs::write(&socket, "").unwrap();
        let gid = Gid::from_raw(std::fs::metadata(&socket).unwrap().gid());
        let hint = connect_hint(&socket, &denied());
        match Group::from_gid(gid).unwrap().filter(|_| gid.as_raw() != 0) {
            Some(group) => assert!(hint.contains(&format!("usermod -aG {} $USER", group.name)), "{hint}"),
            None => assert!(hint.contains("run this as root"), "{hint}"),
        }
    }
}
