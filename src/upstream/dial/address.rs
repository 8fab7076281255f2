//! Which addresses may be dialled: a pure rule over the IANA special-purpose registries and weir's own addresses.
//!
//! Clients name origins, and whoever owns a name chooses its addresses. So a name nobody configured may lead to global unicast only;
//! a configured upstream may lead into the site's own network, because the administrator named it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::upstream::config::Own;

/// What stands behind the wish to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::upstream) enum Grant {
    /// A name out of a request: global unicast only.
    Public,
    /// Host and port out of an `[[upstream]]`: private networks too.
    Configured,
}

/// Whether `to` may be dialled, or why not.
pub(in crate::upstream) fn check(to: SocketAddr, grant: Grant, own: &Own) -> Result<(), &'static str> {
    let kind = Kind::of(to.ip());
    if listens_at(own, to) {
        return Err("weir itself");
    }
    match (kind, grant) {
        (Kind::Global, Grant::Configured) => Ok(()),
        (Kind::Global, Grant::Public) if own.addresses.contains(&to.ip().to_canonical()) => Err("this machine"),
        (Kind::Global, Grant::Public) => Ok(()),
        (Kind::Site(_), Grant::Configured) => Ok(()),
        (Kind::Site(why) | Kind::Never(why), _) => Err(why),
    }
}

/// Whether a host is an address, or would be taken for one by a lenient parser (`2130706433`, `0x7f.1`): its last label starts with a
/// digit and is a number. No top-level domain is.
pub(in crate::upstream) fn looks_like_address(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    let number = last.strip_prefix("0x").map_or_else(
        || !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()),
        |hex| hex.bytes().all(|b| b.is_ascii_hexdigit()),
    );
    number || host.contains(':')
}

/// What an address is for, as far as dialling is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Global,
    /// A network that an administrator may well mean.
    Site(&'static str),
    /// Nothing an upstream can live at.
    Never(&'static str),
}

impl Kind {
    fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => Self::of_v4(ip),
            IpAddr::V6(ip) => Self::of_v6(ip),
        }
    }

    /// RFC 6890 and the IANA IPv4 special-purpose registry.
    fn of_v4(ip: Ipv4Addr) -> Self {
        match ip.octets() {
            [169, 254, 169, 254] | [169, 254, 170, 2] | [100, 100, 100, 200] | [168, 63, 129, 16] | [192, 0, 0, 192] => METADATA,
            [255, 255, 255, 255] => Self::Never("broadcast"),
            [0, ..] => Self::Never("unspecified"),
            [10, ..] | [192, 168, ..] | [172, 16..=31, ..] => PRIVATE,
            [100, 64..=127, ..] => Self::Site("shared address space"),
            [127, ..] => LOOPBACK,
            [169, 254, ..] => LINK_LOCAL,
            [192, 0, 0, ..] => Self::Never("IETF protocol assignments"),
            [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => DOCUMENTATION,
            [192, 31, 196, _] | [192, 175, 48, _] => Self::Never("AS112"),
            [192, 52, 193, _] | [192, 88, 99, _] => Self::Never("relay anycast"),
            [198, 18..=19, ..] => Self::Site("benchmarking"),
            [224..=239, ..] => MULTICAST,
            [240..=255, ..] => Self::Never("reserved"),
            _ => Self::Global,
        }
    }

    /// The IANA IPv6 special-purpose registry; one that carries an IPv4 address is judged by that, too.
    fn of_v6(ip: Ipv6Addr) -> Self {
        match carried(ip) {
            Some(Carried::Spelt(v4)) => return Self::of_v4(v4),
            Some(Carried::Translated(v4)) => {
                return match Self::of_v4(v4) {
                    Self::Global => Self::Global,
                    Self::Site(why) | Self::Never(why) => Self::Never(why),
                };
            }
            Some(Carried::Tunnelled) => return Self::Never("tunnel address"),
            None => {}
        }
        match ip.segments() {
            [0, 0, 0, 0, 0, 0, 0, 0] => Self::Never("unspecified"),
            [0, 0, 0, 0, 0, 0, 0, 1] => LOOPBACK,
            [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => METADATA,
            [0xfc00..=0xfdff, ..] => PRIVATE,
            [0xfe80..=0xfebf, ..] => LINK_LOCAL,
            [0xff00..=0xffff, ..] => MULTICAST,
            [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => DOCUMENTATION,
            [0x2001, 0..=0x1ff, ..] => Self::Never("IETF protocol assignments"),
            [0x2620, 0x4f, 0x8000, ..] => Self::Never("AS112"),
            [0x5f00, ..] => Self::Never("segment routing"),
            // Only 2000::/3 is handed out as global unicast (RFC 4291 §2.4, IANA registry).
            [0x2000..=0x3fff, ..] => Self::Global,
            _ => Self::Never("not global unicast"),
        }
    }
}

/// How an IPv6 address carries an IPv4 address.
enum Carried {
    /// Only another spelling: the mapped form (RFC 4291 §2.5.5.2).
    Spelt(Ipv4Addr),
    /// A translator's (RFC 6052): global exactly when the inner one is, and nobody's upstream on purpose otherwise.
    Translated(Ipv4Addr),
    /// Through 6to4 (RFC 3056), Teredo (RFC 4380), ISATAP (RFC 5214), local translation (RFC 8215) or an obsolete form (RFC 4291
    /// §2.5.5.1, RFC 2765): packets end where the inner address says, or where only an operator knows.
    Tunnelled,
}

fn carried(ip: Ipv6Addr) -> Option<Carried> {
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff, h, l] => Some(Carried::Spelt(v4(h, l))),
        [0x64, 0xff9b, 0, 0, 0, 0, h, l] => Some(Carried::Translated(v4(h, l))),
        [0, 0, 0, 0, 0, 0, ..] | [0, 0, 0, 0, 0xffff, 0, ..] | [0x64, 0xff9b, ..] => Some(Carried::Tunnelled),
        [0x2001, 0, ..] | [0x2002, ..] | [_, _, _, _, 0 | 0x200, 0x5efe, ..] => Some(Carried::Tunnelled),
        _ => None,
    }
}

