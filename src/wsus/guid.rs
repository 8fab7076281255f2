//! The ids of updates, computers and categories.

use std::{fmt, str::FromStr};

/// A globally unique id, as update services write it: `378c0b3f-b3be-471d-ac6c-21e0f96d7de4`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Guid(pub u128);

impl Guid {
    /// Stands for "none" in reports.
    pub fn is_nil(self) -> bool {
        self.0 == 0
    }
}

impl FromStr for Guid {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_place = |at: usize, byte: u8| if matches!(at, 8 | 13 | 18 | 23) { byte == b'-' } else { byte.is_ascii_hexdigit() };
        if text.len() != 36 || !text.bytes().enumerate().all(|(at, byte)| is_place(at, byte)) {
            return Err(());
        }
        u128::from_str_radix(&text.replace('-', ""), 16).map(Self).map_err(|_| ())
    }
}

impl fmt::Display for Guid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hex = format!("{:032x}", self.0);
        write!(f, "{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_in_any_case() {
        let text = "378c0b3f-b3be-471d-ac6c-21e0f96d7de4";
        let guid: Guid = text.parse().unwrap();
        assert_eq!(guid.to_string(), text);
        assert_eq!(text.to_uppercase().parse(), Ok(guid));
        assert!("00000000-0000-0000-0000-000000000000".parse::<Guid>().unwrap().is_nil());
    }

    #[test]
    fn other_texts_are_no_ids() {
        for text in [
            "",
            "378c0b3f",
            "378c0b3fb3be471dac6c21e0f96d7de4",
            "378c0b3f-b3be-471d-ac6c-21e0f96d7de",
            "378c0b3f-b3be-471d-ac6c+21e0f96d7de4",
        ] {
            assert_eq!(text.parse::<Guid>(), Err(()), "{text}");
        }
    }
}
