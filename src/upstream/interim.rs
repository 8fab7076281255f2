//! Interim (1xx) responses: who hears of them, and request bodies that wait for a 100 (RFC 9110 §10.1.1, §15.2).

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::{Sleep, sleep};

use crate::upstream::exchange::Progress;

/// Hears of the interim responses to requests, told apart by a number of its own choosing.
pub trait Hear: Send + Sync {
    /// Must not block. The fields are as they came, hop-by-hop ones included.
    fn hear(&self, exchange: u64, status: StatusCode, fields: &HeaderMap);
}

/// Who is told of the interim responses to one request; nobody by default. Cheap to clone.
#[derive(Clone, Default)]
pub struct Interim(Option<(Arc<dyn Hear>, u64)>);

impl Interim {
    /// `listener` hears of them under the number `exchange`.
    pub fn to(listener: Arc<dyn Hear>, exchange: u64) -> Self {
        Self(Some((listener, exchange)))
    }

    /// Has what comes of `request` told. Only HTTP/1.1 tells: the HTTP library keeps the interim responses of HTTP/2 to itself.
    pub(super) fn attach<B>(&self, request: &mut Request<B>, progress: &Progress, on_continue: Continue) {
        if self.0.is_none() && !matches!(on_continue, Continue::Meets(_)) {
            return;
        }
        let (interim, progress) = (self.clone(), progress.clone());
        hyper::ext::on_informational(request, move |response| {
            // Somebody who says that it is still at work has not fallen silent.
            progress.moved();
            match (&on_continue, response.status()) {
                (Continue::Meets(expectation), StatusCode::CONTINUE) => expectation.meet(),
                (Continue::Ours, StatusCode::CONTINUE) => {}
                (_, status) => interim.tell(status, response.headers()),
            }
        });
    }

    fn tell(&self, status: StatusCode, fields: &HeaderMap) {
        if let Some((listener, exchange)) = &self.0 {
            listener.hear(*exchange, status, fields);
        }
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interim").field(&self.0.as_ref().map(|(_, exchange)| exchange)).finish()
    }
}

/// What a 100 means.
pub(super) enum Continue {
    /// Nobody expects one: it is passed on like any other.
    Forward,
    /// The client expects one, and gets it from whoever reads its body.
    Meets(Arc<Expectation>),
    /// The request is ours, and it has no body.
    Ours,
}

/// A client's `Expect: 100-continue`, which the upstream has to meet before the body is asked for.
#[derive(Default)]
pub(super) struct Expectation {
    state: AtomicU8,
    body: AtomicWaker,
}

impl Expectation {
    /// The upstream wants the body.
    pub(super) fn meet(&self) {
        self.settle(MET);
    }

    /// The final response came. If nobody has asked for the body by now, nobody wants it.
    pub(super) fn end(&self) {
        self.settle(REFUSED);
    }

    fn settle(&self, state: u8) {
        // The first word counts.
        if self.state.compare_exchange(OPEN, state, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.body.wake();
        }
    }
}

/// A request body's wait for its expectation.
pub(super) struct Hold {
    expectation: Arc<Expectation>,
    patience: Option<Pin<Box<Sleep>>>,
}

impl Hold {
    pub(super) fn new(expectation: Arc<Expectation>) -> Self {
        Self { expectation, patience: None }
    }

    /// Resolves when the body is to be sent: the upstream asked for it, or says nothing, as one that knows no expectations would
    /// (RFC 9110 §10.1.1). Never, once there is a final response: the body stays with the client, and the connection is given up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.expectation.body.register(cx.waker());
        match self.expectation.state.load(Ordering::Acquire) {
            OPEN => {
                let patience = self.patience.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                patience.as_mut().poll(cx)
            }
            MET => Poll::Ready(()),
            _ => Poll::Pending,
        }
    }
}

const OPEN: u8 = 0;
const MET: u8 = 1;
const REFUSED: u8 = 2;

/// As long as curl waits: an upstream that does not know expectations costs this once a request.
const PATIENCE: Duration = Duration::from_secs(1);
