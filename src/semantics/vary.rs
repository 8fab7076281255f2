//! Variants (RFC 9111 §4.1): which request fields selected a stored response, and whether they select it again.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// A nominated request field with its normalised value; `None`: the field was absent.
pub type Selecting = (HeaderName, Option<HeaderValue>);

/// The fields that `Vary` of `response` nominates, with their normalised values in `request`; to be kept with the stored response.
/// `Vary: *` is kept as a mark that never matches.
pub fn selecting(response: &HeaderMap, request: &HeaderMap) -> Vec<Selecting> {
    let _ = (response, request);
    unimplemented!()
}

/// Whether the presented request has the same selecting fields (RFC 9111 §4.1).
pub fn matches(stored: &[Selecting], request: &HeaderMap) -> bool {
    let _ = (stored, request);
    unimplemented!()
}

/// The stored response to use: of those that match, the one with the most recent `Date` (RFC 9111 §4.1).
/// A candidate is anything, with its selecting fields and its date.
pub fn choose<'a, T>(candidates: impl IntoIterator<Item = (T, &'a [Selecting], SystemTime)>, request: &HeaderMap) -> Option<T> {
    candidates
        .into_iter()
        .filter(|(_, stored, _)| matches(stored, request))
        .max_by_key(|&(_, _, date)| date)
        .map(|(candidate, _, _)| candidate)
}
