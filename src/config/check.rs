//! What only shows when the parts of a configuration are held against one another.

use std::net::{IpAddr, SocketAddr};

use crate::{
    classify::Door,
    config::{
        Draft,
        problem::{At, Complaints, Place},
        sections, upstreams,
    },
    upstream::Kind,
};

/// How far checks go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checks {
    TextOnly,
    /// Files that are named have to exist.
    WithFiles,
}

pub(super) fn run(draft: &Draft, complaints: &Complaints<'_>, checks: Checks) {
    addresses(draft, complaints);
    doors(draft, complaints);
    upstreams_alone(draft, complaints);
    upstreams_together(draft, complaints);
    admin(draft, complaints);
    bounds(draft, complaints);
    if checks == Checks::WithFiles {
        files(draft, complaints);
    }
}

/// No two sockets may want the same address. Port 0 is a new one each time.
fn addresses(draft: &Draft, complaints: &Complaints<'_>) {
    let sockets = draft.listens.iter().map(|listen| &listen.address);
    let all: Vec<&At<SocketAddr>> = sockets.chain(&draft.admin_listen).collect();
    for (nth, one) in all.iter().enumerate() {
        if let Some(first) = all[..nth].iter().find(|first| collide(first.value, one.value)) {
            // Not the default is wrong, but what was written against it.
            let (one, first) = if matches!(one.place, Place::BuiltIn(_)) { (*first, *one) } else { (*one, *first) };
            let what = format!("{} is taken already by {}", one.value, first.value);
            complaints.add(&one.place, what, "use another address or port ([::] stands for all IPv4 and IPv6 addresses)");
        }
    }
}

/// `[::]` listens for IPv4 too.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let all = |ip: IpAddr| ip == IpAddr::from(std::net::Ipv6Addr::UNSPECIFIED);
    let same_family = one.is_ipv4() == other.is_ipv4();
    let unspecified = one.ip().is_unspecified() || other.ip().is_unspecified();
    let same = one.ip() == other.ip() || all(one.ip()) || all(other.ip()) || (same_family && unspecified);
    one.port() == other.port() && one.port() != 0 && same
}

/// Doors without anything behind them, and the other way round.
fn doors(draft: &Draft, complaints: &Complaints<'_>) {
    let is_site = |door| draft.upstreams.iter().any(|upstream| upstream.door() == Some(door));
    for listen in &draft.listens {
        if listen.doors.is_empty() {
            complaints.add(&listen.place, "no door is open here", "name doors, or leave the key out for the standard ones");
        }
        for door in listen.doors.iter().filter(|door| upstreams::can_stand_behind(**door) && !is_site(**door)) {
            let what = format!("the {door} door leads nowhere");
            complaints.add(&listen.place, what, format!("add an [[upstream]] with door = \"{door}\", or close the door"));
        }
        let can_do_without = listen.doors.contains(&Door::Transparent) || !draft.config.listener.certificates.is_empty();
        if listen.tls && !can_do_without {
            complaints.add(&listen.place, "TLS without a certificate", "add a [[certificate]] with chain and key");
        }
    }
    for upstream in &draft.upstreams {
        let Some(door) = upstream.door.as_ref().filter(|door| upstreams::can_stand_behind(door.value)) else { continue };
        if !draft.listens.iter().any(|listen| listen.doors.contains(&door.value)) {
            let what = format!("the {} door is open on no socket", door.value);
            complaints.add(&door.place, what, format!("add \"{}\" to the doors of a [[listen]]", door.value));
        }
    }
}

/// Keys of one upstream that contradict each other.
fn upstreams_alone(draft: &Draft, complaints: &Complaints<'_>) {
    for upstream in &draft.upstreams {
        if let Some(door) = &upstream.door {
            if !upstreams::can_stand_behind(door.value) {
                let what = format!("nothing stands behind the {} door: clients name the origin there", door.value);
                complaints.add(&door.place, what, "leave door out, and name the origin's hosts; or use reverse or wsus");
            }
            if upstream.kind == Kind::Parent {
                complaints.add(&door.place, "a parent stands behind no door", "leave door out, or make it kind = \"origin\"");
            }
        } else {
            for (key, place) in &upstream.door_keys {
                let what = format!("{key} means something only behind a door");
                complaints.add(place, what, "add door = \"reverse\" or \"wsus\", or leave the key out");
            }
            if !upstream.url.value.base.is_empty() {
                complaints.add(&upstream.url.place, "a path in the URL means something only behind a door", "leave the path out");
            }
        }
    }
}

