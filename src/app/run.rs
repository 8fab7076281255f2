//! `weir serve` from the first moment to the last: start, announce, obey signals, drain.

use tokio::signal::unix::{SignalKind, signal};

use super::{App, Error};
use crate::{
    config::{Config, Sources},
    sys::notify::{self, State},
};

/// Serves until SIGTERM or SIGINT, then drains. `reopen` is called on SIGUSR1, beside the access log's own.
///
/// # Errors
/// When weir cannot start; once it runs it ends only by a signal.
pub fn serve(config: Config, sources: Sources, reopen: impl Fn()) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("weir").build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let drain = config.drain;
        let app = App::start(config, sources).await?;
        app.announce();
        tell(State::Ready);
        obey(&app, reopen).await?;
        tell(State::Stopping);
        tracing::info!("draining: running requests have {drain:?}");
        let drained = app.shutdown(drain).await;
        tracing::info!(finished = drained.finished, cut = drained.cut, "stopped");
        Ok(())
    })
}

/// Handles signals until one ends weir.
async fn obey(app: &App, reopen: impl Fn()) -> Result<(), Error> {
    let on = |kind| signal(kind).map_err(Error::Signals);
    let (mut terminate, mut interrupt) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let (mut hangup, mut user) = (on(SignalKind::hangup())?, on(SignalKind::user_defined1())?);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            // A signal that comes meanwhile leads to another reload: what it is about may be newer than what was read.
            _ = hangup.recv() => reload(app).await,
            _ = user.recv() => {
                app.parts.log.reopen();
                reopen();
            }
        }
    }
}

async fn reload(app: &App) {
    tell(State::Reloading);
    let parts = app.parts.clone();
    // Reads files; its outcome is logged and counted where it is known.
    _ = tokio::task::spawn_blocking(move || parts.reload()).await;
    tell(State::Ready);
}

fn tell(state: State) {
    if let Err(error) = notify::notify(state) {
        tracing::warn!(%error, "service manager not told");
    }
}
