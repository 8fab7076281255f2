//! Responses to POST that a later GET may be answered with (RFC 9110 §9.3.3).

use std::{sync::Arc, time::SystemTime};

use http::{
    Method, Request, Response, Uri,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING},
};

use super::{
    Proxy,
    connection::{Connection, RequestBody},
};
use crate::{
    cache::{Found, Posted, Wanted},
    classify::{Class, Door, Pass, PassReason},
    upstream,
};

impl Proxy {
    /// The GET that a response to this request may answer later: the same URL and fields, without what describes the content sent.
    /// `None` where nothing of the kind is stored: for other methods, and at the doors that fetch content for everybody.
    pub(super) fn as_get(&self, connection: &Connection, request: &Request<RequestBody>, pass: &Pass) -> Option<Arc<Wanted>> {
        let is_for_one = !matches!(pass.door, Door::Reverse | Door::Forward);
        if *request.method() != Method::POST || pass.why != PassReason::Method || is_for_one {
            return None;
        }
        let mut get = Request::new(());
        *get.method_mut() = Method::GET;
        *get.uri_mut() = request.uri().clone();
        *get.version_mut() = request.version();
        *get.headers_mut() = request.headers().clone();
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_TYPE, CONTENT_ENCODING] {
            get.headers_mut().remove(name);
        }
        match self.policy.load().classify(&Self::asked(connection, &get, false)) {
            Class::Content(want) => Some(self.wanted(connection, get.into_parts().0, want)),
            Class::Pass(_) | Class::Tunnel(_) | Class::Refuse(_) => None,
        }
    }

    /// Stores the response for later GETs if it says that it is what they would get; else it comes back.
    pub(super) async fn keep(
        &self,
        want: Option<Arc<Wanted>>,
        target: Option<&Uri>,
        response: Response<upstream::Body>,
        request_time: SystemTime,
    ) -> Result<Found, Box<Response<upstream::Body>>> {
        let (Some(want), Some(target)) = (want, target) else { return Err(Box::new(response)) };
        let posted = Posted { target: target.clone(), response, request_time, response_time: SystemTime::now() };
        self.cache.keep(&want, posted).await
    }
}
