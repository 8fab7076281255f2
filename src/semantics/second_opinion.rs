//! A second opinion: the crate `http-cache-semantics` judges the same requests and responses, and every disagreement has a reason.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::prelude::*;

use crate::semantics::{Facts, Freshness, Policy, cache_control::RequestDirectives, freshness, storable, testing::fields};

/// When every response arrives: 2023-11-14T22:13:20Z.
const T0: u64 = 1_700_000_000;

/// One response, and one request for it later.
#[derive(Clone, Debug)]
struct Case {
    status: u16,
    directives: Vec<String>,
    /// Seconds before or after the arrival.
    date: Option<i64>,
    expires: Option<i64>,
    last_modified: Option<i64>,
    age: Option<u64>,
    set_cookie: bool,
    authorized: bool,
    request: Option<String>,
    after: u64,
}

impl Case {
    fn says(&self, directive: &str) -> bool {
        self.directives.iter().any(|said| said.split('=').next() == Some(directive))
    }

    fn has_lifetime(&self) -> bool {
        self.says("max-age") || self.says("s-maxage")
    }

    fn response(&self) -> HeaderMap {
        let date = |offset: i64| httpdate::fmt_http_date(at(T0.saturating_add_signed(offset)));
        let mut pairs = vec![("cache-control", self.directives.join(", "))];
        pairs.extend(self.date.map(|offset| ("date", date(offset))));
        pairs.extend(self.expires.map(|offset| ("expires", date(offset))));
        pairs.extend(self.last_modified.map(|offset| ("last-modified", date(offset))));
        pairs.extend(self.age.map(|age| ("age", age.to_string())));
        pairs.extend(self.set_cookie.then(|| ("set-cookie", "a=b".to_owned())));
        let pairs: Vec<_> =
            pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (*name, value.as_str())).collect();
        fields(&pairs)
    }

    fn first_request(&self) -> HeaderMap {
        if self.authorized { fields(&[("authorization", "x")]) } else { HeaderMap::new() }
    }

    fn second_request(&self) -> HeaderMap {
        let directive = self.request.as_deref().map(|directive| ("cache-control", directive));
        fields(directive.as_slice())
    }

    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap()
    }

    /// Whether we answer the second request without asking anybody.
    fn ours(&self) -> bool {
        let response = self.response();
        if storable(&Method::GET, &self.first_request(), self.status(), &response, &Policy::HTTP).is_err() {
            return false;
        }
        let stored = Facts::of(self.status(), &response, at(T0), at(T0), &Policy::HTTP);
        let request = RequestDirectives::of(&self.second_request());
        matches!(freshness(&stored, &request, &Policy::HTTP, at(T0 + self.after)), Freshness::Fresh { .. })
    }

    fn theirs(&self) -> bool {
        let mut response = Response::builder().status(self.status()).body(()).unwrap();
        *response.headers_mut() = self.response();
        let request = |fields| {
            let mut request = Request::get("http://a.example/").body(()).unwrap();
            *request.headers_mut() = fields;
            request
        };
        let policy = CachePolicy::new_options(&request(self.first_request()), &response, at(T0), CacheOptions::default());
        matches!(policy.before_request(&request(self.second_request()), at(T0 + self.after)), BeforeRequest::Fresh(_))
    }

    /// Why we answer and they do not.
    fn may_be_ours_alone(&self) -> Option<&'static str> {
        let understood = [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501];
        if !understood.contains(&self.status) {
            // RFC 9111 §3: any final status may be stored unless must-understand says otherwise.
            return Some("they store no status they do not know");
        }
        if self.says("proxy-revalidate") {
            // RFC 9111 §5.2.2.8: once stale; fresh responses are reused.
            return Some("they never reuse what says proxy-revalidate");
        }
        if self.set_cookie {
            // RFC 9111 §7.3.
            return Some("they reuse no response that sets cookies");
        }
        if self.says("immutable") && self.request.as_deref().is_some_and(|request| request.starts_with("max-age")) {
            // RFC 8246 §2.
            return Some("they validate immutable responses for a reload");
        }
        None
    }

    /// Why they answer and we do not.
    fn may_be_theirs_alone(&self) -> Option<&'static str> {
        if self.date.is_some_and(|date| date < 0) {
            // RFC 9111 §4.2.3: the apparent age.
            return Some("they do not count the time since Date as age");
        }
        if self.says("immutable") && !self.has_lifetime() {
            // RFC 8246 §2 gives no lifetime.
            return Some("they take immutable for a day of freshness");
        }
        None
    }
}

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn directives() -> impl Strategy<Value = Vec<String>> {
    let flags =
        ["no-cache", "no-store", "private", "public", "must-revalidate", "proxy-revalidate", "immutable", "no-transform", "foo"];
    let lifetime =
        |name: &'static str| prop::option::weighted(0.4, 0u64..2000).prop_map(move |age| age.map(|age| format!("{name}={age}")));
    (prop::sample::subsequence(flags.to_vec(), 0..3), lifetime("max-age"), lifetime("s-maxage"))
        .prop_map(|(flags, max_age, s_maxage)| flags.into_iter().map(str::to_owned).chain(max_age).chain(s_maxage).collect())
}

