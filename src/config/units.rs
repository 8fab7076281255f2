//! Sizes, rates and times as people write them.

use std::{str::FromStr, time::Duration};

/// Bytes, written as `200 GiB` or `1.5 GB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// Bytes per second, written as `20 MB/s` or `100 Mbit/s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(pub(super) u64);

/// A time span, written as `30 s` or `500 ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(pub(super) Duration);

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KB", 1000),
    ("kB", 1000),
    ("MB", 1000_u64.pow(2)),
    ("GB", 1000_u64.pow(3)),
    ("TB", 1000_u64.pow(4)),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// In bits.
const BIT_RATES: &[(&str, u64)] = &[("bit/s", 1), ("kbit/s", 1000), ("Mbit/s", 1000_u64.pow(2)), ("Gbit/s", 1000_u64.pow(3))];

/// In milliseconds.
const SPANS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, SIZES).map(Self)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(bits) = scaled(text, BIT_RATES) {
            return Ok(Self(bits / 8));
        }
        let size = text.trim_end().strip_suffix("/s").ok_or_else(|| format!("{text:?} has no unit per second"))?;
        scaled(size, SIZES).map(Self)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        scaled(text, SPANS).map(|millis| Self(Duration::from_millis(millis)))
    }
}

/// A decimal number times its unit, without detours through floating point.
fn scaled(text: &str, units: &[(&str, u64)]) -> Result<u64, String> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(text.len());
    let (number, unit) = (text[..end].replace('_', ""), text[end..].trim_start());
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, "0"));
    let no_number = || format!("{text:?} does not begin with a number");
    let whole: u64 = whole.parse().map_err(|_| no_number())?;
    let digits: u64 = fraction.parse().map_err(|_| no_number())?;
    let Some((_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        let known: Vec<_> = units.iter().map(|(name, _)| *name).collect();
        let what = if unit.is_empty() { "has no unit".to_owned() } else { format!("has an unknown unit {unit:?}") };
        return Err(format!("{text:?} {what} (known: {})", known.join(", ")));
    };
    let part = u32::try_from(fraction.len()).ok().and_then(|places| 10_u64.checked_pow(places));
    let part = part.map(|scale| u128::from(digits) * u128::from(*factor) / u128::from(scale));
    let total = part.and_then(|part| u64::try_from(part + u128::from(whole) * u128::from(*factor)).ok());
    total.ok_or_else(|| format!("{text:?} is too large or too exact"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_written() {
        for (text, bytes) in [
            ("0 B", 0),
            ("200 GiB", 200 << 30),
            ("1.5 GB", 1_500_000_000),
            ("64KiB", 64 << 10),
            (" 1_000 kB ", 1_000_000),
            ("0.1 TiB", (1_u64 << 40) / 10),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, why) in [
            ("", "does not begin with a number"),
            ("GiB", "does not begin with a number"),
            ("-1 GB", "does not begin with a number"),
            ("1.2.3 GB", "does not begin with a number"),
            ("5", "has no unit"),
            ("5 Gb", "unknown unit \"Gb\""),
            ("5 GB/s", "unknown unit \"GB/s\""),
            ("99999999999999999999 B", "does not begin with a number"),
            ("99999999 TiB", "too large"),
        ] {
            let error = text.parse::<Size>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn rates_are_bytes_or_bits_per_second() {
        assert_eq!("20 MB/s".parse(), Ok(Rate(20_000_000)));
        assert_eq!("100 Mbit/s".parse(), Ok(Rate(12_500_000)));
        assert!("20 MB".parse::<Rate>().is_err());
        assert!("20 MB/min".parse::<Rate>().is_err());
    }

    #[test]
    fn spans_have_units_of_time() {
        assert_eq!("30 s".parse(), Ok(Span(Duration::from_secs(30))));
        assert_eq!("1.5 min".parse(), Ok(Span(Duration::from_secs(90))));
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
        assert!("30".parse::<Span>().is_err());
        assert!("30 sec".parse::<Span>().is_err());
    }
}
