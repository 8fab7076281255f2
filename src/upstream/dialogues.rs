//! Which of several servers a client's dialogue is with: a cookie that one of them gave means nothing to the others.
//!
//! Only who speaks to another than the preferred server is remembered, by address and by what is spoken to, and no longer than a cookie holds, so
//! that the preferred server's return interrupts nobody.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::upstream::{Target, select::Hop};

/// Who asks, among the extensions of a request: where several servers could answer, one client gets the same one for as long as it is in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(pub IpAddr);

#[derive(Debug, Default)]
pub(super) struct Dialogues(Mutex<HashMap<Parties, Dialogue>>);

/// Who speaks, and to whom: several servers under one name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parties {
    client: IpAddr,
    to: Arc<str>,
}

#[derive(Debug)]
struct Dialogue {
    server: Arc<str>,
    since: Instant,
}

impl Dialogues {
    /// Puts the server of the client's dialogue first, unless it is out of order.
    pub(super) fn arrange(&self, parties: &Parties, hops: &mut [Hop], now: Instant) {
        let Some(server) = self.server(parties, now) else { return };
        let is_server = |hop: &Hop| hop.upstream.name == server && !hop.upstream.is_ejected();
        if let Some(at) = hops.iter().position(is_server) {
            hops[..=at].rotate_right(1);
        }
    }

    fn server(&self, parties: &Parties, now: Instant) -> Option<Arc<str>> {
        let dialogues = self.dialogues();
        dialogues.get(parties).filter(|dialogue| dialogue.holds(now)).map(|dialogue| dialogue.server.clone())
    }

    /// `server` answered the client; `is_preferred`: it is who would be asked without this.
    pub(super) fn answered(&self, parties: Parties, server: &Arc<str>, is_preferred: bool, now: Instant) {
        let mut dialogues = self.dialogues();
        if is_preferred {
            dialogues.remove(&parties);
            return;
        }
        if dialogues.get(&parties).is_some_and(|dialogue| dialogue.server == *server && dialogue.holds(now)) {
            return;
        }
        if !dialogues.contains_key(&parties) && dialogues.len() >= CLIENTS_MAX {
            dialogues.retain(|_, dialogue| dialogue.holds(now));
            if dialogues.len() >= CLIENTS_MAX {
                // Its next call may go to another server, which costs it a new cookie.
                return;
            }
        }
        dialogues.insert(parties, Dialogue { server: server.clone(), since: now });
    }

    fn dialogues(&self) -> MutexGuard<'_, HashMap<Parties, Dialogue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parties {
    pub(super) fn new(client: Client, target: &Target) -> Self {
        let origin = || target.origin.to_string().into();
        Self { client: client.0, to: target.upstream.clone().unwrap_or_else(origin) }
    }
}

impl Dialogue {
    fn holds(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < DIALOGUE_MAX
    }
}

/// A cookie of a WSUS holds for an hour, and is not prolonged (observed of Windows Server 2025).
const DIALOGUE_MAX: Duration = Duration::from_secs(3600);

/// Clients that are remembered at once.
const CLIENTS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn client(n: u32) -> Parties {
        Parties { client: Ipv4Addr::from_bits(0x0A00_0000 + n).into(), to: "wsus".into() }
    }

    #[test]
    fn a_dialogue_holds_for_an_hour_whatever_is_said_in_it() {
        let (dialogues, start, second) = (Dialogues::default(), Instant::now(), Arc::from("second"));
        let later = |minutes: u64| start + Duration::from_secs(60 * minutes);
        for minutes in [0, 30, 59] {
            dialogues.answered(client(1), &second, false, later(minutes));
        }
        assert_eq!(dialogues.server(&client(1), later(59)).as_deref(), Some("second"));
        assert_eq!(dialogues.server(&client(1), later(60)), None);
        assert_eq!(dialogues.server(&client(2), later(1)), None);
        let elsewhere = Parties { to: "another".into(), ..client(1) };
        dialogues.answered(elsewhere, &Arc::from("first"), true, later(2));
        assert!(dialogues.server(&client(1), later(2)).is_some(), "what is said to others ends no dialogue");
        dialogues.answered(client(1), &Arc::from("first"), true, later(2));
        assert!(dialogues.dialogues().is_empty(), "who speaks to the preferred server needs no entry");
    }

    #[test]
    fn no_more_clients_are_remembered_than_there_is_room_for() {
        let (dialogues, start, second) = (Dialogues::default(), Instant::now(), Arc::from("second"));
        for n in 0..CLIENTS_MAX as u32 + 10 {
            dialogues.answered(client(n), &second, false, start);
        }
        assert_eq!(dialogues.dialogues().len(), CLIENTS_MAX);
        dialogues.answered(client(99_999), &second, false, start + DIALOGUE_MAX);
        assert_eq!(dialogues.dialogues().len(), 1, "old ones make room");
    }
}
