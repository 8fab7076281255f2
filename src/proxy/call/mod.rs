//! Calls of update services, read whole and judged before anything of them is passed on.
//!
//! Calls are small (a driver pass has 50 KiB), and the server behind must not be the first to look at them. What they say is judged by `wsus`;
//! here is how much of them there may be: in memory at once, and of one client in time.

mod rate;

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use self::rate::Rates;
use super::{
    Error,
    connection::{RequestBody, RequestBodyError},
};
use crate::{classify::Refusal, wsus::Call};

/// What calls may take.
#[derive(Debug)]
pub(super) struct Calls {
    rates: Rates,
    memory: Arc<Semaphore>,
}

/// The memory that the content of a call takes until this is dropped.
#[derive(Debug, Default)]
pub(super) struct Held(Option<OwnedSemaphorePermit>);

/// Why a call was not read, though nothing may be wrong with it.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error("too many calls from this address; try again soon")]
    Rate,
    #[error("too many calls at once; try again soon")]
    Memory,
    #[error("the call has not come within {0:?}")]
    Slow(Duration),
    #[error(transparent)]
    Broken(#[from] RequestBodyError),
}

impl Unread {
    /// The one word that log, metric and page share.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Rate => "call-rate",
            Self::Memory => "call-memory",
            Self::Slow(_) => "call-slow",
            Self::Broken(_) => "request",
        }
    }
}

impl Calls {
    pub(super) fn new() -> Self {
        Self { rates: Rates::default(), memory: Arc::new(Semaphore::new(HELD_MAX)) }
    }

    /// Reads the content of a call and holds it against what agents send; it is returned beside the request that has it. `per_second`: what one client may call; 0 for any number.
    pub(super) async fn judge(
        &self,
        client: IpAddr,
        request: Request<RequestBody>,
        call: &Call,
        per_second: usize,
    ) -> Result<(Request<RequestBody>, Bytes, Held), Error> {
        if !self.rates.take(client, Instant::now(), per_second) {
            return Err(Unread::Rate.into());
        }
        let (parts, body) = request.into_parts();
        let reading = timeout(READ_TIMEOUT, self.read(body, call));
        let (content, held) = reading.await.map_err(|_| Unread::Slow(READ_TIMEOUT))??;
        call.check(&content).map_err(Refusal::Call)?;
        Ok((Request::from_parts(parts, RequestBody::whole(content.clone())), content, held))
    }

    async fn read(&self, mut body: RequestBody, call: &Call) -> Result<(Bytes, Held), Error> {
        let too_large = || Refusal::Call(call.too_large());
        if body.size_hint().lower() > call.operation.len_max as u64 {
            return Err(too_large().into());
        }
        let (mut content, mut held) = (Vec::new(), Held::default());
        while let Some(frame) = body.frame().await {
            // Trailers mean nothing to these services.
            let Ok(bytes) = frame.map_err(Unread::Broken)?.into_data() else { continue };
            if content.len() + bytes.len() > call.operation.len_max {
                return Err(too_large().into());
            }
            let permits = u32::try_from(bytes.len()).map_err(|_| too_large())?;
            let more = Arc::clone(&self.memory).try_acquire_many_owned(permits).map_err(|_| Unread::Memory)?;
            held.add(more);
            content.extend_from_slice(&bytes);
        }
        Ok((content.into(), held))
    }
}

impl Held {
    fn add(&mut self, more: OwnedSemaphorePermit) {
        match &mut self.0 {
            Some(held) => held.merge(more),
            None => self.0 = Some(more),
        }
    }
}

/// Bytes of calls in memory at once: a thousand driver passes.
const HELD_MAX: usize = 64 << 20;

/// For all of a call, however slowly a client sends. The longest that is allowed comes over 512 kbit/s in this time.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
