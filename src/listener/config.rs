//! What the listener needs to know, as plain data.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;

use crate::{
    classify::Door,
    listener::{Group, Runtime},
    transmit,
};

/// Sockets, limits and timeouts of client connections.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub sockets: Vec<Socket>,
    /// Certificates for the sockets with `tls`. The first one answers clients that name no server.
    pub certificates: Vec<Certificate>,
    pub limits: Limits,
    pub timeouts: Timeouts,
    pub http2: Http2,
    /// How stored bytes are sent over plain HTTP/1.1.
    pub transmit: transmit::Config,
    pub runtime: Runtime,
}

/// One address to listen on.
#[derive(Clone, Debug)]
pub struct Socket {
    /// `[::]` listens for IPv4 too.
    pub address: SocketAddr,
    pub doors: Arc<[Door]>,
    pub tls: bool,
    /// Load balancers: connections from these networks must begin with a PROXY protocol header, all others must not.
    pub proxy_protocol_from: Vec<IpNet>,
}

/// A certificate chain and its key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PathBuf,
    pub key: PathBuf,
    /// Server names (exact, or `*.` and a suffix) it answers for; empty: those that the certificate itself is valid for.
    pub names: Vec<String>,
}

/// Bounds of what clients may hold. Zero stands for a derived value where a field says so.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open client connections; at the limit further ones are answered with 503. Zero: what the open files limit leaves.
    pub connections: usize,
    /// Open connections of one client address (IPv6: one /64). Zero: a quarter of `connections`.
    pub connections_per_client: usize,
    /// Open files that are kept for everything else: blobs, upstream connections, logs. Taken off before `connections` is derived.
    pub files_reserved: u64,
    /// Bytes of a request head; beyond it the answer is 431. At least 8 KiB.
    pub head_max: usize,
    /// Field lines of a request head; beyond it the answer is 431.
    pub fields_max: usize,
    /// Bytes per second that one connection is sent at most.
    pub connection_rate: Option<u64>,
    /// Clients that share a rate. A client that is in several has its part of the first.
    pub groups: Vec<Group>,
}

/// How long is waited for a client.
#[derive(Clone, Debug)]
pub struct Timeouts {
    /// From the connection's first moment, or the first byte of a later request, to the end of the request head.
    pub head: Duration,
    /// For the TLS handshake.
    pub handshake: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// For the client to take a byte of a response.
    pub write_stall: Duration,
    /// For the client to send a byte of a request body.
    pub body_stall: Duration,
}

/// Bounds of HTTP/2 connections (RFC 9113 §10.5).
#[derive(Clone, Debug)]
pub struct Http2 {
    pub streams_max: u32,
    /// Bytes of a request's fields, uncompressed.
    pub header_list_max: u32,
    /// Streams a client may have opened and reset before we looked at them ("rapid reset").
    pub pending_resets_max: usize,
    /// Bytes of one response that are buffered for a slow client.
    pub send_buffer: usize,
    /// A PING is sent this often; a connection that does not answer in `ping_timeout` is closed.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 0,
            connections_per_client: 0,
            files_reserved: 1024,
            head_max: 64 << 10,
            fields_max: 100,
            connection_rate: None,
            groups: Vec::new(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            // Delivery Optimization keeps idle sockets about 30 s; a request on a socket we just closed would cost it a retry.
            idle: Duration::from_secs(65),
            write_stall: Duration::from_secs(60),
            body_stall: Duration::from_secs(30),
        }
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self {
            streams_max: 128,
            header_list_max: 64 << 10,
            pending_resets_max: 20,
            send_buffer: 128 << 10,
            ping_interval: Duration::from_secs(30),
            ping_timeout: Duration::from_secs(20),
        }
    }
}
