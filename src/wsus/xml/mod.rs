//! XML as update services write it: a tokenizer that is pushed bytes and tells of elements and text, by namespace.
//!
//! It knows the part of XML 1.0 that SOAP 1.1 allows (§3: no document type declaration, no processing instructions) in UTF-8, and refuses the
//! rest: entities of a document's own, other encodings, names without a namespace. It never holds text, however long, and everything it does
//! hold has a bound.

mod tag;
#[cfg(test)]
mod tests;

pub use self::tag::Attributes;
pub(super) use self::tag::resolved;

/// What the tokenizer finds, in the order of the document.
#[derive(Debug)]
pub enum Event<'a> {
    Open(Open<'a>),
    /// Some of the text of the element that was opened last and is not closed. Not cut between characters' bytes on purpose, but by chance.
    Text(&'a [u8]),
    /// The element that was opened last ends.
    Close,
}

/// The beginning of an element.
#[derive(Debug)]
pub struct Open<'a> {
    pub namespace: Namespace,
    /// Without its prefix.
    pub name: &'a str,
    pub attributes: Attributes<'a>,
}

/// The namespaces that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    None,
    /// SOAP 1.1
    Envelope,
    /// `ClientWebService`
    Client,
    /// `SimpleAuthWebService`
    SimpleAuth,
    /// `ReportingWebService`, `ServerSyncWebService`
    Distribution,
    /// `DssAuthWebService`
    DssAuth,
    Other,
}

impl Namespace {
    fn of(uri: &str) -> Self {
        match uri {
            "" => Self::None,
            "http://schemas.xmlsoap.org/soap/envelope/" => Self::Envelope,
            "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService" => Self::Client,
            "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService" => Self::SimpleAuth,
            "http://www.microsoft.com/SoftwareDistribution/Server/DssAuthWebService" => Self::DssAuth,
            "http://www.microsoft.com/SoftwareDistribution" => Self::Distribution,
            _ => Self::Other,
        }
    }
}

/// What is no XML, or none that services of this kind write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it has a document type declaration")]
    Doctype,
    #[error("it refers to an entity that XML does not have")]
    Entity,
    #[error("it has a processing instruction")]
    Instruction,
    #[error("its encoding is not UTF-8")]
    Encoding,
    #[error("it has a tag that is none")]
    Tag,
    #[error("it has an attribute twice")]
    Attribute,
    #[error("it uses a prefix that it does not declare")]
    Prefix,
    #[error("an element ends that is not open")]
    End,
    #[error("it is nested too deeply")]
    Depth,
    #[error("a tag is too long")]
    Long,
    #[error("it has content outside its one element")]
    Outside,
    #[error("it ends before its elements do")]
    Truncated,
}

/// Whether what is read is a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One element, its prefixes declared.
    Document,
    /// Elements in a row, as metadata has them inside other messages: prefixes mean nothing there.
    Fragment,
}

/// Reads one document, or fragment.
#[derive(Debug)]
pub struct Tokenizer {
    form: Form,
    state: State,
    /// What came of a tag, a reference or a declaration.
    held: Vec<u8>,
    /// Text with its references resolved, on its way to the sink: a call for each reference would cost more than all else.
    resolved: Vec<u8>,
    /// The names of the open elements, with their prefixes, one after the other.
    names: Vec<u8>,
    /// Where in `names` each begins.
    starts: Vec<usize>,
    bindings: Vec<Binding>,
    /// Something other than white space has come.
    has_begun: bool,
    has_root: bool,
}

/// A namespace declaration that holds inside an element.
#[derive(Debug)]
struct Binding {
    /// How many elements are open inside which it holds.
    depth: usize,
    prefix: Box<str>,
    namespace: Namespace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Text,
    /// After `&`.
    Reference,
    /// After `<`.
    Markup,
    /// In a tag; the quotation mark whose end is awaited.
    Tag(Option<u8>),
    /// After `<?`.
    Declaration,
    /// After `<!`.
    Bang,
    /// In a comment; how much of its end has come.
    Comment(usize),
    /// In a CDATA section; how much of its end has come.
    Cdata(usize),
}

