//! What is kept of names, ids and addresses.

use std::net::IpAddr;

use crate::wsus::Guid;

/// What administrators are shown of who a computer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Personal {
    /// Name, id and address.
    Keep,
    /// Pseudonyms: the same for the same computer until weir ends, and of no use to tell which one it is.
    Hash,
    /// Neither name nor address; the id as a pseudonym.
    Off,
}

impl Personal {
    /// By the word for it in the configuration.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "keep" => Self::Keep,
            "hash" => Self::Hash,
            "off" => Self::Off,
            _ => return None,
        })
    }
}

/// Makes pseudonyms, with a key that nobody knows and that is gone with the process: names and addresses are few enough to be tried out.
pub(super) struct Masks {
    personal: Personal,
    key: [u8; blake3::KEY_LEN],
}

impl Masks {
    pub(super) fn new(personal: Personal) -> Self {
        Self { personal, key: rand::random() }
    }

    pub(super) fn id(&self, id: Guid) -> Box<str> {
        match self.personal {
            Personal::Keep => id.to_string().into(),
            Personal::Hash | Personal::Off => self.mask(&id.0.to_be_bytes()),
        }
    }

    pub(super) fn name(&self, name: &str) -> Option<Box<str>> {
        match self.personal {
            Personal::Keep => Some(name.into()),
            Personal::Hash => Some(self.mask(name.to_ascii_lowercase().as_bytes())),
            Personal::Off => None,
        }
    }

    pub(super) fn address(&self, address: IpAddr) -> Option<Box<str>> {
        match self.personal {
            Personal::Keep => Some(address.to_string().into()),
            Personal::Hash => Some(self.mask(address.to_string().as_bytes())),
            Personal::Off => None,
        }
    }

    fn mask(&self, bytes: &[u8]) -> Box<str> {
        blake3::keyed_hash(&self.key, bytes).to_hex()[..16].into()
    }
}

impl std::fmt::Debug for Masks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masks").field("personal", &self.personal).finish_non_exhaustive()
    }
}
