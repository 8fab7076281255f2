//! The story of one request.

pub mod connection;
pub mod log;
