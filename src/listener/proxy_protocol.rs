//! The PROXY protocol, versions 1 and 2: a load balancer says for whom it connects
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    /// So far they could become a header.
    Incomplete,
    /// Something else.
    Absent,
    Present {
        /// How many bytes the header takes.
        len: usize,
        /// Source and destination; `None` when the balancer speaks for itself (health checks) or does not know.
        addresses: Option<(SocketAddr, SocketAddr)>,
    },
}

/// Why a connection is closed before its first request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("PROXY protocol header is malformed")]
    Malformed,
    #[error("PROXY protocol header is missing")]
    Missing,
    #[error("PROXY protocol header from an address that may not send one")]
    Forbidden,
}

impl Error {
    /// The reason in metrics and logs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Missing => "missing",
            Self::Forbidden => "forbidden",
        }
    }
}

/// The longest header that is read: version 2 allows 64 KiB of extensions, balancers send some hundred bytes.
pub(super) const HEADER_MAX: usize = 4096;

const V1_START: &[u8] = b"PROXY ";
/// Section 2.1: "the maximum line lengths the receiver must support including the CRLF".
const V1_MAX: usize = 107;
const V2_START: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;

/// Looks at the first bytes of a connection.
pub(super) fn parse(bytes: &[u8]) -> Result<Header, Error> {
    if starts(bytes, V1_START) {
        return v1(bytes);
    }
    if starts(bytes, V2_START) {
        return v2(bytes);
    }
    Ok(Header::Absent)
}

/// Whether `bytes` begin with `start`, or could once there are more.
fn starts(bytes: &[u8], start: &[u8]) -> bool {
    let common = bytes.len().min(start.len());
    bytes[..common] == start[..common]
}

fn v1(bytes: &[u8]) -> Result<Header, Error> {
    let line = &bytes[..bytes.len().min(V1_MAX)];
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() == V1_MAX { Err(Error::Malformed) } else { Ok(Header::Incomplete) };
    };
    let text = str::from_utf8(&line[..end]).map_err(|_| Error::Malformed)?;
    let mut words = text.split(' ').skip(1);
    let addresses = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(v1_addresses::<Ipv4Addr>(words).ok_or(Error::Malformed)?),
        Some("TCP6") => Some(v1_addresses::<Ipv6Addr>(words).ok_or(Error::Malformed)?),
        _ => return Err(Error::Malformed),
    };
    Ok(Header::Present { len: end + 2, addresses })
}

fn v1_addresses<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Option<(SocketAddr, SocketAddr)>
where
    A: FromStr + Into<std::net::IpAddr>,
{
    let (source, destination) = (words.next()?.parse::<A>().ok()?, words.next()?.parse::<A>().ok()?);
    let (source_port, destination_port) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let is_end = words.next().is_none();
    is_end.then(|| (SocketAddr::new(source.into(), source_port), SocketAddr::new(destination.into(), destination_port)))
}

fn v2(bytes: &[u8]) -> Result<Header, Error> {
    let Some(fixed) = bytes.get(..V2_FIXED) else { return Ok(Header::Incomplete) };
    let (version, command) = (fixed[12] >> 4, fixed[12] & 0xf);
    let len = V2_FIXED + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if version != 2 || command > 1 || len > HEADER_MAX {
        return Err(Error::Malformed);
    }
    let Some(block) = bytes.get(V2_FIXED..len) else { return Ok(Header::Incomplete) };
    let is_for_somebody = command == 1;
    let addresses = match fixed[13] {
        // TCP over IPv4, TCP over IPv6; section 2.2: anything else is taken as unspecified.
        0x11 if is_for_somebody => Some(v2_addresses::<4, Ipv4Addr>(block).ok_or(Error::Malformed)?),
        0x21 if is_for_somebody => Some(v2_addresses::<16, Ipv6Addr>(block).ok_or(Error::Malformed)?),
        _ => None,
    };
    Ok(Header::Present { len, addresses })
}