fn request() -> impl Strategy<Value = Option<String>> {
    let directive = prop_oneof![
        Just("no-cache".to_owned()),
        (0u64..2000).prop_map(|age| format!("max-age={age}")),
        (0u64..2000).prop_map(|ttl| format!("min-fresh={ttl}")),
        Just("foo".to_owned()),
    ];
    prop::option::weighted(0.3, directive)
}

fn case() -> impl Strategy<Value = Case> {
    let status = prop_oneof![
        4 => Just(200u16),
        1 => prop::sample::select(vec![203, 204, 301, 302, 307, 404, 410, 500, 503, 599]),
    ];
    // Tens of seconds: the other rounds a tenth of it down. Up to ten days, where our bound of one day begins.
    let last_modified = prop::option::weighted(0.3, (0i64..86_000).prop_map(|tens| -10 * tens));
    let times = (
        prop::option::of(-500i64..500),
        prop::option::weighted(0.3, -500i64..2000),
        last_modified,
        prop::option::weighted(0.3, 0u64..2000),
    );
    (status, directives(), times, any::<bool>(), prop::bool::weighted(0.2), request(), 0u64..2000).prop_map(
        |(status, directives, (date, expires, last_modified, age), set_cookie, authorized, request, after)| Case {
            status,
            directives,
            date,
            expires,
            last_modified,
            age,
            set_cookie,
            authorized,
            request,
            after,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_disagreement_is_explained(case in case()) {
        match (case.ours(), case.theirs()) {
            (true, false) => prop_assert!(case.may_be_ours_alone().is_some(), "only we answer: {:?}", case),
            (false, true) => prop_assert!(case.may_be_theirs_alone().is_some(), "only they answer: {:?}", case),
            _ => {}
        }
    }
}

/// Each reason is needed: a case in which it is the only one.
#[test]
fn every_explanation_explains_something() {
    let plain = Case {
        status: 200,
        directives: vec!["max-age=100".into()],
        date: Some(0),
        expires: None,
        last_modified: None,
        age: None,
        set_cookie: false,
        authorized: false,
        request: None,
        after: 10,
    };
    let saying = |directives: &[&str]| Case { directives: directives.iter().map(ToString::to_string).collect(), ..plain.clone() };
    assert!(plain.ours() && plain.theirs());
    for ours in [
        Case { status: 599, ..plain.clone() },
        saying(&["max-age=100", "proxy-revalidate"]),
        Case { set_cookie: true, ..plain.clone() },
        Case { request: Some("max-age=0".into()), ..saying(&["max-age=100", "immutable"]) },
    ] {
        assert!(ours.ours() && !ours.theirs() && ours.may_be_ours_alone().is_some(), "{ours:?}");
    }
    for theirs in [Case { date: Some(-200), ..plain.clone() }, saying(&["immutable"])] {
        assert!(!theirs.ours() && theirs.theirs() && theirs.may_be_theirs_alone().is_some(), "{theirs:?}");
    }
}
