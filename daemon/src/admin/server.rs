//! Turns requests into commands and answers into JSON.

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{
        ConnectInfo, OriginalUri, Path, Query, State,
        connect_info::Connected,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
    serve::IncomingStream,
};
use futures_util::stream;
use proxima_api::{
    By, DrainRequest, ErrorBody, EventLine, EventsQuery, LookupQuery, OrderRequest, OrderVerb, Peer,
    ReceivedQuery, ReloadRequest, RestartRequest, RouteFilter, ShutdownRequest, UpgradeRequest, paths,
};
use proxima_telemetry::{EventJournal, Followed, Follower};
use proxima_types::{NameError, PeerName};
use serde::de::DeserializeOwned;
use tokio::{
    net::{UnixListener, unix::UCred},
    sync::watch,
    time::timeout,
};

use crate::accepting::{Accepting, ended};

use super::{AdminSocket, CommandRefusal, ControlClient, ControlError, PeerVerb};

const LINES_AT_ONCE: usize = 256;
/// How long streams have to take their last lines when the server stops.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Serves the admin interface until `ending` turns true, then ends what is open and removes the socket.
///
/// Publish the last event before, so that followers get it.
pub(crate) async fn serve(
    socket: AdminSocket,
    control: ControlClient,
    journal: Arc<EventJournal>,
    ending: watch::Receiver<bool>,
) -> io::Result<()> {
    let (listener, _removed_on_drop) = socket.listen()?;
    let listener = Accepting::until(ending.clone(), listener);
    let router = router(Admin { control, journal, stopping: ending.clone() });
    let server = axum::serve(listener, router.into_make_service_with_connect_info::<Caller>())
        .with_graceful_shutdown(ended(ending.clone()));
    let mut serving = tokio::spawn(server.into_future());
    tokio::select! {
        served = &mut serving => return served.unwrap_or_else(|panic| Err(io::Error::other(panic))),
        () = ended(ending) => {}
    }
    if timeout(LAST_LINES, &mut serving).await.is_err() {
        serving.abort();
    }
    Ok(())
}

#[derive(Clone)]
struct Admin {
    control: ControlClient,
    journal: Arc<EventJournal>,
    stopping: watch::Receiver<bool>,
}

fn router(admin: Admin) -> Router {
    Router::new()
        .route(paths::STATUS, get(status))
        .route(paths::PEERS, get(peers))
        .route(&format!("{}/{{name}}", paths::PEERS), get(peer))
        .route(&format!("{}/{{name}}/{{verb}}", paths::PEERS), post(command_peer))
        .route(paths::BFD, get(bfd))
        .route(paths::LOOKUP, get(lookup))
        .route(paths::SUMMARY, get(routes_summary))
        .route(paths::ADVERTISED, get(advertised))
        .route(paths::RECEIVED, get(received))
        .route(paths::BACKENDS, get(backends))
        .route(paths::CERTIFICATES, get(certificates))
        .route(&format!("{}/{{service}}/renew", paths::CERTIFICATES), post(renew))
        .route(paths::EVENTS, get(events))
        .route(paths::ORDERS, post(order))
        .route(paths::DRAIN, post(drain))
        .route(paths::UNDRAIN, post(undrain))
        .route(paths::RELOAD, post(reload))
        .route(paths::RESTART, post(restart))
        .route(paths::UPGRADE, post(upgrade))
        .fallback(no_such_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(admin)
}

async fn status(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.status().await?).into_response())
}

async fn peers(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.peers().await?).into_response())
}

async fn peer(State(admin): State<Admin>, Path(name): Path<String>) -> Result<Response, Refusal> {
    Ok(Json(find_peer(&admin.control, &name).await?).into_response())
}

async fn advertised(State(admin): State<Admin>, filter: Asked<RouteFilter>) -> Result<Response, Refusal> {
    let filter = checked(&admin.control, filter).await?;
    Ok(Json(admin.control.advertised(filter).await?).into_response())
}

