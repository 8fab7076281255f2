//! Everything that is not content: relayed both ways as it comes, nothing buffered, nothing stored.

use std::{sync::Arc, time::SystemTime};

use http::{HeaderValue, Method, Request, Response, Uri, Version, header};

use super::{
    Error, Proxy,
    connection::{Connection, RequestBody},
    respond::{self, Answered},
    target,
};
use crate::{
    cache::{CacheStatus, How},
    classify::{Pass, PassReason, Refusal},
    semantics::{
        Selection,
        fields::{self, MaxForwards},
        invalidation,
    },
    upstream,
};

impl Proxy {
    pub(super) async fn pass(
        &self,
        connection: &Arc<Connection>,
        request: Request<RequestBody>,
        pass: Pass,
    ) -> Result<Answered, Error> {
        let method = request.method().clone();
        let url = format!("{}{}", pass.origin, pass.path_and_query).parse::<Uri>();
        let interim = connection.interims.open(request.version(), &self.node);
        if fields::max_forwards(&method, request.headers()) == MaxForwards::Answer {
            // An `OPTIONS` that was to come so far and no further (RFC 9110 §7.6.2); `TRACE` is refused anyway.
            return Ok(respond::options());
        }
        let get = self.as_get(connection, &request, &pass);
        let mut request = self.forwarded(request, &pass)?;
        request.extensions_mut().insert(interim);
        let sent = SystemTime::now();
        let mut bound = connection.take_bound();
        let response = self.upstreams.relay(&target(pass.origin, pass.upstream), request, &mut bound).await;
        connection.keep_bound(bound);
        let response = response?;
        let url = url.ok();
        if let Some(url) = &url {
            self.invalidate(&method, url, &response).await;
        }
        let response = match self.keep(get, url.as_ref(), response, sent).await {
            Ok(found) => return Ok(respond::stored(found, Selection::Whole, &method, sent)),
            Err(response) => *response,
        };
        let how = match pass.why {
            PassReason::Method => How::Method,
            PassReason::Body | PassReason::Service | PassReason::Policy => How::Bypass,
        };
        let status = CacheStatus { fwd_status: Some(response.status()), ..CacheStatus::new(how) };
        Ok(respond::relayed(response, status))
    }

    /// The client's request for the next hop: only fields that concern the connection change (RFC 9110 §7.6).
    fn forwarded(&self, request: Request<RequestBody>, pass: &Pass) -> Result<Request<RequestBody>, Error> {
        let (mut parts, body) = request.into_parts();
        if let MaxForwards::Forward(hops) = fields::max_forwards(&parts.method, &parts.headers) {
            parts.headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops));
        }
        parts.uri = pass.path_and_query.parse().map_err(|_| Error::Refused(Refusal::Target(parts.method.as_str().into())))?;
        let takes_trailers = fields::takes_trailers(&parts.headers);
        fields::remove_hop_by_hop(&mut parts.headers);
        if takes_trailers {
            // Ours for the next hop, as it was the client's for us: trailers pass (RFC 9110 §10.1.4).
            parts.headers.insert(header::TE, HeaderValue::from_static("trailers"));
        }
        if parts.version == Version::HTTP_10 {
            // RFC 9110 §10.1.1
            parts.headers.remove(header::EXPECT);
        }
        fields::append_via(&mut parts.headers, parts.version, &self.node);
        fields::append_cdn_loop(&mut parts.headers, &self.node);
        Ok(Request::from_parts(parts, body))
    }

    /// RFC 9111 §4.4: what an unsafe request may have changed is validated before it is used again.
    async fn invalidate(&self, method: &Method, url: &Uri, response: &Response<upstream::Body>) {
        for changed in invalidation::invalidated(method, url, response.status(), response.headers()) {
            let key = self.policy.load().key_of(&changed);
            if let Some(key) = key {
                self.cache.invalidate(&key).await;
            }
        }
    }
}
