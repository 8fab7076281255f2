//! The routes: what is asked becomes a call of [`Weir`], what comes back becomes JSON, text or the page.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use axum::{
    BoxError, Extension, Json, Router,
    error_handling::HandleErrorLayer,
    extract::{DefaultBodyLimit, Query, Request, State, rejection::JsonRejection, rejection::QueryRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{HeaderName, HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use tower::{ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, timeout::TimeoutLayer};

use crate::{
    admin::{
        Act, Failure, ObjectQuery, Pin, Purge, PurgeWhat, Readiness, Status, Traffic, Weir,
        access::{Denied, Peer, Rules},
        history::History,
        page, status,
    },
    metrics,
};

/// What all requests share.
pub(super) struct Context {
    weir: Arc<dyn Weir>,
    pub(super) rules: ArcSwap<Rules>,
    history: Mutex<History>,
}

/// Requests answered at once; further ones get 503.
const REQUESTS_MAX: usize = 32;

/// A purge of a large store is the longest thing asked here.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest thing sent here is a URL.
const BODY_LEN_MAX: usize = 16 * 1024;

/// The page needs its own style and script and nothing else; no other page may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; \
                                       base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

impl Context {
    pub(super) fn new(weir: Arc<dyn Weir>, rules: Rules) -> Self {
        Self { weir, rules: ArcSwap::from_pointee(rules), history: Mutex::default() }
    }

    /// Adds what came since the last call to the hours.
    pub(super) fn sample(&self, now: SystemTime) -> Vec<crate::admin::Hour> {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.sample(Traffic::of(self.weir.metrics()), status::unix(now));
        history.hours()
    }

    fn status(&self) -> Status {
        let now = SystemTime::now();
        Status::of(&*self.weir, self.sample(now), now)
    }

    /// Tells weir what was done, and turns the outcome into a response.
    fn done<T: Serialize>(&self, peer: &Peer, act: (&'static str, &str), outcome: Result<(T, String), Failure>) -> Response {
        let told = match &outcome {
            Ok((_, told)) => told.clone(),
            Err(failure) => format!("refused: {failure}"),
        };
        let ((action, target), who) = (act, peer.to_string());
        // Without the target: only the access log knows how to take secrets out of a URL.
        tracing::info!(who, action, ok = outcome.is_ok(), "administration");
        self.weir.record(&Act { at: SystemTime::now(), who: &who, action, target, outcome: &told });
        outcome.map_or_else(IntoResponse::into_response, |(answer, _)| Json(answer).into_response())
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid: Some(uid) } => write!(f, "unix:{uid}"),
            Self::Unix { uid: None } => f.write_str("unix"),
            Self::Tcp { client, .. } => client.ip().to_canonical().fmt(f),
        }
    }
}

/// All routes, with the limits and the checks that stand before every one of them.
pub(super) fn router(context: Arc<Context>) -> Router {
    let limits = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(overloaded))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(REQUESTS_MAX))
        .layer(TimeoutLayer::new(REQUEST_TIMEOUT));
    Router::new()
        .route("/", get(status_page))
        .route("/ui/status.css", get(async || ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE)))
        .route("/ui/status.js", get(async || ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::SCRIPT)))
        .route("/api/status", get(async |State(context): State<Arc<Context>>| Json(context.status())))
        .route("/api/objects", get(objects))
        .route("/api/v1/clients", get(clients))
        .route("/api/v1/events", get(reported))
        .route("/api/v1/updates", get(updates))
        .route("/api/purge", post(purge))
        .route("/api/pin", post(pin))
        .route("/api/reload", post(reload))
        .route("/metrics", get(encoded_metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(readiness))
        .fallback(async || Failure::Absent("there is nothing here".into()))
        .layer(DefaultBodyLimit::max(BODY_LEN_MAX))
        .layer(limits)
        .layer(middleware::from_fn_with_state(Arc::clone(&context), admit))
        .with_state(context)
}

/// Lets in who may come in, and puts on every answer what keeps browsers from misusing it.
async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    // Without a peer the connection was not accepted by `serve`; nobody is let in for an oversight.
    let verdict = match head.extensions.get::<Peer>() {
        Some(peer) => context.rules.load().judge(peer, &head),
        None => Err(Denied::Network),
    };
    let mut response = match verdict {
        Ok(()) => next.run(Request::from_parts(head, body)).await,
        Err(denied) => denied.into_response(),
    };
    let fields = response.headers_mut();
    for (name, value) in FIELDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

const FIELDS: [(HeaderName, &str); 5] = [
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

async fn overloaded(error: BoxError) -> Failure {
    if error.is::<tower::timeout::error::Elapsed>() {
        return Failure::Unavailable(format!("no answer within {} s; it may still be carried out", REQUEST_TIMEOUT.as_secs()));
    }
    Failure::Unavailable("too many requests at once".into())
}

async fn status_page(State(context): State<Arc<Context>>) -> Response {
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page::render(&context.status())).into_response()
}