async fn received(State(admin): State<Admin>, query: Asked<ReceivedQuery>) -> Result<Response, Refusal> {
    let Query(query) = query?;
    Ok(Json(admin.control.received(query).await??).into_response())
}

async fn lookup(State(admin): State<Admin>, query: Asked<LookupQuery>) -> Result<Response, Refusal> {
    let Query(LookupQuery { address }) = query?;
    Ok(Json(admin.control.lookup(address).await??).into_response())
}

async fn routes_summary(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.routes_summary().await??).into_response())
}

async fn bfd(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.bfd().await?).into_response())
}

async fn command_peer(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path((name, verb)): Path<(String, String)>,
    body: Sent,
) -> Result<Response, Refusal> {
    let peer: PeerName = name.parse().map_err(|error: NameError| {
        Refusal::new(StatusCode::NOT_FOUND, error.to_string(), "see `proxima peers`")
    })?;
    let verb = match verb.as_str() {
        "reset" => PeerVerb::Reset,
        "refresh" => PeerVerb::Refresh,
        "up" => PeerVerb::Up,
        "shutdown" => PeerVerb::Shutdown(reason(parse::<ShutdownRequest>(&body?, SHUTDOWN_HINT)?)?),
        other => {
            let error = format!("`{other}` is nothing a peer can be told");
            return Err(Refusal::new(StatusCode::NOT_FOUND, error, "verbs: reset, refresh, shutdown, up"));
        }
    };
    tracing::info!(%caller, %peer, ?verb, "command to a peer");
    Ok(Json(admin.control.peer(peer, verb).await??).into_response())
}

/// The words for the peer's operator, if they fit into the message.
fn reason(ShutdownRequest { reason }: ShutdownRequest) -> Result<String, Refusal> {
    const MOST: usize = 255;
    if reason.len() <= MOST {
        return Ok(reason);
    }
    let error = format!("the reason has {} octets, and at most {MOST} go to a peer (RFC 9003)", reason.len());
    Err(Refusal::new(StatusCode::BAD_REQUEST, error, "shorten it"))
}

async fn reload(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Sent,
) -> Result<Response, Refusal> {
    let request: ReloadRequest = parse(&body?, r#"send {"force": true}, or nothing"#)?;
    tracing::info!(%caller, force = request.force, "reload asked for");
    Ok(Json(admin.control.reload(request).await??).into_response())
}

async fn restart(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Sent,
) -> Result<Response, Refusal> {
    let request: RestartRequest = parse(&body?, r#"send {"force": true}, or nothing"#)?;
    tracing::info!(%caller, force = request.force, "restart asked for");
    Ok(Json(admin.control.restart(request).await??).into_response())
}

async fn upgrade(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Sent,
) -> Result<Response, Refusal> {
    let request: UpgradeRequest = parse(&body?, r#"send {"force": true}, or nothing"#)?;
    tracing::info!(%caller, force = request.force, "upgrade asked for");
    Ok(Json(admin.control.upgrade(request).await??).into_response())
}

async fn certificates(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.certificates().await?).into_response())
}

async fn renew(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    Path(service): Path<String>,
) -> Result<Response, Refusal> {
    let Ok(service) = service.parse() else {
        let hint = "see `proxima certificates`";
        return Err(CommandRefusal::unknown(format!("there is no service `{service}`"), hint).into());
    };
    tracing::info!(%caller, %service, "renewal of a certificate asked for");
    Ok(Json(admin.control.renew(service).await??).into_response())
}

async fn backends(State(admin): State<Admin>) -> Result<Response, Refusal> {
    Ok(Json(admin.control.backends().await?).into_response())
}

async fn events(State(admin): State<Admin>, query: Asked<EventsQuery>) -> Result<Response, Refusal> {
    let Query(EventsQuery { since, follow }) = query?;
    if !follow {
        return Ok(Json(admin.journal.since(since)).into_response());
    }
    let lines = lines(admin.journal.follow(since), admin.stopping);
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response())
}

