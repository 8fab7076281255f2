use http::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::semantics::{policy::Heuristic, testing::fields};

/// 2023-11-14T22:13:20Z, when every response of these tests arrives unless it says otherwise.
const T0: u64 = 1_700_000_000;

fn at(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// Fields in which `@n` stands for the date `n` seconds after `T0`.
fn response(pairs: &[(&str, &str)]) -> Facts {
    let dated = |value: &str| match value.strip_prefix('@') {
        Some(offset) => httpdate::fmt_http_date(at(T0.saturating_add_signed(offset.parse().unwrap()))),
        None => value.to_owned(),
    };
    let pairs: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (*name, dated(value))).collect();
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Facts::of(StatusCode::OK, &fields(&pairs), at(T0), at(T0), &Policy::HTTP)
}

fn cache_control(value: &str) -> Facts {
    response(&[("cache-control", value)])
}

fn judge(stored: &Facts, request: &str, after: u64) -> Freshness {
    let request = match request {
        "" => RequestDirectives::default(),
        value => RequestDirectives::of(&fields(&[("cache-control", value)])),
    };
    freshness(stored, &request, &Policy::HTTP, at(T0 + after))
}

fn is_fresh(stored: &Facts, after: u64) -> bool {
    matches!(judge(stored, "", after), Freshness::Fresh { .. })
}

fn demand_of(freshness: Freshness) -> Option<Demand> {
    match freshness {
        Freshness::MustValidate { why, .. } => Some(why),
        _ => None,
    }
}

#[test]
fn freshness_ends_when_age_reaches_the_lifetime() {
    for (name, stored, fresh_until) in [
        ("nothing", response(&[]), 0),
        ("max-age", cache_control("max-age=60"), 60),
        ("s-maxage over max-age", cache_control("max-age=60, s-maxage=10"), 10),
        ("s-maxage over max-age 0", cache_control("max-age=0, s-maxage=10"), 10),
        ("max-age over past Expires", response(&[("cache-control", "max-age=60"), ("expires", "@-7200"), ("date", "@0")]), 60),
        ("max-age over invalid Expires", response(&[("cache-control", "max-age=60"), ("expires", "0")]), 60),
        ("max-age 0 over Expires", response(&[("cache-control", "max-age=0"), ("expires", "@60")]), 0),
        ("Expires after Date", response(&[("expires", "@60"), ("date", "@0")]), 60),
        ("Expires without Date", response(&[("expires", "@60")]), 60),
        ("Expires with invalid Date", response(&[("expires", "@60"), ("date", "foo")]), 60),
        ("Expires at Date", response(&[("expires", "@0"), ("date", "@0")]), 0),
        ("both fast", response(&[("expires", "@300"), ("date", "@400")]), 0),
        ("Age", response(&[("cache-control", "max-age=60"), ("age", "50")]), 10),
        ("Age past max-age", response(&[("cache-control", "max-age=60"), ("age", "70")]), 0),
        ("slow Date", response(&[("cache-control", "max-age=60"), ("date", "@-50")]), 10),
        ("slow Date and Age", response(&[("date", "@-10"), ("expires", "@10"), ("age", "25")]), 0),
        ("fast Date and Age", response(&[("date", "@10"), ("expires", "@20"), ("age", "15")]), 0),
        ("fast Date", response(&[("cache-control", "max-age=60"), ("date", "@50")]), 60),
        ("a tenth since modification", response(&[("last-modified", "@-1000"), ("date", "@0")]), 100),
        ("at most a day", response(&[("last-modified", "@-100000000"), ("date", "@0")]), 86_400),
        ("modified in the future", response(&[("last-modified", "@1000"), ("date", "@0")]), 0),
        ("no guess beside Expires", response(&[("last-modified", "@-1000"), ("expires", "0")]), 0),
        (
            "targeted over all",
            response(&[("cdn-cache-control", "max-age=5"), ("cache-control", "s-maxage=60"), ("expires", "@60")]),
            5,
        ),
        (
            "targeted without lifetime",
            response(&[("cdn-cache-control", "public"), ("cache-control", "max-age=60"), ("expires", "@60")]),
            0,
        ),
        ("targeted but invalid", response(&[("cdn-cache-control", "max-age=5,"), ("cache-control", "max-age=60")]), 60),
    ] {
        assert!(fresh_until == 0 || is_fresh(&stored, fresh_until - 1), "{name}: stale too early");
        assert!(!is_fresh(&stored, fresh_until), "{name}: fresh too long");
    }
}

