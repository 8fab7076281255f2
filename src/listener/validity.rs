//! Until when a certificate is valid (RFC 5280 §4.1.2.5). Reads just so much DER as it takes to get there; trust is decided elsewhere.

use std::time::{Duration, SystemTime};

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The end of the validity of `certificate` (DER); `None` when it is not written as RFC 5280 says.
pub(super) fn not_after(certificate: &[u8]) -> Option<SystemTime> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (to_be_signed, _) = expect(certificate, SEQUENCE)?;
    // Version 1 has no version field.
    let rest = expect(to_be_signed, VERSION).map_or(to_be_signed, |(_, rest)| rest);
    let (_serial, rest) = expect(rest, INTEGER)?;
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, _) = expect(rest, SEQUENCE)?;
    let (_, _, after) = element(validity)?;
    let (tag, value, _) = element(after)?;
    match tag {
        // Two digits of the year: 1950 to 2049.
        UTC_TIME => time(value, 2).map(|(year, rest)| (if year < 50 { 2000 + year } else { 1900 + year }, rest)),
        GENERALIZED_TIME => time(value, 4),
        _ => None,
    }
    .and_then(|(year, rest)| instant(year, rest))
}

fn expect(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, value, rest) = element(input)?;
    (found == tag).then_some((value, rest))
}

/// Tag, value and what follows (X.690 §8.1, definite lengths up to 64 KiB).
fn element(input: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, short], rest) = input.split_first_chunk()?;
    let (len, rest) = match short {
        0..=0x7f => (usize::from(short), rest),
        0x81 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        0x82 => rest.split_first_chunk().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?,
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(len)?;
    Some((tag, value, rest))
}

/// The year, of so many digits, and `MMDDHHMMSSZ`.
fn time(value: &[u8], year_digits: usize) -> Option<(u64, &[u8])> {
    let (year, rest) = value.split_at_checked(year_digits)?;
    Some((number(year)?, rest))
}

fn instant(year: u64, rest: &[u8]) -> Option<SystemTime> {
    let digits = rest.strip_suffix(b"Z").filter(|digits| digits.len() == 10)?;
    let mut parts = digits.chunks(2).map(number);
    let mut part = || parts.next().flatten();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    let is_possible = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second <= 60;
    let days = days_since_1970(year, month, day).filter(|_| is_possible)?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

fn number(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0')))
}

/// Days of the Gregorian calendar, counted from March so that the leap day is a year's last; `None` before 1970.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day;
    days.checked_sub(719_469)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(year: i32, month: u8, day: u8) -> Vec<u8> {
        let mut parameters = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, month, day);
        parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    fn seconds(text: &str) -> Option<SystemTime> {
        Some(httpdate::parse_http_date(text).unwrap())
    }

    #[test]
    fn the_end_is_read_from_both_forms_of_time() {
        assert_eq!(not_after(&issued(2027, 2, 28)), seconds("Sun, 28 Feb 2027 00:00:00 GMT"));
        assert_eq!(not_after(&issued(2028, 2, 29)), seconds("Tue, 29 Feb 2028 00:00:00 GMT"));
        assert_eq!(not_after(&issued(2049, 12, 31)), seconds("Fri, 31 Dec 2049 00:00:00 GMT"));
        assert_eq!(not_after(&issued(2050, 1, 1)), seconds("Sat, 01 Jan 2050 00:00:00 GMT"));
        assert_eq!(not_after(&issued(1999, 12, 31)), seconds("Fri, 31 Dec 1999 00:00:00 GMT"));
        assert_eq!(not_after(&issued(1970, 1, 1)), Some(SystemTime::UNIX_EPOCH));
    }

    #[test]
    fn hours_minutes_and_seconds_count() {
        assert_eq!(instant(2026, b"1123134501Z"), seconds("Mon, 23 Nov 2026 13:45:01 GMT"));
        for wrong in [&b"1323134501Z"[..], b"1100134501Z", b"1123134501", b"11231345Z", b"112313450xZ", b""] {
            assert_eq!(instant(2026, wrong), None);
        }
    }

    #[test]
    fn torn_certificates_have_no_end_and_do_not_panic() {
        let whole = issued(2027, 1, 1);
        for cut in 0..whole.len() {
            assert_eq!(not_after(&whole[..cut]), None, "{cut} bytes");
        }
    }
}
