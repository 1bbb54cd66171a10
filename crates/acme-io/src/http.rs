//! Requests to an ACME server: HTTPS, one connection for each.
//!
//! A request has its deadline, an answer its greatest size. An answer that says that the server is busy is an error of its own, as
//! what it says of the next attempt stands in its head.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Request, StatusCode, Uri,
    header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error as AcmeError, HttpClient, Problem};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, InvalidDnsNameError, ServerName},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// For a whole request.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a connection to one of the server's addresses.
const CONNECT: Duration = Duration::from_secs(5);
/// More than any answer takes.
const LONGEST: usize = 1 << 20;
/// RFC 8555 §6.1 wants one.
const AGENT: &str = concat!("proxima/", env!("CARGO_PKG_VERSION"), " (instant-acme)");

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    /// It would go in plain text (RFC 8555 §6.1).
    #[error("{0} is not an https URL")]
    NotHttps(String),
    /// The name leads nowhere.
    #[error("{host} can't be looked up: {error}; see whether this host's name servers answer")]
    Lookup { host: String, error: io::Error },
    /// Nobody is there.
    #[error("can't connect to {host}: {error}; see whether this host may reach it")]
    Connect { host: String, error: io::Error },
    /// It is not who it should be.
    #[error("TLS with {host}: {error}; where its authority is a private one, name it with `ca-file`")]
    Tls { host: String, error: io::Error },
    /// The name can't be one.
    #[error("{host} is not a server's name: {error}")]
    Name { host: String, error: InvalidDnsNameError },
    /// The connection broke, or what came is no HTTP.
    #[error("{url}: {error}")]
    Broken { url: String, error: Box<dyn std::error::Error + Send + Sync> },
    /// The answer is not of use.
    #[error("{url} answers {status} without a reason")]
    Unexpected { url: String, status: u16 },
    /// The answer is too large.
    #[error("{url} answers with more than {LONGEST} octets")]
    TooLong { url: String },
    /// It takes too long.
    #[error("{url} has not answered within {} s", PATIENCE.as_secs())]
    Slow { url: String },
    /// The server has too much to do, or we have asked too often.
    #[error("{url} answers {status}{detail}")]
    Busy { url: String, status: u16, retry_after: Option<Duration>, detail: String },
    /// There is nothing to trust.
    #[error("{0}")]
    Authorities(String),
}

impl From<HttpError> for AcmeError {
    fn from(error: HttpError) -> Self {
        Self::Other(Box::new(error))
    }
}

/// Asks a server, trusting these authorities for who it is.
#[derive(Clone)]
pub(crate) struct Https {
    tls: TlsConnector,
}

impl Https {
    /// # Errors
    /// When there are no authorities, or one can't be used.
    pub(crate) fn new(roots: Option<&[CertificateDer<'static>]>) -> Result<Self, HttpError> {
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Authorities(error.to_string()))?
            .with_root_certificates(authorities(roots)?)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, HttpError> {
        let (url, request) = (request.uri().to_string(), relative(request)?);
        let host = host(&url)?;
        let tcp = connect(&host, &url).await?;
        let name = ServerName::try_from(host.clone())
            .map_err(|error| HttpError::Name { host: host.clone(), error })?;
        let tls = self.tls.connect(name, tcp).await.map_err(|error| HttpError::Tls { host, error })?;
        let broken = |error| HttpError::Broken { url: url.clone(), error };
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(tls)).await.map_err(|error| broken(error.into()))?;
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| broken(error.into()))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLong { url: url.clone() }
                } else {
                    broken(error)
                }
            })?;
            judge(&url, head.status, &head.headers, &body.to_bytes())
                .map(|body| BytesResponse { parts: head, body: Box::new(body) })
        };
        // The connection is driven as long as the exchange takes. Its own error is the exchange's as well.
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            _ = connection => exchange.await,
        }
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, AcmeError>> + Send>> {
        let this = self.clone();
        Box::pin(async move {
            let url = request.uri().to_string();
            match timeout(PATIENCE, this.exchange(request)).await {
                Ok(answer) => Ok(answer?),
                Err(_) => Err(HttpError::Slow { url }.into()),
            }
        })
    }
}

fn authorities(roots: Option<&[CertificateDer<'static>]>) -> Result<RootCertStore, HttpError> {
    let mut store = RootCertStore::empty();
    if let Some(roots) = roots {
        for root in roots {
            let add = store.add(root.clone());
            add.map_err(|error| HttpError::Authorities(format!("`ca-file`: {error}")))?;
        }
        return Ok(store);
    }
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        let error = "this host has no certificate authorities; install ca-certificates or name a `ca-file`";
        return Err(HttpError::Authorities(error.to_owned()));
    }
    Ok(store)
}

