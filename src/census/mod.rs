//! Which computers spoke to their update server through weir, and what they reported of downloads and installations.
//!
//! Observed in passing, not authoritative: anybody can send such a call, and a report that was lost is not here. Nothing depends on it but
//! what administrators are shown. It is bounded in computers, events and time, and keeps of names and addresses what the configuration
//! allows. It never reads a message itself (`wsus` does), and it is gone with the process.

mod lists;
mod personal;
mod seen;
#[cfg(test)]
mod tests;

use std::{
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use self::{lists::Lists, personal::Masks};
pub use self::{
    personal::Personal,
    seen::{Reported, Seen},
};
use crate::{
    metrics,
    wsus::{Event, Guid, Outcome, Said},
};

/// Bounds, and what is kept of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Beyond it the computer that was silent for longest is forgotten.
    pub computers_max: usize,
    /// Beyond it the oldest event is forgotten.
    pub events_max: usize,
    /// What is older is forgotten.
    pub retention: Duration,
    pub personal: Personal,
}

impl Default for Config {
    /// A large branch, and about 15 MB when full.
    fn default() -> Self {
        Self { computers_max: 5_000, events_max: 20_000, retention: Duration::from_secs(30 * 86_400), personal: Personal::Keep }
    }
}

/// The list of computers and their reports.
#[derive(Debug)]
pub struct Census {
    config: Config,
    masks: Masks,
    metrics: metrics::Census,
    lists: Mutex<Lists>,
}

impl Census {
    pub fn new(config: Config, metrics: metrics::Census) -> Self {
        let masks = Masks::new(config.personal);
        Self { config, masks, metrics, lists: Mutex::default() }
    }

    /// Takes down what a client at `address` said.
    pub fn note(&self, address: IpAddr, said: &Said, now: SystemTime) {
        let address = address.to_canonical();
        let mut lists = self.lists();
        if let Some(oldest) = now.checked_sub(self.config.retention) {
            lists.forget_before(oldest);
        }
        match said {
            Said::Computer(computer) => {
                if let Some(seen) = computer.id.and_then(|id| self.meet(&mut lists, id, address, now)) {
                    seen.describe(computer, computer.dns_name.as_deref().and_then(|name| self.masks.name(name)));
                }
            }
            Said::Event(event) => self.report(&mut lists, address, event, now),
        }
        self.metrics.computers.set(lists.computers() as u64);
    }

    /// The computers, the last one seen first.
    pub fn computers(&self, limit: usize) -> Vec<Seen> {
        self.lists().newest_computers().take(limit).cloned().collect()
    }

    /// The events, newest first.
    pub fn events(&self, limit: usize) -> Vec<Reported> {
        self.lists().newest_events().take(limit).cloned().collect()
    }

    fn report(&self, lists: &mut Lists, address: IpAddr, event: &Event, now: SystemTime) {
        if event.instance.is_some_and(|instance| lists.has_event(instance)) {
            return;
        }
        let outcome = event.outcome();
        self.metrics.events.inc(outcome.as_str());
        if let Some(seen) = event.computer.and_then(|id| self.meet(lists, id, address, now)) {
            seen.count(event, outcome);
        }
        if outcome != Outcome::Other {
            let computer = event.computer.filter(|id| !id.is_nil()).map(|id| self.masks.id(id));
            lists.add_event(Reported::new(event, computer, outcome, now), event.instance, self.config.events_max);
        }
    }

    /// The computer of this id, seen just now; `None` when it is not listed, and shall not be.
    fn meet<'a>(&self, lists: &'a mut Lists, id: Guid, address: IpAddr, now: SystemTime) -> Option<&'a mut Seen> {
        if id.is_nil() {
            return None;
        }
        let new = || Seen::new(self.masks.id(id), now);
        let Some(seen) = lists.meet(id, address, now, self.config.computers_max, new) else {
            self.metrics.ignored.inc();
            return None;
        };
        seen.was_at(self.masks.address(address), now);
        Some(seen)
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Whoever panicked left at worst one entry half described.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
