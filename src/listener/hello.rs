//! The first message of a TLS client, read without answering it: for whom is the connection?

use std::io;

use rustls::server::Acceptor;

use crate::listener::stream::{Duplex, Prefixed};

/// The longest ClientHello that is read. One with post-quantum key shares takes about 2 KiB.
const HELLO_MAX: usize = 16 << 10;

/// Reads the ClientHello and leaves it in front of `io`. Yields the server name it asks for (RFC 6066 §3), lower case.
pub(super) async fn peek<T: Duplex>(io: &mut Prefixed<T>) -> io::Result<Option<Box<str>>> {
    let (mut acceptor, mut seen) = (Acceptor::default(), 0);
    loop {
        let mut unseen = &io.peeked()[seen..];
        while !unseen.is_empty() {
            seen += acceptor.read_tls(&mut unseen)?;
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok(accepted.client_hello().server_name().map(|name| name.to_ascii_lowercase().into())),
            Ok(None) => io.peek_more(HELLO_MAX).await?,
            Err((error, _alert)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
