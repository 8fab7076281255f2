//! HTTP dates and what is reckoned with them: three times, then the lines of `Date`, `Expires`, `Last-Modified`, `Age` and `Cache-Control`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{
    HeaderMap, StatusCode,
    header::{AGE, CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED},
};
use weir::semantics::{
    Facts, Freshness, Policy,
    cache_control::RequestDirectives,
    fields::{date_value, parse_date},
    freshness::{current_age, freshness, lifetime},
};

use super::{number, values};

pub fn dates(data: &[u8]) {
    let (asked, rest) = number(data);
    let (delay, rest) = number(rest);
    let (stay, rest) = number(rest);
    let mut fields = HeaderMap::new();
    for (name, value) in [DATE, EXPIRES, LAST_MODIFIED, AGE, CACHE_CONTROL].into_iter().zip(values(rest, 5)) {
        if let Some(time) = parse_date(&value) {
            assert_eq!(parse_date(&date_value(time)), Some(time), "a date that was read can be written");
        }
        fields.insert(name, value);
    }
    let request_time = time(asked);
    let response_time = request_time + Duration::from_secs(delay % (1 << 20));
    for policy in [Policy::HTTP, Policy::CONTENT, Policy::VERSIONED, Policy::VERIFIED, Policy::MUTABLE] {
        let facts = Facts::of(StatusCode::OK, &fields, request_time, response_time, &policy);
        grows_older(&facts, &RequestDirectives::of(&fields), &policy, response_time + Duration::from_secs(stay % (1 << 40)));
    }
    let facts = Facts::of(StatusCode::OK, &fields, request_time, response_time, &Policy::HTTP);
    // A clock that stands before the response: never fresh, and never a panic.
    let before = freshness(&facts, &RequestDirectives::default(), &Policy::HTTP, time(stay).min(response_time));
    assert!(before.ttl_secs() <= 0 || current_age(&facts, time(stay).min(response_time)).is_some());
}

/// Nothing becomes fresh by waiting, and what says it is fresh has a lifetime beyond its age.
fn grows_older(facts: &Facts, request: &RequestDirectives, policy: &Policy, now: SystemTime) {
    let judge = |now| freshness(facts, request, policy, now);
    let (early, late) = (judge(now), judge(now + Duration::from_secs(60)));
    assert!(early.age() <= late.age());
    assert!(early.answers_at_once() || !late.answers_at_once(), "{early:?}, a minute later {late:?}");
    if let Freshness::Fresh { age, ttl } = early {
        assert!(!ttl.is_zero());
        assert!(*policy != Policy::HTTP || lifetime(facts, policy).duration > age);
    }
}

/// Times of about 70,000 years from the epoch.
fn time(number: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(number % (1 << 41))
}
