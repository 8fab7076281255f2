//! Addresses that lead back to weir itself.

use std::net::{IpAddr, SocketAddr};

use crate::{
    config::{
        Draft,
        check::Checks,
        problem::{Complaints, Place},
        sections,
    },
    sys,
};

pub(super) fn run(draft: &Draft, complaints: &Complaints<'_>, checks: Checks) {
    // Without them a loop is still refused when it is dialled.
    let machine = if checks == Checks::WithMachine { sys::addresses::own().unwrap_or_default() } else { Vec::new() };
    let own = Own { sockets: sockets(draft), machine };
    for upstream in &draft.upstreams {
        let url = &upstream.url.value.origin;
        let named = url.host.parse().ok().map(|ip: IpAddr| (SocketAddr::new(ip, url.port), &upstream.url.place));
        let pinned = upstream.address.as_ref().map(|at| (at.value, &at.place));
        for (address, place) in named.into_iter().chain(pinned) {
            own.complain(address, place, complaints, "name the server that weir stands in front of");
        }
    }
    for (address, place) in draft.resolver.iter().flat_map(|at| at.value.iter().map(|address| (*address, &at.place))) {
        own.complain(address, place, complaints, "name a name server; its port is 53 unless written otherwise");
    }
}

/// Where weir is.
struct Own {
    /// With what each is for.
    sockets: Vec<(SocketAddr, &'static str)>,
    /// Addresses of this machine, beside the loopback ones.
    machine: Vec<IpAddr>,
}

fn sockets(draft: &Draft) -> Vec<(SocketAddr, &'static str)> {
    let clients = draft.listens.iter().map(|listen| (listen.address.value, "clients"));
    clients.chain(draft.admin_listen.iter().map(|at| (at.value, "administration"))).collect()
}

impl Own {
    fn complain(&self, address: SocketAddr, place: &Place, complaints: &Complaints<'_>, remedy: &str) {
        if let Some((own, whom)) = self.sockets.iter().find(|(own, _)| self.leads_to(address, *own)) {
            complaints.add(place, format!("this is weir itself, which listens on {own} for {whom}"), remedy);
        }
    }

    /// Whether who connects to `address` reaches the socket `own`.
    fn leads_to(&self, address: SocketAddr, own: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let is_here = || sections::is_loopback(ip) || ip.is_unspecified() || self.machine.contains(&ip);
        address.port() == own.port() && (own.ip().to_canonical() == ip || (own.ip().is_unspecified() && is_here()))
    }
}
