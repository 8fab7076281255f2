//! How many connections there may be: in all, and of one client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{listener::Limits, metrics};

/// The places for connections.
#[derive(Debug)]
pub(super) struct Places {
    free: Arc<Semaphore>,
    per_client_max: usize,
    /// Clients that hold at least one place: never more than there are places.
    clients: Mutex<HashMap<IpAddr, usize>>,
    open: metrics::Gauge,
}

/// One connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    client: Option<IpAddr>,
    _permit: OwnedSemaphorePermit,
    _open: metrics::Held,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    All,
    Client,
}

impl Places {
    /// `total` is what [`connections_max`] found.
    pub(super) fn new(total: usize, limits: &Limits, metrics: &metrics::Listener) -> Arc<Self> {
        let per_client_max = match limits.connections_per_client {
            0 => (total / 4).max(1),
            some => some,
        };
        metrics.connections_limit.set(total as u64);
        Arc::new(Self {
            free: Arc::new(Semaphore::new(total)),
            per_client_max,
            clients: Mutex::default(),
            open: metrics.connections.clone(),
        })
    }

    pub(super) fn take(self: &Arc<Self>) -> Result<Place, Full> {
        let permit = Arc::clone(&self.free).try_acquire_owned().map_err(|_| Full::All)?;
        Ok(Place { places: Arc::clone(self), client: None, _permit: permit, _open: self.open.hold() })
    }

    fn clients(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Says whose connection it is, which is known only after a PROXY protocol header.
    pub(super) fn belongs_to(&mut self, client: IpAddr) -> Result<(), Full> {
        let client = one_client(client);
        {
            let mut clients = self.places.clients();
            let held = clients.entry(client).or_default();
            if *held >= self.places.per_client_max {
                return Err(Full::Client);
            }
            *held += 1;
        }
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(client) = self.client else { return };
        let mut clients = self.places.clients();
        if let Some(held) = clients.get_mut(&client) {
            *held -= 1;
            if *held == 0 {
                clients.remove(&client);
            }
        }
    }
}

/// An IPv6 host owns a whole /64 and may use another address for each connection.
fn one_client(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// How many connections `files` open files allow for: those that are reserved (at most half) are taken off, and each connection may need a second
/// one, its own way upstream (a tunnel, a relayed call). `Err` is what is allowed when the configuration asks for more.
pub(super) fn connections_max(limits: &Limits, files: u64) -> Result<usize, usize> {
    let left = files - limits.files_reserved.min(files / 2);
    let allowed = usize::try_from(left / 2).unwrap_or(usize::MAX).clamp(1, CONNECTIONS_MAX);
    match limits.connections {
        0 => Ok(allowed.min(DERIVED_MAX)),
        asked if asked <= allowed => Ok(asked),
        _ => Err(allowed),
    }
}

/// About 20 KiB each: what nobody configured must not cost more memory than a small machine has.
const DERIVED_MAX: usize = 16_384;
const CONNECTIONS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn places(total: usize, per_client: usize) -> Arc<Places> {
        let limits = Limits { connections_per_client: per_client, ..Limits::default() };
        Places::new(total, &limits, &metrics::Metrics::new().listener)
    }

    #[test]
    fn a_place_given_back_can_be_taken_again() {
        let places = places(1, 1);
        let place = places.take().unwrap();
        assert_eq!(places.take().unwrap_err(), Full::All);
        drop(place);
        assert!(places.take().is_ok());
        assert_eq!(places.open.value(), 0);
    }

    #[test]
    fn one_client_cannot_take_the_places_of_others() {
        let places = places(4, 1);
        let (mine, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let mut first = places.take().unwrap();
        first.belongs_to(mine).unwrap();
        assert_eq!(places.take().unwrap().belongs_to(mine), Err(Full::Client));
        assert_eq!(places.take().unwrap().belongs_to(other), Ok(()));
        drop(first);
        assert_eq!(places.take().unwrap().belongs_to(mine), Ok(()));
        assert!(places.clients().is_empty());
    }

    #[test]
    fn an_ipv6_host_is_one_client_whatever_addresses_it_makes_up() {
        let places = places(4, 1);
        let mut first = places.take().unwrap();
        first.belongs_to("2001:db8::1".parse().unwrap()).unwrap();
        assert_eq!(places.take().unwrap().belongs_to("2001:db8::ffff:2".parse().unwrap()), Err(Full::Client));
        assert_eq!(places.take().unwrap().belongs_to("2001:db8:0:1::1".parse().unwrap()), Ok(()));
    }

    #[test]
    fn the_connection_limit_leaves_files_for_everything_else() {
        let limits = |connections, files_reserved| Limits { connections, files_reserved, ..Limits::default() };
        assert_eq!(connections_max(&limits(0, 1024), 1024), Ok(256));
        assert_eq!(connections_max(&limits(0, 1024), 9024), Ok(4000));
        assert_eq!(connections_max(&limits(0, 1024), 1 << 20), Ok(DERIVED_MAX));
        assert_eq!(connections_max(&limits(20_000, 1024), 1 << 20), Ok(20_000));
        assert_eq!(connections_max(&limits(20_000, 1024), 9024), Err(4000));
        assert_eq!(connections_max(&limits(0, 0), 0), Ok(1));
    }
}
