//! The places that a reply names, replaced as it passes. Every other byte stays as it was.
//!
//! Places are the URLs of files in `FileLocations` (MS-WUSP 2.2.3): `Url`, `PiecesHashUrl` and `BlockMapUrl`. One that is written in another way
//! than servers write it, with a CDATA section or an entity other than `&amp;`, stays. Of a reply that is no XML the rest stays; coded bytes that
//! cannot be decoded are an error, because what comes out is never coded.

use crate::wsus::{
    Coding,
    message::{PLAIN_MAX, Path, service_name},
    xml::{self, Event, Form, Tokenizer},
    xpress::{Decoder, Malformed},
};

/// Reads one reply and says it anew, in identity coding.
#[derive(Debug)]
pub struct Rewriter {
    decoder: Option<Decoder>,
    places: Places,
}

#[derive(Debug)]
struct Places {
    /// Fed with markup alone: texts make most of a reply, and nothing in them is markup. `None`: what follows is not understood.
    tokenizer: Option<Tokenizer>,
    path: Path,
    /// The element that began last is a place, and nothing of its text has come.
    is_at_place: bool,
    /// The text of a place as it is written. The `<` behind it is held back, too: what follows says whether the text is whole.
    held: Option<Vec<u8>>,
}

impl Rewriter {
    pub fn new(coding: Coding) -> Self {
        let decoder = (coding == Coding::Xpress).then(|| Decoder::new(PLAIN_MAX));
        let tokenizer = Some(Tokenizer::new(Form::Document));
        Self { decoder, places: Places { tokenizer, path: Path::default(), is_at_place: false, held: None } }
    }

    /// Takes some of `bytes`, and says how many: no more than what stands for 64 KiB, however well it is coded. What they become is appended to
    /// `out`; `place` is asked for the new URL in place of each, and keeps it with `None`.
    ///
    /// # Errors
    /// The coded bytes are none. Nothing can follow then.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut place: impl FnMut(&str) -> Option<String>,
        out: &mut Vec<u8>,
    ) -> Result<usize, Malformed> {
        let Some(decoder) = &mut self.decoder else {
            self.places.push(bytes, &mut place, out);
            return Ok(bytes.len());
        };
        let mut rest = bytes;
        if let Some(plain) = decoder.block(&mut rest)? {
            self.places.push(plain, &mut place, out);
        }
        Ok(bytes.len() - rest.len())
    }

    /// Nothing more comes.
    ///
    /// # Errors
    /// The last coded block is not whole.
    pub fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Malformed> {
        self.places.let_go(out);
        self.decoder.as_ref().map_or(Ok(()), Decoder::finish)
    }
}

impl Places {
    fn push(&mut self, mut bytes: &[u8], place: &mut impl FnMut(&str) -> Option<String>, out: &mut Vec<u8>) {
        while let Some(&first) = bytes.first() {
            let used = match &self.tokenizer {
                None => bytes.len(),
                Some(tokenizer) if tokenizer.is_in_text() => self.text(bytes, out),
                Some(_) => self.markup(bytes, first, place, out),
            };
            if self.tokenizer.is_none() {
                out.extend_from_slice(bytes);
                return;
            }
            bytes = &bytes[used..];
        }
    }

    /// Text, and the `<` that ends it.
    fn text(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let len = bytes.iter().position(|byte| *byte == b'<').unwrap_or(bytes.len());
        if self.held.as_ref().is_some_and(|held| held.len() + len > PLACE_MAX) {
            self.let_go(out);
        }
        let is_ended = len < bytes.len();
        match &mut self.held {
            Some(held) => held.extend_from_slice(&bytes[..len]),
            None => out.extend_from_slice(&bytes[..len + usize::from(is_ended)]),
        }
        if is_ended {
            self.read(b"<");
        }
        len + usize::from(is_ended)
    }

