//! Labels with few, fixed values. The words are those of the access log, the status page and `Cache-Status`.

use crate::metrics::Label;

macro_rules! labels {
    ($($(#[$doc:meta])* $label:ident $name:literal { $($(#[$variant_doc:meta])* $variant:ident $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $label { $($(#[$variant_doc])* $variant,)* }

        impl $label {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        impl Label for $label {
            const NAME: &'static str = $name;
            const WORDS: &'static [&'static str] = &[$($word,)*];

            #[inline]
            fn index(self) -> usize {
                self as usize
            }
        }
    )*};
}

labels! {
    /// The way in.
    Door "door" {
        Reverse "reverse",
        Wsus "wsus",
        Delivery "delivery",
        Transparent "transparent",
        Forward "forward",
        /// Refused before a door was found.
        Unknown "unknown",
    }

    /// What a request was to us.
    Class "class" {
        Content "content",
        Pass "pass",
        Tunnel "tunnel",
        Refuse "refuse",
    }

    /// What the cache made of a request, in the order of cost to the WAN.
    Verdict "verdict" {
        /// Answered from the store alone.
        Hit "hit",
        /// Answered stale, because the origin could not be asked or may be asked later (RFC 5861).
        Stale "stale",
        /// The origin confirmed what is stored (RFC 9111 §4.3).
        Revalidated "revalidated",
        /// Joined a fill that another request had started.
        Collapsed "collapsed",
        /// Partly from the store.
        Partial "partial",
        /// Nothing usable was stored.
        Miss "miss",
        /// Relayed without caching.
        Bypass "bypass",
        /// Refused by policy or malformed; nobody was asked.
        Refused "refused",
        /// Could not be answered, or was cut.
        Error "error",
    }

    /// Where bytes sent to a client came from.
    Source "source" {
        Store "store",
        /// Through a fill, as they arrived.
        Upstream "upstream",
        /// From upstream too, but past the store.
        Relayed "relayed",
        /// Made by weir: error pages, the delimiters of multipart ranges.
        Own "own",
    }

    /// The queues of the access log.
    Queue "queue" {
        Served "served",
        Refused "refused",
        Failed "failed",
        Administration "administration",
    }

    /// How a reload of the configuration ended.
    ReloadOutcome "outcome" {
        Applied "applied",
        /// It had problems; the old one stays.
        Refused "refused",
    }

    /// First digit of a status code.
    StatusClass "status" {
        Informational "1xx",
        Success "2xx",
        Redirection "3xx",
        ClientError "4xx",
        ServerError "5xx",
    }

    /// Why a fill's bytes crossed the WAN.
    Purpose "purpose" {
        /// A client waits for them.
        Demand "demand",
        ReadAhead "read-ahead",
        /// Fetched by a job before anyone asked.
        Stage "stage",
        /// In place of a piece that was corrupt.
        Repair "repair",
    }
}

impl StatusClass {
    /// Anything below 100 or above 599 (which no HTTP library lets through) counts as a server error.
    #[inline]
    pub fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Success,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}
