//! The command line's quick-start flags, which stand above the file.

use std::{net::SocketAddr, str::FromStr};

use crate::{
    classify::Door,
    config::{
        Draft, Flags,
        listen::Listen,
        problem::{At, Complaints, Place},
        setting::{Server, Url, origin_pattern},
        units::Size,
        upstreams::Upstream,
    },
};

/// Applies the flags to what the file said.
pub(super) fn apply(draft: &mut Draft, flags: &Flags, complaints: &Complaints<'_>) {
    let reading = Reading { complaints };
    let store = &mut draft.config.store;
    if let Some(data) = &flags.data {
        store.directory = data.clone();
        draft.directory = Place::Flag("--data");
    }
    if let Some(Size(size)) = reading.one("--size", flags.size.as_deref(), "write a number and a unit, such as \"200 GiB\"") {
        store.size = size;
    }
    let addresses = "write an address and a port, such as [::]:8080 or 127.0.0.1:8080";
    let listens = flags.listen.iter().filter_map(|text| reading.parse::<SocketAddr>("--listen", text, addresses));
    let listens: Vec<_> = listens.map(|address| Listen::standard(address, Place::Flag("--listen"))).collect();
    if !flags.listen.is_empty() {
        draft.listens = listens;
    }
    if let Some(admin) = reading.one::<SocketAddr>("--admin", flags.admin.as_deref(), addresses) {
        draft.admin_listen = vec![At { value: admin, place: Place::Flag("--admin") }];
    }
    let servers = flags.resolver.iter();
    let servers: Vec<_> =
        servers.filter_map(|text| reading.parse::<Server>("--resolver", text, "write the address of a name server")).collect();
    if !servers.is_empty() {
        let value = servers.into_iter().map(|Server(address)| address).collect();
        draft.resolver = Some(At { value, place: Place::Flag("--resolver") });
    }
    for (flag, door, url) in [("--reverse", Door::Reverse, &flags.reverse), ("--wsus", Door::Wsus, &flags.wsus)] {
        let url = reading.one::<Url>(flag, url.as_deref(), "write a URL such as http://server.example.com:8530");
        let url = url.map(|value| At { value, place: Place::Flag(flag) });
        draft.upstreams.extend(url.map(|url| Upstream::behind(door, url)));
    }
    for text in &flags.allow {
        allow(draft, text, &reading);
    }
}

/// `HOST`, or `HOST=ADDR:PORT` for one whose address is not to be resolved.
fn allow(draft: &mut Draft, text: &str, reading: &Reading<'_>) {
    let (host, address) = text.split_once('=').map_or((text, None), |(host, address)| (host, Some(address)));
    let remedy = "write HOST, or HOST=ADDRESS:PORT";
    let Some(pattern) = reading.judge("--allow", origin_pattern(host), remedy) else { return };
    let Some(address) = address else {
        draft.config.policy.allow.push(pattern);
        return;
    };
    let address = reading.parse::<SocketAddr>("--allow", address, remedy);
    // The name is only a label here: requests carry their own.
    let url = reading.parse::<Url>("--allow", &format!("http://{}", host.trim_start_matches("*.")), remedy);
    if let (Some(address), Some(value)) = (address, url) {
        let url = At { value, place: Place::Flag("--allow") };
        draft.upstreams.push(Upstream::pinned(pattern, url, address));
    }
}

struct Reading<'a> {
    complaints: &'a Complaints<'a>,
}

impl Reading<'_> {
    fn one<T: FromStr>(&self, flag: &'static str, text: Option<&str>, remedy: &str) -> Option<T> {
        text.and_then(|text| self.parse(flag, text, remedy))
    }

    fn parse<T: FromStr>(&self, flag: &'static str, text: &str, remedy: &str) -> Option<T> {
        self.judge(flag, text.parse().map_err(|_| format!("{text:?} is not understood")), remedy)
    }

    fn judge<T>(&self, flag: &'static str, read: Result<T, String>, remedy: &str) -> Option<T> {
        read.map_err(|what| self.complaints.add(&Place::Flag(flag), what, remedy)).ok()
    }
}
