//! Invalidation by unsafe methods (RFC 9111 §4.4).

use http::{HeaderMap, Method, StatusCode, Uri};

/// The URIs whose stored responses a successful unsafe request makes unusable: its target, and what `Location` and
/// `Content-Location` name on the same origin. Empty for safe methods and error responses. `target` is in absolute form; at most 3.
pub fn invalidated(method: &Method, target: &Uri, status: StatusCode, response: &HeaderMap) -> Vec<Uri> {
    let _ = (method, target, status, response);
    unimplemented!()
}
