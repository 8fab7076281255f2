//! How many fills run: in all and for one client. At a bound a request waits a little, then is told to come back.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Error;
use crate::sys::awake;

/// The bounds of all fills. Those of one upstream are its connections.
pub(super) struct Bounds {
    all: Arc<Semaphore>,
    per_client_max: usize,
    /// Only clients that have fills or wait for one.
    by_client: Mutex<HashMap<IpAddr, Arc<Semaphore>>>,
    wait_max: Duration,
}

/// A fill's place within the bounds; free again when dropped.
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _client: Option<ClientPlace>,
}

struct ClientPlace {
    bounds: Arc<Bounds>,
    client: IpAddr,
    permit: Option<OwnedSemaphorePermit>,
}

impl Bounds {
    pub(super) fn new(fills_max: usize, per_client_max: usize, wait_max: Duration) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(fills_max));
        Arc::new(Self { all, per_client_max, by_client: Mutex::default(), wait_max })
    }

    /// A place for a fill that `client` causes.
    ///
    /// # Errors
    /// [`Error::Busy`] when none came free in time. A client at its own bound does not take part in the wait for the others'.
    pub(super) async fn enter(self: &Arc<Self>, client: Option<IpAddr>) -> Result<Place, Error> {
        let mut bound = "client";
        let entering = async {
            let client = match client {
                Some(client) => Some(self.enter_client(client).await?),
                None => None,
            };
            bound = "fills";
            Some(Place { _all: self.all.clone().acquire_owned().await.ok()?, _client: client })
        };
        awake::timeout(self.wait_max, entering).await.flatten().ok_or(Error::Busy { bound })
    }

    async fn enter_client(self: &Arc<Self>, client: IpAddr) -> Option<ClientPlace> {
        let places = {
            let mut table = self.by_client.lock().expect("no panic while the clients' fills are held");
            table.entry(client).or_insert_with(|| Arc::new(Semaphore::new(self.per_client_max))).clone()
        };
        let mut place = ClientPlace { bounds: self.clone(), client, permit: None };
        place.permit = Some(places.acquire_owned().await.ok()?);
        Some(place)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        self.permit = None;
        let mut table = self.bounds.by_client.lock().expect("no panic while the clients' fills are held");
        // The table's own reference is the last one: nobody has a place or waits for one.
        if table.get(&self.client).is_some_and(|places| Arc::strong_count(places) == 1) {
            table.remove(&self.client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    #[tokio::test(start_paused = true)]
    async fn at_the_bound_a_fill_waits_and_then_is_refused() {
        let bounds = Bounds::new(1, 9, Duration::from_secs(5));
        let held = bounds.enter(Some(CLIENT)).await.unwrap();
        assert!(matches!(bounds.enter(Some(CLIENT)).await, Err(Error::Busy { bound: "fills" })));
        let (waiting, ()) = tokio::join!(bounds.enter(Some(CLIENT)), async { drop(held) });
        assert!(waiting.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn one_client_cannot_take_all_places() {
        let bounds = Bounds::new(9, 1, Duration::from_secs(5));
        let held = bounds.enter(Some(CLIENT)).await.unwrap();
        assert!(matches!(bounds.enter(Some(CLIENT)).await, Err(Error::Busy { bound: "client" })));
        assert!(bounds.enter(None).await.is_ok());
        drop(held);
        assert!(bounds.enter(Some(CLIENT)).await.is_ok());
        assert!(bounds.by_client.lock().unwrap().is_empty());
    }
}