#[test]
fn the_greatest_lifetimes_neither_overflow_nor_wrap() {
    for value in ["max-age=2147483647", "max-age=2147483648", "max-age=2147483649", "max-age=99999999999"] {
        assert!(is_fresh(&cache_control(value), 2_000_000_000), "{value}");
        assert!(!is_fresh(&cache_control(value), 2_147_483_648), "{value}");
    }
    let old = response(&[("cache-control", "max-age=99999999999"), ("age", "99999999999")]);
    assert!(!is_fresh(&old, 0));
    assert_eq!(judge(&old, "", u64::MAX / 4).age(), secs((1 << 31) + u64::MAX / 4));
}

#[test]
fn the_delay_of_the_response_counts_as_age() {
    let slow = Facts { request_time: at(T0 - 20), ..response(&[("cache-control", "max-age=60"), ("age", "10")]) };
    assert_eq!(judge(&slow, "", 5), Freshness::Fresh { age: secs(35), ttl: secs(25) });
}

#[test]
fn a_clock_that_jumps_makes_nothing_fresh() {
    let stored = cache_control("max-age=60, stale-if-error=60");
    let before = |by| freshness(&stored, &RequestDirectives::default(), &Policy::HTTP, at(T0 - by));
    assert_eq!(before(5), Freshness::Fresh { age: secs(0), ttl: secs(60) }, "read before a short wait");
    assert_eq!(demand_of(before(11)), Some(Demand::Clock));
    assert!(!before(11).answers_on_error());
    let backwards = Facts { request_time: at(T0 + 3600), ..stored };
    assert_eq!(demand_of(judge(&backwards, "", 0)), Some(Demand::Clock));
}

#[test]
fn stale_answers_are_given_only_where_nothing_forbids_them() {
    let reuse = |value: &str, request: &str, after| match judge(&cache_control(value), request, after) {
        Freshness::Stale { reuse, .. } => (reuse.accepted, reuse.while_revalidate, reuse.on_error),
        other => panic!("{value}: {other:?}"),
    };
    assert_eq!(reuse("max-age=2", "", 5), (false, false, true), "disconnected is enough by default");
    assert_eq!(reuse("max-age=2", "max-stale=3", 5), (true, false, true));
    assert_eq!(reuse("max-age=2", "max-stale=2", 5), (false, false, true));
    assert_eq!(reuse("max-age=2", "max-stale", 500), (true, false, true));
    assert_eq!(reuse("max-age=2, stale-while-revalidate=3", "", 5), (false, true, true));
    assert_eq!(reuse("max-age=2, stale-while-revalidate=3", "", 6), (false, false, true));
    assert_eq!(reuse("max-age=2, stale-if-error=3", "", 5), (false, false, true));
    assert_eq!(reuse("max-age=2, stale-if-error=3", "", 6), (false, false, false));
    assert_eq!(reuse("max-age=2, stale-if-error=3", "stale-if-error=60", 6), (false, false, true));
    for forbidding in ["max-age=2, must-revalidate", "max-age=2, proxy-revalidate", "s-maxage=2"] {
        let value = format!("{forbidding}, stale-while-revalidate=60, stale-if-error=60");
        assert_eq!(reuse(&value, "max-stale", 5), (false, false, false), "{forbidding}");
    }
    let week = 7 * 86_400;
    assert_eq!(reuse("max-age=0, stale-while-revalidate=9999999", "max-stale", week), (true, true, true));
    assert_eq!(reuse("max-age=0, stale-while-revalidate=9999999", "max-stale", week + 1), (false, false, false));
}

