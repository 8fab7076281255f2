//! What replies and requests have in common: decoded, tokenized, and followed element by element.

use crate::wsus::{
    Coding, Unreadable,
    xml::{Event, Form, Namespace, Open, Tokenizer},
    xpress::Decoder,
};

/// A message that is coming in.
#[derive(Debug)]
pub(super) struct Message {
    decoder: Option<Decoder>,
    tokenizer: Tokenizer,
}

impl Message {
    pub(super) fn new(coding: Coding) -> Self {
        let decoder = (coding == Coding::Xpress).then(|| Decoder::new(PLAIN_MAX));
        Self { decoder, tokenizer: Tokenizer::new(Form::Document) }
    }

    /// Takes the next bytes as they are on the wire.
    pub(super) fn push(
        &mut self,
        bytes: &[u8],
        mut sink: impl FnMut(Event<'_>) -> Result<(), Unreadable>,
    ) -> Result<(), Unreadable> {
        match &mut self.decoder {
            None => self.tokenizer.push(bytes, sink),
            Some(decoder) => decoder.decode(bytes, |plain| self.tokenizer.push(plain, &mut sink)),
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) -> Result<(), Unreadable> {
        if let Some(decoder) = &self.decoder {
            decoder.finish()?;
        }
        Ok(self.tokenizer.finish()?)
    }
}

/// Where in a message its reader is: the open elements, and the text of the innermost.
#[derive(Debug, Default)]
pub(super) struct Path {
    /// Names of no interest are empty.
    names: Vec<&'static str>,
    text: Vec<u8>,
    is_too_long: bool,
}

impl Path {
    /// An element begins. `names` are those that its reader knows.
    pub(super) fn open(&mut self, names: &[&'static str], name: &str) {
        self.names.push(names.iter().find(|known| **known == name).copied().unwrap_or_default());
        self.forget_text();
    }

    pub(super) fn names(&self) -> &[&'static str] {
        &self.names
    }

    pub(super) fn text(&mut self, text: &[u8]) {
        self.is_too_long |= self.text.len() + text.len() > TEXT_MAX;
        if !self.is_too_long {
            self.text.extend_from_slice(text);
        }
    }

    /// The text of the element that is about to close, if that is all it holds, and no more than any of interest has.
    pub(super) fn leaf(&self) -> Option<&str> {
        std::str::from_utf8(&self.text).ok().filter(|_| !self.is_too_long)
    }

    pub(super) fn close(&mut self) {
        self.names.pop();
        self.forget_text();
    }

    fn forget_text(&mut self) {
        self.text.clear();
        self.is_too_long = false;
    }
}

/// The name of an element of a service's own message; others have none here.
pub(super) fn service_name<'a>(open: &Open<'a>) -> &'a str {
    match open.namespace {
        Namespace::Envelope | Namespace::Client | Namespace::SimpleAuth | Namespace::Distribution => open.name,
        Namespace::None | Namespace::DssAuth | Namespace::Other => "",
    }
}

/// Text for keeping: no longer than `max` bytes, cut between characters.
pub(super) fn kept(text: &str, max: usize) -> Box<str> {
    let text = text.trim();
    let len = (0..=max.min(text.len())).rev().find(|len| text.is_char_boundary(*len)).unwrap_or_default();
    text[..len].into()
}

/// 20 times the largest reply that was seen.
pub(super) const PLAIN_MAX: u64 = 1 << 30;

/// URLs and titles are the longest texts of interest.
const TEXT_MAX: usize = 4096;
