//! `[caching]` and `[upstream.caching]`: what RFC 9111 leaves to a cache, for all doors and for one site behind the reverse door.

use std::time::Duration;

use crate::{
    classify::{Caching, Policies},
    config::{check::SPAN_MAX, problem::At, read::Section, setting::Parameter},
    semantics::{Policy, policy::Heuristic},
};

/// Each name costs a comparison for each parameter of each request.
const PARAMETERS_MAX: usize = 64;

/// For every door, as far as the door lets it count.
pub(super) fn read_all(section: Section<'_>, policies: &mut Policies) {
    read_policy(&section, &mut policies.http);
    read_span(&section, "stale_max_mutable", &mut policies.mutable_stale_max);
    section.finish();
}

/// What one site says, above what `all` say.
pub(super) fn read_site(section: Section<'_>, all: Policy) -> Caching {
    let mut caching = Caching { policy: all, ignored_parameters: Vec::new() };
    read_policy(&section, &mut caching.policy);
    if let Some(At { value, place }) = section.get::<Vec<Parameter>>("ignore_parameters") {
        if value.len() > PARAMETERS_MAX {
            let remedy = format!("write at most {PARAMETERS_MAX}; a * at the end of a name stands for any rest");
            section.complain(&place, "every request would be held against all of them", remedy);
        }
        caching.ignored_parameters = value.into_iter().map(|Parameter(name)| name).collect();
    }
    section.finish();
    caching
}

fn read_policy(section: &Section<'_>, policy: &mut Policy) {
    let mut heuristic = policy.heuristic.unwrap_or(Heuristic { percent: 0, ..Heuristic::TYPICAL });
    if let Some(At { value, place }) = section.get("heuristic_percent") {
        if value > 100 {
            section.complain(
                &place,
                "a response would be guessed fresh for longer than it was ever unchanged",
                "write at most 100",
            );
        }
        heuristic.percent = value;
    }
    read_span(section, "heuristic_max", &mut heuristic.max);
    policy.heuristic = (heuristic.percent > 0).then_some(heuristic);
    section.set("stale_on_error", &mut policy.stale_on_error);
    read_span(section, "stale_max", &mut policy.stale_max);
    section.set("errors", &mut policy.errors);
    section.set("set_cookie", &mut policy.store_set_cookie);
    section.set("close_delimited", &mut policy.close_delimited);
}

fn read_span(section: &Section<'_>, key: &'static str, target: &mut Duration) {
    let Some(At { value, place }) = section.get(key) else { return };
    if value > SPAN_MAX {
        section.complain(&place, "that is for ever", "write at most \"365 d\"");
    }
    *target = value;
}
