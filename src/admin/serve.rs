//! Sockets, thread, runtime and connections of the interface.

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, SystemTime},
};

use axum::{Router, body::Body};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    runtime,
    sync::{Semaphore, watch},
    task::JoinSet,
    time,
};
use tower::ServiceExt;

use crate::admin::{
    Config, Error, Weir,
    access::{Peer, Rules},
    api::{self, Context},
    socket::{self, SocketFile},
};

/// Bound sockets that nobody accepts from yet.
#[derive(Debug)]
pub struct Bound {
    rules: Rules,
    addresses: Vec<SocketAddr>,
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
}

/// The running interface. Dropped, it ends.
#[derive(Debug)]
pub struct Admin {
    context: Arc<Context>,
    stop: watch::Sender<bool>,
    /// Disconnected when the thread has ended. Locked only to be shared between threads: nobody waits but `drop`.
    ended: Mutex<mpsc::Receiver<Infallible>>,
}

/// Connections served at once on each socket; further ones are closed. Each socket has its own, so that a crowd on one locks nobody out of another.
const CONNECTIONS_MAX: usize = 64;

/// For a request head, the idle time before it included.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// For a whole connection: nothing here takes that long, so a client that reads so slowly is cut.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

const HEAD_LEN_MAX: usize = 16 * 1024;

/// After a failed `accept` (no file descriptors left), which would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How often bytes are added to the hours.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

/// How long the end of the thread is waited for.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// Binds every address and the socket, so that all errors come before anything runs.
///
/// # Errors
/// An address or the socket cannot be bound, or the token file not be used.
pub fn bind(config: &Config) -> Result<Bound, Error> {
    let rules = Rules::new(config)?;
    let (mut tcp, mut addresses) = (Vec::new(), Vec::new());
    for &address in &config.listen {
        let error = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(error)?;
        listener.set_nonblocking(true).map_err(error)?;
        addresses.push(listener.local_addr().map_err(error)?);
        tcp.push(listener);
    }
    let unix = config.socket.as_deref().map(socket::bind).transpose()?;
    Ok(Bound { rules, addresses, tcp, unix })
}

impl Bound {
    /// The TCP addresses bound; ports are the real ones.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Starts the thread that accepts and answers.
    ///
    /// # Errors
    /// The thread or its runtime cannot be started.
    pub fn serve(self, weir: Arc<dyn Weir>) -> Result<Admin, Error> {
        let context = Arc::new(Context::new(weir, self.rules));
        let (stop, stopped) = watch::channel(false);
        let (running, ended) = mpsc::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let (tcp, unix, of_thread) = (self.tcp, self.unix, Arc::clone(&context));
        let run = move || {
            runtime.block_on(run(tcp, unix, of_thread, stopped));
            // Connections and sockets are closed when the runtime goes; only then has the interface ended.
            drop(runtime);
            drop::<mpsc::Sender<Infallible>>(running);
        };
        thread::Builder::new().name("admin".into()).spawn(run).map_err(Error::Thread)?;
        Ok(Admin { context, stop, ended: Mutex::new(ended) })
    }
}

impl Admin {
    /// Takes over names, scrape networks and token; addresses and the socket stay until the next start.
    ///
    /// # Errors
    /// The token file cannot be used; the old settings stay.
    pub fn reload(&self, config: &Config) -> Result<(), Error> {
        self.context.rules.store(Arc::new(Rules::new(config)?));
        Ok(())
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        _ = ended.recv_timeout(STOP_PATIENCE);
    }
}

async fn run(
    tcp: Vec<TcpListener>,
    unix: Option<(UnixListener, SocketFile)>,
    context: Arc<Context>,
    mut stopped: watch::Receiver<bool>,
) {
    let router = api::router(Arc::clone(&context));
    let mut tasks = JoinSet::new();
    tasks.spawn(sample(context));
    for listener in tcp {
        tasks.spawn(accept_tcp(listener, router.clone()));
    }
    let _file = unix.map(|(listener, file)| {
        tasks.spawn(accept_unix(listener, router));
        file
    });
    // A closed channel means that the handle is gone without saying so: the same.
    _ = stopped.wait_for(|stop| *stop).await;
    // `tasks` is dropped: loops and connections end where they are. What was asked of weir goes on there.
}

async fn sample(context: Arc<Context>) {
    let mut ticks = time::interval(SAMPLE_INTERVAL);
    loop {
        ticks.tick().await;
        context.sample(SystemTime::now());
    }
}

async fn accept_tcp(listener: TcpListener, router: Router) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "administration address cannot be used"),
    };
    let mut connections = Connections::new(router);
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                let Ok(local) = stream.local_addr() else { continue };
                connections.serve(stream, Peer::Tcp { client, local });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn accept_unix(listener: UnixListener, router: Router) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::UnixListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "administration socket cannot be used"),
    };
    let mut connections = Connections::new(router);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                connections.serve(stream, Peer::Unix { uid });
            }
            Err(error) => pause(&error).await,
        }
    }
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "accept on the administration interface");
    time::sleep(ACCEPT_PAUSE).await;
}

/// The connections of one socket; dropped, they end.
struct Connections {
    router: Router,
    places: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Connections {
    fn new(router: Router) -> Self {
        Self { router, places: Arc::new(Semaphore::new(CONNECTIONS_MAX)), tasks: JoinSet::new() }
    }

    fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(&mut self, stream: S, peer: Peer) {
        while self.tasks.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let router = self.router.clone();
        self.tasks.spawn(async move {
            let _place = place;
            _ = time::timeout(CONNECTION_TIMEOUT, connection(stream, peer, router)).await;
        });
    }
}

/// Errors are the client's (it went away, or speaks no HTTP) and nobody else's business.
async fn connection<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S, peer: Peer, router: Router) {
    let service = service_fn(move |request: Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer.clone());
        router.clone().oneshot(request)
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_LEN_MAX);
    if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(%error, "administration connection");
    }
}
