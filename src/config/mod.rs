//! The configuration file and the command line's quick-start flags, turned into every module's own `Config`.
//!
//! Reads, checks and assembles; decides nothing, starts nothing, changes nothing. All problems are found in one pass, each with its place and
//! its remedy. Every key is documented beside its default in `config/weir.toml`.

mod caching;
mod check;
mod flags;
mod listen;
pub mod log;
mod origins;
mod problem;
mod read;
mod remarks;
mod sections;
mod setting;
mod units;
mod upstreams;

#[cfg(test)]
mod tests;

use std::{fmt, fs, net::SocketAddr, path::PathBuf, time::Duration};

use self::{
    check::Checks,
    listen::{Listen, Pair},
    problem::{At, Complaints, Place},
    read::Section,
    upstreams::Upstream,
};
pub use self::{
    log::Log,
    problem::{Problem, Problems},
};
use crate::{admin, cache, census, classify, listener, proxy, store, upstream};

/// Where a configuration comes from. Kept by `serve`, so that a reload reads the same sources again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources {
    /// The TOML file; without one the defaults hold.
    pub file: Option<PathBuf>,
    pub flags: Flags,
}

/// Command-line flags that stand above the file, as given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--reverse URL`: every request that no other door claims goes there.
    pub reverse: Option<String>,
    /// `--wsus URL`
    pub wsus: Option<String>,
    /// `--listen ADDR`: instead of the file's `[[listen]]` entries, with all doors that lead somewhere.
    pub listen: Vec<String>,
    pub admin: Option<String>,
    pub data: Option<PathBuf>,
    pub size: Option<String>,
    pub resolver: Vec<String>,
    /// `--allow HOST[=ADDR:PORT]`
    pub allow: Vec<String>,
}

/// Everything weir is built from. Each part is the owning module's type.
#[derive(Clone, Debug)]
pub struct Config {
    pub store: store::Config,
    /// The doors' rules; the node id comes from the data directory, weir's own ports from the sockets as bound, more names of its own from the
    /// certificates.
    pub policy: classify::Config,
    /// `own` and `redirects.allow` are filled in when weir starts.
    pub upstream: upstream::Config,
    pub cache: cache::Config,
    pub census: census::Config,
    pub proxy: proxy::Config,
    pub listener: listener::Config,
    pub admin: admin::Config,
    pub log: Log,
    /// How long running requests may go on after SIGTERM.
    pub drain: Duration,
}

impl Config {
    /// Reads the sources and assembles every module's `Config`, or says everything that is wrong with them, certificates, keys, directories and
    /// other things on this machine included: what would keep weir from serving. Blocks on the disk.
    ///
    /// # Errors
    /// All problems, each with its place.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, Checks::WithMachine)
    }

    /// The same for who only asks where things are: what the text names may be out of reach, as a key is for everybody but weir's own user.
    ///
    /// # Errors
    /// All problems of the text, each with its place.
    pub fn look(sources: &Sources) -> Result<Self, Problems> {
        Self::read(sources, Checks::TextOnly)
    }

    fn read(sources: &Sources, checks: Checks) -> Result<Self, Problems> {
        let Some(file) = &sources.file else { return Self::build("", "", sources, checks) };
        let name = file.display().to_string();
        let text = fs::read_to_string(file).map_err(|error| {
            let remedy = "give the path of a readable file to --config".to_owned();
            Problems(vec![Problem { source: name.clone(), place: None, key: String::new(), what: error.to_string(), remedy }])
        })?;
        Self::build(&name, &text, sources, checks)
    }

    /// The same from a text, without a look at the machine.
    pub fn from_text(text: &str, flags: &Flags) -> Result<Self, Problems> {
        Self::build("configuration", text, &Sources { file: None, flags: flags.clone() }, Checks::TextOnly)
    }

    fn build(name: &str, text: &str, sources: &Sources, checks: Checks) -> Result<Self, Problems> {
        let complaints = Complaints::new(name, text);
        let mut draft = Draft::new();
        match toml_edit::Document::parse(text) {
            Ok(document) => {
                let base = sources.file.as_deref().and_then(std::path::Path::parent);
                draft.read(Section::root(&complaints, base, document.as_table()));
            }
            Err(error) => {
                let place = Place::File(error.span().unwrap_or_default(), String::new());
                complaints.add(
                    &place,
                    error.message().replace('\n', ", "),
                    "the file is not TOML from here on (https://toml.io)",
                );
            }
        }
        flags::apply(&mut draft, &sources.flags, &complaints);
        let config = draft.assemble(&complaints, checks);
        complaints.finish().map(|()| config)
    }

    /// The settings that differ from `self` in `new` and take effect only at the next start; all others change on reload.
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        let changed = [
            ("listen", said(&self.listener.sockets) != said(&new.listener.sockets)),
            ("limits (of clients)", said(&self.listener.limits) != said(&new.listener.limits)),
            ("limits.http2_streams", said(&self.listener.http2) != said(&new.listener.http2)),
            ("limits.fills, fill.parallel, fill.wait", fill_bounds(&self.cache) != fill_bounds(&new.cache)),
            ("runtime", self.listener.runtime != new.listener.runtime),
            ("send", said(&self.listener.transmit) != said(&new.listener.transmit)),
            ("timeouts (of clients)", said(&self.listener.timeouts) != said(&new.listener.timeouts)),
            ("timeouts.drain", self.drain != new.drain),
            ("store", said(&self.store) != said(&new.store)),
            ("admin.listen", self.admin.listen != new.admin.listen),
            ("admin.socket", self.admin.socket != new.admin.socket),
            ("log", self.log != new.log),
        ];
        changed.into_iter().filter(|(_, changed)| *changed).map(|(name, _)| name).collect()
    }
}