async fn objects(
    State(context): State<Arc<Context>>,
    query: Result<Query<ObjectQuery>, QueryRejection>,
) -> Result<Response, Failure> {
    let Query(mut query) = query.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
    query.limit = Some(query.limit.unwrap_or(OBJECTS_DEFAULT).clamp(1, OBJECTS_MAX));
    Ok(Json(context.weir.objects(query).await?).into_response())
}

/// How many of a list are wanted.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    limit: Option<usize>,
}

impl Listed {
    fn limit(query: Result<Query<Self>, QueryRejection>) -> Result<usize, Failure> {
        let Query(query) = query.map_err(|rejection| Failure::Invalid(rejection.body_text()))?;
        Ok(query.limit.unwrap_or(OBJECTS_DEFAULT).clamp(1, OBJECTS_MAX))
    }
}

/// `{"observed": true, "clients": […]}`: said by computers themselves, and seen in passing.
async fn clients(State(context): State<Arc<Context>>, query: Result<Query<Listed>, QueryRejection>) -> Result<Response, Failure> {
    let clients = context.weir.computers(Listed::limit(query)?);
    Ok(Json(serde_json::json!({ "observed": true, "clients": clients })).into_response())
}

/// `{"observed": true, "events": […]}`
async fn reported(
    State(context): State<Arc<Context>>,
    query: Result<Query<Listed>, QueryRejection>,
) -> Result<Response, Failure> {
    let events = context.weir.reported(Listed::limit(query)?);
    Ok(Json(serde_json::json!({ "observed": true, "events": events })).into_response())
}

/// `{"observed": true, "updates": […]}`: of metadata that passed.
async fn updates(State(context): State<Arc<Context>>, query: Result<Query<Listed>, QueryRejection>) -> Result<Response, Failure> {
    let updates = context.weir.updates(Listed::limit(query)?);
    Ok(Json(serde_json::json!({ "observed": true, "updates": updates })).into_response())
}

const OBJECTS_DEFAULT: usize = 100;
const OBJECTS_MAX: usize = 1000;

/// `{"url": …}`, `{"host": …}` or `{"all": true}`; with `"dry_run": true` nothing is removed.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PurgeBody {
    url: Option<String>,
    host: Option<String>,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    dry_run: bool,
}

impl PurgeBody {
    fn parse(self) -> Result<Purge, Failure> {
        let what = match (self.url, self.host, self.all) {
            (Some(url), None, false) => PurgeWhat::Url(url),
            (None, Some(host), false) => PurgeWhat::Host(host),
            (None, None, true) => PurgeWhat::All,
            _ => return Err(Failure::Invalid("exactly one of url, host and all is needed".into())),
        };
        Ok(Purge { what, dry_run: self.dry_run })
    }
}

async fn purge(
    State(context): State<Arc<Context>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<PurgeBody>, JsonRejection>,
) -> Result<Response, Failure> {
    let purge = json(body)?.parse()?;
    let target = match &purge.what {
        PurgeWhat::Url(url) => url.clone(),
        PurgeWhat::Host(host) => host.clone(),
        PurgeWhat::All => "all".into(),
    };
    let action = if purge.dry_run { "purge-dry-run" } else { "purge" };
    let purged = context.weir.purge(purge).await;
    let purged = purged.map(|purged| (purged, format!("{} objects, {} bytes", purged.objects, purged.bytes)));
    Ok(context.done(&peer, (action, &target), purged))
}

async fn pin(
    State(context): State<Arc<Context>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<Pin>, JsonRejection>,
) -> Result<Response, Failure> {
    let pin = json(body)?;
    let (action, target) = (if pin.pinned { "pin" } else { "unpin" }, pin.url.clone());
    let pinned = context.weir.pin(pin).await;
    let pinned = pinned.map(|pinned| (pinned, format!("{} contents, {} bytes", pinned.blobs, pinned.bytes)));
    Ok(context.done(&peer, (action, &target), pinned))
}

async fn reload(State(context): State<Arc<Context>>, Extension(peer): Extension<Peer>) -> Response {
    let reloaded = context.weir.reload().await.map(|()| (serde_json::json!({ "reloaded": true }), "applied".into()));
    context.done(&peer, ("reload", "configuration"), reloaded)
}

fn json<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Failure> {
    body.map(|Json(body)| body).map_err(|rejection| Failure::Invalid(rejection.body_text()))
}

async fn encoded_metrics(State(context): State<Arc<Context>>) -> Response {
    let mut text = Vec::with_capacity(64 * 1024);
    context.weir.metrics().encode(&mut text);
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn readiness(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    match context.weir.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Absent(_) => StatusCode::NOT_FOUND,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        (status, Json(serde_json::json!({ "error": self.to_string() }))).into_response()
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let mut response = (self.status(), Json(serde_json::json!({ "error": self.to_string() }))).into_response();
        if self == Self::Token {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
