//! Variants (RFC 9111 §4.1): which request fields selected a stored response, and whether they select it again.

use std::{borrow::Cow, time::SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, VARY},
};

use crate::semantics::list;

/// A nominated request field with its normalised value; `None`: the field was absent.
pub type Selecting = (HeaderName, Option<HeaderValue>);

/// What choosing among stored responses needs to know of one.
#[derive(Clone, Copy, Debug)]
pub struct Variant<'a> {
    /// As `selecting` gave it when the response was stored.
    pub selecting: &'a [Selecting],
    /// The stored response fields.
    pub fields: &'a HeaderMap,
    /// Its `Date`.
    pub date: SystemTime,
}

/// The fields that `Vary` of `response` nominates, with their normalised values in `request`; to be kept with the stored response.
/// `Vary: *`, alone or among others, is kept as a mark that never matches; so is a member that can be no field name.
pub fn selecting(response: &HeaderMap, request: &HeaderMap) -> Vec<Selecting> {
    let mut selecting: Vec<Selecting> = Vec::new();
    for member in list::of(response, &VARY) {
        let Ok(name) = HeaderName::from_bytes(member) else { return vec![never()] };
        if name.as_str() == "*" {
            return vec![never()];
        }
        if selecting.iter().all(|(known, _)| *known != name) {
            let value = normalised(&name, request);
            selecting.push((name, value));
        }
    }
    selecting
}

/// Whether the presented request selects the stored response (RFC 9111 §4.1): every nominated field is absent from both
/// requests, or says the same in both.
pub fn matches(variant: &Variant<'_>, request: &HeaderMap) -> bool {
    variant.selecting.iter().all(|(name, stored)| {
        if is_never(name, stored.as_ref()) {
            return false;
        }
        match (stored, request.get(name)) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some(stored), Some(asked)) if stored == asked && is_single(request, name) => true,
            (Some(stored), Some(_)) => {
                normalised(name, request).as_ref() == Some(stored) || is_preferred_language(name, variant.fields, request)
            }
            (Some(_), None) => false,
        }
    })
}

/// Makes a request select the stored response again, at the origin as here: where the presented request says the same in other words, or
/// prefers what was stored, the nominated fields become those that the response was selected by (RFC 9111 §4.1).
pub fn reselect(selecting: &[Selecting], request: &mut HeaderMap) {
    for (name, stored) in selecting.iter().filter(|(name, stored)| !is_never(name, stored.as_ref())) {
        if normalised(name, request) == *stored {
            continue;
        }
        request.remove(name);
        request.extend(stored.as_ref().map(|value| (name.clone(), value.clone())));
    }
}

/// The stored response to use: of those that match, the one with the most recent `Date` (RFC 9111 §4.1).
pub fn choose<'a, T>(candidates: impl IntoIterator<Item = (T, Variant<'a>)>, request: &HeaderMap) -> Option<T> {
    let matching = candidates.into_iter().filter(|(_, variant)| matches(variant, request));
    matching.max_by_key(|(_, variant)| variant.date).map(|(candidate, _)| candidate)
}

/// The value of a field in the form in which equal meanings are equal bytes: lines combined, whitespace around commas
/// dropped (RFC 9111 §4.1); for the fields known to be weighted sets also without case and order.
fn normalised(name: &HeaderName, request: &HeaderMap) -> Option<HeaderValue> {
    request.get(name)?;
    let mut members: Vec<Cow<'_, [u8]>> = list::of(request, name).map(Cow::Borrowed).collect();
    if [ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT_CHARSET].contains(name) {
        members.iter_mut().for_each(|member| *member = Cow::Owned(weighted(member)));
        members.sort();
        members.dedup();
    }
    // Bytes of header values joined by commas are a header value.
    HeaderValue::from_bytes(&members.join(&b',')).ok()
}

/// A member of a weighted set in lower case, without whitespace, and without a weight that is the default (RFC 9110 §12.4.2).
fn weighted(member: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = member.iter().filter(|byte| !byte.is_ascii_whitespace()).map(u8::to_ascii_lowercase).collect();
    for one in [&b";q=1.000"[..], b";q=1.00", b";q=1.0", b";q=1"] {
        if text.ends_with(one) {
            text.truncate(text.len() - one.len());
            break;
        }
    }
    text
}

