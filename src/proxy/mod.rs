//! The story of one request.

pub mod connection;
