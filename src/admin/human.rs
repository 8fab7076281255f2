//! Numbers as people read them, on the page and in a terminal.

use std::fmt;

/// `1.4 GiB`. Binary units, as in the configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bytes(pub(super) u64);

/// `2 d 4 h`: the two largest units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span(pub(super) u64);

/// `93.4 %`, or a dash when there is nothing to take a share of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share(pub(super) Option<f64>);

/// `12,345,678`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Count(pub(super) u64);

const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mut value, mut unit) = (self.0 as f64, 0);
        // 1023.95 would be printed as 1024.0.
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        match unit {
            0 => f.pad(&format!("{} B", self.0)),
            _ => f.pad(&format!("{value:.1} {}", UNITS[unit])),
        }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, hours, minutes, seconds) = (self.0 / 86_400, self.0 / 3600 % 24, self.0 / 60 % 60, self.0 % 60);
        let text = match (days, hours, minutes) {
            (0, 0, 0) => format!("{seconds} s"),
            (0, 0, _) => format!("{minutes} min"),
            (0, ..) => format!("{hours} h {minutes} min"),
            _ => format!("{days} d {hours} h"),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(share) => f.pad(&format!("{:.1} %", share * 100.0)),
            None => f.pad("–"),
        }
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        f.pad(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_change_their_unit_before_they_need_a_fifth_digit() {
        let table = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1_048_524, "1023.9 KiB"),
            (1_048_525, "1.0 MiB"),
            (1_503_238_553, "1.4 GiB"),
            (u64::MAX, "16.0 EiB"),
        ];
        for (bytes, want) in table {
            assert_eq!(Bytes(bytes).to_string(), want);
        }
    }

    #[test]
    fn spans_show_their_two_largest_units() {
        let table = [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"), (187_200, "2 d 4 h")];
        for (seconds, want) in table {
            assert_eq!(Span(seconds).to_string(), want);
        }
    }

    #[test]
    fn shares_and_counts_read_well() {
        assert_eq!((Share(Some(0.9341)).to_string(), Share(None).to_string()), ("93.4 %".into(), "–".into()));
        let counts = [0, 999, 1000, 1_234_567].map(|count| Count(count).to_string());
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn widths_are_respected_so_that_columns_line_up() {
        assert_eq!(format!("[{:>9}][{:<5}]", Bytes(2048), Count(7)), "[  2.0 KiB][7    ]");
    }
}