/// The host of a URL, an IPv6 address without its brackets.
fn host(url: &str) -> Result<String, HttpError> {
    let uri = url.parse::<Uri>().ok();
    let host =
        uri.filter(|uri| uri.scheme_str() == Some("https")).and_then(|uri| Some(uri.host()?.to_owned()));
    let host = host.ok_or_else(|| HttpError::NotHttps(url.to_owned()))?;
    Ok(host.trim_start_matches('[').trim_end_matches(']').to_owned())
}

/// The request as it goes to the server itself.
fn relative(mut request: Request<BodyWrapper<Bytes>>) -> Result<Request<BodyWrapper<Bytes>>, HttpError> {
    let uri = request.uri().clone();
    let bad = || HttpError::NotHttps(uri.to_string());
    let authority = uri.authority().ok_or_else(bad)?;
    let host = HeaderValue::from_str(authority.as_str()).map_err(|_| bad())?;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(USER_AGENT, HeaderValue::from_static(AGENT));
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().map_err(|_| bad())?;
    Ok(request)
}

/// To the first of the server's addresses that takes it.
async fn connect(host: &str, url: &str) -> Result<TcpStream, HttpError> {
    let port = url.parse::<Uri>().ok().and_then(|uri| uri.port_u16()).unwrap_or(443);
    let lookup = |error| HttpError::Lookup { host: host.to_owned(), error };
    let mut failed = lookup(io::Error::other("no address"));
    for address in lookup_host((host, port)).await.map_err(lookup)? {
        let error = match timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => return Ok(tcp),
            Ok(Err(error)) => error,
            Err(_) => io::ErrorKind::TimedOut.into(),
        };
        failed = HttpError::Connect { host: format!("{host} ({address})"), error };
    }
    Err(failed)
}

/// What is made of an answer before `instant-acme` reads it.
fn judge(url: &str, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, HttpError> {
    let url = url.to_owned();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let problem = serde_json::from_slice::<Problem>(body).ok().and_then(|problem| problem.detail);
        let detail = problem.map(|detail| format!(": {detail}")).unwrap_or_default();
        let retry_after = headers.get(RETRY_AFTER).and_then(|value| retry_after(value, SystemTime::now()));
        return Err(HttpError::Busy { url, status: status.as_u16(), retry_after, detail });
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if (status.is_client_error() || status.is_server_error()) && !kind.starts_with("application/problem+json")
    {
        return Err(HttpError::Unexpected { url, status: status.as_u16() });
    }
    Ok(body.clone())
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => Some(httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Fri, 27 Nov 2026 20:00:00 GMT").unwrap();
        for (text, expected) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Fri, 27 Nov 2026 21:00:00 GMT", Some(3600)),
            ("Fri, 27 Nov 2026 19:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let value = HeaderValue::from_str(text).unwrap();
            assert_eq!(retry_after(&value, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn a_busy_server_says_until_when_and_others_why() {
        let body = Bytes::from(r#"{"type": "urn:ietf:params:acme:error:rateLimited", "detail": "too many"}"#);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(RETRY_AFTER, HeaderValue::from_static("3600"));
        let busy = judge("https://a/x", StatusCode::TOO_MANY_REQUESTS, &headers, &body).unwrap_err();
        assert_eq!(busy.to_string(), "https://a/x answers 429: too many");
        let HttpError::Busy { retry_after, .. } = busy else { panic!("busy") };
        assert_eq!(retry_after, Some(Duration::from_hours(1)));
        assert!(judge("https://a/x", StatusCode::BAD_REQUEST, &headers, &body).is_ok(), "instant-acme's");
        let page =
            judge("https://a/x", StatusCode::BAD_GATEWAY, &HeaderMap::new(), &Bytes::new()).unwrap_err();
        assert_eq!(page.to_string(), "https://a/x answers 502 without a reason");
    }

    #[test]
    fn only_https_is_asked() {
        for (url, expected) in [
            ("https://acme.example/directory", Some("acme.example")),
            ("https://[::1]:14000/dir", Some("::1")),
            ("http://acme.example/directory", None),
            ("/directory", None),
        ] {
            assert_eq!(host(url).ok().as_deref(), expected, "{url}");
        }
    }
}