/// Whether a connection to `to` would end at one of weir's own listeners.
fn listens_at(own: &Own, to: SocketAddr) -> bool {
    let ip = to.ip().to_canonical();
    let here = || ip.is_loopback() || ip.is_unspecified() || own.addresses.contains(&ip);
    own.listening
        .iter()
        .any(|at| at.port() == to.port() && (at.ip().to_canonical() == ip || (at.ip().is_unspecified() && here())))
}

const METADATA: Kind = Kind::Never("cloud metadata");
const PRIVATE: Kind = Kind::Site("private network");
const LOOPBACK: Kind = Kind::Site("loopback");
const LINK_LOCAL: Kind = Kind::Site("link-local");
const MULTICAST: Kind = Kind::Never("multicast");
// Tests and demonstrations put upstreams there; nobody else does.
const DOCUMENTATION: Kind = Kind::Site("documentation");

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &[&str] = &[
        "8.8.8.8",
        "1.1.1.1",
        "13.107.4.50",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.255.255",
        "172.32.0.1",
        "169.253.0.1",
        "192.0.1.1",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2a02:26f0::1",
        "2001:4860:4860::8888",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
    ];

    /// Refused to names, allowed where an administrator named them.
    const SITE: &[&str] = &[
        "10.0.0.1",
        "10.255.255.255",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "192.0.2.1",
        "203.0.113.9",
        "::1",
        "fc00::1",
        "fdff:ffff::1",
        "fe80::1",
        "febf::1",
        "2001:db8::1",
        "3fff::1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
    ];

    const NEVER: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "255.255.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "192.0.0.1",
        "192.88.99.1",
        "192.31.196.1",
        "192.175.48.1",
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "::",
        "::7f00:2",
        "::10.0.0.1",
        "::ffff:0.0.0.0",
        "::ffff:169.254.169.254",
        "::ffff:0:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",
        "2002:a00:1::",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
        "2001:2::1",
        "2001:20::1",
        "2620:4f:8000::1",
        "2a00::5efe:a00:1",
        "fd00:ec2::254",
        "ff02::1",
        "fec0::1",
        "100::1",
        "4000::1",
        "5f00::1",
        "e000::1",
    ];

    fn verdict(ip: &str, grant: Grant) -> Result<(), &'static str> {
        check(SocketAddr::new(ip.parse().unwrap(), 80), grant, &Own::default())
    }

    #[test]
    fn names_lead_to_global_unicast_only() {
        for ip in PUBLIC {
            assert_eq!(verdict(ip, Grant::Public), Ok(()), "{ip}");
        }
        for ip in SITE.iter().chain(NEVER) {
            assert!(verdict(ip, Grant::Public).is_err(), "{ip}");
        }
    }

    #[test]
    fn a_configured_upstream_may_be_private_but_not_absurd() {
        for ip in PUBLIC.iter().chain(SITE) {
            assert_eq!(verdict(ip, Grant::Configured), Ok(()), "{ip}");
        }
        for ip in NEVER {
            assert!(verdict(ip, Grant::Configured).is_err(), "{ip}");
        }
    }

    #[test]
    fn weir_never_dials_its_own_listeners_nor_this_machine_for_a_name() {
        let own = Own {
            addresses: vec!["8.1.2.3".parse().unwrap(), "10.0.0.5".parse().unwrap()],
            listening: vec!["[::]:8080".parse().unwrap(), "127.0.0.1:9090".parse().unwrap()],
        };
        let may = |to: &str, grant| check(to.parse().unwrap(), grant, &own).is_ok();
        assert!(!may("8.1.2.3:80", Grant::Public), "this machine, some other service");
        assert!(may("8.1.2.3:80", Grant::Configured), "a WSUS server on this machine");
        for to in ["8.1.2.3:8080", "10.0.0.5:8080", "127.0.0.1:8080", "[::1]:8080", "[::ffff:10.0.0.5]:8080", "127.0.0.1:9090"] {
            assert!(!may(to, Grant::Configured), "{to}");
        }
        assert!(may("10.0.0.5:9090", Grant::Configured), "the administration port is on loopback alone");
        assert!(may("10.0.0.6:8080", Grant::Configured), "another weir");
    }

    #[test]
    fn what_a_lenient_parser_takes_for_an_address_is_one() {
        for host in
            ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "0x7f000001", "017700000001", "1.2.3.0x4", "::1", "fe80::1%eth0", "0x"]
        {
            assert!(looks_like_address(host), "{host}");
        }
        for host in ["dl.example", "1.2.3.4.example", "0xdead.beef", "a", "10.example.x1"] {
            assert!(!looks_like_address(host), "{host}");
        }
    }
}
