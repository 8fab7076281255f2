//! `weir serve` from the first moment to the last: start, announce, obey signals, drain.

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::sleep,
};

use super::{App, Error};
use crate::{
    config::{Config, Sources},
    sys::notify::{self, State},
};

/// Serves until SIGTERM or SIGINT, then drains; another of them cuts the drain short. `reopen` is called on SIGUSR1, beside the access log's own.
///
/// # Errors
/// When weir cannot start; once it runs it ends only by a signal.
pub fn serve(config: Config, sources: Sources, reopen: impl Fn()) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("weir").build().map_err(Error::Runtime)?;
    runtime.block_on(async {
        let drain = config.drain;
        let app = App::start(config, sources).await?;
        // Who hears that weir listens may send a signal, and unheard it would be the end.
        let mut signals = Signals::new()?;
        app.announce();
        tell(State::Ready);
        obey(&app, &mut signals, reopen).await;
        tell(State::Stopping);
        tracing::info!("draining: running requests have {drain:?}, or until the next SIGTERM or SIGINT");
        let cut = async {
            tokio::select! {
                () = sleep(drain) => {}
                () = signals.stop() => tracing::info!("told again to stop: what still runs is cut"),
            }
        };
        let drained = app.shutdown(cut).await;
        tracing::info!(finished = drained.finished, cut = drained.cut, "stopped");
        Ok(())
    })
}

/// The signals that weir obeys.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user: Signal,
}

impl Signals {
    fn new() -> Result<Self, Error> {
        let on = |kind| signal(kind).map_err(Error::Signals);
        Ok(Self {
            terminate: on(SignalKind::terminate())?,
            interrupt: on(SignalKind::interrupt())?,
            hangup: on(SignalKind::hangup())?,
            user: on(SignalKind::user_defined1())?,
        })
    }

    /// Ready when weir is told to stop (once more).
    async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Handles signals until one ends weir.
async fn obey(app: &App, signals: &mut Signals, reopen: impl Fn()) {
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => return,
            _ = signals.interrupt.recv() => return,
            // A signal that comes meanwhile leads to another reload: what it is about may be newer than what was read.
            _ = signals.hangup.recv() => reload(app).await,
            _ = signals.user.recv() => {
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
