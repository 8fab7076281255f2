//! Connections kept for reuse: per endpoint and use, bounded, the youngest first.
//!
//! Life of a connection: *opened* or *taken* from a pool by a [`Lease`] → one exchange → [`Lease::finish`] puts it back (or into the slot of
//! the client connection it belongs to). A lease dropped without `finish` closes its connection.
//!
//! An HTTP/2 connection stays in its pool and is *joined* by one lease for each stream; a place among those in use is a stream there.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use crate::{
    sys::awake,
    upstream::{config::Connections, connection::Connection, dial::Endpoint},
};

/// Content and pass have connections of their own: they must not starve one another, nor share a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Content,
    Pass,
}

/// How sure a request must be that its connection is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// It can be sent again.
    Any,
    /// It must not be sent twice: only a connection that is hardly idle, quiet, and to a server that is known to keep connections.
    Proven,
    /// A connection failed already.
    Fresh,
}

/// All pools.
#[derive(Default)]
pub(super) struct Pools {
    by_use: [Mutex<HashMap<Endpoint, Arc<Pool>>>; 2],
}

pub(super) struct Pool {
    limit: usize,
    places: Arc<Semaphore>,
    /// Oldest first.
    idle: Mutex<Vec<Connection>>,
    /// The HTTP/2 connection that everybody joins, where the server speaks it.
    shared: Mutex<Option<Connection>>,
    /// The server offers HTTP/2 but cannot do with it what it is asked to: authenticating connections, for one.
    http1_only: AtomicBool,
    habit: AtomicU8,
}

/// What a server does with idle connections, as far as was seen. A server may close after each answer without saying so; a request
/// sent into that is lost, and one that must not be sent twice is lost for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Habit {
    Unknown,
    /// A connection stayed open for [`SETTLED`].
    Keeps,
    /// A connection was closed, and none had stayed.
    Closes,
}

/// A connection in use, and where it goes afterwards.
pub(super) struct Lease {
    connection: Connection,
    home: Home,
    /// Its place among the connections of the pool.
    place: Option<OwnedSemaphorePermit>,
    pub(super) is_reused: bool,
}

enum Home {
    Pool(Arc<Pool>),
    Slot(Weak<Slot>, Endpoint),
}

/// Keeps the one connection that belongs to a client connection.
pub(super) type Slot = Mutex<Option<(Endpoint, Connection)>>;

impl Pools {
    /// The pool for `endpoint`, made when there is none.
    pub(super) fn of(&self, endpoint: &Endpoint, use_: Use, connections: Connections) -> Arc<Pool> {
        let mut pools = self.map(use_);
        let limit = match use_ {
            Use::Content => connections.content,
            Use::Pass => connections.pass,
        };
        if let Some(pool) = pools.get(endpoint).filter(|pool| pool.limit == limit) {
            return pool.clone();
        }
        let pool = Arc::new(Pool::new(limit));
        if pools.len() < POOLS_MAX {
            pools.insert(endpoint.clone(), pool.clone());
        }
        pool
    }

    /// Closes what has been idle for too long or was closed by its peer; forgets pools nobody uses.
    pub(super) fn sweep(&self, idle_timeout: Duration) {
        for use_ in [Use::Content, Use::Pass] {
            // Looking at each connection costs a system call: not while requests wait for the map.
            let pools: Vec<_> = self.map(use_).values().cloned().collect();
            pools.iter().for_each(|pool| pool.sweep(idle_timeout));
            drop(pools);
            self.map(use_).retain(|_, pool| pool.is_used() || Arc::strong_count(pool) > 1);
        }
    }

    /// For the next configuration: the pools of endpoints that are still `wanted`. Requests under the old configuration go on with
    /// their own, so that no connection made under old rules serves a request under new ones.
    pub(super) fn inherited(&self, wanted: impl Fn(&Endpoint) -> bool) -> Self {
        let kept = |use_| {
            let pools = self.map(use_);
            let kept = pools.iter().filter(|(endpoint, _)| wanted(endpoint));
            Mutex::new(kept.map(|(endpoint, pool)| (endpoint.clone(), pool.clone())).collect())
        };
        Self { by_use: [kept(Use::Content), kept(Use::Pass)] }
    }

