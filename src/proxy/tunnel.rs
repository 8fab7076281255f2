//! Tunnels: `CONNECT`, and TLS for an allowed origin's name. Bytes go through untouched and unread.

use std::{sync::Arc, time::Duration};

use http::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::watch,
    time::Instant,
};

use super::{
    Error, Proxy,
    connection::{Connection, RequestBody},
    respond::{self, Answered},
    target,
};
use crate::{classify::Tunnel, key::Origin};

impl Proxy {
    /// Dials first, so that a client hears at once when there is nobody at the other end.
    pub(super) async fn open_tunnel(
        &self,
        connection: &Arc<Connection>,
        request: &mut Request<RequestBody>,
        tunnel: Tunnel,
    ) -> Result<Answered, Error> {
        debug_assert_eq!(request.method(), Method::CONNECT);
        let upstream = self.upstreams.tunnel(&target(tunnel.origin, tunnel.upstream)).await?;
        let upgrade = hyper::upgrade::on(request);
        let (connection, idle) = (connection.clone(), self.config.load().tunnel_idle);
        // Ends with either side, after `idle`, or when a drain cuts the connection.
        tokio::spawn(async move {
            match upgrade.await {
                Ok(client) => carry(&connection, TokioIo::new(client), upstream, idle).await,
                Err(error) => tracing::debug!(%error, "tunnel not begun"),
            }
        });
        Ok(respond::connected())
    }

    /// TLS that the listener found to be meant for `to`.
    pub(super) async fn pass_tls<T>(&self, connection: Arc<Connection>, to: Origin, client: T)
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        match self.upstreams.tunnel(&target(to, None)).await {
            Ok(upstream) => carry(&connection, client, upstream, self.config.load().tunnel_idle).await,
            Err(error) => tracing::debug!(%error, "tunnel not begun"),
        }
    }
}

/// Copies both ways until both are done, one fails, or nothing moves for `idle`.
async fn carry<C, U>(connection: &Connection, client: C, upstream: U, idle: Duration)
where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (client_read, client_write) = tokio::io::split(client);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    let moved = watch::Sender::new(Instant::now());
    let both = async { tokio::try_join!(copy(client_read, upstream_write, &moved), copy(upstream_read, client_write, &moved)) };
    tokio::select! {
        result = both => if let Err(error) = result { tracing::debug!(%error, "tunnel broke") },
        () = silence(&moved, idle) => tracing::debug!("tunnel idle"),
        () = connection.cut() => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    moved: &watch::Sender<Instant>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER_LEN];
    loop {
        let len = from.read(&mut buffer).await?;
        moved.send_replace(Instant::now());
        if len == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..len]).await?;
    }
}

/// Resolves when nothing has moved for `idle`.
async fn silence(moved: &watch::Sender<Instant>, idle: Duration) {
    loop {
        let until = *moved.borrow() + idle;
        if Instant::now() >= until {
            return;
        }
        tokio::time::sleep_until(until).await;
    }
}

const BUFFER_LEN: usize = 32 << 10;
