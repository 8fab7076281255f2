//! Fields that an intermediary removes, adds, hands on and updates (RFC 9110 §7.6, RFC 9111 §3.1, §3.2, RFC 8586).

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderValue, Method, Version};

use crate::semantics::cache_control::ResponseDirectives;

/// Removes what concerns only the connection it came on: the known hop-by-hop fields and those that `Connection` lists (RFC 9110 §7.6.1).
pub fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let _ = fields;
    unimplemented!()
}

/// Appends this hop to `Via` (RFC 9110 §7.6.3). `received` is the version of the message; `node` the pseudonym.
pub fn append_via(fields: &mut HeaderMap, received: Version, node: &str) {
    let _ = (fields, received, node);
    unimplemented!()
}

/// Appends this node to `CDN-Loop` (RFC 8586 §2).
pub fn append_cdn_loop(fields: &mut HeaderMap, node: &str) {
    let _ = (fields, node);
    unimplemented!()
}

/// Whether the request has passed `node` before, by `CDN-Loop` (RFC 8586 §2) or `Via` (RFC 9110 §7.6.3).
pub fn has_passed(request: &HeaderMap, node: &str) -> bool {
    let _ = (request, node);
    unimplemented!()
}

/// What `Max-Forwards` says (RFC 9110 §7.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxForwards {
    /// Absent, invalid, or a method it does not concern.
    Unlimited,
    /// Forward with this lower value.
    Forward(u64),
    /// Answer as the final recipient.
    Answer,
}

pub fn max_forwards(method: &Method, request: &HeaderMap) -> MaxForwards {
    let _ = (method, request);
    unimplemented!()
}

/// The fields to ask for content with on behalf of anybody: a fixed set, nothing of the client (delivery and transparent doors).
pub fn anonymous_request() -> HeaderMap {
    unimplemented!()
}

/// The client's end-to-end fields that a cache sends on when it fills: without conditions and ranges, which it sets itself.
pub fn fill_request(client: &HeaderMap) -> HeaderMap {
    let _ = client;
    unimplemented!()
}

/// Adds the conditions of a validation request (RFC 9111 §4.3.1): `If-None-Match` and, beside it or alone, `If-Modified-Since`.
/// False when the stored response has no validator: the request stays unconditional.
pub fn add_validation(request: &mut HeaderMap, stored: &HeaderMap) -> bool {
    let _ = (request, stored);
    unimplemented!()
}

/// The stored fields after a 304 (RFC 9111 §3.2, §4.3.4).
pub fn update_stored(stored: &mut HeaderMap, received: &HeaderMap) {
    let _ = (stored, received);
    unimplemented!()
}

/// What a 200 to a HEAD means for a stored response to GET (RFC 9111 §4.3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadUpdate {
    /// Same representation: update its fields with `update_stored`.
    Freshen,
    /// Another representation: the stored one is outdated.
    Outdated,
}

pub fn head_update(stored: &HeaderMap, stored_len: Option<u64>, received: &HeaderMap) -> HeadUpdate {
    let _ = (stored, stored_len, received);
    unimplemented!()
}

/// Makes the fields of a received response those to be stored: without hop-by-hop fields, without what `private="…"` names,
/// and of a 206 those of the whole representation (RFC 9111 §3.1, §3.3, §5.2.2.7).
pub fn prepare_stored(response: &mut HeaderMap, directives: &ResponseDirectives) {
    let _ = (response, directives);
    unimplemented!()
}

/// Removes the fields that may not be sent again without validation: `no-cache="…"` (RFC 9111 §5.2.2.4).
pub fn remove_unvalidated(fields: &mut HeaderMap, directives: &ResponseDirectives) {
    let _ = (fields, directives);
    unimplemented!()
}

/// Whole seconds, at most 2^31 (RFC 9111 §1.2.2, §5.1).
pub fn age_value(age: Duration) -> HeaderValue {
    let _ = age;
    unimplemented!()
}

pub fn date_value(time: SystemTime) -> HeaderValue {
    let _ = time;
    unimplemented!()
}

/// The time of a single date field; `None` when absent, repeated with other values, or invalid (RFC 9110 §5.6.7).
pub fn parse_date(value: &HeaderValue) -> Option<SystemTime> {
    httpdate::parse_http_date(value.to_str().ok()?).ok()
}