fn upstreams_together(draft: &Draft, complaints: &Complaints<'_>) {
    for (nth, upstream) in draft.upstreams.iter().enumerate() {
        let before = &draft.upstreams[..nth];
        if before.iter().any(|other| other.name.value == upstream.name.value) {
            let what = format!("a second upstream is called {:?}", upstream.name.value);
            complaints.add(&upstream.name.place, what, "give each a name of its own");
        }
        let is_catch_all = |door: Option<Door>, catch_all: bool| door == Some(Door::Reverse) && catch_all;
        let is_second = before.iter().any(|other| is_catch_all(other.door(), other.catch_all));
        if is_catch_all(upstream.door(), upstream.catch_all) && is_second {
            let what = "a second reverse upstream takes everything that nobody else claims";
            complaints.add(&upstream.name.place, what, "give one of them hosts or paths");
        }
        if let Some(address) = loops(draft, upstream.url.value.origin.host.parse().ok(), upstream.url.value.origin.port) {
            let what = format!("this is weir itself, which listens on {address}");
            complaints.add(&upstream.url.place, what, "name the server that weir stands in front of");
        }
    }
}

/// The own socket that an upstream's address leads back to.
fn loops(draft: &Draft, ip: Option<IpAddr>, port: u16) -> Option<SocketAddr> {
    let ip = ip.filter(|ip| sections::is_loopback(*ip))?;
    let is_ours = |own: &SocketAddr| own.port() == port && (own.ip().is_unspecified() || own.ip() == ip);
    draft.listens.iter().map(|listen| listen.address.value).find(is_ours)
}

fn admin(draft: &Draft, complaints: &Complaints<'_>) {
    let admin = &draft.config.admin;
    let is_opened = !admin.scrape.is_empty() || admin.token_file.is_some();
    for address in draft.admin_listen.iter().filter(|at| !sections::is_loopback(at.value.ip()) && !is_opened) {
        let what = format!("nobody may use {}: administration is for loopback and the Unix socket", address.value);
        complaints.add(&address.place, what, "listen on 127.0.0.1, or open /metrics with scrape networks or a token_file");
    }
    let socket = draft.admin_socket.as_ref().and_then(|at| Some((at.value.as_ref()?, &at.place)));
    if let Some((_, place)) = socket.filter(|(socket, _)| !sections::is_socket_name(socket)) {
        complaints.add(place, "the name of a Unix socket has at most 107 bytes", "use a shorter path");
    }
}

fn bounds(draft: &Draft, complaints: &Complaints<'_>) {
    let store = &draft.config.store;
    if let Some(At { place, .. }) = draft.object_max.as_ref().filter(|at| at.value > store.size) {
        complaints.add(place, "one object may be larger than the whole store", "make it smaller than size");
    }
    let config = &draft.config;
    let least = [
        ("fill.segment", config.cache.segment_len >= 1 << 20, "a segment is at least one piece", "write at least \"1 MiB\""),
        ("fill.parallel", config.cache.parallel_max > 0, "nothing could be fetched", "write at least 1"),
        ("fill.finish_percent", config.cache.finish_percent <= 100, "more than all", "write at most 100"),
        ("limits.fills", config.cache.fills_max > 0, "nothing could be fetched", "write at least 1"),
        ("limits.fills_per_client", config.cache.fills_per_client_max > 0, "nothing could be fetched", "write at least 1"),
        ("limits.upstream_connections", config.upstream.connections.content > 0, "nothing could be fetched", "write at least 1"),
        ("limits.upstream_pass_connections", config.upstream.connections.pass > 0, "nothing could be passed", "write at least 1"),
        ("limits.head", config.listener.limits.head_max >= 8192, "too small for real requests", "write at least \"8 KiB\""),
        ("limits.target", config.policy.target_max >= 1024, "too small for real requests", "write at least \"1 KiB\""),
        ("store.disk_threads", store.disk_threads > 0, "nothing could be read", "write at least 1"),
        ("store.size", store.size >= 1 << 20, "too small for anything", "write at least \"1 MiB\""),
    ];
    for (key, holds, what, remedy) in least {
        if !holds {
            complaints.add(&complaints.place_of(key), what, remedy);
        }
    }
}

fn files(draft: &Draft, complaints: &Complaints<'_>) {
    for At { value, place } in &draft.files {
        if let Err(error) = std::fs::File::open(value) {
            let remedy = "name a file that weir may read";
            complaints.add(place, format!("{}: {error}", value.display()), remedy);
        }
    }
}
