//! A weir of its own: the built binary with a directory, a configuration and ports of its own.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Client, Content, Download, Origin, Reply, Scratch, eventually};

/// What a weir is started with.
pub(crate) struct ProxyBuilder {
    config: String,
    args: Vec<String>,
    scratch: Arc<Scratch>,
    data: PathBuf,
    /// Chain and key of a TLS port beside the plain one.
    tls: Option<(PathBuf, PathBuf)>,
    /// A listening socket that it is handed, as a service manager does.
    socket: Option<Arc<TcpListener>>,
}

/// A running weir; it is killed when this is dropped.
pub(crate) struct Proxy {
    child: Child,
    started: ProxyBuilder,
    said: Arc<Mutex<Vec<String>>>,
    doors: SocketAddr,
    admin: SocketAddr,
    tls: Option<SocketAddr>,
}

/// The built binary, for scenarios about the command line itself.
pub(crate) fn weir_command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.stdin(Stdio::null());
    command
}

/// The same with a socket at descriptor 3, where sd_listen_fds(3) has it. A shell moves it there and knows its own process id.
fn weir_command_with(socket: &TcpListener) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"", "sh", env!("CARGO_BIN_EXE_weir")]);
    command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
    command
}

pub(crate) fn proxy() -> ProxyBuilder {
    let scratch = Arc::new(Scratch::new());
    let data = scratch.join("data");
    ProxyBuilder { config: String::new(), args: Vec::new(), scratch, data, tls: None, socket: None }
}

impl ProxyBuilder {
    /// `host`, or what `*.host` stands for, lives at `origin`.
    pub(crate) fn upstream(self, host: &str, origin: &Origin) -> Self {
        let (address, name) = (origin.address(), host.trim_start_matches("*."));
        self.config(&format!(
            "[[upstream]]\nname = \"{name}\"\nurl = \"http://{name}\"\nhosts = [\"{host}\"]\naddress = \"{address}\"\n"
        ))
    }

    /// Another weir resolves the misses for everything.
    pub(crate) fn parent(self, parent: SocketAddr) -> Self {
        self.config(&format!("[[upstream]]\nname = \"parent-{}\"\nkind = \"parent\"\nurl = \"http://{parent}\"\n", parent.port()))
    }

    /// What no other door claims goes to `origin`.
    pub(crate) fn reverse(self, origin: &Origin) -> Self {
        let url = format!("http://{}", origin.address());
        self.arg("--reverse").arg(&url)
    }

    pub(crate) fn wsus(self, origin: &Origin) -> Self {
        let url = format!("http://{}", origin.address());
        self.arg("--wsus").arg(&url)
    }

    /// More lines of configuration.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    pub(crate) fn arg(mut self, arg: &str) -> Self {
        self.args.push(arg.to_owned());
        self
    }

    /// Keeps its data elsewhere than in its own directory.
    pub(crate) fn data(mut self, data: PathBuf) -> Self {
        self.data = data;
        self
    }

    /// A second port, with TLS under this certificate.
    pub(crate) fn tls(mut self, chain: &Path, key: &Path) -> Self {
        self.tls = Some((chain.to_owned(), key.to_owned()));
        self
    }

    /// Listens on a socket that is open already.
    pub(crate) fn socket(mut self, socket: &Arc<TcpListener>) -> Self {
        self.socket = Some(socket.clone());
        self.arg("--listen").arg(&socket.local_addr().unwrap().to_string())
    }

    pub(crate) fn data_path(&self) -> &Path {
        &self.data
    }

    fn config_path(&self) -> PathBuf {
        self.scratch.join("weir.toml")
    }

    fn access_log(&self) -> PathBuf {
        self.scratch.join("access.log")
    }

    fn command(&self) -> Command {
        fs::write(self.config_path(), self.file()).unwrap();
        let mut command = self.socket.as_deref().map_or_else(weir_command, weir_command_with);
        command.arg("serve").arg("--config").arg(self.config_path()).arg("--data").arg(&self.data);
        command.args(["--admin", "127.0.0.1:0"]).args(&self.args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// The configuration as a file. What scenarios add comes last: it holds tables.
    fn file(&self) -> String {
        let mut file =
            format!("[log]\naccess = \"{}\"\n\n[[listen]]\naddress = \"127.0.0.1:0\"\n\n", self.access_log().display());
        if let Some((chain, key)) = &self.tls {
            file += "[[listen]]\naddress = \"127.0.0.1:0\"\ntls = true\n\n";
            file += &format!("[[certificate]]\nchain = \"{}\"\nkey = \"{}\"\n\n", chain.display(), key.display());
        }
        file + &self.config
    }

    /// Starts it, and waits until it says where it listens.
    pub(crate) async fn start(self) -> Proxy {
        let mut child = self.command().spawn().unwrap();
        let said = Arc::<Mutex<Vec<String>>>::default();
        listen_to(child.stdout.take().unwrap(), &said);
        listen_to(child.stderr.take().unwrap(), &said);
        let tls = self.tls.is_some();
        let (doors, admin, tls) = eventually("weir says where it listens", || {
            if let Ok(Some(status)) = child.try_wait() {
                panic!("weir ended ({status}): {:#?}", said.lock().unwrap());
            }
            let found = address_of(&said, |what| what.contains("admin")).and_then(|admin| {
                let plain = address_of(&said, |what| what.contains("transparent") && !what.contains("tls"))?;
                let secure = address_of(&said, |what| what.contains("transparent") && what.contains("tls"));
                (secure.is_some() == tls).then_some((plain, admin, secure))
            });
            async move { found }
        })
        .await;
        Proxy { child, started: self, said, doors, admin, tls }
    }

    /// Runs it to its end, for a start that is refused: exit status and all it said.
    pub(crate) fn start_in_vain(self) -> (ExitStatus, String) {
        let output = self.command().output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status, said)
    }
}

