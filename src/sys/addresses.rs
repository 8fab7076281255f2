//! The addresses of this machine, asked of the kernel over rtnetlink (`rtnetlink(7)`).

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketType, recv, send, socket,
    sockopt::{Timeout, set_socket_timeout},
};

/// Every address of every interface of this machine, loopback included. A service manager that restricts address families has to allow
/// `AF_NETLINK`.
pub fn own() -> io::Result<Vec<IpAddr>> {
    // No protocol is protocol 0, which is NETLINK_ROUTE.
    let kernel = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    set_socket_timeout(&kernel, Timeout::Recv, Some(PATIENCE))?;
    send(&kernel, &request(), SendFlags::empty())?;
    let (mut found, mut buffer) = (Vec::new(), vec![0; MESSAGES_MAX]);
    // The bound only guards against a kernel that never says "done".
    for _ in 0..ROUNDS_MAX {
        let (len, _) = recv(&kernel, &mut buffer[..], RecvFlags::empty())?;
        if read_messages(&buffer[..len], &mut found)? == Dump::Done {
            return Ok(found);
        }
    }
    Err(malformed("endless answer"))
}

const PATIENCE: Duration = Duration::from_secs(2);
/// What the kernel writes at once is bounded by this (`NLMSG_GOODSIZE` and its kin are smaller).
const MESSAGES_MAX: usize = 64 << 10;
const ROUNDS_MAX: usize = 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const RTM_NEWADDR: u16 = 20;
const RTM_GETADDR: u16 = 22;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
/// Length, type, flags, sequence number, port.
const HEADER: usize = 16;
/// Family, prefix length, flags, scope, interface.
const IFADDRMSG: usize = 8;

/// Whether more messages follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    GoesOn,
    Done,
}

/// "All addresses of all families."
fn request() -> Vec<u8> {
    let len = (HEADER + IFADDRMSG) as u32;
    let mut message = Vec::with_capacity(HEADER + IFADDRMSG);
    message.extend(len.to_ne_bytes());
    message.extend(RTM_GETADDR.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    message.resize(HEADER + IFADDRMSG, 0);
    message
}

fn read_messages(mut messages: &[u8], found: &mut Vec<IpAddr>) -> io::Result<Dump> {
    while let Some((header, _)) = messages.split_first_chunk::<HEADER>() {
        let len = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        let body = messages.get(HEADER..len).ok_or_else(|| malformed("message length"))?;
        match kind {
            NLMSG_DONE => return Ok(Dump::Done),
            NLMSG_ERROR => return Err(error(body)),
            RTM_NEWADDR => found.extend(address(body)),
            _ => {}
        }
        messages = messages.get(aligned(len)..).unwrap_or_default();
    }
    Ok(Dump::GoesOn)
}

/// The interface's own address: `IFA_LOCAL` where there is one (`IFA_ADDRESS` is the far end of a point-to-point link then).
fn address(message: &[u8]) -> Option<IpAddr> {
    let mut attributes = message.get(IFADDRMSG..)?;
    let mut own = None;
    while let Some(&[l0, l1, t0, t1]) = attributes.first_chunk::<4>() {
        let len = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = attributes.get(4..len)?;
        match u16::from_ne_bytes([t0, t1]) {
            IFA_LOCAL => return ip(value),
            IFA_ADDRESS => own = ip(value),
            _ => {}
        }
        attributes = attributes.get(aligned(len)..).unwrap_or_default();
    }
    own
}

fn ip(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).into()),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).into()),
        _ => None,
    }
}

/// Messages and attributes begin at multiples of four bytes.
fn aligned(len: usize) -> usize {
    len.next_multiple_of(4)
}

/// The kernel's refusal: a negative error number.
fn error(body: &[u8]) -> io::Error {
    match body.first_chunk::<4>() {
        Some(code) => io::Error::from_raw_os_error(-i32::from_ne_bytes(*code)),
        None => malformed("error without a number"),
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_among_our_own_addresses() {
        let own = own().unwrap();
        assert!(own.contains(&Ipv4Addr::LOCALHOST.into()), "{own:?}");
    }

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = vec![0; HEADER];
        message[..4].copy_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
        message[4..6].copy_from_slice(&kind.to_ne_bytes());
        message.extend(body);
        message
    }

    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        [&((4 + value.len()) as u16).to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat()
    }

    #[test]
    fn the_near_end_of_a_point_to_point_link_is_ours() {
        let body = [vec![0; IFADDRMSG], attribute(IFA_ADDRESS, &[10, 0, 0, 2]), attribute(IFA_LOCAL, &[10, 0, 0, 1])].concat();
        let mut found = Vec::new();
        let messages = [message(RTM_NEWADDR, &body), message(NLMSG_DONE, &[0; 4])].concat();
        assert_eq!(read_messages(&messages, &mut found).unwrap(), Dump::Done);
        assert_eq!(found, [IpAddr::from([10, 0, 0, 1])]);
    }

    #[test]
    fn a_refusal_is_the_kernels_error() {
        let refused = read_messages(&message(NLMSG_ERROR, &(-13i32).to_ne_bytes()), &mut Vec::new()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn torn_messages_are_errors_or_nothing_and_never_a_panic() {
        let body = [vec![0; IFADDRMSG], attribute(IFA_LOCAL, &[10, 0, 0, 1])].concat();
        let whole = message(RTM_NEWADDR, &body);
        for cut in 0..whole.len() {
            let mut found = Vec::new();
            let _ = read_messages(&whole[..cut], &mut found);
            assert!(found.is_empty(), "{cut} bytes");
        }
        // An attribute of length zero must not be looked at for ever.
        assert_eq!(address(&[vec![0; IFADDRMSG], vec![0; 4]].concat()), None);
    }
}
