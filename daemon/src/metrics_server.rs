//! The Prometheus endpoint: `GET /metrics` over TCP.

mod traffic;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    http::{StatusCode, header},
    response::IntoResponse,
    routing::get,
};
use proxima_telemetry::{Prometheus, metrics};
use tokio::{sync::watch, time::sleep};

use crate::{
    accepting::{Accepting, ended},
    admin::{ControlClient, ControlError},
};

/// Why the endpoint can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't listen on {address} for metrics: {error}; {}, or name another `metrics.listen`", remedy(error, *address))]
pub(crate) struct MetricsBindError {
    address: SocketAddr,
    error: io::Error,
}

fn remedy(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("find who has it with `ss -ltnp 'sport = :{}'`", address.port())
        }
        io::ErrorKind::AddrNotAvailable => format!("add {} to this host", address.ip()),
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=)".to_owned()
        }
        _ => "free the address".to_owned(),
    }
}

/// Opens the endpoint's listener.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, MetricsBindError> {
    let listener = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    listener.map_err(|error| MetricsBindError { address, error })
}

/// How long scrapes under way may take when the server stops.
const LAST_SCRAPES: Duration = Duration::from_secs(1);

/// Serves what `render` gives, until `ending` turns true. A client that has begun a request and never ends it does not keep the
/// daemon from ending.
pub(crate) async fn serve<R, F>(
    listener: TcpListener,
    render: R,
    ending: watch::Receiver<bool>,
) -> io::Result<()>
where
    R: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = String> + Send,
{
    let listener = Accepting::until(ending.clone(), tokio::net::TcpListener::from_std(listener)?);
    let page = move || async move {
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], render().await)
    };
    let router = Router::new().route("/metrics", get(page)).fallback(elsewhere);
    let serving = axum::serve(listener, router).with_graceful_shutdown(ended(ending.clone()));
    tokio::select! {
        served = serving.into_future() => served,
        () = async { ended(ending).await; sleep(LAST_SCRAPES).await } => Ok(()),
    }
}

async fn elsewhere() -> impl IntoResponse {
    (StatusCode::NOT_FOUND, "the metrics are at /metrics\n")
}

/// Takes over what the control task and the data plane say, and renders it all. When the control task does not answer, the
/// metrics stay as they were.
pub(crate) async fn scrape(
    control: &ControlClient,
    catchment: Option<&proxima_catchment_io::Counters>,
    prometheus: &Prometheus,
    last: &Mutex<String>,
) -> String {
    if let Some(counters) = catchment {
        traffic::record_catchment(&counters.read());
    }
    let mut histograms = String::new();
    if let Err(error) = refresh(control, &mut histograms).await {
        tracing::warn!(%error, "metrics are rendered as they were");
        return last.lock().unwrap_or_else(PoisonError::into_inner).clone();
    }
    let text = prometheus.render() + &histograms;
    last.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&text);
    text
}

async fn refresh(control: &ControlClient, histograms: &mut String) -> Result<(), ControlError> {
    traffic::record(&control.traffic().await?, histograms);
    let (status, peers, backends) =
        (control.status().await?, control.peers().await?, control.backends().await?);
    metrics::record_status(&status);
    metrics::record_peers(&peers);
    metrics::record_backends(&backends);
    metrics::record_events(&status, &peers, &backends);
    metrics::record_certificates(&control.certificates().await?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };

    use super::*;

    async fn fetch(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: metrics\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn metrics_are_rendered_anew_for_each_scrape() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
        let render = move || {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            async move { format!("proxima_test {number}\n") }
        };
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, render, stopped));
        for number in 0..2 {
            let answer = fetch(address, "/metrics").await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
            assert!(answer.ends_with(&format!("proxima_test {number}\n")), "{answer}");
        }
        assert!(fetch(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.send_replace(true);
        server.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn half_a_request_does_not_keep_the_daemon_from_ending() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut idler = TcpStream::connect(address).await.unwrap();
        idler.write_all(b"GET /metrics HTTP/1.1\r\n").await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, || async { String::new() }, stopped));
        // Connections are accepted in their order: the idler's is.
        fetch(address, "/metrics").await;
        stop.send_replace(true);
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_taken_port_is_named_with_the_remedy() {
        let taken = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(taken.local_addr().unwrap()).unwrap_err().to_string();
        assert!(
            error.contains(&taken.local_addr().unwrap().to_string()) && error.contains("metrics.listen"),
            "{error}"
        );
    }
}
