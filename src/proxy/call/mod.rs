//! Calls of update services, read whole and judged before anything of them is passed on.
//!
//! Calls are small (a driver pass has 50 KiB), and the server behind must not be the first to look at them. What they say is judged by `wsus`;
//! here is how much of them there may be: in memory at once, and of one client in time.

mod rate;

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{
    Request,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, EXPECT},
};
use http_body::Body as _;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};

use self::rate::Rates;
pub(super) use self::rate::one_client;
use super::{
    Config, Error,
    connection::{RequestBody, RequestBodyError},
};
use crate::{classify::Refusal, wsus::Call};

/// What calls may take.
#[derive(Debug)]
pub(super) struct Calls {
    rates: Rates,
    memory: Arc<Semaphore>,
    /// Bytes in memory by client. As many entries as calls are being read or passed.
    shares: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// The memory that the content of a call takes until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    memory: Option<OwnedSemaphorePermit>,
    shares: Arc<Mutex<HashMap<IpAddr, usize>>>,
    client: IpAddr,
    len: usize,
}

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
        Self { rates: Rates::default(), memory: Arc::new(Semaphore::new(HELD_MAX)), shares: Arc::default() }
    }

    /// Reads the content of a call and holds it against what agents send; it is returned beside the request that has it. What goes on is what was
    /// judged, without the coding that it came in.
    pub(super) async fn judge(
        &self,
        client: IpAddr,
        request: Request<RequestBody>,
        call: &Call,
        config: &Config,
    ) -> Result<(Request<RequestBody>, Bytes, Held), Error> {
        if !self.rates.take(client, Instant::now(), config.calls_per_client) {
            return Err(Unread::Rate.into());
        }
        let (mut parts, body) = request.into_parts();
        let reading = timeout(config.call_timeout, self.read(client, body, call));
        let (mut content, mut held) = reading.await.map_err(|_| Unread::Slow(config.call_timeout))??;
        if let Cow::Owned(plain) = call.check(&content).map_err(Refusal::Call)? {
            (content, held) = (plain.into(), self.held_for(client));
            held.grow(&self.memory, content.len())?;
        }
        // The content is all here: nobody waits for a word of the server, and it has the length that it has.
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, EXPECT] {
            parts.headers.remove(name);
        }
        Ok((Request::from_parts(parts, RequestBody::whole(content.clone())), content, held))
    }

    async fn read(&self, client: IpAddr, mut body: RequestBody, call: &Call) -> Result<(Bytes, Held), Error> {
        let too_large = || Refusal::Call(call.too_large());
        if body.size_hint().lower() > call.operation.len_max as u64 {
            return Err(too_large().into());
        }
        let (mut content, mut held) = (Vec::new(), self.held_for(client));
        while let Some(frame) = body.frame().await {
            // Trailers mean nothing to these services.
            let Ok(bytes) = frame.map_err(Unread::Broken)?.into_data() else { continue };
            if content.len() + bytes.len() > call.operation.len_max {
                return Err(too_large().into());
            }
            held.grow(&self.memory, bytes.len())?;
            content.extend_from_slice(&bytes);
        }
        Ok((content.into(), held))
    }

    fn held_for(&self, client: IpAddr) -> Held {
        Held { memory: None, shares: Arc::clone(&self.shares), client: one_client(client), len: 0 }
    }
}

impl Held {
    /// Takes `len` more bytes of `memory`, if there are so many, and the client has not more than its share.
    fn grow(&mut self, memory: &Arc<Semaphore>, len: usize) -> Result<(), Unread> {
        let permits = u32::try_from(len).map_err(|_| Unread::Memory)?;
        let more = Arc::clone(memory).try_acquire_many_owned(permits).map_err(|_| Unread::Memory)?;
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let share = shares.entry(self.client).or_default();
        if *share + len > HELD_PER_CLIENT_MAX {
            if *share == 0 {
                shares.remove(&self.client);
            }
            return Err(Unread::Memory);
        }
        *share += len;
        self.len += len;
        match &mut self.memory {
            Some(held) => held.merge(more),
            None => self.memory = Some(more),
        }
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        let Entry::Occupied(mut share) = shares.entry(self.client) else { return };
        *share.get_mut() -= self.len;
        if *share.get() == 0 {
            share.remove();
        }
    }
}

/// Bytes of calls in memory at once: a thousand driver passes.
const HELD_MAX: usize = 64 << 20;

/// Of one client, so that a few that send slowly do not keep the others out. The longest call fits (of a downstream server, where that is opened).
const HELD_PER_CLIENT_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_a_share_of_the_memory_and_gives_it_back() {
        let calls = Calls::new();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let (one, again, other) = (address("2001:db8::1"), address("2001:db8::2"), address("2001:db8:0:1::1"));
        let mut first = calls.held_for(one);
        first.grow(&calls.memory, HELD_PER_CLIENT_MAX - 1).unwrap();
        let mut second = calls.held_for(again);
        second.grow(&calls.memory, 1).unwrap();
        assert!(matches!(second.grow(&calls.memory, 1), Err(Unread::Memory)));
        calls.held_for(other).grow(&calls.memory, 1).unwrap();
        drop((first, second));
        calls.held_for(one).grow(&calls.memory, HELD_PER_CLIENT_MAX).unwrap();
        assert!(calls.shares.lock().unwrap().is_empty());
        assert_eq!(calls.memory.available_permits(), HELD_MAX);
    }
}
