//! The content of a call.

use std::borrow::Cow;

use base64::Engine;

use super::{Call, Refused};
use crate::wsus::{
    Coding,
    xml::{self, Event, Form, Namespace, Open, Tokenizer},
    xpress::{Decoder, Malformed},
};

/// The plain content, if it is acceptable.
pub(super) fn check<'a>(call: &Call, content: &'a [u8]) -> Result<Cow<'a, [u8]>, Refused> {
    let plain = match call.coding {
        Coding::Identity => Cow::Borrowed(content),
        Coding::Xpress => Cow::Owned(decoded(call, content)?),
    };
    read(call, &plain)?;
    Ok(plain)
}

fn decoded(call: &Call, content: &[u8]) -> Result<Vec<u8>, Refused> {
    let (mut decoder, mut plain) = (Decoder::new(call.operation.len_max as u64), Vec::new());
    let coded = decoder.decode(content, |block| {
        plain.extend_from_slice(block);
        Ok(())
    });
    match coded.and_then(|()| decoder.finish()) {
        Ok(()) => Ok(plain),
        Err(Malformed::TooLarge) => Err(call.too_large()),
        Err(_) => Err(Refused::Xpress),
    }
}

fn read(call: &Call, plain: &[u8]) -> Result<(), Refused> {
    // XML 1.0 §2.2: no other control characters.
    if plain.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\r' | b'\n')) {
        return Err(Refused::Character);
    }
    let (mut reading, mut tokenizer) = (Reading::new(call), Tokenizer::new(Form::Document));
    tokenizer.push(plain, |event| reading.event(event))?;
    tokenizer.finish()?;
    reading.finish()
}

/// What has been read of a call.
struct Reading<'a> {
    call: &'a Call,
    open: Vec<Element>,
    /// Of the innermost element, since its last child.
    text: Vec<u8>,
    has_call: bool,
    /// Cookies of the expected plug-in, each with its data.
    cookies: usize,
}

struct Element {
    name: Box<str>,
    /// The names of its children, where each may come only once.
    children: Option<Vec<Box<str>>>,
    has_children: bool,
}

impl<'a> Reading<'a> {
    fn new(call: &'a Call) -> Self {
        Self { call, open: Vec::new(), text: Vec::new(), has_call: false, cookies: 0 }
    }

    fn event(&mut self, event: Event<'_>) -> Result<(), Refused> {
        match event {
            Event::Open(open) => {
                self.no_text()?;
                self.place(&open)?;
                self.enter(&open)
            }
            Event::Text(text) => {
                self.text.extend_from_slice(text);
                Ok(())
            }
            Event::Close => {
                self.leave()?;
                self.open.pop();
                Ok(())
            }
        }
    }

    fn finish(&self) -> Result<(), Refused> {
        if !self.has_call {
            return Err(Refused::Envelope);
        }
        let needs_cookie = self.call.operation.name == "GetCookie" && self.call.service.namespace == Namespace::Client;
        if needs_cookie && self.cookies != 1 { Err(Refused::PlugIn) } else { Ok(()) }
    }

    /// Envelope, body, call, and then only what belongs to the service.
    fn place(&mut self, open: &Open<'_>) -> Result<(), Refused> {
        let own = self.call.service.namespace;
        let is_in_place = match self.open.len() {
            0 => (open.namespace, open.name) == (Namespace::Envelope, "Envelope"),
            1 => (open.namespace, open.name) == (Namespace::Envelope, "Body"),
            2 => (open.namespace, open.name) == (own, self.call.operation.name),
            DEPTH_MAX => return Err(Refused::Depth),
            _ if open.namespace != own => return Err(Refused::Namespace),
            _ => true,
        };
        if !is_in_place {
            return Err(Refused::Envelope);
        }
        self.has_call |= self.open.len() == 2;
        // `nil` says that a value is absent; all else (types, references, encodings) would say how to deserialise.
        let is_usual = |name: &str| name == "xmlns" || name.starts_with("xmlns:") || name.ends_with(":nil");
        let says_nil = |value: &str| matches!(value, "true" | "false" | "0" | "1");
        let is_plain = |(name, value): (&str, &str)| !name.ends_with(":nil") || name.starts_with("xmlns:") || says_nil(value);
        let is_good = open.attributes.names().all(is_usual) && open.attributes.iter().all(is_plain);
        if is_good { Ok(()) } else { Err(Refused::Attribute) }
    }

