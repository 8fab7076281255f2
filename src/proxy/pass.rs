//! Everything that is not content: relayed both ways as it comes, nothing buffered, nothing stored.

use std::{net::IpAddr, sync::Arc, time::SystemTime};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header, request::Parts, uri::Authority};

use super::{
    Error, Proxy,
    call::Held,
    connection::{Connection, RequestBody},
    observe::Tap,
    respond::{self, Answered},
    rewrite, target,
};
use crate::{
    cache::{CacheStatus, How},
    classify::{Door, Pass, PassReason, Refusal},
    semantics::{
        Selection,
        fields::{self, MaxForwards},
        head::Ambiguity,
        invalidation,
    },
    upstream,
    wsus::Coding,
};

impl Proxy {
    pub(super) async fn pass(
        &self,
        connection: &Arc<Connection>,
        request: Request<RequestBody>,
        pass: Pass,
    ) -> Result<Answered, Error> {
        let method = request.method().clone();
        let urls = Urls::of(connection, &request, &pass);
        let interim = connection.interims.open(request.version(), &self.node);
        if fields::max_forwards(&method, request.headers()) == MaxForwards::Answer {
            // An `OPTIONS` that was to come so far and no further (RFC 9110 §7.6.2); `TRACE` is refused anyway.
            return Ok(respond::options());
        }
        let get = self.as_get(connection, &request, &pass);
        let (mut request, _held) = self.judged(connection, self.forwarded(request, &pass)?, &pass).await?;
        request.extensions_mut().insert(interim);
        request.extensions_mut().insert(upstream::Client(connection.peer.ip()));
        let sent = SystemTime::now();
        let mut bound = connection.take_bound();
        let observed = pass.call.filter(|call| call.is_answered_with_metadata()).and(pass.upstream.clone());
        let rewriting = if pass.rewrites { rewrite::asked(&mut request, pass.upstream.clone()) } else { None };
        let response = self.upstreams.relay(&target(pass.origin, pass.upstream), request, &mut bound).await;
        connection.keep_bound(bound);
        let response = response?;
        if let Some(urls) = &urls {
            self.invalidate(&method, urls, &response).await;
        }
        let target = urls.as_ref().map(|urls| urls.named_by(&response));
        let response = match self.keep(get, target, response, sent).await {
            Ok(found) => return Ok(respond::stored(found, Selection::Whole, &method, sent)),
            Err(response) => *response,
        };
        let how = match pass.why {
            PassReason::Method => How::Method,
            PassReason::Body | PassReason::Service | PassReason::Policy => How::Bypass,
        };
        let status = CacheStatus { fwd_status: Some(response.status()), ..CacheStatus::new(how) };
        let tap = observed.and_then(|upstream| self.tap(upstream, connection.peer.ip(), &response));
        match rewriting {
            Some(rewriting) => Ok(self.rewritten(rewriting, response, tap, status)),
            None => Ok(Answered { tap, ..respond::relayed(response, status) }),
        }
    }

    /// Metadata is looked at while it passes, if it is in a coding that is known.
    fn tap(&self, upstream: Arc<str>, client: IpAddr, response: &Response<upstream::Body>) -> Option<Tap> {
        let coding = Coding::of(response.headers()).filter(|_| response.status() == StatusCode::OK)?;
        Some(self.observer.tap(upstream, client, coding))
    }

    /// A call of an update service is read and judged first; everything else streams. What is returned beside it is to be kept until it is sent.
    async fn judged(
        &self,
        connection: &Connection,
        request: Request<RequestBody>,
        pass: &Pass,
    ) -> Result<(Request<RequestBody>, Option<Held>), Error> {
        let Some(call) = &pass.call else { return Ok((request, None)) };
        let (config, client) = (self.config.load_full(), connection.peer.ip());
        let (request, content, held) = self.calls.judge(client, request, call, &config).await?;
        if call.tells_of_clients() {
            self.observer.called(client, SystemTime::now(), &content);
        }
        Ok((request, Some(held)))
    }

    /// The client's request for the next hop: only fields that concern the connection change (RFC 9110 §7.6).
    fn forwarded(&self, request: Request<RequestBody>, pass: &Pass) -> Result<Request<RequestBody>, Error> {
        let (mut parts, body) = request.into_parts();
        if let MaxForwards::Forward(hops) = fields::max_forwards(&parts.method, &parts.headers) {
            parts.headers.insert(header::MAX_FORWARDS, HeaderValue::from(hops));
        }
        address(&mut parts, pass.door)?;
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
    async fn invalidate(&self, method: &Method, urls: &Urls, response: &Response<upstream::Body>) {
        for changed in urls.changed(method, response) {
            let key = self.policy.load().key_of(&changed);
            if let Some(key) = key {
                self.cache.invalidate(&key).await;
            }
        }
    }
}

/// The `Host` that goes on. Behind our own name a service builds URLs of what the client calls it, whichever version says it (RFC 9113
/// §8.3.1); elsewhere the origin is called by its own name, as where content is fetched.
fn address(parts: &mut Parts, door: Door) -> Result<(), Error> {
    if !matches!(door, Door::Reverse | Door::Wsus) {
        parts.headers.remove(header::HOST);
    } else if let Some(authority) = parts.uri.authority().filter(|_| !parts.headers.contains_key(header::HOST)) {
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| Error::Ambiguous(Ambiguity::HostSyntax))?;
        parts.headers.insert(header::HOST, host);
    }
    Ok(())
}

/// What a request asks for, in absolute form.
struct Urls {
    origin: Uri,
    /// As the client knows it, behind a door that has a name of its own: a service that builds URLs of `Host` answers with these.
    client: Option<Uri>,
}

impl Urls {
    /// `None` when the target makes no URL.
    fn of(connection: &Connection, request: &Request<RequestBody>, pass: &Pass) -> Option<Self> {
        let origin = format!("{}{}", pass.origin, pass.path_and_query).parse().ok()?;
        let client = matches!(pass.door, Door::Reverse | Door::Wsus).then(|| seen_by_client(connection, request)).flatten();
        Some(Self { origin, client })
    }

    /// What is changed by an unsafe request that was answered so, as the origin knows it.
    fn changed(&self, method: &Method, response: &Response<upstream::Body>) -> Vec<Uri> {
        let mut changed = invalidation::invalidated(method, &self.origin, response.status(), response.headers());
        if let Some(client) = &self.client {
            let seen = invalidation::invalidated(method, client, response.status(), response.headers());
            changed.extend(seen.iter().filter_map(|uri| self.at_origin(client, uri)));
        }
        changed
    }

    /// The spelling of the target that the response says its content is of.
    fn named_by(&self, response: &Response<upstream::Body>) -> &Uri {
        let client = self.client.as_ref().filter(|client| invalidation::is_content_of(response.headers(), client));
        client.unwrap_or(&self.origin)
    }

    /// What the origin calls a URL of the client's: a site may put a path before all of them.
    fn at_origin(&self, client: &Uri, uri: &Uri) -> Option<Uri> {
        let base = self.origin.path().strip_suffix(client.path())?;
        format!("{}://{}{base}{}", self.origin.scheme()?, self.origin.authority()?, uri.path_and_query()?).parse().ok()
    }
}

fn seen_by_client(connection: &Connection, request: &Request<RequestBody>) -> Option<Uri> {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = request.uri().authority().map(Authority::as_str).or(host)?;
    let scheme = if connection.tls.is_some() { "https" } else { "http" };
    format!("{scheme}://{authority}{}", request.uri().path_and_query()?).parse().ok()
}