    /// Closes idle connections; those in use are not kept.
    pub(super) fn clear(&self) {
        [Use::Content, Use::Pass].into_iter().for_each(|use_| self.map(use_).clear());
    }

    /// Connections (in use, idle) of the configured upstream `name`, or of all that nobody configured.
    pub(super) fn count(&self, name: Option<&str>) -> (usize, usize) {
        let mut counts = (0, 0);
        for use_ in [Use::Content, Use::Pass] {
            for (_, pool) in self.map(use_).iter().filter(|(endpoint, _)| endpoint.upstream.as_deref() == name) {
                counts.0 += pool.in_use();
                counts.1 += pool.idle().len() + usize::from(pool.shared().as_ref().is_some_and(|shared| shared.others() == 0));
            }
        }
        counts
    }

    fn map(&self, use_: Use) -> MutexGuard<'_, HashMap<Endpoint, Arc<Pool>>> {
        self.by_use[use_ as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(limit: usize) -> Self {
        let limit = limit.max(1);
        Self {
            limit,
            places: Arc::new(Semaphore::new(limit)),
            idle: Mutex::default(),
            shared: Mutex::default(),
            http1_only: AtomicBool::new(false),
            habit: AtomicU8::new(Habit::Unknown as u8),
        }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// A place among the connections in use; `None` when none came free within `wait`.
    pub(super) async fn place(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        awake::timeout(wait, self.places.clone().acquire_owned()).await?.ok()
    }

    /// An idle connection that fits `need`, the youngest first; whatever turns out to be dead on the way is dropped.
    pub(super) fn take(&self, need: Need, idle_timeout: Duration) -> Option<Connection> {
        let now = Instant::now();
        match need {
            Need::Fresh => return None,
            Need::Proven if self.habit() != Habit::Keeps => return None,
            Need::Any | Need::Proven => {}
        }
        let mut idle = self.idle();
        while let Some(connection) = idle.pop() {
            let rested = now.saturating_duration_since(connection.idle_since());
            if need == Need::Proven && rested > SETTLED {
                idle.push(connection);
                return None;
            }
            let open = connection.is_open();
            self.learn(rested, open);
            if open && rested < idle_timeout {
                return Some(connection);
            }
        }
        None
    }

    /// A stream of the HTTP/2 connection, if there is a live one.
    pub(super) fn join(&self) -> Option<Connection> {
        let mut shared = self.shared();
        if shared.as_ref().is_some_and(|connection| !connection.is_open()) {
            *shared = None;
        }
        let connection = shared.as_mut()?;
        connection.rest();
        connection.another()
    }

    /// Lets others join `connection`, if it has streams and no other is joined. Of several that were opened at once the rest carry one
    /// exchange each.
    pub(super) fn offer(&self, connection: &Connection) {
        let mut shared = self.shared();
        if shared.as_ref().is_none_or(|other| !other.is_open()) {
            *shared = connection.another();
        }
    }

    pub(super) fn is_http1_only(&self) -> bool {
        self.http1_only.load(Ordering::Relaxed)
    }

    fn put(&self, mut connection: Connection) {
        if connection.is_shared() {
            return;
        }
        connection.rest();
        let mut idle = self.idle();
        idle.push(connection);
        // Fresh connections were opened although idle ones were there: those make room.
        let over = (idle.len() + self.in_use()).saturating_sub(self.limit + 1).min(idle.len());
        idle.drain(..over);
    }

    fn sweep(&self, idle_timeout: Duration) {
        let now = Instant::now();
        self.idle().retain(|connection| {
            let rested = now.saturating_duration_since(connection.idle_since());
            let open = connection.is_open();
            self.learn(rested, open);
            open && rested < idle_timeout
        });
        let is_over = |shared: &mut Connection| {
            if shared.others() > 0 {
                shared.rest();
            }
            !shared.is_open() || now.saturating_duration_since(shared.idle_since()) >= idle_timeout
        };
        _ = self.shared().take_if(is_over);
    }

    fn learn(&self, rested: Duration, open: bool) {
        let habit = match (self.habit(), open) {
            (Habit::Unknown, true) if rested >= SETTLED => Habit::Keeps,
            (Habit::Unknown, false) => Habit::Closes,
            (known, _) => known,
        };
        self.habit.store(habit as u8, Ordering::Relaxed);
    }

    fn habit(&self) -> Habit {
        match self.habit.load(Ordering::Relaxed) {
            1 => Habit::Keeps,
            2 => Habit::Closes,
            _ => Habit::Unknown,
        }
    }

    fn is_used(&self) -> bool {
        self.in_use() > 0 || !self.idle().is_empty() || self.shared().is_some()
    }

    fn in_use(&self) -> usize {
        self.limit.saturating_sub(self.places.available_permits())
    }

    fn shared(&self) -> MutexGuard<'_, Option<Connection>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    pub(super) fn new(connection: Connection, pool: Arc<Pool>, place: OwnedSemaphorePermit, is_reused: bool) -> Self {
        Self { connection, home: Home::Pool(pool), place: Some(place), is_reused }
    }

    /// The connection that belongs to a client connection, taken out of its slot. Such connections need no place: there are no more of
    /// them than client connections.
    pub(super) fn bound(connection: Connection, slot: &Arc<Slot>, endpoint: Endpoint) -> Self {
        Self { connection, home: Home::Slot(Arc::downgrade(slot), endpoint), place: None, is_reused: true }
    }

    /// From now on the connection belongs to one client connection. One of many streams cannot: the server gets connections of
    /// HTTP/1.1 from now on.
    pub(super) fn bind(&mut self, slot: &Arc<Slot>, endpoint: &Endpoint) {
        if self.connection.is_shared() {
            return self.require_http1();
        }
        self.home = Home::Slot(Arc::downgrade(slot), endpoint.clone());
        self.place = None;
    }

    /// Whether a request on it may be lost or refused for reasons that have nothing to do with the request.
    pub(super) fn may_fail_unasked(&self) -> bool {
        self.is_reused || self.connection.is_shared()
    }

    /// The server wants HTTP/1.1 for what it was asked.
    pub(super) fn require_http1(&self) {
        if let Home::Pool(pool) = &self.home {
            pool.http1_only.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The response was read to its end.
    pub(super) fn finish(self) {
        match self.home {
            Home::Pool(pool) if self.connection.is_ready() => pool.put(self.connection),
            Home::Pool(_) if self.connection.is_closed() => {}
            Home::Pool(pool) => put_when_ready(pool, self.connection, self.place),
            // The client's next request waits for it to become ready itself.
            Home::Slot(slot, endpoint) => {
                if let Some(slot) = slot.upgrade() {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((endpoint, self.connection));
                }
            }
        }
    }
}

/// The response has ended, but the connection's task has not noticed yet, or the request body is still being sent. Rarely taken, and
/// short: the place stays occupied meanwhile.
fn put_when_ready(pool: Arc<Pool>, mut connection: Connection, place: Option<OwnedSemaphorePermit>) {
    tokio::spawn(async move {
        if let Ok(Ok(())) = timeout(SETTLED, connection.ready()).await {
            pool.put(connection);
        }
        drop(place);
    });
}

/// A connection idle for longer than this was kept on purpose; and one idle for less is hardly about to be closed for idleness.
const SETTLED: Duration = Duration::from_secs(1);

/// Endpoints with pools of their own. Beyond it connections are used once.
const POOLS_MAX: usize = 2048;
