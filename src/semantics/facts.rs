//! What decisions need to know of a stored response, read from its fields once and kept beside it, so that a hit parses nothing.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, StatusCode};

use crate::semantics::{
    cache_control::ResponseDirectives,
    policy::Policy,
    validator::{ETag, Validator},
};

/// A stored response, as far as reuse and selection care. Built from fields and the two times of RFC 9111 §4.2.3.
#[derive(Clone, Debug)]
pub struct Facts {
    pub status: StatusCode,
    pub directives: ResponseDirectives,
    pub validator: Validator,
    pub etag: Option<ETag>,
    pub last_modified: Option<SystemTime>,
    /// `Date`, or when the response arrived if it had none (RFC 9110 §6.6.1).
    pub date: SystemTime,
    /// `None`: no `Expires`. An invalid or repeated one is the epoch: long past (RFC 9111 §5.3).
    pub expires: Option<SystemTime>,
    /// The `Age` it came with (RFC 9111 §5.1).
    pub age: Duration,
    pub request_time: SystemTime,
    pub response_time: SystemTime,
    /// RFC 9111 §4.4: must be validated before any reuse.
    pub invalidated: bool,
}

impl Facts {
    /// Reads what counts from the fields of a stored response. `policy` decides only whether targeted fields are looked at.
    pub fn of(
        status: StatusCode,
        response: &HeaderMap,
        request_time: SystemTime,
        response_time: SystemTime,
        policy: &Policy,
    ) -> Self {
        let _ = (status, response, request_time, response_time, policy);
        unimplemented!()
    }
}
