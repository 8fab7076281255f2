//! The sections whose keys go straight into one module's `Config`.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    cache, census,
    config::{
        Config, Draft,
        problem::At,
        read::Section,
        setting::{HostName, Server},
        units::{Rate, Size},
    },
    listener::{self, Flavour, Runtime},
    proxy::Prestage,
    store, upstream,
};

/// The store without a file.
pub(super) fn built_in_store() -> store::Config {
    store::Config {
        directory: PathBuf::from("weir-data"),
        // A feature update and two to three months of other updates, which is what Microsoft says of 100 GB for Connected Cache.
        size: 100 << 30,
        // The file system's own needs, the index while it is compacted, and logs that share the disk.
        reserve: 5 << 30,
        // Small hot content; large content is in the page cache, which is not counted here.
        memory: 64 << 20,
        // An image of a game or a disk; beyond it one file would push out everything else.
        object_max: 64 << 30,
        // What a kill may cost in refetching, against one more fdatasync: with the commit itself less than a second.
        commit_interval: Duration::from_millis(250),
        // A disk or RAID that wants more at once is rare; idle threads cost little.
        disk_threads: 8,
        pack_max: 64 << 10,
    }
}

pub(super) fn store(section: Section<'_>, draft: &mut Draft) {
    let store = &mut draft.config.store;
    if let Some(directory) = section.file("directory") {
        store.directory = directory.value;
        draft.directory = directory.place;
    }
    set_size(&section, "size", &mut store.size);
    draft.reserve = placed_size(&section, "reserve");
    store.reserve = draft.reserve.as_ref().map_or(store.reserve, |at| at.value);
    set_size(&section, "memory", &mut store.memory);
    section.set("commit_interval", &mut store.commit_interval);
    section.set("disk_threads", &mut store.disk_threads);
    draft.object_max = placed_size(&section, "object_max");
    section.finish();
}

pub(super) fn fill(section: Section<'_>, cache: &mut cache::Config) {
    section.set("wait", &mut cache.fill_wait);
    section.set("parallel", &mut cache.parallel_max);
    set_size(&section, "segment", &mut cache.segment_len);
    set_size(&section, "finish", &mut cache.finish_len);
    section.set("finish_percent", &mut cache.finish_percent);
    section.set("reader_timeout", &mut cache.reader_timeout);
    section.set("verify", &mut cache.verify);
    set_size(&section, "verify_max", &mut cache.verify_len_max);
    section.finish();
}

pub(super) fn limits(section: Section<'_>, config: &mut Config) {
    let (limits, http2) = (&mut config.listener.limits, &mut config.listener.http2);
    section.set("connections", &mut limits.connections);
    section.set("connections_per_client", &mut limits.connections_per_client);
    section.set("files_reserved", &mut limits.files_reserved);
    set_len(&section, "head", &mut limits.head_max);
    section.set("fields", &mut limits.fields_max);
    set_len(&section, "target", &mut config.policy.target_max);
    limits.connection_rate = rate(&section, "rate_per_connection").or(limits.connection_rate);
    limits.groups.extend(section.sections("group").into_iter().filter_map(group));
    section.set("http2_streams", &mut http2.streams_max);
    section.set("fills", &mut config.cache.fills_max);
    section.set("fills_per_client", &mut config.cache.fills_per_client_max);
    section.set("ranges", &mut config.proxy.ranges_max);
    section.set("calls_per_client", &mut config.proxy.calls_per_client);
    section.set("upstream_connections", &mut config.upstream.connections.content);
    section.set("upstream_pass_connections", &mut config.upstream.connections.pass);
    section.set("redirects", &mut config.upstream.redirects.max);
    section.finish();
}

/// Clients that share a rate.
fn group(section: Section<'_>) -> Option<listener::Group> {
    let networks = section.need("networks");
    let is_there = section.need::<Rate>("rate").is_some();
    let bytes_per_second = rate(&section, "rate").filter(|_| is_there);
    section.finish();
    Some(listener::Group { networks: networks?.value, bytes_per_second: bytes_per_second? })
}

fn rate(section: &Section<'_>, key: &'static str) -> Option<u64> {
    let At { value: Rate(rate), place } = section.get(key)?;
    if rate == 0 {
        section.complain(&place, "nothing could be sent", "leave it out for no limit");
    }
    Some(rate)
}

