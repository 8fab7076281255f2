//! Structured fields (RFC 9651, formerly RFC 8941): dictionaries of bare items, as far as targeted cache control needs them.
//!
//! Strict as the RFC is: one error anywhere makes the whole field invalid. Inner lists and parameters are checked, not kept.

use http::{HeaderMap, HeaderName};

/// A bare item (RFC 9651 §3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Integer(i64),
    /// Its value is of no use to a cache directive.
    Decimal,
    String(String),
    Token(String),
    Boolean(bool),
    /// A byte sequence, date or display string: of no use to a cache directive.
    Other,
}

/// A member of a dictionary (RFC 9651 §3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Member {
    Item(Item),
    InnerList,
}

/// A field invalid as a dictionary: to be ignored altogether (RFC 9651 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a structured dictionary")]
pub struct Invalid;

/// The dictionary that all lines of a field make together; the last of equal keys counts (RFC 9651 §4.2.2). Empty when absent.
pub fn dictionary(fields: &HeaderMap, name: &HeaderName) -> Result<Vec<(String, Member)>, Invalid> {
    let lines: Vec<&[u8]> = fields.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
    parse_dictionary(&lines.join(&b", "[..]))
}

/// Parses one dictionary (RFC 9651 §4.2.2).
pub fn parse_dictionary(text: &[u8]) -> Result<Vec<(String, Member)>, Invalid> {
    let mut parser = Parser { rest: text };
    let mut members: Vec<(String, Member)> = Vec::new();
    parser.skip(b" ");
    while !parser.rest.is_empty() {
        let key = parser.key()?;
        let member = if parser.take(b'=') { parser.member()? } else { Member::Item(Item::Boolean(true)) };
        parser.parameters()?;
        members.retain(|(known, _)| *known != key);
        if members.len() == MEMBERS_MAX {
            return Err(Invalid);
        }
        members.push((key, member));
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            break;
        }
        parser.expect(b',')?;
        parser.skip(b" \t");
        if parser.rest.is_empty() {
            return Err(Invalid); // a trailing comma (RFC 9651 §4.2.2 step 2.9)
        }
    }
    Ok(members)
}

/// Dictionaries with more members are invalid to us. RFC 9651 §3.2 asks for at least 1,024.
const MEMBERS_MAX: usize = 1024;

struct Parser<'a> {
    rest: &'a [u8],
}

impl<'a> Parser<'a> {
    fn skip(&mut self, what: &[u8]) {
        while self.rest.first().is_some_and(|byte| what.contains(byte)) {
            self.rest = &self.rest[1..];
        }
    }

    fn next(&mut self) -> Result<u8, Invalid> {
        let (&byte, rest) = self.rest.split_first().ok_or(Invalid)?;
        self.rest = rest;
        Ok(byte)
    }

    fn take(&mut self, what: u8) -> bool {
        let found = self.rest.first() == Some(&what);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, what: u8) -> Result<(), Invalid> {
        if self.take(what) { Ok(()) } else { Err(Invalid) }
    }

    /// The longest prefix of bytes that `belongs` accepts.
    fn run(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let len = self.rest.iter().position(|&byte| !belongs(byte)).unwrap_or(self.rest.len());
        let (run, rest) = self.rest.split_at(len);
        self.rest = rest;
        run
    }