async fn order(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Sent,
) -> Result<Response, Refusal> {
    let request: OrderRequest =
        serde_json::from_slice(&body?).map_err(|error| misunderstood(&error, ORDER_HINT))?;
    check_time(request.for_ms)?;
    if request.verb == OrderVerb::Auto && request.for_ms.is_some() {
        let error = "`auto` is for good: health decides until the next order";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, error, "leave `for_ms` out"));
    }
    tracing::info!(%caller, ?request, "order for groups");
    Ok(Json(admin.control.order(request, caller.into()).await??).into_response())
}

/// Within the bounds of an order's time.
fn check_time(for_ms: Option<u64>) -> Result<(), Refusal> {
    let within = OrderRequest::SHORTEST_MS..=OrderRequest::LONGEST_MS;
    match for_ms.filter(|time| !within.contains(time)) {
        None => Ok(()),
        Some(time) => {
            let error = format!("{time} ms is no time to order something for");
            Err(Refusal::new(StatusCode::BAD_REQUEST, error, "write 1 s to 30 days, or nothing for no end"))
        }
    }
}

async fn drain(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    body: Sent,
) -> Result<Response, Refusal> {
    let request: DrainRequest = parse(&body?, r#"send {"reason": "...", "for_ms": 60000}, or nothing"#)?;
    check_time(request.for_ms)?;
    tracing::info!(%caller, reason = request.reason.as_deref(), "drain asked for");
    Ok(Json(admin.control.drain(request, caller.into()).await?).into_response())
}

async fn undrain(
    State(admin): State<Admin>,
    ConnectInfo(caller): ConnectInfo<Caller>,
) -> Result<Response, Refusal> {
    tracing::info!(%caller, "undrain asked for");
    Ok(Json(admin.control.undrain(caller.into()).await?).into_response())
}

async fn no_such_path(OriginalUri(uri): OriginalUri) -> Refusal {
    let hint = "paths begin with /v1; are proxima and proximad of one version?";
    Refusal::new(StatusCode::NOT_FOUND, format!("there is no {}", uri.path()), hint)
}

async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> Refusal {
    let hint = "GET reads; POST is for /v1/orders, /v1/drain, /v1/undrain, /v1/reload, /v1/restart, /v1/upgrade, /v1/peers/NAME/VERB and /v1/certificates/SERVICE/renew";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, format!("{} does not take {method}", uri.path()), hint)
}

type Asked<T> = Result<Query<T>, QueryRejection>;
/// A request's body, if it could be taken.
type Sent = Result<Bytes, BytesRejection>;

async fn checked(control: &ControlClient, filter: Asked<RouteFilter>) -> Result<RouteFilter, Refusal> {
    let Query(filter) = filter?;
    if let Some(name) = &filter.peer {
        find_peer(control, name.as_str()).await?;
    }
    Ok(filter)
}

async fn find_peer(control: &ControlClient, name: &str) -> Result<Peer, Refusal> {
    let peers = control.peers().await?.peers;
    if let Some(peer) = peers.iter().find(|peer| peer.name.as_str() == name) {
        return Ok(peer.clone());
    }
    let members =
        peers.iter().filter(|peer| peer.name.as_member().is_some_and(|(range, _)| range.as_str() == name));
    let members: Vec<&str> = members.map(|peer| peer.name.as_str()).collect();
    if !members.is_empty() {
        let error = format!("`{name}` is a range, each member of which has a session of its own");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error, format!("members: {}", members.join(", "))));
    }
    let known: Vec<&str> = peers.iter().map(|peer| peer.name.as_str()).collect();
    let hint = if known.is_empty() {
        "none is configured".to_owned()
    } else {
        format!("peers: {}", known.join(", "))
    };
    Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no peer `{name}`"), hint))
}

const ORDER_HINT: &str = r#"send {"verb": "announce" | "withdraw" | "drain" | "auto", "groups": ["..."], "reason": "...", "for_ms": 60000, "only_where": "drain"}; no groups are all"#;
const SHUTDOWN_HINT: &str = r#"send {"reason": "..."}, or nothing"#;

