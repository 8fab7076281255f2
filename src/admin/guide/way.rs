//! How clients reach a door.

use crate::admin::{Listening, Status, guide::PLACEHOLDER};

/// The best way to one door.
pub(super) struct Way {
    /// A name or address, IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) tls: bool,
    /// Only programs on this machine get there.
    pub(super) is_local: bool,
}

impl Way {
    /// The best socket that opens `door`: the plain standard port first, as Windows needs it for Delivery Optimization.
    pub(super) fn to(status: &Status, door: &str) -> Option<Self> {
        let open = status.listening.iter().filter(|listening| listening.doors.iter().any(|open| open == door));
        let best =
            open.min_by_key(|listening| (listening.address.ip().is_loopback(), listening.tls, listening.address.port() != 80))?;
        Some(Self {
            host: host(status, best),
            port: best.address.port(),
            tls: best.tls,
            is_local: best.address.ip().is_loopback(),
        })
    }

    /// Host and port, always with the port.
    pub(super) fn authority_with_port(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Scheme and authority, the port only where it is not the scheme's own.
    pub(super) fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match (self.tls, self.port) {
            (false, 80) | (true, 443) => format!("{scheme}://{}", self.host),
            _ => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

fn host(status: &Status, listening: &Listening) -> String {
    let address = listening.address;
    if address.ip().is_unspecified() {
        return bracketed(status.reachable.first().map_or(PLACEHOLDER, String::as_str));
    }
    bracketed(&address.ip().to_string())
}

/// As it stands in a URL.
fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}