    /// Markup up to a `>`, which may end it.
    fn markup(&mut self, bytes: &[u8], first: u8, place: &mut impl FnMut(&str) -> Option<String>, out: &mut Vec<u8>) -> usize {
        if let Some(text) = self.held.take() {
            // Anything but an end tag means that the text goes on behind it.
            let new = if first == b'/' { url(&text).and_then(|url| place(&url)) } else { None };
            out.extend_from_slice(&new.map_or(text, |url| url.replace('&', "&amp;").into_bytes()));
            out.push(b'<');
        }
        let used = bytes.iter().position(|byte| *byte == b'>').map_or(bytes.len(), |at| at + 1);
        self.read(&bytes[..used]);
        if self.tokenizer.is_some() {
            out.extend_from_slice(&bytes[..used]);
            self.held = std::mem::take(&mut self.is_at_place).then(Vec::new);
        }
        used
    }

    fn read(&mut self, bytes: &[u8]) {
        let Some(tokenizer) = &mut self.tokenizer else { return };
        let (path, is_at_place) = (&mut self.path, &mut self.is_at_place);
        let read = tokenizer.push(bytes, |event| {
            *is_at_place = false;
            match event {
                Event::Open(open) => {
                    path.open(NAMES, service_name(&open));
                    *is_at_place = is_place(path.names());
                }
                Event::Text(_) => {}
                Event::Close => path.close(),
            }
            Ok::<_, xml::Malformed>(())
        });
        if read.is_err() {
            self.tokenizer = None;
        }
    }

    /// Says what is held as it came.
    fn let_go(&mut self, out: &mut Vec<u8>) {
        let Some(held) = self.held.take() else { return };
        out.extend_from_slice(&held);
        if self.tokenizer.as_ref().is_some_and(|tokenizer| !tokenizer.is_in_text()) {
            out.push(b'<');
        }
    }
}

fn is_place(names: &[&str]) -> bool {
    matches!(names, ["Envelope", "Body", _, _, "FileLocations", "FileLocation", "Url" | "PiecesHashUrl" | "BlockMapUrl"])
}

/// The URL that a text is, if nothing but `&` is escaped in it.
fn url(text: &[u8]) -> Option<String> {
    let is_plain = text.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'<' | b'>'));
    let text = std::str::from_utf8(text).ok().filter(|_| is_plain)?;
    let is_escaped = text.split('&').skip(1).all(|part| part.starts_with("amp;"));
    is_escaped.then(|| text.replace("&amp;", "&"))
}

/// The elements of interest; all others are passed over.
const NAMES: &[&str] = &["Envelope", "Body", "FileLocations", "FileLocation", "Url", "PiecesHashUrl", "BlockMapUrl"];

