//! Dictionaries of structured fields (RFC 9651): the input is a field value.

use std::collections::HashSet;

use weir::semantics::structured::{Item, Member, parse_dictionary};

pub fn structured(data: &[u8]) {
    let Ok(members) = parse_dictionary(data) else { return };
    let keys: HashSet<_> = members.iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), members.len(), "of equal keys one is left");
    assert!(members.iter().all(|(_, member)| is_within_bounds(member)));
    assert!(data.iter().all(u8::is_ascii), "a structured field is ASCII");

    let written: Vec<String> = members.iter().map(|(key, member)| written(key, member)).collect();
    let written = written.join(", ");
    assert_eq!(parse_dictionary(written.as_bytes()).as_ref(), Ok(&members), "{written}");

    let longer = if members.is_empty() { b"zz=1".to_vec() } else { [data, b", zz=1"].concat() };
    let last = parse_dictionary(&longer).map(|members| members.last().cloned());
    // One member more than are kept is an error.
    assert!(members.len() >= 1024 || last == Ok(Some(("zz".to_owned(), Member::Item(Item::Integer(1))))));
}

/// RFC 9651 §3.3.1: 15 digits; §3.3.3: printable ASCII.
fn is_within_bounds(member: &Member) -> bool {
    match member {
        Member::Item(Item::Integer(number)) => number.abs() <= 999_999_999_999_999,
        Member::Item(Item::String(text)) => text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
        Member::Item(Item::Token(text)) => !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic()),
        Member::Item(Item::Boolean(_) | Item::Decimal | Item::Other) | Member::InnerList => true,
    }
}

/// A member in the plainest way to write it (RFC 9651 §4.1); what is not kept is written as something of its kind.
fn written(key: &str, member: &Member) -> String {
    match member {
        Member::Item(Item::Integer(number)) => format!("{key}={number}"),
        Member::Item(Item::Decimal) => format!("{key}=1.0"),
        Member::Item(Item::String(text)) => format!("{key}=\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        Member::Item(Item::Token(text)) => format!("{key}={text}"),
        Member::Item(Item::Boolean(truth)) => format!("{key}=?{}", u8::from(*truth)),
        Member::Item(Item::Other) => format!("{key}=::"),
        Member::InnerList => format!("{key}=()"),
    }
}
