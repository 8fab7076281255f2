//! The inside of a tag, and what stands for single characters.

use std::borrow::Cow;

use super::Malformed;

/// The attributes of one element, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    /// The value of the attribute of this name, references resolved.
    pub fn get(&self, name: &str) -> Option<Cow<'a, str>> {
        self.iter().find(|(own, _)| *own == name).and_then(|(_, value)| unescaped(value))
    }

    /// As they are written, with their prefixes.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.iter().map(|(name, _)| name)
    }

    /// Names and values as they are written: references stay.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }
}

/// Name and attributes of an element. References in values are checked, and stay.
pub(super) fn parse(text: &str) -> Result<(&str, Attributes<'_>), Malformed> {
    let name_len = text.find(is_space).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(name_len);
    if !is_name(name) {
        return Err(Malformed::Tag);
    }
    let mut attributes = Vec::new();
    loop {
        let trimmed = rest.trim_start_matches(is_space);
        if trimmed.is_empty() {
            return Ok((name, Attributes(attributes)));
        }
        let (attribute, after) = attribute(trimmed).ok_or(Malformed::Tag)?;
        // White space is what separates attributes.
        if trimmed.len() == rest.len() || attributes.len() == ATTRIBUTES_MAX {
            return Err(Malformed::Tag);
        }
        if attributes.iter().any(|(name, _)| *name == attribute.0) {
            return Err(Malformed::Attribute);
        }
        unescaped(attribute.1).ok_or(Malformed::Entity)?;
        attributes.push(attribute);
        rest = after;
    }
}

/// The first attribute of `text`, and what follows it.
fn attribute(text: &str) -> Option<((&str, &str), &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end_matches(is_space);
    let rest = rest.trim_start_matches(is_space);
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (value, rest) = rest[1..].split_once(quote)?;
    (is_name(name) && !value.contains('<')).then_some(((name, value), rest))
}

/// Prefix and local part of a name.
pub(super) fn split(name: &str) -> Result<(&str, &str), Malformed> {
    let (prefix, local) = name.split_once(':').map_or(("", name), |(prefix, local)| (prefix, local));
    let is_prefixed = name.len() > local.len();
    if local.is_empty() || local.contains(':') || (is_prefixed && prefix.is_empty()) {
        Err(Malformed::Tag)
    } else {
        Ok((prefix, local))
    }
}

fn is_name(text: &str) -> bool {
    let is_start = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':') || !c.is_ascii();
    let is_inner = |c: char| is_start(c) || c.is_ascii_digit() || matches!(c, '-' | '.');
    text.len() <= NAME_MAX && text.starts_with(is_start) && text.chars().all(is_inner)
}

pub(super) fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\n')
}

/// `xml version="1.0" encoding="utf-8"`, without the question marks.
pub(super) fn declaration(text: &[u8]) -> Result<(), Malformed> {
    let text = std::str::from_utf8(text).map_err(|_| Malformed::Encoding)?;
    let (name, attributes) = parse(text).map_err(|_| Malformed::Instruction)?;
    // Another version has other white space, and other characters.
    if name != "xml" || attributes.get("version").as_deref() != Some("1.0") {
        return Err(Malformed::Instruction);
    }
    let is_utf8 = attributes.get("encoding").is_none_or(|encoding| encoding.eq_ignore_ascii_case("utf-8"));
    if is_utf8 { Ok(()) } else { Err(Malformed::Encoding) }
}

/// `text` with its references resolved; `None` where one refers to nothing.
pub(super) fn unescaped(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('&') {
        return Some(Cow::Borrowed(text));
    }
    let mut parts = text.split('&');
    let mut plain = String::from(parts.next()?);
    for part in parts {
        let (reference, rest) = part.split_once(';')?;
        plain.push(character(reference.as_bytes())?);
        plain.push_str(rest);
    }
    Some(Cow::Owned(plain))
}

/// `text` with the references in it that stand for something resolved, whatever else is in it; `None` without any.
pub(in crate::wsus) fn resolved(text: &str) -> Option<String> {
    let mut parts = text.split('&');
    let mut plain = String::from(parts.next()?);
    let mut has_reference = false;
    for part in parts {
        let reference = part.split_once(';').and_then(|(reference, rest)| Some((character(reference.as_bytes())?, rest)));
        has_reference |= reference.is_some();
        let (character, rest) = reference.unwrap_or(('&', part));
        plain.push(character);
        plain.push_str(rest);
    }
    has_reference.then_some(plain)
}

/// What a reference stands for, without its `&` and `;`: the five entities that every document has, and numbers (XML 1.0 §4.1, §4.6).
pub(super) fn character(reference: &[u8]) -> Option<char> {
    match reference {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        _ => {
            let digits = std::str::from_utf8(reference.strip_prefix(b"#")?).ok()?;
            let (digits, radix) = digits.strip_prefix('x').map_or((digits, 10), |digits| (digits, 16));
            let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
            let character = char::from_u32(u32::from_str_radix(digits, radix).ok().filter(|_| is_number)?)?;
            // XML 1.0 §2.2
            let is_allowed = character >= ' ' || matches!(character, '\t' | '\r' | '\n');
            is_allowed.then_some(character)
        }
    }
}

const NAME_MAX: usize = 256;

const ATTRIBUTES_MAX: usize = 64;