impl Tokenizer {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            state: State::Text,
            held: Vec::new(),
            resolved: Vec::new(),
            names: Vec::new(),
            starts: Vec::new(),
            bindings: Vec::new(),
            has_begun: false,
            has_root: false,
        }
    }

    /// Takes the next bytes, and tells `sink` what they hold. After an error nothing more can be read.
    pub fn push<E: From<Malformed>>(
        &mut self,
        mut bytes: &[u8],
        mut sink: impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(&first) = bytes.first() {
            let used = match self.state {
                State::Text => self.text(bytes, &mut sink)?,
                State::Reference => self.reference(first, &mut sink)?,
                State::Markup => self.markup(first),
                State::Tag(quote) => self.tag(bytes, quote, &mut sink)?,
                State::Declaration => self.declaration(first)?,
                State::Bang => self.bang(first)?,
                State::Comment(matched) => {
                    self.state = comment(first, matched).map_or(State::Text, State::Comment);
                    1
                }
                State::Cdata(matched) => self.cdata(bytes, matched, &mut sink)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// Nothing more comes.
    pub fn finish(&self) -> Result<(), Malformed> {
        let is_whole = self.state == State::Text && self.starts.is_empty();
        if is_whole && (self.has_root || self.form == Form::Fragment) { Ok(()) } else { Err(Malformed::Truncated) }
    }

    /// Whether what comes next is text, or the `<` or `&` that ends it.
    pub fn is_in_text(&self) -> bool {
        self.state == State::Text
    }

    fn text<E: From<Malformed>>(&mut self, bytes: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<usize, E> {
        let len = bytes.iter().position(|byte| matches!(byte, b'<' | b'&')).unwrap_or(bytes.len());
        if len > 0 {
            self.characters(&bytes[..len], sink)?;
            return Ok(len);
        }
        if bytes[0] == b'&' && !self.starts.is_empty() {
            let used = self.resolve(bytes, sink)?;
            if used > 0 {
                return Ok(used);
            }
        }
        let is_half_mark = !self.has_begun && !matches!(self.held.len(), 0 | 3);
        if is_half_mark || (bytes[0] == b'&' && self.starts.is_empty()) {
            return Err(Malformed::Outside.into());
        }
        self.held.clear();
        self.state = if bytes[0] == b'<' { State::Markup } else { State::Reference };
        Ok(1)
    }

    fn characters<E: From<Malformed>>(
        &mut self,
        mut text: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.has_begun && self.held.len() < BYTE_ORDER_MARK.len() {
            // It may stand before everything else, and comes in pieces like all else.
            while let Some((&byte, rest)) =
                text.split_first().filter(|(byte, _)| BYTE_ORDER_MARK.get(self.held.len()) == Some(byte))
            {
                self.held.push(byte);
                text = rest;
            }
        }
        self.has_begun |= !text.is_empty();
        if !self.starts.is_empty() {
            return sink(Event::Text(text));
        }
        if text.iter().all(u8::is_ascii_whitespace) { Ok(()) } else { Err(Malformed::Outside.into()) }
    }

    /// Tells of text whose references are whole and stand for something, as far as it goes.
    fn resolve<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (mut text, mut used) = (std::mem::take(&mut self.resolved), 0);
        text.clear();
        while let Some(reference) = bytes[used..].strip_prefix(b"&").filter(|_| text.len() < RESOLVED_MAX) {
            let Some(len) = reference.iter().take(REFERENCE_MAX + 1).position(|byte| *byte == b';') else { break };
            let Some(character) = tag::character(&reference[..len]) else { break };
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            used += len + 2;
            let rest = &bytes[used..bytes.len().min(used + RESOLVED_MAX)];
            let plain = rest.iter().position(|byte| matches!(byte, b'<' | b'&')).unwrap_or(rest.len());
            text.extend_from_slice(&rest[..plain]);
            used += plain;
        }
        let told = if text.is_empty() { Ok(()) } else { sink(Event::Text(&text)) };
        self.resolved = text;
        told.map(|()| used)
    }

    fn reference<E: From<Malformed>>(&mut self, byte: u8, sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<usize, E> {
        if byte != b';' {
            if self.held.len() == REFERENCE_MAX || !(byte.is_ascii_alphanumeric() || byte == b'#') {
                return Err(Malformed::Entity.into());
            }
            self.held.push(byte);
            return Ok(1);
        }
        let character = tag::character(&self.held).ok_or(Malformed::Entity)?;
        self.state = State::Text;
        self.characters(character.encode_utf8(&mut [0; 4]).as_bytes(), sink)?;
        Ok(1)
    }

    /// The first byte after `<` says what it is; in a tag it belongs to the name.
    fn markup(&mut self, first: u8) -> usize {
        self.state = match first {
            b'!' => State::Bang,
            b'?' => State::Declaration,
            _ => State::Tag(None),
        };
        usize::from(self.state != State::Tag(None))
    }

    fn bang(&mut self, byte: u8) -> Result<usize, Malformed> {
        self.held.push(byte);
        match &self.held[..] {
            b"--" => self.state = State::Comment(0),
            b"[CDATA[" if self.starts.is_empty() => return Err(Malformed::Outside),
            b"[CDATA[" => self.state = State::Cdata(0),
            held if b"--".starts_with(held) || b"[CDATA[".starts_with(held) => {}
            _ => return Err(Malformed::Doctype),
        }
        self.has_begun = true;
        Ok(1)
    }

    /// Only the declaration that may stand first.
    fn declaration(&mut self, byte: u8) -> Result<usize, Malformed> {
        if self.has_begun || self.form == Form::Fragment {
            return Err(Malformed::Instruction);
        }
        hold(&mut self.held, &[byte], DECLARATION_MAX).map_err(|_| Malformed::Instruction)?;
        if let Some(declaration) = self.held.strip_suffix(b"?>") {
            tag::declaration(declaration)?;
            self.has_begun = true;
            self.state = State::Text;
        }
        Ok(1)
    }

    fn cdata<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        matched: usize,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let text = match (bytes[0], matched) {
            (b'>', 2) => {
                self.state = State::Text;
                return Ok(1);
            }
            (b']', 2) => &b"]"[..],
            (b']', _) => {
                self.state = State::Cdata(matched + 1);
                return Ok(1);
            }
            // What looked like the end is none, and this byte is looked at again.
            (_, 1..) => {
                self.state = State::Cdata(0);
                sink(Event::Text(&b"]]"[..matched]))?;
                return Ok(0);
            }
            _ => &bytes[..bytes.iter().position(|&byte| byte == b']').unwrap_or(bytes.len())],
        };
        let used = text.len();
        sink(Event::Text(text))?;
        Ok(used)
    }

    fn tag<E: From<Malformed>>(
        &mut self,
        bytes: &[u8],
        quote: Option<u8>,
        sink: &mut impl FnMut(Event<'_>) -> Result<(), E>,
    ) -> Result<usize, E> {
        let ends = |byte: &u8| match quote {
            Some(quote) => *byte == quote,
            None => matches!(byte, b'>' | b'"' | b'\''),
        };
        let Some(len) = bytes.iter().position(ends) else {
            hold(&mut self.held, bytes, TAG_MAX)?;
            return Ok(bytes.len());
        };
        hold(&mut self.held, &bytes[..len], TAG_MAX)?;
        let end = bytes[len];
        if end != b'>' || quote.is_some() {
            hold(&mut self.held, &[end], TAG_MAX)?;
            self.state = State::Tag(if quote.is_some() { None } else { Some(end) });
            return Ok(len + 1);
        }
        self.has_begun = true;
        self.state = State::Text;
        // Lent, because what is told of it borrows it.
        let held = std::mem::take(&mut self.held);
        self.tagged(&held, sink)?;
        self.held = held;
        self.held.clear();
        Ok(len + 1)
    }

    fn tagged<E: From<Malformed>>(&mut self, held: &[u8], sink: &mut impl FnMut(Event<'_>) -> Result<(), E>) -> Result<(), E> {
        let text = std::str::from_utf8(held).map_err(|_| Malformed::Encoding)?;
        if let Some(name) = text.strip_prefix('/') {
            self.leave(name.trim_end_matches(tag::is_space))?;
            return sink(Event::Close);
        }
        let (text, is_empty) = text.strip_suffix('/').map_or((text, false), |text| (text, true));
        let (full, attributes) = tag::parse(text)?;
        self.enter(full, &attributes)?;
        let (prefix, name) = tag::split(full)?;
        let namespace = self.namespace(prefix)?;
        sink(Event::Open(Open { namespace, name, attributes }))?;
        if is_empty {
            self.leave(full)?;
            sink(Event::Close)?;
        }
        Ok(())
    }

    fn enter(&mut self, name: &str, attributes: &Attributes<'_>) -> Result<(), Malformed> {
        if self.starts.is_empty() && self.has_root && self.form == Form::Document {
            return Err(Malformed::Outside);
        }
        if self.starts.len() == DEPTH_MAX {
            return Err(Malformed::Depth);
        }
        self.has_root = true;
        self.starts.push(self.names.len());
        self.names.extend_from_slice(name.as_bytes());
        for (name, value) in attributes.iter() {
            let Some(prefix) = name.strip_prefix("xmlns") else { continue };
            let prefix = match prefix.strip_prefix(':') {
                Some(prefix) => prefix,
                None if prefix.is_empty() => "",
                None => continue,
            };
            if self.bindings.len() == BINDINGS_MAX {
                return Err(Malformed::Prefix);
            }
            let namespace = Namespace::of(&tag::unescaped(value).ok_or(Malformed::Entity)?);
            self.bindings.push(Binding { depth: self.starts.len(), prefix: prefix.into(), namespace });
        }
        Ok(())
    }

    fn leave(&mut self, name: &str) -> Result<(), Malformed> {
        let start = self.starts.pop().ok_or(Malformed::End)?;
        if self.names[start..] != *name.as_bytes() {
            return Err(Malformed::End);
        }
        self.names.truncate(start);
        let depth = self.starts.len();
        while self.bindings.last().is_some_and(|binding| binding.depth > depth) {
            self.bindings.pop();
        }
        Ok(())
    }

    fn namespace(&self, prefix: &str) -> Result<Namespace, Malformed> {
        let bound = self.bindings.iter().rev().find(|binding| *binding.prefix == *prefix);
        match bound {
            Some(binding) => Ok(binding.namespace),
            None if prefix.is_empty() => Ok(Namespace::None),
            None if self.form == Form::Fragment => Ok(Namespace::Other),
            None => Err(Malformed::Prefix),
        }
    }
}

/// How much of the end of a comment has come with `byte`, when `matched` of it had come; `None`: all of it.
fn comment(byte: u8, matched: usize) -> Option<usize> {
    match byte {
        b'>' if matched == 2 => None,
        b'-' => Some(2.min(matched + 1)),
        _ => Some(0),
    }
}

fn hold(held: &mut Vec<u8>, bytes: &[u8], max: usize) -> Result<(), Malformed> {
    if held.len() + bytes.len() > max {
        return Err(Malformed::Long);
    }
    held.extend_from_slice(bytes);
    Ok(())
}

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The longest reference is `&#x10FFFF;`, unless somebody writes zeros before it.
const REFERENCE_MAX: usize = 16;

/// What is gathered of it before it is told, and as much again behind the last reference.
const RESOLVED_MAX: usize = 4096;

const DECLARATION_MAX: usize = 128;

/// Rules of applicability have attributes of some hundred bytes.
const TAG_MAX: usize = 64 * 1024;

/// Rules of applicability nest `And`, `Or` and `Not`; messages have a depth of about 10.
const DEPTH_MAX: usize = 256;

const BINDINGS_MAX: usize = 64;