#[test]
fn a_request_can_demand_validation_of_a_fresh_response() {
    let stored = response(&[("cache-control", "max-age=1000"), ("age", "100")]);
    let why = |request| demand_of(judge(&stored, request, 0));
    assert_eq!(why("no-cache"), Some(Demand::RequestNoCache));
    assert_eq!(why("max-age=0"), Some(Demand::RequestMaxAge));
    assert_eq!(why("max-age=99"), Some(Demand::RequestMaxAge));
    assert_eq!(why("max-age=100"), None);
    assert_eq!(why("max-age=50, max-stale=50"), None);
    assert_eq!(why("min-fresh=901"), Some(Demand::RequestMinFresh));
    assert_eq!(why("min-fresh=900"), None);
    assert_eq!(why("only-if-cached, no-store, foo"), None);
    assert_eq!(demand_of(judge(&stored, "min-fresh=1", 901)), Some(Demand::RequestMinFresh));
    assert!(!judge(&stored, "no-cache", 0).answers_on_error());
    assert!(judge(&stored, "max-age=0", 0).answers_on_error());
    assert_eq!(judge(&stored, "no-cache", 0).ttl_secs(), 900);
}

#[test]
fn a_response_can_demand_validation_of_itself() {
    assert_eq!(demand_of(judge(&cache_control("max-age=60, no-cache"), "", 0)), Some(Demand::ResponseNoCache));
    assert!(!judge(&cache_control("max-age=60, no-cache"), "", 0).answers_on_error());
    assert!(is_fresh(&cache_control("max-age=60, no-cache=\"a\""), 0), "a qualified no-cache concerns its fields only");
    let invalidated = cache_control("max-age=60").invalidated(true);
    assert_eq!(demand_of(judge(&invalidated, "", 0)), Some(Demand::Invalidated));
}

#[test]
fn an_immutable_response_is_not_validated_for_a_reload_while_it_is_fresh() {
    let stored = cache_control("max-age=60, immutable");
    assert!(matches!(judge(&stored, "max-age=0", 10), Freshness::Fresh { .. }));
    assert_eq!(demand_of(judge(&stored, "no-cache", 10)), Some(Demand::RequestNoCache));
    assert_eq!(demand_of(judge(&stored, "max-age=0", 60)), Some(Demand::RequestMaxAge));
}

#[test]
fn policy_can_override_what_a_response_says() {
    let day = 86_400;
    let judge = |stored: &Facts, policy: &Policy, after| freshness(stored, &RequestDirectives::default(), policy, at(T0 + after));
    let edge = response(&[("date", "@-3000000"), ("age", "3000000"), ("cache-control", "no-cache, max-age=0")]);
    assert_eq!(judge(&edge, &Policy::VERSIONED, day), Freshness::Fresh { age: secs(3_000_000 + day), ttl: secs(6 * day) });
    assert!(!matches!(judge(&edge, &Policy::VERSIONED, 7 * day), Freshness::Fresh { .. }));
    assert!(matches!(judge(&edge, &Policy::VERIFIED, 3650 * day), Freshness::Fresh { .. }));
    let long = cache_control("max-age=864000");
    assert_eq!(judge(&long, &Policy::VERSIONED, day), Freshness::Fresh { age: secs(day), ttl: secs(9 * day) });
    let moved = Facts { status: StatusCode::FOUND, ..cache_control("max-age=60") };
    assert!(matches!(judge(&moved, &Policy::VERIFIED, 60), Freshness::Stale { .. }));
    let mutable = judge(&long, &Policy::MUTABLE, day);
    assert_eq!((demand_of(mutable), mutable.answers_on_error()), (Some(Demand::Policy), true));
    assert!(!judge(&long, &Policy::MUTABLE, day + 1).answers_on_error());
    let no_guess = Policy { heuristic: None, ..Policy::HTTP };
    assert_eq!(lifetime(&response(&[("last-modified", "@-1000")]), &no_guess).source, LifetimeSource::None);
}