impl Proxy {
    /// Where the delivery, transparent, forward and reverse doors are.
    pub(crate) fn doors(&self) -> SocketAddr {
        self.doors
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the TLS port is, if it was started with one.
    pub(crate) fn tls(&self) -> SocketAddr {
        self.tls.expect("started with a certificate")
    }

    /// Where a further `[[listen]]` is that has exactly these doors.
    pub(crate) async fn port(&self, doors: &str) -> SocketAddr {
        eventually("weir says where the port is", || async {
            address_of(&self.said, |what| what.contains(&format!("({doors})")))
        })
        .await
    }

    pub(crate) async fn client(&self) -> Client {
        Client::connect(self.doors).await
    }

    /// Asks by Host (the transparent or the reverse door) on a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Reply {
        self.get_with(host, path, &[]).await
    }

    pub(crate) async fn get_with(&self, host: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        self.client().await.get(path, &with_host(host, fields)).await
    }

    pub(crate) async fn head(&self, host: &str, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut client = self.client().await;
        client.ask("HEAD", path, &with_host(host, fields)).await;
        client.reply("HEAD").await
    }

    /// Asks, and compares the body as it comes.
    pub(crate) async fn download(&self, host: &str, path: &str, fields: &[(&str, &str)], content: &Content) -> Download {
        self.client().await.download(path, &with_host(host, fields), content).await
    }

    /// All samples of a metric that carry these labels, added up.
    pub(crate) async fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let text = self.admin_get("/metrics").await.text();
        text.lines().filter_map(|line| sample(line, name, labels)).fold(0.0, |sum, value| sum + value)
    }

    /// Waits until no fill runs: what was downloaded is stored then.
    pub(crate) async fn settled(&self) {
        eventually("all fills end", || async { (self.metric("weir_fills_running", &[]).await == 0.0).then_some(()) }).await;
    }

    pub(crate) async fn admin_get(&self, path: &str) -> Reply {
        let host = self.admin.to_string();
        Client::connect(self.admin).await.get(path, &[("Host", &host)]).await
    }

    /// The access log so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.started.access_log()).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Moves the access log away, as logrotate does.
    pub(crate) fn rotate_log(&self) {
        let path = self.started.access_log();
        fs::rename(&path, path.with_extension("1")).unwrap();
    }

    /// Everything said on stdout and stderr so far.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// Runs a verb of the same binary against this weir (`purge`, `status`, …).
    pub(crate) fn command(&self, args: &[&str]) -> (ExitStatus, String) {
        let output = weir_command().args(args).args(["--admin", &self.admin.to_string()]).output().unwrap();
        (output.status, String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr))
    }

    /// Replaces what the scenario added to the configuration, and asks for a reload.
    pub(crate) fn reload(&mut self, config: &str) {
        self.started.config = config.to_owned();
        fs::write(self.started.config_path(), self.started.file()).unwrap();
        self.signal(Signal::HUP);
    }

    pub(crate) fn config(&self) -> &str {
        &self.started.config
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The most memory that it has had at once, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.started.data.clone()
    }

    /// SIGKILL; what it was started with remains, to start it again.
    pub(crate) fn kill(mut self) -> ProxyBuilder {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.take_builder()
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn stop(mut self) -> (ExitStatus, ProxyBuilder) {
        self.signal(Signal::TERM);
        let status = self.ended().await;
        (status, self.take_builder())
    }

    /// Waits for the process to end by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        eventually("weir ends", || {
            let status = child.try_wait().unwrap();
            async move { status }
        })
        .await
    }

    fn take_builder(&mut self) -> ProxyBuilder {
        let scratch = self.started.scratch.clone();
        let data = self.started.data.clone();
        ProxyBuilder {
            config: std::mem::take(&mut self.started.config),
            args: std::mem::take(&mut self.started.args),
            scratch,
            data,
            tls: self.started.tls.take(),
            socket: self.started.socket.take(),
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- weir at {} said:\n{}\n---", self.doors, self.said());
        }
    }
}

fn with_host<'a>(host: &'a str, fields: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    std::iter::once(("Host", host)).chain(fields.iter().copied()).collect()
}

/// Collects lines until the pipe ends; the thread ends with it.
fn listen_to(pipe: impl Read + Send + 'static, said: &Arc<Mutex<Vec<String>>>) {
    let said = said.clone();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            said.lock().unwrap().push(line);
        }
    });
}

/// The address in the line `listening on 127.0.0.1:41234 (what it is)` whose parenthesis is the wanted one.
fn address_of(said: &Mutex<Vec<String>>, wanted: impl Fn(&str) -> bool) -> Option<SocketAddr> {
    let said = said.lock().unwrap();
    let mut rests = said.iter().filter_map(|line| line.split_once("listening on ")).map(|(_, rest)| rest);
    rests.find(|rest| wanted(&rest.to_lowercase()))?.split([' ', ',']).next()?.parse().ok()
}

/// The value of one line of the Prometheus text format, if it is of this metric and carries these labels.
fn sample(line: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let rest = line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' ']))?;
    let carries = |(label, value): &(&str, &str)| rest.contains(&format!("{label}=\"{value}\""));
    labels.iter().all(carries).then(|| rest.rsplit(' ').next()?.parse().ok())?
}