/// A request's body; nothing is the default one.
fn parse<T: DeserializeOwned + Default>(body: &[u8], hint: &str) -> Result<T, Refusal> {
    if body.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| misunderstood(&error, hint))
}

fn misunderstood(error: &serde_json::Error, hint: &str) -> Refusal {
    let error = format!("the body is not what is asked for here: {error}");
    Refusal::new(StatusCode::BAD_REQUEST, error, hint)
}

/// One JSON line for each event, as they come; ends with the journal or the server.
fn lines(follower: Follower, stopping: watch::Receiver<bool>) -> Body {
    Body::from_stream(stream::unfold((follower, stopping), |(mut follower, mut stopping)| async move {
        let first = tokio::select! {
            biased;
            followed = follower.next() => followed,
            _ = stopping.wait_for(|stopping| *stopping) => follower.try_next(),
        }?;
        let mut text = Vec::new();
        let mut next = Some(first);
        for _ in 0..LINES_AT_ONCE {
            let Some(followed) = next else { break };
            write_line(&mut text, followed);
            next = follower.try_next();
        }
        if let Some(followed) = next {
            write_line(&mut text, followed);
        }
        Some((Ok::<_, Infallible>(Bytes::from(text)), (follower, stopping)))
    }))
}

fn write_line(text: &mut Vec<u8>, followed: Followed) {
    let line = match followed {
        Followed::Event(event) => EventLine::Event(Arc::unwrap_or_clone(event)),
        Followed::Lost(lost) => EventLine::Lost { lost },
    };
    serde_json::to_writer(&mut *text, &line).expect("events have string keys only");
    text.push(b'\n');
}

/// An answer that is not 2xx.
#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { error: error.into(), details: Vec::new(), hint: Some(hint.into()) } }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let hint = match error {
            ControlError::Stopping => "ask again when it runs anew",
            ControlError::Stuck(_) => "its control thread is stuck or starved; see its log",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), hint)
    }
}

impl From<CommandRefusal> for Refusal {
    fn from(refusal: CommandRefusal) -> Self {
        match refusal {
            CommandRefusal::Unknown(body) => Self { status: StatusCode::NOT_FOUND, body },
            CommandRefusal::Conflict(body) => Self { status: StatusCode::CONFLICT, body },
            CommandRefusal::Unprocessable(body) => Self { status: StatusCode::UNPROCESSABLE_ENTITY, body },
            CommandRefusal::Stopping => ControlError::Stopping.into(),
        }
    }
}

impl From<QueryRejection> for Refusal {
    fn from(rejection: QueryRejection) -> Self {
        let hint = "routes take peer=NAME, prefix=PREFIX, after=PREFIX and limit=COUNT, a lookup address=ADDRESS; events take since=SEQ and follow=true";
        Self::new(StatusCode::BAD_REQUEST, rejection.body_text(), hint)
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        let error = format!("the body can't be taken: {}", rejection.body_text());
        let hint = match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => "what is asked for here takes a few hundred octets",
            _ => "send it whole, or nothing",
        };
        Self::new(rejection.status(), error, hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, Json(self.body)).into_response()
    }
}

/// Who is at the other end of the socket, for the log.
#[derive(Debug, Clone, Copy)]
struct Caller(Option<UCred>);

impl Connected<IncomingStream<'_, Accepting<UnixListener>>> for Caller {
    fn connect_info(stream: IncomingStream<'_, Accepting<UnixListener>>) -> Self {
        Self(stream.io().peer_cred().ok())
    }
}

impl From<Caller> for By {
    fn from(Caller(credentials): Caller) -> Self {
        let pid = credentials.and_then(|caller| caller.pid()).and_then(|pid| u32::try_from(pid).ok());
        Self::Operator { uid: credentials.map(|caller| caller.uid()), pid }
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(caller) => write!(f, "uid {} pid {}", caller.uid(), caller.pid().unwrap_or_default()),
            None => f.write_str("unknown"),
        }
    }
}

#[cfg(test)]
mod tests;
