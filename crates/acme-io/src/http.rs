//! Requests to an ACME server: HTTPS, one connection for each.
//!
//! A request has its deadline, an answer its greatest size, and what it says of the next attempt the longest time that is heeded.
//! An answer that says that the server is busy is an error of its own, as that stands in its head.

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
    response::Parts,
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error as AcmeError, HttpClient, Problem};
use proxima_acme::RETRY_AFTER_MOST;
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
    #[error("{url} answers {status}{}", detail.as_deref().unwrap_or(" without a reason"))]
    Unexpected { url: String, status: u16, detail: Option<String> },
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

impl HttpError {
    /// How long the server does not want to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// An answer, whole.
pub(crate) struct Answered {
    parts: Parts,
    pub(crate) body: Bytes,
}

impl Answered {
    /// When the server would like to be asked again.
    pub(crate) fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        retry_after(&self.parts.headers, now)
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

    /// What is at a URL, for whoever asks.
    ///
    /// # Errors
    /// When there is no answer, or not what is there.
    pub(crate) async fn get(&self, url: &str) -> Result<Answered, HttpError> {
        let request = Request::get(url).body(BodyWrapper::default());
        let answered = self.ask(request.map_err(|_| HttpError::NotHttps(url.to_owned()))?).await?;
        let status = answered.parts.status;
        if status.is_success() {
            return Ok(answered);
        }
        let detail = detail(&answered.body);
        Err(HttpError::Unexpected { url: url.to_owned(), status: status.as_u16(), detail })
    }

    /// Within the deadline.
    async fn ask(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Answered, HttpError> {
        let url = request.uri().to_string();
        timeout(PATIENCE, self.exchange(request)).await.unwrap_or(Err(HttpError::Slow { url }))
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Answered, HttpError> {
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
            let (mut parts, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    HttpError::TooLong { url: url.clone() }
                } else {
                    broken(error)
                }
            })?;
            let body = body.to_bytes();
            bound(&mut parts.headers, SystemTime::now());
            judge(&url, parts.status, &parts.headers, &body)?;
            Ok(Answered { parts, body })
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
            let Answered { parts, body } = this.ask(request).await?;
            Ok(BytesResponse { parts, body: Box::new(body) })
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

/// Has `Retry-After` say nothing that is longer than is heeded: `instant-acme` adds it to the clock, which panics at the end of time.
fn bound(headers: &mut HeaderMap, now: SystemTime) {
    if let Some(retry_after) = retry_after(headers, now) {
        headers.insert(RETRY_AFTER, HeaderValue::from(retry_after.as_secs()));
    }
}

/// Whether an answer is one that `instant-acme` can make something of.
fn judge(url: &str, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Result<(), HttpError> {
    let url = url.to_owned();
    if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        let detail = detail(body).unwrap_or_default();
        let retry_after = retry_after(headers, SystemTime::now());
        return Err(HttpError::Busy { url, status: status.as_u16(), retry_after, detail });
    }
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if (status.is_client_error() || status.is_server_error()) && !kind.starts_with("application/problem+json")
    {
        return Err(HttpError::Unexpected { url, status: status.as_u16(), detail: None });
    }
    Ok(())
}

/// Why the server says no, as it is appended to a sentence.
fn detail(body: &Bytes) -> Option<String> {
    let problem = serde_json::from_slice::<Problem>(body).ok()?;
    problem.detail.map(|detail| format!(": {detail}"))
}

/// Seconds, or a date (RFC 9110 §10.2.3); no more than is heeded.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let pause = if !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit()) {
        text.parse().map_or(RETRY_AFTER_MOST, Duration::from_secs) // more than 64 bits hold
    } else {
        httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default()
    };
    Some(pause.min(RETRY_AFTER_MOST))
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
            ("", None),
            ("-1", None),
            ("18446744073709551615", Some(604_800)),
            ("99999999999999999999", Some(604_800)),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some(604_800)),
        ] {
            let mut headers: HeaderMap =
                [(RETRY_AFTER, HeaderValue::from_str(text).unwrap())].into_iter().collect();
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
            bound(&mut headers, now);
            let bounded = expected.map_or(text.to_owned(), |seconds| seconds.to_string());
            assert_eq!(headers[RETRY_AFTER], bounded.as_str(), "as others read it");
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
