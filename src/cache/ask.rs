//! The first request of a fill: which range to ask for while nothing is known of the length, and under which condition.

use http::{Method, header};

use super::{Forward, Known, Wanted, judge::AskedRange};
use crate::{
    semantics::{
        fields,
        range::{RangeSet, RangeSpec},
    },
    upstream::Ask,
};

/// What is sent, and what the answer has to be held against.
pub(super) struct First {
    pub ask: Ask,
    pub range: AskedRange,
    /// The request carries our condition: a 304 confirms what is stored.
    pub conditional: bool,
}

/// The request that asks for `want` without range and condition; the others are derived from it.
pub(super) fn plain(want: &Wanted) -> Ask {
    let Forward { anonymous, received, node } = &want.forward;
    let mut fields = if *anonymous { fields::anonymous_request() } else { fields::fill_request(&want.fields) };
    fields::append_via(&mut fields, *received, node);
    fields::append_cdn_loop(&mut fields, node);
    Ask {
        target: want.target.clone(),
        method: want.method.clone(),
        path_and_query: want.path_and_query.clone(),
        fields,
        follow: want.file,
        interim: want.interim.clone(),
    }
}

/// The first request for `want`, a validation of `stored` where there is something stored to validate.
pub(super) fn first(want: &Wanted, stored: Option<&Known>, range: AskedRange) -> First {
    let mut ask = plain(want);
    if let AskedRange::Client(spec) | AskedRange::Own(spec) = range {
        ask.fields.insert(header::RANGE, spec.to_value());
    }
    let conditional = stored.is_some_and(|known| fields::add_validation(&mut ask.fields, &known.object.meta.fields));
    First { ask, range, conditional }
}

/// The range to ask for first: what the client asks for, in a bounded portion where more requests can bring the rest.
///
/// A bounded first portion means that no body has to be cut when the content turns out to be worth parallel requests. `stores` says whether the
/// store takes content now: if not, a portion of our choosing could only be thrown away, and the client's own request is sent.
pub(super) fn range(want: &Wanted, segment_len: u64, stores: bool) -> AskedRange {
    if want.method == Method::HEAD {
        return AskedRange::No;
    }
    let portion = |start: u64| RangeSpec::Closed(start, start.saturating_add(segment_len - 1));
    let asked = RangeSet::of(&want.fields, want.lines);
    // Under `If-Range` the client may get the whole content instead: a part that only it could use would be wrong then.
    let own = want.fields.contains_key(header::IF_RANGE);
    if !stores {
        return match asked {
            Some(RangeSet::One(spec)) if !own => AskedRange::Client(spec),
            _ => AskedRange::No,
        };
    }
    match asked {
        None | Some(RangeSet::Excessive) if want.ranged => AskedRange::Own(portion(0)),
        None | Some(RangeSet::Excessive) => AskedRange::No,
        Some(RangeSet::One(spec)) => match spec {
            RangeSpec::Closed(first, last) if want.ranged && last - first >= segment_len => AskedRange::Own(portion(first)),
            RangeSpec::From(first) if want.ranged => AskedRange::Own(portion(first)),
            _ if own => AskedRange::Own(spec),
            _ => AskedRange::Client(spec),
        },
        Some(RangeSet::Many(specs)) => match specs.first() {
            Some(RangeSpec::Closed(first, last)) if last - first < segment_len => {
                AskedRange::Own(RangeSpec::Closed(*first, *last))
            }
            Some(RangeSpec::Closed(first, _) | RangeSpec::From(first)) => AskedRange::Own(portion(*first)),
            Some(RangeSpec::Suffix(len)) => AskedRange::Own(RangeSpec::Suffix(*len)),
            None => AskedRange::No,
        },
    }
}
