//! The real network: hickory for names, TCP for bytes.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::{IpAddr, Shutdown, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::upstream::{
    ConfigError, Resolver,
    dial::{Boxed, Connected, Dial},
};

/// Names by hickory, whose cache keeps answers for their TTL; connections by TCP.
pub struct Network {
    resolver: TokioResolver,
}

impl Network {
    pub fn new(resolver: &Resolver) -> Result<Self, ConfigError> {
        let bad = |error: hickory_resolver::net::NetError| ConfigError::Resolver(error.to_string());
        let mut builder = match resolver {
            Resolver::System => TokioResolver::builder_tokio().unwrap_or_else(|error| {
                // In a bare container there is none: pinned upstreams and `/etc/hosts` work all the same.
                tracing::warn!(%error, "no name servers: the system's resolver configuration cannot be read");
                TokioResolver::builder_with_config(ResolverConfig::from_parts(None, Vec::new(), Vec::new()), provider())
            }),
            Resolver::Servers(servers) => {
                let servers = servers.iter().map(|at| name_server(*at)).collect();
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                TokioResolver::builder_with_config(config, provider())
            }
        };
        let options = builder.options_mut();
        options.use_hosts_file = match resolver {
            Resolver::System => ResolveHosts::Always,
            // Under DNS override `/etc/hosts` may well name weir itself.
            Resolver::Servers(_) => ResolveHosts::Never,
        };
        options.timeout = QUERY_TIMEOUT;
        options.attempts = 2;
        options.try_tcp_on_error = true;
        // CDNs answer with TTLs of seconds; asking for each connection anew would cost a WAN round trip.
        options.positive_min_ttl = Some(Duration::from_secs(5));
        options.positive_max_ttl = Some(Duration::from_secs(3600));
        options.negative_max_ttl = Some(Duration::from_secs(5));
        let resolver = builder.build().map_err(bad)?;
        Ok(Self { resolver })
    }
}

impl Dial for Network {
    fn resolve<'a>(&'a self, host: &'a str) -> Boxed<'a, io::Result<Vec<IpAddr>>> {
        Box::pin(async move {
            // A name with a dot is complete: the search list of the system must not lead it elsewhere.
            let found = match host.contains('.') {
                true => self.resolver.lookup_ip(format!("{host}.")).await,
                false => self.resolver.lookup_ip(host).await,
            };
            found.map(|addresses| addresses.iter().collect()).map_err(io::Error::other)
        })
    }

    fn connect(&self, address: SocketAddr) -> Boxed<'_, io::Result<Connected>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let socket = socket2::SockRef::from(&stream);
            // Tunnels and idle connections outlive a peer that vanished silently; two minutes are enough to notice.
            socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(Duration::from_secs(60)))?;
            let socket = Arc::new(stream);
            // Weak: the connection is closed by whoever reads it, not by whoever looks at it.
            let looked_at = Arc::downgrade(&socket);
            let quiet = move || looked_at.upgrade().is_some_and(|socket| is_quiet(&socket));
            Ok(Connected { stream: Box::new(Socket(socket)), quiet: Box::new(quiet) })
        })
    }
}

/// A TCP connection that can be looked at from outside without a second descriptor.
struct Socket(Arc<TcpStream>);

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_buf(buf) {
                // Somebody else saw it become ready; what is known is outdated now.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl Socket {
    fn poll_written(&self, cx: &mut Context<'_>, write: impl Fn(&TcpStream) -> io::Result<usize>) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match write(&self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |socket| socket.try_write(buf))
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.poll_written(cx, |socket| socket.try_write_vectored(bufs))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.0).shutdown(Shutdown::Write))
    }
}

fn provider() -> TokioRuntimeProvider {
    TokioRuntimeProvider::default()
}

fn name_server(at: SocketAddr) -> NameServerConfig {
    let on_port = |mut connection: ConnectionConfig| {
        connection.port = at.port();
        connection
    };
    let connections = vec![on_port(ConnectionConfig::udp()), on_port(ConnectionConfig::tcp())];
    NameServerConfig::new(at.ip(), true, connections)
}

/// Whether nothing is there to read, neither bytes nor an end. Asks the kernel: what the runtime knows may be older.
fn is_quiet(socket: &TcpStream) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    socket2::SockRef::from(socket).peek(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Two attempts of this length fit into the connect timeout.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
