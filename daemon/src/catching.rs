//! Connections that come with a change of catchment: the driver, once its place in the kernel is free.

use std::{
    fs,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use anyhow::{Context, Result, anyhow};
use proxima_catchment::Key;
use proxima_catchment_io::{CatchmentConfig, CatchmentHandle, Counters};
use proxima_config::Config;
use proxima_proxy::Displaced;

use crate::{secret, upgrade::Predecessor};

/// The driver, if one is configured; ends with the last handle of it.
#[derive(Clone, Default)]
pub(crate) struct Catching(Arc<Inner>);

#[derive(Default)]
struct Inner {
    running: Mutex<Option<CatchmentHandle>>,
    counters: OnceLock<Counters>,
}

impl Catching {
    /// Starts it: at once, or when the process before this one has let go of what only one may have. What can be wrong with the
    /// configuration is told at once.
    ///
    /// # Errors
    /// When the key can't be read, or something can't be had.
    pub(crate) fn start(
        config: &Config,
        displaced: Displaced,
        predecessor: Option<&Arc<Predecessor>>,
    ) -> Result<Self> {
        let catching = Self::default();
        let Some(config) = wanted(config)? else { return Ok(catching) };
        let Some(predecessor) = predecessor.map(Arc::clone) else {
            catching.run(config, displaced)?;
            return Ok(catching);
        };
        let later = catching.clone();
        tokio::spawn(async move {
            let released = tokio::task::spawn_blocking(move || predecessor.wait_for_release()).await;
            if let Err(error) = released.map_err(Into::into).and_then(|()| later.run(config, displaced)) {
                tracing::error!(%error, "connections that come with a change of catchment are not carried");
            }
        });
        Ok(catching)
    }

    fn run(&self, config: CatchmentConfig, displaced: Displaced) -> Result<()> {
        let on_displaced = move |now, clients: &[SocketAddr]| displaced.note(now, clients);
        let running = proxima_catchment_io::start(config, Box::new(on_displaced))?;
        self.0.counters.set(running.counters()).ok(); // once
        *self.0.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
        Ok(())
    }

    /// What it has counted; `None` where it does not run.
    pub(crate) fn counters(&self) -> Option<&Counters> {
        self.0.counters.get()
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        drop(self.0.running.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn wanted(config: &Config) -> Result<Option<CatchmentConfig>> {
    let Some(catchment) = &config.catchment else { return Ok(None) };
    let file = catchment.key_file.display();
    let text = fs::read_to_string(&catchment.key_file).with_context(|| {
        format!("catchment: can't read the key in {file}; make one with `openssl rand -hex 32`")
    })?;
    secret::warn_if_others_may_read("catchment key", &catchment.key_file);
    let key = Key::from_hex(&text).map_err(|error| anyhow!("catchment: {file}: {error}"))?;
    let groups = config.groups.values().filter(|group| group.hand_over);
    let vips = groups.flat_map(|group| group.prefixes.iter().copied()).collect();
    Ok(Some(CatchmentConfig {
        listen: catchment.listen,
        peers: catchment.peers.clone(),
        key,
        vips,
        answer_within: catchment.answer_within,
    }))
}