#[test]
fn statuses_without_a_default_are_not_guessed_about() {
    let with = |status: u16, value| {
        let stored = response(&[("last-modified", "@-1000"), ("date", "@0"), ("cache-control", value)]);
        is_fresh(&Facts { status: StatusCode::from_u16(status).unwrap(), ..stored }, 1)
    };
    for status in [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501] {
        assert!(with(status, "foo"), "{status}");
    }
    for status in [201, 202, 302, 307, 403, 502, 503, 504, 599] {
        assert!(!with(status, "foo"), "{status}");
        assert!(with(status, "public"), "{status} public");
    }
}

/// The formulas of RFC 9111 §4.2.1 and §4.2.3 in whole seconds, as the RFC writes them.
struct Model {
    age_value: i64,
    date_value: i64,
    now: i64,
    request_time: i64,
    response_time: i64,
    max_age: Option<i64>,
    expires_value: Option<i64>,
}

impl Model {
    fn current_age(&self) -> i64 {
        let apparent_age = (self.response_time - self.date_value).max(0);
        let response_delay = self.response_time - self.request_time;
        let corrected_age_value = self.age_value + response_delay;
        let corrected_initial_age = apparent_age.max(corrected_age_value);
        let resident_time = self.now - self.response_time;
        corrected_initial_age + resident_time
    }

    fn freshness_lifetime(&self) -> i64 {
        self.max_age.or(self.expires_value.map(|expires| expires - self.date_value)).unwrap_or(0).max(0)
    }
}

