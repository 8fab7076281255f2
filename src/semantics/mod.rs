//! RFC 9110 and RFC 9111 as pure functions: fields in, verdicts out.
//!
//! Owns every judgement about HTTP that needs no clock, no store and no network: which bytes a request selects, whether a response may be
//! stored, how fresh it is, which variant answers, which fields travel on. It never does I/O, never reads a clock (`now` is an argument),
//! and never builds a response: `cache` and `proxy` act on its verdicts. Every decision cites its section.

pub mod cache_control;
pub mod conditional;
pub mod facts;
pub mod fields;
pub mod freshness;
pub mod head;
pub mod invalidation;
pub mod lines;
mod list;
pub mod multipart;
pub mod policy;
pub mod range;
pub mod selection;
pub mod storable;
pub mod structured;
pub mod validator;
pub mod vary;

pub use facts::Facts;
pub use freshness::{Freshness, freshness};
pub use policy::Policy;
pub use selection::{Selection, select};
pub use storable::{NotStorable, Storing, storable};

#[cfg(test)]
mod second_opinion;

#[cfg(test)]
mod testing {
    use http::{HeaderMap, HeaderName, HeaderValue};

    /// A field section from pairs; repeated names become several lines.
    pub(super) fn fields(pairs: &[(&str, &str)]) -> HeaderMap {
        let line = |&(name, value): &(&str, &str)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut fields = HeaderMap::new();
        pairs.iter().map(line).for_each(|(name, value)| _ = fields.append(name, value));
        fields
    }
}
