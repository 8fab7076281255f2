//! What must hold for any bytes, one function for each parser: the fuzz targets call them, and so does the test that replays the kept corpus.
//!
//! None does I/O or reads a clock.

mod cache_control;
mod dates;
mod messages;
mod multipart;
mod ranges;
mod rewrite;
mod soap;
mod structured;
mod xpress;

pub use self::{
    cache_control::cache_control, dates::dates, messages::messages, multipart::multipart, ranges::ranges, rewrite::rewrite,
    soap::soap, structured::structured, xpress::xpress,
};

/// Reads any bytes; panics when a promise is broken.
pub type Check = fn(&[u8]);

/// Every check under the name of its target and of the folder of its corpus.
pub const CHECKS: &[(&str, Check)] = &[
    ("cache_control", cache_control),
    ("dates", dates),
    ("messages", messages),
    ("multipart", multipart),
    ("ranges", ranges),
    ("rewrite", rewrite),
    ("soap", soap),
    ("structured", structured),
    ("xpress", xpress),
];

/// The lines of an input that can be field values, at most `most`.
fn values(data: &[u8], most: usize) -> Vec<http::HeaderValue> {
    data.split(|&byte| byte == b'\n').take(most).filter_map(|line| http::HeaderValue::from_bytes(line).ok()).collect()
}

/// The first eight bytes as a number, and what follows; missing bytes are zero.
fn number(data: &[u8]) -> (u64, &[u8]) {
    let (head, rest) = data.split_at(data.len().min(8));
    let mut bytes = [0; 8];
    bytes[..head.len()].copy_from_slice(head);
    (u64::from_le_bytes(bytes), rest)
}
