//! What only shows when the parts of a configuration are held against one another, and against the machine.

mod bounds;
mod loops;
mod machine;

use std::net::{IpAddr, SocketAddr};

pub(super) use self::bounds::{COUNT_MAX, SPAN_MAX};
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
    /// Files, directories and addresses too, as they are now.
    WithMachine,
}

pub(super) fn run(draft: &Draft, complaints: &Complaints<'_>, checks: Checks) {
    addresses(draft, complaints);
    doors(draft, complaints);
    upstreams_alone(draft, complaints);
    upstreams_together(draft, complaints);
    admin(draft, complaints);
    bounds::run(draft, complaints);
    loops::run(draft, complaints, checks);
    if checks == Checks::WithMachine {
        machine::run(draft, complaints);
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
        let can_do_without = listen.doors.contains(&Door::Transparent) || !draft.certificates.is_empty();
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
    }
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
