//! Doors and sets of them.

use std::{fmt, str::FromStr};

use crate::classify::{Door, Doors};

impl Door {
    pub const ALL: [Self; 5] = [Self::Reverse, Self::Wsus, Self::Delivery, Self::Transparent, Self::Forward];

    /// The word for it in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reverse => "reverse",
            Self::Wsus => "wsus",
            Self::Delivery => "delivery",
            Self::Transparent => "transparent",
            Self::Forward => "forward",
        }
    }
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Door {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|door| door.as_str() == text).ok_or(())
    }
}

impl Doors {
    /// What needs no configured upstream.
    pub fn standard() -> Self {
        [Door::Delivery, Door::Transparent, Door::Forward].into_iter().collect()
    }

    pub fn contains(self, door: Door) -> bool {
        self.0 & bit(door) != 0
    }

    pub fn with(self, door: Door) -> Self {
        Self(self.0 | bit(door))
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn iter(self) -> impl Iterator<Item = Door> {
        Door::ALL.into_iter().filter(move |door| self.contains(*door))
    }
}

fn bit(door: Door) -> u8 {
    1 << door as u8
}

impl FromIterator<Door> for Doors {
    fn from_iter<I: IntoIterator<Item = Door>>(doors: I) -> Self {
        doors.into_iter().fold(Self::default(), Self::with)
    }
}