pub(super) fn timeouts(section: Section<'_>, config: &mut Config) {
    let (client, upstream) = (&mut config.listener.timeouts, &mut config.upstream.timeouts);
    section.set("client_head", &mut client.head);
    section.set("client_handshake", &mut client.handshake);
    section.set("client_idle", &mut client.idle);
    section.set("client_write", &mut client.write_stall);
    section.set("client_body", &mut client.body_stall);
    section.set("upstream_connect", &mut upstream.connect);
    section.set("upstream_first_byte", &mut upstream.first_byte);
    section.set("upstream_stall", &mut upstream.stall);
    section.set("upstream_idle", &mut upstream.idle);
    section.set("upstream_busy", &mut upstream.busy);
    section.set("client_call", &mut config.proxy.call_timeout);
    section.set("tunnel_idle", &mut config.proxy.tunnel_idle);
    section.set("drain", &mut config.drain);
    section.finish();
}

pub(super) fn census(section: Section<'_>, census: &mut census::Config) {
    section.set("personal", &mut census.personal);
    section.set("computers", &mut census.computers_max);
    section.set("events", &mut census.events_max);
    section.set("retention", &mut census.retention);
    section.finish();
}

pub(super) fn prestage(section: Section<'_>, prestage: &mut Prestage) {
    section.set("enabled", &mut prestage.enabled);
    if let Some(At { value, place }) = section.get::<usize>("clients") {
        if !(1..=Prestage::CLIENTS_MAX).contains(&value) {
            let remedy = format!("write a number from 1 to {}", Prestage::CLIENTS_MAX);
            section.complain(&place, "no file would ever be fetched", remedy);
        }
        prestage.clients = value;
    }
    set_size(&section, "size_max", &mut prestage.size_max);
    section.set("at_once", &mut prestage.at_once);
    set_size(&section, "per_hour", &mut prestage.hourly_bytes);
    section.finish();
}

pub(super) fn send(section: Section<'_>, config: &mut Config) {
    let transmit = &mut config.listener.transmit;
    section.set("recognise", &mut config.proxy.recognise);
    section.set("strategy", &mut transmit.strategy);
    set_len(&section, "copy_max", &mut transmit.copy_max);
    set_len(&section, "sendfile_max", &mut transmit.sendfile_max);
    section.finish();
}

/// What serves connections without a file.
pub(super) const BUILT_IN_RUNTIME: Runtime = Runtime { flavour: Flavour::PerCore, threads: 0 };

pub(super) fn runtime(section: Section<'_>, runtime: &mut Runtime) {
    section.set("flavour", &mut runtime.flavour);
    section.set("threads", &mut runtime.threads);
    section.finish();
}

pub(super) fn health(section: Section<'_>, health: &mut upstream::Health) {
    section.set("failures", &mut health.failures_max);
    section.set("backoff", &mut health.backoff);
    section.set("backoff_max", &mut health.backoff_max);
    section.finish();
}

pub(super) fn resolver(section: Section<'_>, draft: &mut Draft) {
    if let Some(At { value, place }) = section.get::<Vec<Server>>("servers").filter(|servers| !servers.value.is_empty()) {
        draft.resolver = Some(At { value: value.into_iter().map(|Server(address)| address).collect(), place });
    }
    section.finish();
}

pub(super) fn admin(section: Section<'_>, draft: &mut Draft) {
    let admin = &mut draft.config.admin;
    if let Some(listen) = section.get::<Vec<SocketAddr>>("listen") {
        draft.admin_listen = listen.value.into_iter().map(|value| At { value, place: listen.place.clone() }).collect();
    }
    draft.admin_socket = section.file_or("socket", &["off"]).map(|At { value, place }| At { value: value.ok(), place });
    if let Some(names) = section.value::<Vec<HostName>>("names") {
        admin.names = names.into_iter().map(|HostName(name)| name).collect();
    }
    section.set("scrape", &mut admin.scrape);
    draft.token_file = section.file("token_file");
    admin.token_file = draft.token_file.as_ref().map(|token| token.value.clone());
    section.finish();
}

/// Longer names do not fit a socket address (unix(7)); then there is only loopback.
const SOCKET_NAME_MAX: usize = 107;

/// The administration socket lies in the data directory, unless that has too long a name.
pub(super) fn default_socket(directory: &Path) -> Option<PathBuf> {
    let socket = directory.join("admin.sock");
    is_socket_name(&socket).then_some(socket)
}

pub(super) fn is_socket_name(path: &Path) -> bool {
    path.as_os_str().len() <= SOCKET_NAME_MAX
}

/// Whether only this machine reaches the address.
pub(super) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

fn placed_size(section: &Section<'_>, key: &'static str) -> Option<At<u64>> {
    section.get(key).map(|At { value: Size(value), place }| At { value, place })
}

fn set_size(section: &Section<'_>, key: &'static str, target: &mut u64) {
    if let Some(Size(size)) = section.value(key) {
        *target = size;
    }
}

fn set_len(section: &Section<'_>, key: &'static str, target: &mut usize) {
    if let Some(len) = section.value(key).and_then(|Size(size)| usize::try_from(size).ok()) {
        *target = len;
    }
}