/// Bytes, written as `200 GiB` or `1.5 GB`: as in a configuration, for the command line.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    text.parse().map(|units::Size(bytes)| bytes)
}

/// Bytes per second, written as `20 MB/s` or `100 Mbit/s`: as in a configuration, for the command line.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_rate(text: &str) -> Result<u64, String> {
    text.parse().map(|units::Rate(bytes_per_second)| bytes_per_second)
}

/// Equal texts mean equal values, for types that have nothing else to compare by.
fn said(value: &impl fmt::Debug) -> String {
    format!("{value:?}")
}

fn fill_bounds(cache: &cache::Config) -> (usize, usize, usize, Duration) {
    (cache.fills_max, cache.fills_per_client_max, cache.parallel_max, cache.fill_wait)
}

/// A configuration in the making: the parts that checks look at across sections are still apart, with their places.
struct Draft {
    config: Config,
    /// Names of weir itself.
    names: Vec<classify::HostPattern>,
    /// Empty: the default.
    listens: Vec<Listen>,
    certificates: Vec<Pair>,
    upstreams: Vec<Upstream>,
    /// Where the data directory was named.
    directory: Place,
    admin_listen: Vec<At<SocketAddr>>,
    /// Not given: it lies in the data directory. A value of `None`: none is wanted.
    admin_socket: Option<At<Option<PathBuf>>>,
    token_file: Option<At<PathBuf>>,
    object_max: Option<At<u64>>,
    reserve: Option<At<u64>>,
    /// Name servers, where they are not the system's.
    resolver: Option<At<Vec<SocketAddr>>>,
    /// Files of certificate authorities.
    authorities: Vec<At<PathBuf>>,
}

impl Draft {
    fn new() -> Self {
        let config = built_in();
        let admin = config.admin.listen.iter().map(|address| At { value: *address, place: Place::BuiltIn("admin.listen") });
        Self {
            admin_listen: admin.collect(),
            config,
            names: Vec::new(),
            listens: Vec::new(),
            certificates: Vec::new(),
            upstreams: Vec::new(),
            directory: Place::BuiltIn("store.directory"),
            admin_socket: None,
            token_file: None,
            object_max: None,
            reserve: None,
            resolver: None,
            authorities: Vec::new(),
        }
    }

    fn read(&mut self, root: Section<'_>) {
        if let Some(names) = root.value("names") {
            self.names = names;
        }
        caching::read_all(root.section("caching"), &mut self.config.policy.policies);
        for section in root.sections("listen") {
            self.listens.extend(Listen::read(section));
        }
        for section in root.sections("certificate") {
            self.certificates.extend(Pair::read(section));
        }
        for section in root.sections("upstream") {
            self.upstreams.extend(Upstream::read(section, &self.config.policy.policies, &mut self.authorities));
        }
        origins::read(root.section("origins"), self);
        sections::store(root.section("store"), self);
        sections::fill(root.section("fill"), &mut self.config.cache);
        sections::limits(root.section("limits"), &mut self.config);
        sections::timeouts(root.section("timeouts"), &mut self.config);
        sections::census(root.section("census"), &mut self.config.census);
        sections::prestage(root.section("prestage"), &mut self.config.proxy.prestage);
        sections::send(root.section("send"), &mut self.config);
        sections::runtime(root.section("runtime"), &mut self.config.listener.runtime);
        sections::health(root.section("health"), &mut self.config.upstream.health);
        sections::resolver(root.section("resolver"), self);
        sections::admin(root.section("admin"), self);
        log::read(root.section("log"), &mut self.config.log);
        root.finish();
    }

    /// Puts the parts together and checks them against one another.
    fn assemble(mut self, complaints: &Complaints<'_>, checks: Checks) -> Config {
        if self.listens.is_empty() {
            self.listens
                .push(Listen::standard(SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 8080)), Place::BuiltIn("listen")));
        }
        let site_doors: Vec<_> = self.upstreams.iter().filter_map(Upstream::door).collect();
        self.listens.iter_mut().for_each(|listen| listen.open_doors(&site_doors));
        check::run(&self, complaints, checks);
        let Self { mut config, names, listens, certificates, upstreams, admin_listen, admin_socket, object_max, .. } = self;
        config.listener.sockets = listens.into_iter().map(Listen::socket).collect();
        config.listener.certificates = certificates.iter().map(Pair::certificate).collect();
        if let Some(At { value, .. }) = self.resolver {
            config.upstream.resolver = upstream::Resolver::Servers(value);
        }
        upstreams::assemble(upstreams, &mut config, complaints);
        config.admin.listen = admin_listen.into_iter().map(|at| at.value).collect();
        config.admin.socket = match admin_socket {
            Some(wanted) => wanted.value,
            None => sections::default_socket(&config.store.directory),
        };
        // What is larger than the whole store cannot be kept in it.
        config.store.object_max = object_max.map_or(config.store.object_max, |at| at.value).min(config.store.size);
        config.cache.object_max = config.store.object_max;
        config.policy.own_names = names;
        config
    }
}

/// The configuration without a file and without flags, but for what is derived from it.
fn built_in() -> Config {
    Config {
        store: sections::built_in_store(),
        policy: origins::built_in(),
        upstream: upstream::Config::default(),
        cache: cache::Config::default(),
        census: census::Config::default(),
        proxy: proxy::Config::default(),
        listener: listener::Config { runtime: sections::BUILT_IN_RUNTIME, ..listener::Config::default() },
        admin: admin::Config::default(),
        log: Log::default(),
        drain: Duration::from_secs(30),
    }
}
