//! The bounded lists behind the census.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque, hash_map},
    net::IpAddr,
    time::SystemTime,
};

use super::seen::{Reported, Seen};
use crate::wsus::Guid;

/// Computers that are listed under one address: behind a gateway there are many, but one that makes them up must not drive out the others.
const PER_ADDRESS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(super) struct Lists {
    computers: HashMap<Guid, Entry>,
    /// The same, the one that was silent for longest first.
    order: BTreeSet<(SystemTime, Guid)>,
    at_address: HashMap<IpAddr, usize>,
    /// In the order in which they came, each with its instance.
    events: VecDeque<(Reported, Option<Guid>)>,
    /// The instances of those events, so that one that is reported twice counts once.
    instances: HashSet<Guid>,
}

#[derive(Debug)]
struct Entry {
    seen: Seen,
    address: IpAddr,
    last: SystemTime,
}

impl Lists {
    pub(super) fn computers(&self) -> usize {
        self.computers.len()
    }

    pub(super) fn newest_computers(&self) -> impl Iterator<Item = &Seen> {
        self.order.iter().rev().filter_map(|(_, id)| Some(&self.computers.get(id)?.seen))
    }

    pub(super) fn newest_events(&self) -> impl Iterator<Item = &Reported> {
        self.events.iter().rev().map(|(event, _)| event)
    }

    pub(super) fn has_event(&self, instance: Guid) -> bool {
        self.instances.contains(&instance)
    }

    /// Appends an event; of `max` the oldest gives way.
    pub(super) fn add_event(&mut self, event: Reported, instance: Option<Guid>, max: usize) {
        while self.events.len() >= max.max(1) {
            self.forget_event();
        }
        self.instances.extend(instance);
        self.events.push_back((event, instance));
    }

    /// The computer, listed if there is room for it at its address; of `max` the one that was silent for longest gives way.
    pub(super) fn meet(
        &mut self,
        id: Guid,
        address: IpAddr,
        now: SystemTime,
        max: usize,
        new: impl FnOnce() -> Seen,
    ) -> Option<&mut Seen> {
        let known = self.computers.get(&id).map(|entry| (entry.last, entry.address));
        let is_crowded = self.at_address.get(&address).is_some_and(|count| *count >= PER_ADDRESS_MAX);
        if is_crowded && known.is_none_or(|(_, before)| before != address) {
            return None;
        }
        match known {
            Some((last, before)) => {
                self.order.remove(&(last, id));
                self.leave(before);
            }
            None => {
                while self.computers.len() >= max.max(1) {
                    self.forget_silent();
                }
            }
        }
        self.order.insert((now, id));
        *self.at_address.entry(address).or_default() += 1;
        let entry = self.computers.entry(id).or_insert_with(|| Entry { seen: new(), address, last: now });
        (entry.address, entry.last) = (address, now);
        Some(&mut entry.seen)
    }

    /// Lets go of what was last seen before `oldest`.
    pub(super) fn forget_before(&mut self, oldest: SystemTime) {
        while self.order.first().is_some_and(|(last, _)| *last < oldest) {
            self.forget_silent();
        }
        while self.events.front().is_some_and(|(event, _)| event.is_before(oldest)) {
            self.forget_event();
        }
    }

    fn forget_silent(&mut self) {
        let Some((_, id)) = self.order.pop_first() else { return };
        if let Some(entry) = self.computers.remove(&id) {
            self.leave(entry.address);
        }
    }

    fn forget_event(&mut self) {
        if let Some((_, Some(instance))) = self.events.pop_front() {
            self.instances.remove(&instance);
        }
    }

    fn leave(&mut self, address: IpAddr) {
        if let hash_map::Entry::Occupied(mut count) = self.at_address.entry(address) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