    fn enter(&mut self, open: &Open<'_>) -> Result<(), Refused> {
        let name: Box<str> = open.name.into();
        if let Some(parent) = self.open.last_mut() {
            parent.has_children = true;
        }
        if let Some(children) = self.open.last_mut().and_then(|parent| parent.children.as_mut()) {
            if children.len() == CHILDREN_MAX || children.contains(&name) {
                return Err(Refused::Doubled(name));
            }
            children.push(name.clone());
        }
        let is_record = self.open.len() < 3 || RECORDS.contains(&&*name);
        self.open.push(Element { name, children: is_record.then(Vec::new), has_children: false });
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Refused> {
        if self.open.last().is_some_and(|element| element.has_children) {
            self.no_text()?;
        }
        let Some(element) = self.open.last() else { return Ok(()) };
        let text = std::str::from_utf8(&self.text).map_err(|_| Refused::Character)?;
        match &*element.name {
            "CookieData" if !is_cookie(text, COOKIE_DATA_MAX) => return Err(Refused::Cookie("CookieData")),
            "EncryptedData" if !is_cookie(text, ENCRYPTED_DATA_MAX) => return Err(Refused::Cookie("EncryptedData")),
            "PlugInId" if text != PLUG_IN => return Err(Refused::PlugIn),
            "AuthorizationCookie" => {
                let has = |name: &str| element.children.iter().flatten().any(|child| **child == *name);
                if !has("PlugInId") || !has("CookieData") {
                    return Err(Refused::PlugIn);
                }
                self.cookies += 1;
            }
            _ => {}
        }
        if is_gadget(text) {
            return Err(Refused::Gadget);
        }
        self.text.clear();
        Ok(())
    }

    /// Beside other elements there is white space only: text in several stretches could be read as one.
    fn no_text(&mut self) -> Result<(), Refused> {
        let is_blank = self.text.iter().all(u8::is_ascii_whitespace);
        self.text.clear();
        if is_blank { Ok(()) } else { Err(Refused::Mixed) }
    }
}

/// Base64 of at least a block of a cipher and at most `max` bytes.
fn is_cookie(text: &str, max: usize) -> bool {
    let data = base64::engine::general_purpose::STANDARD.decode(text.trim());
    data.is_ok_and(|data| (16..=max).contains(&data.len()) && !data.starts_with(BINARY_FORMATTER))
}

/// Whether a deserialiser could mean to read this text: neither white space and case hide it, nor references of a document inside it.
fn is_gadget(text: &str) -> bool {
    if text.len() < GADGET_LEN_MIN {
        return false;
    }
    let mut text = Cow::Borrowed(text);
    for _ in 0..NESTED_MAX {
        let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).map(|c| c.to_ascii_lowercase()).collect();
        if GADGETS.iter().any(|gadget| plain.contains(gadget)) {
            return true;
        }
        let Some(inner) = xml::resolved(&plain) else { return false };
        text = Cow::Owned(inner);
    }
    // No agent escapes what is escaped so often.
    true
}

/// Elements whose children each come once; in others, lists, they repeat.
const RECORDS: &[&str] = &[
    "authCookies",
    "AuthorizationCookie",
    "cookie",
    "oldCookie",
    "parameters",
    "computerInfo",
    "BasicData",
    "TargetID",
    "ExtendedData",
    "PrivateData",
    "OSVersion",
];

/// The plug-in of every WSUS (MS-WUSP 2.2.2.2.1).
const PLUG_IN: &str = "SimpleTargeting";

/// 496 bytes were seen; what executes code is longer.
const COOKIE_DATA_MAX: usize = 1024;

/// 224 bytes were seen.
const ENCRYPTED_DATA_MAX: usize = 2048;

/// What .NET's `BinaryFormatter` writes first (MS-NRBF 2.6.1).
const BINARY_FORMATTER: &[u8] = &[0, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF];

/// In lower case: `BinaryFormatter` in base64, what SOAP, contract and XAML formatters begin with, and the usual way from there to a process.
const GADGETS: &[&str] = &[
    "aaeaaad/////",
    "schemas.microsoft.com/clr/",
    "schemas.xmlsoap.org/soap/",
    "schemas.microsoft.com/winfx/",
    "schemas.microsoft.com/2003/10/serialization",
    "schemas.datacontract.org/",
    // Entities of its own, of which a document inside a text could make any of these.
    "<!doctype",
    "<!entity",
    "objectdataprovider",
    "system.diagnostics.process",
    "typeconfusedelegate",
    "losformatter",
];
const GADGET_LEN_MIN: usize = 9;

/// Documents inside documents that are looked into; their references are resolved one level after the other.
const NESTED_MAX: usize = 4;

/// 8 were seen.
const DEPTH_MAX: usize = 16;

/// `computerInfo` has 30.
const CHILDREN_MAX: usize = 64;