/// Whether the stored response is in the one language that the request prefers to all others: then the origin could not
/// choose a better variant (the ranking that RFC 9111 §4.1 allows, by the weights of RFC 9110 §12.5.4).
fn is_preferred_language(name: &HeaderName, stored: &HeaderMap, request: &HeaderMap) -> bool {
    if *name != ACCEPT_LANGUAGE {
        return false;
    }
    let mut languages = list::of(stored, &CONTENT_LANGUAGE);
    let (Some(language), None) = (languages.next(), languages.next()) else { return false };
    let mut weights: Vec<(u32, &[u8])> = list::of(request, name).map(weight).collect();
    weights.sort_by_key(|&(weight, _)| std::cmp::Reverse(weight));
    match weights[..] {
        [(best, preferred), ref others @ ..] => {
            best > 0 && preferred.eq_ignore_ascii_case(language) && others.iter().all(|&(weight, _)| weight < best)
        }
        [] => false,
    }
}

/// The weight of a language range in thousandths, and the range. An invalid weight counts as none.
fn weight(member: &[u8]) -> (u32, &[u8]) {
    let Some(at) = member.iter().position(|&byte| byte == b';') else { return (1000, member) };
    let (range, parameter) = (member[..at].trim_ascii(), member[at + 1..].trim_ascii());
    let weight = parameter.strip_prefix(b"q=").or(parameter.strip_prefix(b"Q=")).unwrap_or_default();
    (thousandths(weight).unwrap_or(0), range)
}

fn thousandths(weight: &[u8]) -> Option<u32> {
    let weight: f32 = std::str::from_utf8(weight).ok()?.parse().ok()?;
    (0.0..=1.0).contains(&weight).then_some((weight * 1000.0) as u32)
}

fn is_single(request: &HeaderMap, name: &HeaderName) -> bool {
    request.get_all(name).iter().nth(1).is_none()
}

/// The mark of a response that no request selects: it looks like a `Vary` field nominated with the value `*`.
fn never() -> Selecting {
    (VARY, Some(HeaderValue::from_static("*")))
}