/// The longest content URLs known have about 1 KiB.
const PLACE_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body>\
        <GetFileLocationsResponse xmlns=\"http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService\"><GetFileLocationsResult>";
    const TAIL: &str = "</GetFileLocationsResult></GetFileLocationsResponse></s:Body></s:Envelope>";

    fn reply(location: &str) -> String {
        format!("{HEAD}<FileLocations><FileLocation>{location}</FileLocation></FileLocations>{TAIL}")
    }

    /// Everything at `old` is at `new`.
    fn moved(url: &str) -> Option<String> {
        url.strip_prefix("http://old/").map(|rest| format!("http://new:8530/{rest}"))
    }

    fn rewritten<'a>(pieces: impl Iterator<Item = &'a [u8]>, coding: Coding) -> Result<Vec<u8>, Malformed> {
        let (mut rewriter, mut out) = (Rewriter::new(coding), Vec::new());
        for mut piece in pieces {
            while !piece.is_empty() {
                let used = rewriter.push(piece, moved, &mut out)?;
                piece = &piece[used..];
            }
        }
        rewriter.finish(&mut out).map(|()| out)
    }

    fn whole(text: &str) -> String {
        String::from_utf8(rewritten([text.as_bytes()].into_iter(), Coding::Identity).unwrap()).unwrap()
    }

    #[test]
    fn the_three_kinds_of_places_are_replaced_and_nothing_else() {
        let text = reply(
            "<FileDigest>http://old/a</FileDigest><Url>http://old/a?P1=1&amp;P4=2</Url><PiecesHashUrl>http://old/b</PiecesHashUrl>\
             <BlockMapUrl >http://old/c</BlockMapUrl\n><Other>http://old/d</Other><Url>http://else/old</Url>",
        );
        let expected = text
            .replace("<Url>http://old/a", "<Url>http://new:8530/a")
            .replace("http://old/b", "http://new:8530/b")
            .replace("http://old/c", "http://new:8530/c");
        assert_eq!(whole(&text), expected);
        let elsewhere = format!("{HEAD}<Updates><Update><Url>http://old/a</Url></Update></Updates>{TAIL}");
        assert_eq!(whole(&elsewhere), elsewhere, "not among locations");
        let foreign = text.replace("/Server/ClientWebService", "/Else");
        assert_eq!(whole(&foreign), foreign, "of another namespace");
    }

    #[test]
    fn pieces_that_end_anywhere_become_the_same() {
        let text = reply("<Url>http://old/a?P1=1&amp;P4=2</Url><!-- > <Url> --><Url>http://old/b</Url>");
        let expected = whole(&text);
        assert!(expected.matches("http://new:8530/").count() == 2);
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(rewritten([head, tail].into_iter(), Coding::Identity).unwrap(), expected.as_bytes(), "cut at {cut}");
        }
        for len in 1..40 {
            assert_eq!(rewritten(text.as_bytes().chunks(len), Coding::Identity).unwrap(), expected.as_bytes(), "pieces of {len}");
        }
    }

    #[test]
    fn what_is_written_as_no_server_writes_it_stays() {
        for place in [
            "<Url><![CDATA[http://old/a]]></Url>",
            "<Url>http://old/<![CDATA[a]]></Url>",
            "<Url>http://old/<!-- -->a</Url>",
            "<Url>http://old/a<b/></Url>",
            "<Url>&#104;ttp://old/a</Url>",
            "<Url>http://old/a&lt;b</Url>",
            "<Url>http://old/a&b</Url>",
            "<Url> http://old/a</Url>",
            "<Url>http://old/a\n</Url>",
            "<Url>http://old/\u{e4}</Url>",
            "<Url>http://old/a\"b</Url>",
            "<Url></Url>",
            "<Url/>",
            "<x><Url>http://old/a</Url></x>",
        ] {
            let text = reply(place);
            assert_eq!(whole(&text), text, "{place}");
        }
        let long = reply(&format!("<Url>http://old/{}</Url><Url>http://old/b</Url>", "a".repeat(PLACE_MAX)));
        assert_eq!(
            whole(&long),
            long.replace("http://old/b", "http://new:8530/b"),
            "too long to be held, and the next is replaced"
        );
    }

    #[test]
    fn what_is_no_xml_stays_from_there_on() {
        for bad in ["<!DOCTYPE x>", "<a b='1' b='2'>", "</b>", "<?xml-stylesheet?>"] {
            let text = reply(&format!("<Url>http://old/a</Url>{bad}<Url>http://old/b</Url>"));
            assert_eq!(whole(&text), text.replace("http://old/a", "http://new:8530/a"), "{bad}");
        }
        for len in 0..reply("<Url>http://old/a</Url>").len() {
            let text = &reply("<Url>http://else/a</Url>")[..len];
            assert_eq!(whole(text), text, "cut after {len}");
        }
    }

    #[test]
    fn a_coded_reply_becomes_a_plain_one_block_by_block() {
        let text = reply("<Url>http://old/a</Url>");
        // Blocks that are there as they are.
        let framed = |block: &[u8]| {
            let len = (block.len() as u32).to_le_bytes();
            [&len[..], &len, block].concat()
        };
        let coded: Vec<u8> = text.as_bytes().chunks(100).flat_map(framed).collect();
        let expected = text.replace("http://old/a", "http://new:8530/a");
        for len in [1, 7, 1000] {
            assert_eq!(rewritten(coded.chunks(len), Coding::Xpress).unwrap(), expected.as_bytes(), "pieces of {len}");
        }
        let cut = rewritten([&coded[..coded.len() - 1]].into_iter(), Coding::Xpress);
        assert_eq!(cut, Err(Malformed::Truncated));
        let mut rewriter = Rewriter::new(Coding::Xpress);
        let used = rewriter.push(&coded, moved, &mut Vec::new()).unwrap();
        assert_eq!(used, 108, "a block at a time");
    }
}
