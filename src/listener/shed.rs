//! The answer to connections that find no place.
//!
//! Delivery Optimization bans a cache that refuses connections for 15 minutes, but not one that answers 503. So they are accepted and answered, a
//! few at a time and for a short time each; beyond that they are closed.

use std::{io, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

use crate::{listener::stream::Duplex, metrics};

/// Answers 503 and closes. Clones share its limits.
#[derive(Clone)]
pub(super) struct Shed {
    answer: BoxCloneSyncService<Box<dyn Duplex>, (), BoxError>,
    metrics: metrics::Listener,
}

impl Shed {
    pub(super) fn new(metrics: metrics::Listener) -> Self {
        let answer = ServiceBuilder::new()
            .load_shed()
            .concurrency_limit(ANSWERS_MAX)
            .timeout(ANSWER_TIME)
            .service_fn(|client| async { answer(client).await.map_err(BoxError::from) });
        Self { answer: BoxCloneSyncService::new(answer), metrics }
    }

    /// Gets rid of `client` kindly if there is room for that, else at once. Returns within some seconds.
    pub(super) async fn shed(&self, client: impl Duplex) {
        self.metrics.shed.inc();
        let mut answer = self.answer.clone();
        let outcome = match answer.ready().await {
            Ok(ready) => ready.call(Box::new(client)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            tracing::debug!(error, "no 503 for a connection beyond the limit");
        }
    }
}

/// Connections that are answered at a time. Each takes an open file beyond the connection limit.
pub(super) const ANSWERS_MAX: usize = 64;
/// For all of it: waiting for the request, sending the answer, letting the client read it.
const ANSWER_TIME: Duration = Duration::from_secs(3);

async fn answer(mut client: Box<dyn Duplex>) -> io::Result<()> {
    let mut request = [0; 2048];
    // An answer before the question confuses some clients; whatever comes first is question enough.
    if client.read(&mut request).await? == 0 {
        return Ok(());
    }
    client.write_all(RESPONSE).await?;
    client.shutdown().await?;
    // Closing with bytes unread resets the connection, and the client may lose the answer.
    while client.read(&mut request).await? > 0 {}
    Ok(())
}

const RESPONSE: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\n\
    Retry-After: 5\r\n\
    Cache-Status: weir; detail=connection-limit\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 21\r\n\
    Connection: close\r\n\
    \r\n\
    too many connections\n";