fn v2_addresses<const N: usize, A>(block: &[u8]) -> Option<(SocketAddr, SocketAddr)>
where
    A: From<[u8; N]> + Into<std::net::IpAddr>,
{
    let (source, rest) = block.split_first_chunk::<N>()?;
    let (destination, rest) = rest.split_first_chunk::<N>()?;
    let (source_port, rest) = rest.split_first_chunk()?;
    let (destination_port, _extensions) = rest.split_first_chunk()?;
    let address = |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(A::from(*ip).into(), u16::from_be_bytes(*port));
    Some((address(source, source_port), address(destination, destination_port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\nGET";

    fn v2_header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let len = u16::try_from(block.len()).unwrap().to_be_bytes();
        [V2_START, &[0x20 | command, family, len[0], len[1]], block].concat()
    }

    fn present(source: &str, destination: &str, len: usize) -> Result<Header, Error> {
        Ok(Header::Present { len, addresses: Some((source.parse().unwrap(), destination.parse().unwrap())) })
    }

    #[test]
    fn version_1_names_the_client() {
        assert_eq!(parse(V1), present("192.0.2.7:56324", "198.51.100.1:443", V1.len() - 3));
        let v6 = b"PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n";
        assert_eq!(parse(v6), present("[2001:db8::1]:1", "[2001:db8::2]:65535", v6.len()));
        assert_eq!(parse(b"PROXY UNKNOWN whatever\r\n"), Ok(Header::Present { len: 24, addresses: None }));
    }

    #[test]
    fn version_2_names_the_client_and_its_extensions_are_skipped() {
        let block = [&[192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 1, 0xbb][..], b"\x04\x00\x01x"].concat();
        let header = v2_header(1, 0x11, &block);
        assert_eq!(parse(&header), present("192.0.2.7:56324", "198.51.100.1:443", header.len()));
        let block = [&[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].repeat(2)[..], &[0, 1, 0, 2]].concat();
        assert_eq!(parse(&v2_header(1, 0x21, &block)), present("[2001:db8::1]:1", "[2001:db8::1]:2", 52));
    }

    #[test]
    fn a_balancer_speaking_for_itself_names_nobody() {
        assert_eq!(parse(&v2_header(0, 0, &[])), Ok(Header::Present { len: 16, addresses: None }));
        assert_eq!(parse(&v2_header(0, 0x11, &[0; 12])), Ok(Header::Present { len: 28, addresses: None }));
        assert_eq!(parse(&v2_header(1, 0x31, &[0; 216])), Ok(Header::Present { len: 232, addresses: None }));
    }

    #[test]
    fn every_beginning_of_a_header_is_incomplete() {
        for header in [&V1[..V1.len() - 3], &v2_header(1, 0x11, &[0; 12])] {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(Header::Incomplete), "{cut} bytes");
            }
            assert_ne!(parse(header), Ok(Header::Incomplete));
        }
    }

    #[test]
    fn requests_and_handshakes_are_no_headers() {
        for start in
            [&b"GET / HTTP/1.1\r\n"[..], b"PROPFIND / HTTP/1.1", b"PRI * HTTP/2.0\r\n", b"\x16\x03\x01", b"\r\n\r\nGET /"]
        {
            assert_eq!(parse(start), Ok(Header::Absent));
        }
    }

    #[test]
    fn malformed_headers_are_refused() {
        for text in [
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 443 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(parse(text.as_bytes()), Err(Error::Malformed), "{text}");
        }
        assert_eq!(parse(&[V1_START, &[b'x'; V1_MAX]].concat()), Err(Error::Malformed), "no end of line");
        assert_eq!(parse(&v2_header(2, 0x11, &[0; 12])), Err(Error::Malformed), "unknown command");
        assert_eq!(parse(&v2_header(1, 0x11, &[0; 11])), Err(Error::Malformed), "short block");
        assert_eq!(parse(&v2_header(1, 0x11, &[0; HEADER_MAX])), Err(Error::Malformed), "too long");
        let mut version_3 = v2_header(1, 0x11, &[0; 12]);
        version_3[12] = 0x31;
        assert_eq!(parse(&version_3), Err(Error::Malformed), "unknown version");
    }
}