    fn key(&mut self) -> Result<String, Invalid> {
        if !self.rest.first().is_some_and(|&byte| byte.is_ascii_lowercase() || byte == b'*') {
            return Err(Invalid);
        }
        Ok(ascii(self.run(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte))))
    }

    fn member(&mut self) -> Result<Member, Invalid> {
        if !self.take(b'(') {
            return Ok(Member::Item(self.item()?));
        }
        loop {
            self.skip(b" ");
            if self.take(b')') {
                return Ok(Member::InnerList);
            }
            self.item()?;
            self.parameters()?;
            if !matches!(self.rest.first(), Some(b' ' | b')')) {
                return Err(Invalid);
            }
        }
    }

    fn parameters(&mut self) -> Result<(), Invalid> {
        while self.take(b';') {
            self.skip(b" ");
            self.key()?;
            if self.take(b'=') {
                self.item()?;
            }
        }
        Ok(())
    }

    fn item(&mut self) -> Result<Item, Invalid> {
        match *self.rest.first().ok_or(Invalid)? {
            b'-' | b'0'..=b'9' => self.number(),
            b'"' => self.string(),
            b'?' => self.boolean(),
            b':' => self.bytes(),
            b'@' => self.date(),
            b'%' => self.display_string(),
            byte if byte.is_ascii_alphabetic() || byte == b'*' => {
                let token = self.run(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:/".contains(&byte));
                Ok(Item::Token(ascii(token)))
            }
            _ => Err(Invalid),
        }
    }

    /// RFC 9651 §4.2.4: at most 15 digits, or 12 with at most 3 after the point.
    fn number(&mut self) -> Result<Item, Invalid> {
        let negative = self.take(b'-');
        let whole = self.run(|byte| byte.is_ascii_digit());
        if whole.is_empty() {
            return Err(Invalid);
        }
        if self.take(b'.') {
            let fraction = self.run(|byte| byte.is_ascii_digit());
            return if whole.len() <= 12 && (1..=3).contains(&fraction.len()) { Ok(Item::Decimal) } else { Err(Invalid) };
        }
        if whole.len() > 15 {
            return Err(Invalid);
        }
        let value = whole.iter().fold(0i64, |value, digit| value * 10 + i64::from(digit - b'0'));
        Ok(Item::Integer(if negative { -value } else { value }))
    }

    fn string(&mut self) -> Result<Item, Invalid> {
        self.expect(b'"')?;
        let mut text = String::new();
        loop {
            match self.next()? {
                b'"' => return Ok(Item::String(text)),
                b'\\' => match self.next()? {
                    byte @ (b'"' | b'\\') => text.push(char::from(byte)),
                    _ => return Err(Invalid),
                },
                byte @ b' '..=b'~' => text.push(char::from(byte)),
                _ => return Err(Invalid),
            }
        }
    }

    fn boolean(&mut self) -> Result<Item, Invalid> {
        self.expect(b'?')?;
        match self.next()? {
            b'0' => Ok(Item::Boolean(false)),
            b'1' => Ok(Item::Boolean(true)),
            _ => Err(Invalid),
        }
    }

    fn bytes(&mut self) -> Result<Item, Invalid> {
        self.expect(b':')?;
        self.run(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(&byte));
        self.expect(b':')?;
        Ok(Item::Other)
    }

    fn date(&mut self) -> Result<Item, Invalid> {
        self.expect(b'@')?;
        match self.number()? {
            Item::Integer(_) => Ok(Item::Other),
            _ => Err(Invalid),
        }
    }

    fn display_string(&mut self) -> Result<Item, Invalid> {
        self.expect(b'%')?;
        self.expect(b'"')?;
        let mut text = Vec::new();
        loop {
            match self.next()? {
                b'"' => return std::str::from_utf8(&text).map(|_| Item::Other).map_err(|_| Invalid),
                b'%' => text.push(hex(self.next()?)? << 4 | hex(self.next()?)?),
                byte @ b' '..=b'~' => text.push(byte),
                _ => return Err(Invalid),
            }
        }
    }
}

/// A lower-case hexadecimal digit (RFC 9651 §4.2.10).
fn hex(digit: u8) -> Result<u8, Invalid> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(Invalid),
    }
}

fn ascii(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Option<Vec<(String, Member)>> {
        parse_dictionary(text.as_bytes()).ok()
    }

    fn item(key: &str, item: Item) -> (String, Member) {
        (key.to_owned(), Member::Item(item))
    }

    #[test]
    fn the_examples_of_the_rfc_parse() {
        assert_eq!(parse("a=?0, b, c; foo=bar").unwrap()[1..], [item("b", Item::Boolean(true)), item("c", Item::Boolean(true))]);
        assert_eq!(
            parse("rating=1.5, feelings=(joy sadness)").unwrap(),
            [item("rating", Item::Decimal), ("feelings".into(), Member::InnerList)]
        );
        assert_eq!(parse("a=(1 2), b=3, c=4;aa=bb, d=(5 6);valid").unwrap().len(), 4);
        assert_eq!(
            parse(r#"en="Applepie", da=:w4ZibGV0w6ZydGU=:"#).unwrap(),
            [item("en", Item::String("Applepie".into())), item("da", Item::Other)]
        );
        assert_eq!(parse("a=1,b=2;x=1;y=2,a=3").unwrap(), [item("b", Item::Integer(2)), item("a", Item::Integer(3))]);
        assert_eq!(parse("a=@1659578233, b=%\"f%c3%bc\"").unwrap().len(), 2);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn one_error_makes_the_whole_field_invalid() {
        for text in [
            "max-age=60,",
            "Max-Age=60",
            "a=",
            "a==1",
            "a b",
            "a=1;",
            "a=\"x",
            "a=(1",
            "a=1.",
            "a=1234567890123456",
            "a=\u{fc}",
            ",",
            "a,,b",
            "a=:x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = parse_dictionary(&text);
        }

        #[test]
        fn parsing_near_misses_never_panics(text in r#"[a-z=;?01(), "%:@.*\\-]{0,40}"#) {
            let _ = parse(&text);
        }
    }
}
