//! Collapsed forwarding (RFC 9111 §4): of many requests for something that is not there, one asks, the others wait for its response head.
//!
//! A flight lasts from the decision to ask until the head is judged. Nobody gets a byte before that: what turns out to be private,
//! or another variant, is the first client's alone. From then on the content itself is shared ([`super::content`]).
//!
//! The race that the table's lock decides:
//! 1. A looks up and finds nothing; 2. B's flight ends, its object is in the store; 3. A boards: no flight, so A would ask again.
//!
//! Therefore who starts a flight looks up once more, after the table has its entry.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::StatusCode;
use tokio::{sync::watch, time::Instant};

use super::{Error, Found};
use crate::key::KeyHash;

/// How a flight ended, as everybody aboard sees it.
#[derive(Clone)]
pub(super) enum Landed {
    /// It is stored, or was confirmed: everybody whose request it fits may read.
    Found(Found),
    /// It was for the first client only: the others go by themselves. `lone`: that is the nature of what is there, and worth
    /// remembering for a while; an error is not.
    NotShared {
        lone: bool,
    },
    /// The origin answered with an error of its own (5xx) that is not stored: who has something stale may use it, the others go by themselves.
    Refused(StatusCode),
    Failed(Error),
}

/// All flights under way, and the keys that are not worth one.
#[derive(Default)]
pub(super) struct Flights {
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    running: HashMap<KeyHash, watch::Receiver<Option<Landed>>>,
    /// Keys whose responses were not shareable lately: their requests do not queue behind one another.
    lone: HashMap<KeyHash, Instant>,
}

/// What a request does about its key.
pub(super) enum Boarding {
    /// It asks, and says how it ended.
    Lead(Leader),
    /// It waits for this.
    Join(watch::Receiver<Option<Landed>>),
    /// It asks for itself.
    Alone,
}

/// The duty to land a flight; dropped without, those aboard see a failure.
pub(super) struct Leader {
    flights: Arc<Flights>,
    key: KeyHash,
    landed: watch::Sender<Option<Landed>>,
}

impl Flights {
    /// `may_join`: nothing about the request forbids an answer that another one caused.
    pub(super) fn board(self: &Arc<Self>, key: KeyHash, may_join: bool, now: Instant) -> Boarding {
        let mut table = self.table.lock().expect("no panic while the table of flights is held");
        if table.lone.get(&key).is_some_and(|until| now < *until) {
            return Boarding::Alone;
        }
        if let Some(flight) = table.running.get(&key) {
            return if may_join { Boarding::Join(flight.clone()) } else { Boarding::Alone };
        }
        if table.running.len() >= FLIGHTS_MAX {
            return Boarding::Alone;
        }
        Boarding::Lead(self.take_off(&mut table, key))
    }

    /// A flight that nobody waits for: `None` when one is under way.
    pub(super) fn lead(self: &Arc<Self>, key: KeyHash) -> Option<Leader> {
        let mut table = self.table.lock().expect("no panic while the table of flights is held");
        let is_free = !table.running.contains_key(&key) && table.running.len() < FLIGHTS_MAX;
        is_free.then(|| self.take_off(&mut table, key))
    }

    fn take_off(self: &Arc<Self>, table: &mut Table, key: KeyHash) -> Leader {
        let (landed, flight) = watch::channel(None);
        table.running.insert(key, flight);
        Leader { flights: self.clone(), key, landed }
    }
}

impl Leader {
    pub(super) fn land(self, outcome: Landed) {
        if matches!(outcome, Landed::NotShared { lone: true }) {
            let now = Instant::now();
            let mut table = self.flights.table.lock().expect("no panic while the table of flights is held");
            if table.lone.len() >= LONE_MAX {
                table.lone.retain(|_, until| now < *until);
            }
            if table.lone.len() < LONE_MAX {
                table.lone.insert(self.key, now + LONE_FOR);
            }
        }
        _ = self.landed.send(Some(outcome));
        // Dropping takes the flight off the table: who boards from now on finds the object.
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        let mut table = self.flights.table.lock().expect("no panic while the table of flights is held");
        table.running.remove(&self.key);
    }
}

/// Waits for a flight to land.
pub(super) async fn landing(mut flight: watch::Receiver<Option<Landed>>) -> Landed {
    match flight.wait_for(Option::is_some).await {
        Ok(landed) => landed.clone().unwrap_or(Landed::NotShared { lone: false }),
        // The task that asked is gone: weir stops, or it panicked.
        Err(_) => Landed::Failed(Error::Stopped),
    }
}

/// More requests for new content at once than any bound on fills lets through.
const FLIGHTS_MAX: usize = 10_000;
const LONE_MAX: usize = 10_000;
const LONE_FOR: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: KeyHash = KeyHash([7; 16]);

    #[tokio::test]
    async fn the_first_leads_and_the_others_join_until_it_lands() {
        let flights = Arc::new(Flights::default());
        let now = Instant::now();
        let Boarding::Lead(leader) = flights.board(KEY, true, now) else { panic!("the first must lead") };
        let Boarding::Join(flight) = flights.board(KEY, true, now) else { panic!("the second must join") };
        assert!(matches!(flights.board(KEY, false, now), Boarding::Alone));
        leader.land(Landed::Failed(Error::Stalled));
        assert!(matches!(landing(flight).await, Landed::Failed(Error::Stalled)));
        assert!(matches!(flights.board(KEY, true, now), Boarding::Lead(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn one_refresh_flies_at_a_time_and_keys_that_are_not_shared_are_refreshed_too() {
        let flights = Arc::new(Flights::default());
        let leader = flights.lead(KEY).expect("nobody else is there");
        assert!(flights.lead(KEY).is_none());
        leader.land(Landed::NotShared { lone: true });
        assert!(matches!(flights.board(KEY, true, Instant::now()), Boarding::Alone));
        assert!(flights.lead(KEY).is_some());
    }

    #[tokio::test]
    async fn a_leader_that_vanishes_fails_those_aboard() {
        let flights = Arc::new(Flights::default());
        let Boarding::Lead(leader) = flights.board(KEY, true, Instant::now()) else { panic!("the first must lead") };
        let Boarding::Join(flight) = flights.board(KEY, true, Instant::now()) else { panic!("the second must join") };
        drop(leader);
        assert!(matches!(landing(flight).await, Landed::Failed(Error::Stopped)));
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_cannot_be_shared_do_not_queue_for_a_minute() {
        let flights = Arc::new(Flights::default());
        let Boarding::Lead(leader) = flights.board(KEY, true, Instant::now()) else { panic!("the first must lead") };
        leader.land(Landed::NotShared { lone: true });
        assert!(matches!(flights.board(KEY, true, Instant::now()), Boarding::Alone));
        tokio::time::advance(LONE_FOR).await;
        assert!(matches!(flights.board(KEY, true, Instant::now()), Boarding::Lead(_)));
    }
}
