//! How often one client may call.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Of each client the time at which it would have used up what it has used, at its rate (the generic cell rate algorithm).
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<IpAddr, Instant>>);

impl Rates {
    /// Whether `client` may call once more at `now`: `per_second` on average, and [`BURST`] as much at once. 0 for any number.
    pub(super) fn take(&self, client: IpAddr, now: Instant, per_second: usize) -> bool {
        if per_second == 0 {
            return true;
        }
        let mut used = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = one_client(client);
        if !used.contains_key(&client) && used.len() >= CLIENTS_MAX {
            used.retain(|_, until| *until > now);
            if used.len() >= CLIENTS_MAX {
                client = REST;
            }
        }
        let until = used.entry(client).or_insert(now);
        let next = now.max(*until) + Duration::from_secs(1) / u32::try_from(per_second).unwrap_or(u32::MAX);
        let is_allowed = next <= now + BURST;
        if is_allowed {
            *until = next;
        }
        is_allowed
    }
}

/// An IPv6 host owns a whole /64 and may use another address for each connection.
pub(in crate::proxy) fn one_client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 => v4,
    }
}

/// What a client may save up: a first synchronisation calls hundreds of times in a row.
const BURST: Duration = Duration::from_secs(10);

/// Clients that are remembered; beyond, those that come anew share what one may have.
const CLIENTS_MAX: usize = 16_384;
const REST: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: u32) -> IpAddr {
        Ipv4Addr::from_bits(0x0A00_0000 + n).into()
    }

    #[test]
    fn a_client_may_call_at_its_rate_and_save_up_some() {
        let (rates, start) = (Rates::default(), Instant::now());
        let calls = |now: Instant| (0..1000).take_while(|_| rates.take(client(1), now, 50)).count();
        assert_eq!(calls(start), 500);
        assert_eq!(calls(start + Duration::from_secs(1)), 50);
        assert_eq!(calls(start + Duration::from_secs(3600)), 500);
        assert!(rates.take(client(2), start, 50), "others are not concerned");
    }

    #[test]
    fn a_network_of_one_host_is_one_client() {
        let (rates, now) = (Rates::default(), Instant::now());
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!((0..100).filter(|n| rates.take(address(&format!("2001:db8::{n:x}")), now, 1)).count(), 10);
        assert!(rates.take(address("2001:db8:0:1::1"), now, 1));
    }

    #[test]
    fn beyond_the_clients_that_are_remembered_new_ones_share() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert!((0..CLIENTS_MAX as u32).all(|n| rates.take(client(n), now, 1)));
        let newcomers = CLIENTS_MAX as u32..CLIENTS_MAX as u32 + 100;
        assert_eq!(newcomers.filter(|n| rates.take(client(*n), now, 1)).count(), 10);
        assert!(rates.take(client(5), now, 1), "who is known keeps what is its own");
        let later = now + Duration::from_secs(60);
        assert!((0..100).all(|n| rates.take(client(1_000_000 + n), later, 1)), "who has not called for long is forgotten");
        assert!(rates.0.lock().unwrap().len() <= CLIENTS_MAX + 1);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (rates, now) = (Rates::default(), Instant::now());
        assert!((0..10_000).all(|_| rates.take(client(1), now, 0)));
    }
}
