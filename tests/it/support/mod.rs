//! What scenarios are written with: an origin that does as it is told, a weir of its own, and a client that counts bytes.

mod client;
mod content;
mod gate;
mod origin;
mod proxy;
mod scratch;
mod wire;
pub(crate) mod xpress;

use std::{future::Future, time::Duration};

pub(crate) use client::{Client, Download, Reply};
pub(crate) use content::Content;
pub(crate) use gate::Gate;
pub(crate) use origin::{Answer, Ask, Origin, Resource, Step};
pub(crate) use proxy::{Proxy, ProxyBuilder, proxy, weir_command};
pub(crate) use scratch::Scratch;
pub(crate) use wire::{End, Framing, Head};

pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

/// How long anything in a scenario may take. Generous, because machines under test are busy; reached only by a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Awaits `future`, or fails saying what did not happen.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

/// Looks at observable state again and again until `probe` finds what it wants, or fails saying what did not happen.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut probe: impl FnMut() -> F) -> T {
    let poll = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    within(what, poll).await
}
