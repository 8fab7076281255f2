//! The words for doors.

use std::{fmt, str::FromStr};

use crate::classify::Door;

impl Door {
    /// What needs no configured upstream.
    pub const STANDARD: [Self; 3] = [Self::Delivery, Self::Transparent, Self::Forward];

    pub const ALL: [Self; 5] = [Self::Reverse, Self::Wsus, Self::Delivery, Self::Transparent, Self::Forward];

    /// Whether its clients may be Delivery Optimization, which leaves a cache for 15 minutes when it is answered with a 4xx, or gets less than
    /// 4,000 bytes a second for 20 s (microsoft/do-client, `mcc_manager.cpp`).
    pub fn is_asked_by_delivery_optimization(self) -> bool {
        matches!(self, Self::Delivery | Self::Transparent | Self::Wsus)
    }

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
