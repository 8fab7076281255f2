//! Digests that somebody declared for content (metadata, or a name under a rule that says so), and how bytes are held against them.
//!
//! weir's own content identity is BLAKE3 and lives in `store`; this module is about other people's digests.

use std::fmt;

use aws_lc_rs::digest as hash;
use base64::Engine;

/// A declared digest of whole content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Digest {
    /// Collision-broken; good as a consistency check, not across trust boundaries.
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

impl Digest {
    /// 40 hex digits mean SHA-1, 64 mean SHA-256, any case.
    pub fn from_hex(text: &str) -> Option<Self> {
        Self::from_bytes(&unhex(text)?)
    }

    /// Base64 of 20 or 32 bytes, as update metadata spells digests.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_bytes(&base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?)
    }

    /// 20 bytes mean SHA-1, 32 mean SHA-256.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            20 => Some(Self::Sha1(bytes.try_into().ok()?)),
            32 => Some(Self::Sha256(bytes.try_into().ok()?)),
            _ => None,
        }
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }

    /// Whether no content can have both: they are of one kind, and differ.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.bytes().len() == other.bytes().len() && self != other
    }

    /// A hasher of this digest's kind.
    pub fn hasher(&self) -> Hasher {
        match self {
            Self::Sha1(_) => Hasher(hash::Context::new(&hash::SHA1_FOR_LEGACY_USE_ONLY)),
            Self::Sha256(_) => Hasher(hash::Context::new(&hash::SHA256)),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1(_) => "sha1:",
            Self::Sha256(_) => "sha256:",
        })?;
        self.bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes content in order; made by [`Digest::hasher`].
#[derive(Clone)]
pub struct Hasher(hash::Context);

impl Hasher {
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of everything hashed, of the kind of the digest that made this hasher.
    pub fn finish(self) -> Digest {
        let digest = self.0.finish();
        Digest::from_bytes(digest.as_ref()).expect("SHA-1 and SHA-256 are the only algorithms a Hasher is made with")
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_SHA1: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

    #[test]
    fn hex_and_base64_name_the_same_digest() {
        let digest = Digest::from_hex(EMPTY_SHA1).unwrap();
        assert_eq!(Digest::from_hex(&EMPTY_SHA1.to_uppercase()), Some(digest));
        assert_eq!(Digest::from_base64("2jmj7l5rSw0yVb/vlWAYkK/YBwk="), Some(digest));
        assert_eq!(digest.to_string(), format!("sha1:{EMPTY_SHA1}"));
    }

    #[test]
    fn other_lengths_and_letters_are_no_digests() {
        for text in ["", "da", "xx39a3ee5e6b4b0d3255bfef95601890afd80709", &EMPTY_SHA1[1..], &EMPTY_SHA1[2..]] {
            assert_eq!(Digest::from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_hasher_gives_the_kind_it_was_made_for() {
        let wanted = Digest::from_hex(EMPTY_SHA1).unwrap();
        assert_eq!(wanted.hasher().finish(), wanted);
        let sha256 = Digest::Sha256([0; 32]);
        let mut hasher = sha256.hasher();
        hasher.update(b"abc");
        assert_eq!(hasher.finish().to_string(), "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
