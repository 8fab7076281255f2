//! An origin on loopback that does as it is told, down to the byte, and remembers everything it was asked.

mod answer;
mod resource;
mod serve;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{net::TcpListener, task::JoinHandle};

pub(crate) use answer::{Answer, Step};
pub(crate) use resource::Resource;

use super::wire::{Field, Head};

/// One request as the origin saw it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) method: String,
    /// The request target as it stood on the line.
    pub(crate) target: String,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<Field>,
    /// How many requests for this path came before this one.
    pub(crate) earlier: usize,
    /// Which connection it came on, counted from 0.
    pub(crate) connection: usize,
}

/// A running origin; it ends, with all its connections, when this is dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    accept: JoinHandle<()>,
}

#[derive(Clone)]
struct Responder {
    answer: Arc<dyn Fn(&Ask) -> Answer + Send + Sync>,
    /// Answers before the request body is read.
    early: bool,
}

#[derive(Default)]
struct State {
    responders: Mutex<HashMap<String, Responder>>,
    asks: Mutex<Vec<Ask>>,
    /// Bytes of bodies handed to the network, by path.
    sent: Mutex<HashMap<String, u64>>,
    connections: Mutex<usize>,
}

impl Ask {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The target without its query.
    pub(crate) fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let accept = tokio::spawn(serve::accept(listener, state.clone()));
        Self { address, state, accept }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers `path` (any query) as `resource` does; replaces what was there.
    pub(crate) fn serve(&self, path: &str, resource: Resource) {
        self.answer(path, move |ask| resource.answer(ask));
    }

    /// Answers `path` with whatever the scenario likes.
    pub(crate) fn answer(&self, path: &str, responder: impl Fn(&Ask) -> Answer + Send + Sync + 'static) {
        self.insert(path, Responder { answer: Arc::new(responder), early: false });
    }

    /// The same, before the request body is read: for answers that echo it, or do not want it.
    pub(crate) fn answer_early(&self, path: &str, responder: impl Fn(&Ask) -> Answer + Send + Sync + 'static) {
        self.insert(path, Responder { answer: Arc::new(responder), early: true });
    }

    fn insert(&self, path: &str, responder: Responder) {
        self.state.responders.lock().unwrap().insert(path.to_owned(), responder);
    }

    /// Everything asked for `path` so far.
    pub(crate) fn asks(&self, path: &str) -> Vec<Ask> {
        self.state.asks.lock().unwrap().iter().filter(|ask| ask.path() == path).cloned().collect()
    }

    pub(crate) fn requests(&self, path: &str) -> usize {
        self.state.asks.lock().unwrap().iter().filter(|ask| ask.path() == path).count()
    }

    pub(crate) fn requests_in_all(&self) -> usize {
        self.requests_in_all_of("")
    }

    /// Requests for everything whose path starts so.
    pub(crate) fn requests_in_all_of(&self, prefix: &str) -> usize {
        self.state.asks.lock().unwrap().iter().filter(|ask| ask.target.starts_with(prefix)).count()
    }

    /// Bytes of bodies sent for `path` so far.
    pub(crate) fn sent(&self, path: &str) -> u64 {
        self.state.sent.lock().unwrap().get(path).copied().unwrap_or_default()
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.accept.abort();
    }
}