fn is_never(name: &HeaderName, value: Option<&HeaderValue>) -> bool {
    *name == VARY && value.is_some_and(|value| value == "*")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::semantics::testing::fields;

    fn selects(response: &[(&str, &str)], first: &[(&str, &str)], second: &[(&str, &str)]) -> bool {
        let response = fields(response);
        let selecting = selecting(&response, &fields(first));
        matches(&Variant { selecting: &selecting, fields: &response, date: SystemTime::UNIX_EPOCH }, &fields(second))
    }

    #[test]
    fn a_request_selects_by_the_nominated_fields_and_no_others() {
        for (vary, first, second, expected) in [
            ("foo", vec![("foo", "1")], vec![("foo", "1"), ("other", "x")], true),
            ("foo", vec![("foo", "1")], vec![("foo", "2")], false),
            ("foo", vec![("foo", "1")], vec![], false),
            ("foo", vec![], vec![("foo", "1")], false),
            ("foo", vec![], vec![], true),
            ("Foo, Bar, foo", vec![("foo", "1"), ("bar", "2")], vec![("bar", "2"), ("foo", "1")], true),
            ("foo, bar", vec![("foo", "1"), ("bar", "2")], vec![("foo", "1"), ("bar", "3")], false),
            ("foo", vec![("foo", "1, 2")], vec![("foo", "1"), ("foo", "2")], true),
            ("foo", vec![("foo", "1,2")], vec![("foo", " 1, 2 ")], true),
            ("foo", vec![("foo", "1")], vec![("foo", "1"), ("foo", "2")], false),
            ("foo", vec![("foo", "a")], vec![("foo", "A")], false),
        ] {
            assert_eq!(selects(&[("vary", vary)], &first, &second), expected, "{vary}: {first:?} {second:?}");
        }
    }

    #[test]
    fn a_request_for_the_rest_of_a_variant_selects_that_variant() {
        let response = fields(&[("vary", "accept-language, cookie, x"), ("content-language", "de")]);
        let selecting = selecting(&response, &fields(&[("accept-language", "de"), ("x", "1, 2")]));
        for (asked, expected) in [
            // It was matched because it prefers what is stored; the origin must not choose again.
            (
                &[("accept-language", "de, en;q=0.5"), ("x", "1,2"), ("y", "z")][..],
                &[("accept-language", "de"), ("x", "1,2"), ("y", "z")][..],
            ),
            (&[("accept-language", "DE"), ("x", "1"), ("x", "2")], &[("accept-language", "DE"), ("x", "1"), ("x", "2")]),
            (&[("cookie", "a=b")], &[("accept-language", "de"), ("x", "1,2")]),
        ] {
            let mut request = fields(asked);
            reselect(&selecting, &mut request);
            assert_eq!(request, fields(expected), "{asked:?}");
        }
        let mut request = fields(&[("vary", "a")]);
        reselect(&super::selecting(&fields(&[("vary", "*")]), &request), &mut request);
        assert_eq!(request, fields(&[("vary", "a")]));
    }

    #[test]
    fn a_star_anywhere_selects_nothing() {
        for vary in ["*", "*, *", ", *", "*, foo", "foo, *", "foo, b ar"] {
            assert!(!selects(&[("vary", vary)], &[], &[]), "{vary}");
        }
        assert!(!selects(&[("vary", ""), ("vary", "*")], &[("vary", "*")], &[("vary", "*")]));
        assert!(selects(&[("vary", "")], &[], &[("foo", "1")]));
    }

    #[test]
    fn languages_are_a_weighted_set() {
        for (first, second, expected) in [
            ("en, de", "de, en", true),
            ("en, de", "eN, De", true),
            ("en, de", " en ,   de", true),
            ("en, de;q=0.5", "de; q=0.5, en;q=1.0", true),
            ("en, de;q=0.5", "en, de", false),
        ] {
            assert_eq!(
                selects(&[("vary", "accept-language")], &[("accept-language", first)], &[("accept-language", second)]),
                expected
            );
        }
    }

    #[test]
    fn the_language_preferred_to_all_others_is_enough() {
        let german = [("vary", "accept-language"), ("content-language", "de")];
        let stored = [("accept-language", "en, de")];
        assert!(selects(&german, &stored, &[("accept-language", "fr;q=0.5, de;q=1.0")]));
        assert!(!selects(&german, &stored, &[("accept-language", "fr, de;q=0.9")]));
        assert!(!selects(&german, &stored, &[("accept-language", "fr, de")]), "a tie is the origin's to decide");
        assert!(!selects(&german, &stored, &[("accept-language", "de;q=0")]));
        assert!(!selects(&[("vary", "accept-language"), ("content-language", "de, en")], &stored, &[("accept-language", "de")]));
    }

    #[test]
    fn of_several_matching_the_most_recent_is_chosen() {
        let none = HeaderMap::new();
        let two = selecting(&fields(&[("vary", "foo")]), &fields(&[("foo", "2")]));
        let at = |secs| SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        let candidates = || {
            [
                ("old", Variant { selecting: &[], fields: &none, date: at(1) }),
                ("new", Variant { selecting: &[], fields: &none, date: at(3) }),
                ("two", Variant { selecting: &two, fields: &none, date: at(2) }),
            ]
        };
        assert_eq!(choose(candidates(), &HeaderMap::new()), Some("new"));
        assert_eq!(choose(candidates().into_iter().skip(2), &fields(&[("foo", "1")])), None);
        assert_eq!(choose(candidates().into_iter().skip(2), &fields(&[("foo", "2")])), Some("two"));
    }

    proptest! {
        /// Whoever caused a response is answered by it, unless it nominates everything.
        #[test]
        fn a_request_selects_the_response_it_caused(
            vary in "(foo|accept-language|accept-encoding|bar|,| |\\*){0,6}",
            values in prop::collection::vec(("(foo|accept-language|accept-encoding)", "[a-zA-Z,;=q0-9. \"-]{0,20}"), 0..5),
        ) {
            let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let is_star = vary.split(',').any(|member| member.trim().contains(['*', ' ']));
            let is_selected = selects(&[("vary", &vary)], &values, &values);
            prop_assert!(is_selected || is_star, "{vary:?} {values:?}");
            prop_assert!(!is_selected || !vary.split(',').any(|member| member.trim() == "*"));
        }
    }
}
