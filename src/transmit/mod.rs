//! How stored bytes leave a plain HTTP/1.1 connection without being copied through weir.
//!
//! hyper asks a body for buffers and hands slices of them to the socket, one after the other, without looking into them. So a body may give
//! it a [`Placeholder`]: a buffer whose slice cannot be read and stands for a [`Segment`] of an open file. The [`Sender`] under hyper
//! recognises the slice by its address and has the kernel send the file's own pages; hyper keeps the account of lengths, keep-alive and partial
//! writes as for any other bytes.
//!
//! ```text
//!   body ── Segment ──→ Lane ── Placeholder ──→ hyper ── slice ──→ Sender ── sendfile, or send from a map ──→ socket
//!                        └──────── what stands behind which slice, and how far it is ────────┘
//! ```
//!
//! What must never happen is that wrong bytes are sent. A slice that is lost, repeated, reordered or of another connection is an error that
//! ends the connection; one that is read (flattened, encrypted, framed) ends the process. That TLS and HTTP/2 cannot meet one is a matter of
//! types: only a [`Lane`] makes placeholders, a lane is only made together with the [`Sender`] over a [`Wire`], and no TLS stream is one.
//!
//! hyper's version is pinned. Before another is used, `WEIR_SOAK=1000000 cargo test --release transmit` compares as many responses for each
//! strategy byte by byte, with pipelining, slow and vanishing clients, and buffers of many sizes.
//!
//! Knows nothing of caching: what is stored where, and whether it is good, the body says.

mod body;
mod lane;
mod sender;

#[cfg(test)]
mod tests;

pub use self::{
    body::{Delivery, Part, Parts, Placed},
    lane::{Lane, Outgoing, Placeholder, Segment},
    sender::{Sender, Wire, lane},
};

/// How stored bytes are sent over plain HTTP/1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    pub strategy: Strategy,
    /// Stretches up to this length in bytes are copied, whatever the strategy: more system calls would cost as much.
    pub copy_max: usize,
    /// With [`Strategy::Auto`]: what is no longer than this in all, in bytes, is sent with `sendfile`; longer content from a map.
    ///
    /// `sendfile` copies nothing, but hands the socket few pages at a time. What fits into a socket's buffer as a whole goes faster so (1 MiB ranges of
    /// a large file: 4.4 against 3.4 GB/s); a stream that always waits for room goes faster in the large portions of `send` (3.2 against 1.5 GB/s).
    pub sendfile_max: usize,
}

/// How the bytes of one segment get into the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Through a buffer: no segments are made at all.
    Copy,
    /// `sendfile` for short segments, a map for long ones.
    #[default]
    Auto,
    Sendfile,
    /// `send` from the mapped file; `sendfile` where there is no map.
    Map,
}

impl Strategy {
    pub const ALL: [Self; 4] = [Self::Auto, Self::Copy, Self::Sendfile, Self::Map];

    /// Its name in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Copy => "copy",
            Self::Sendfile => "sendfile",
            Self::Map => "map",
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self { strategy: Strategy::default(), copy_max: 16 << 10, sendfile_max: 1 << 20 }
    }
}

/// The longest segment in bytes: what is checked for residency at a time, and sent between two looks at other connections.
pub const SEGMENT_MAX: usize = 1 << 20;
