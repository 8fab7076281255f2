//! The real network: hickory for names, TCP for bytes.

use std::{
    io,
    mem::MaybeUninit,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::runtime::TokioRuntimeProvider,
};
use tokio::net::TcpStream;

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
            let twin = socket.try_clone()?;
            Ok(Connected { stream: Box::new(stream), quiet: Box::new(move || is_quiet(&twin)) })
        })
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
fn is_quiet(socket: &socket2::Socket) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    socket.peek(&mut byte).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Two attempts of this length fit into the connect timeout.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3);
