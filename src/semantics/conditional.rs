//! Preconditions (RFC 9110 §13) against one representation, in the order of §13.2.2.

use http::{HeaderMap, Method};

use crate::semantics::facts::Facts;

/// What the preconditions of a request make of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// Go on as if there were none. `range`: whether a `Range` field still counts after `If-Range`.
    Passed {
        range: bool,
    },
    NotModified,
    Failed,
}

/// Evaluates steps 1–5 of RFC 9110 §13.2.2 against a stored response.
pub fn evaluate(method: &Method, request: &HeaderMap, stored: &Facts) -> Precondition {
    let _ = (method, request, stored);
    unimplemented!()
}

/// Whether a request carries any precondition at all.
pub fn is_conditional(request: &HeaderMap) -> bool {
    let _ = request;
    unimplemented!()
}