proptest! {
    #[test]
    fn age_and_lifetime_agree_with_the_formulas_of_the_rfc(
        age_value in 0i64..5000, date in -5000i64..5000, delay in 0i64..100, resident in 0i64..10_000,
        max_age in prop::option::of(0i64..10_000), expires in prop::option::of(-5000i64..10_000),
    ) {
        let t0 = T0 as i64;
        let model = Model {
            age_value, date_value: t0 + date, now: t0 + resident, request_time: t0 - delay, response_time: t0, max_age,
            expires_value: expires.map(|expires| t0 + expires),
        };
        let (age, date, max_age) = (age_value.to_string(), format!("@{date}"), max_age.map(|age| format!("max-age={age}")));
        let expires = expires.map(|expires| format!("@{expires}"));
        let mut pairs = vec![("age", age.as_str()), ("date", date.as_str())];
        pairs.extend(max_age.as_deref().map(|value| ("cache-control", value)));
        pairs.extend(expires.as_deref().map(|value| ("expires", value)));
        let stored = Facts { request_time: at((t0 - delay) as u64), ..response(&pairs) };

        let (age, lifetime) = (model.current_age(), model.freshness_lifetime());
        match judge(&stored, "", resident as u64) {
            Freshness::Fresh { age: found, ttl } => {
                prop_assert_eq!((found.as_secs() as i64, ttl.as_secs() as i64), (age, lifetime - age));
                prop_assert!(lifetime > age);
            }
            Freshness::Stale { age: found, by, .. } => {
                prop_assert_eq!((found.as_secs() as i64, by.as_secs() as i64), (age, age - lifetime));
                prop_assert!(lifetime <= age);
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    /// The whole verdict against the rules of RFC 9111 §4.2.4, §5.2 and RFC 5861, each as one line of plain arithmetic.
    #[test]
    fn the_verdict_agrees_with_the_rules_in_plain_arithmetic(
        said in (0i64..100, 0i64..100, prop::option::of(0i64..100), prop::option::of(0i64..100), prop::option::of(0i64..100)),
        flags in prop::array::uniform4(prop::bool::weighted(0.15)),
        asked in (prop::option::weighted(0.3, 0i64..100), prop::option::weighted(0.3, 0i64..100), prop::option::weighted(0.3, 0i64..100), prop::option::weighted(0.3, 0i64..100), prop::bool::weighted(0.1)),
        resident in 0i64..100, stale_max in 0i64..100,
    ) {
        let (age_value, max_age, s_maxage, while_revalidate, if_error) = said;
        let [must_revalidate, proxy_revalidate, no_cache, immutable] = flags;
        let (ask_age, ask_fresh, ask_stale, ask_error, ask_no_cache) = asked;
        let text = |entries: &[(&str, Option<i64>)]| -> String {
            entries.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect::<Vec<_>>().join(", ")
        };
        let flag = |name: &'static str, is_set: bool| if is_set { name } else { "x" };
        let mut line = text(&[("max-age", Some(max_age)), ("s-maxage", s_maxage), ("stale-while-revalidate", while_revalidate), ("stale-if-error", if_error)]);
        for (name, is_set) in [("must-revalidate", must_revalidate), ("proxy-revalidate", proxy_revalidate), ("no-cache", no_cache), ("immutable", immutable)] {
            line = format!("{line}, {}", flag(name, is_set));
        }
        let request = text(&[("max-age", ask_age), ("min-fresh", ask_fresh), ("max-stale", ask_stale), ("stale-if-error", ask_error)]);
        let request = format!("{}, {request}", flag("no-cache", ask_no_cache));
        let stored = response(&[("cache-control", line.as_str()), ("age", &age_value.to_string())]);
        let policy = Policy { stale_max: secs(stale_max as u64), ..Policy::HTTP };
        let directives = RequestDirectives::of(&fields(&[("cache-control", request.as_str())]));
        let verdict = freshness(&stored, &directives, &policy, at(T0 + resident as u64));

        let age = age_value + resident;
        let left = s_maxage.unwrap_or(max_age) - age;
        let (is_fresh, past) = (left > 0, -left);
        let may_be_stale = !must_revalidate && !proxy_revalidate && s_maxage.is_none() && past.max(0) <= stale_max;
        let within = |bound: Option<i64>| bound.is_some_and(|bound| past.max(0) <= bound);
        let too_old = ask_age.is_some_and(|most| age > most + ask_stale.unwrap_or(0)) && !(immutable && is_fresh);
        let too_short = ask_fresh.is_some_and(|least| if is_fresh { left < least } else { ask_stale.unwrap_or(0) == 0 });
        let must_ask = no_cache || ask_no_cache || too_old || too_short;
        let at_once = !must_ask && (is_fresh || (may_be_stale && (within(ask_stale) || within(while_revalidate))));
        let by_error = may_be_stale && (if_error.is_none() || within(if_error) || within(ask_error));
        let on_error = !no_cache && !ask_no_cache && (at_once || by_error);

        prop_assert_eq!(verdict.answers_at_once(), at_once, "{} | {} after {}: {:?}", line, request, resident, verdict);
        prop_assert_eq!(verdict.answers_on_error(), on_error, "{} | {} after {}: {:?}", line, request, resident, verdict);
        prop_assert_eq!((verdict.age(), verdict.ttl_secs()), (secs(age as u64), left));
    }

    #[test]
    fn any_times_and_figures_give_a_verdict_and_no_panic(
        age in any::<u64>(), max_age in any::<u64>(), times in prop::array::uniform3(0u64..1 << 40), percent in any::<u32>(), stale in any::<u64>(),
    ) {
        let value = format!("max-age={max_age}, stale-while-revalidate={stale}, stale-if-error={stale}");
        let age = age.to_string();
        let [request_time, response_time, now] = times.map(at);
        let stored = Facts { request_time, response_time, ..response(&[("cache-control", value.as_str()), ("age", age.as_str()), ("last-modified", "@-99")]) };
        let policy = Policy { heuristic: Some(Heuristic { percent, max: Duration::MAX }), stale_max: Duration::MAX, ..Policy::HTTP };
        let request = RequestDirectives { max_stale: Some(Duration::MAX), min_fresh: Some(secs(stale)), ..RequestDirectives::default() };
        let verdict = freshness(&stored, &request, &policy, now);
        prop_assert!(verdict.age() >= Duration::ZERO);
        let _ = verdict.ttl_secs();
    }
}
