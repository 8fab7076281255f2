//! What an HTTP/2 client makes weir do for nothing (RFC 9113 §10.5): frames are counted by their heads as they come.
//!
//! Each kind of frame that costs work and brings no request forward has a budget that refills with time. Beyond it the connection ends.
//! Pure: bytes and a clock in, verdicts out; what frames mean is hyper's business.

/// Follows the frames of one connection, from the preface on.
#[derive(Debug)]
pub(super) struct Frames {
    /// Bytes to come of the preface or a payload.
    left: usize,
    /// The head of the next frame, as far as it has come.
    head: [u8; HEAD_LEN],
    head_len: usize,
    resets: Budget,
    controls: Budget,
    empties: Budget,
    windows: Budget,
    /// Bytes of responses for which windows were granted.
    sent: u64,
}

/// Of what there was too much. The word stands in metrics and logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Flood {
    #[error("too many streams were reset")]
    Resets,
    #[error("too many frames were about the connection only")]
    Controls,
    #[error("too many frames were empty")]
    Empties,
    #[error("too many windows were opened")]
    Windows,
}

impl Flood {
    /// The reason in metrics and logs.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Resets => "resets",
            Self::Controls => "control-frames",
            Self::Empties => "empty-frames",
            Self::Windows => "windows",
        }
    }
}

/// Thousandths of frames that may come now.
#[derive(Debug)]
struct Budget {
    left: u64,
    most: u64,
    per_second: u64,
    /// When it was last refilled, in milliseconds.
    at: u64,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self {
            left: PREFACE_LEN,
            head: [0; HEAD_LEN],
            head_len: 0,
            resets: Budget::new(300, 100),
            controls: Budget::new(1000, 100),
            empties: Budget::new(1000, 100),
            windows: Budget::new(10_000, 1000),
            sent: 0,
        }
    }

    /// Counts the frames that begin in `bytes`. `now`: milliseconds since the connection began; `sent`: bytes sent so far.
    pub(super) fn check(&mut self, mut bytes: &[u8], now: u64, sent: u64) -> Result<(), Flood> {
        // A client that takes much may open its windows often.
        let granted = sent.saturating_sub(self.sent) / SENT_PER_WINDOW;
        self.windows.refill(granted);
        self.sent += granted * SENT_PER_WINDOW;
        while !bytes.is_empty() {
            let payload = self.left.min(bytes.len());
            (self.left, bytes) = (self.left - payload, &bytes[payload..]);
            let taken = (HEAD_LEN - self.head_len).min(bytes.len());
            if self.left > 0 || taken == 0 {
                return Ok(());
            }
            self.head[self.head_len..self.head_len + taken].copy_from_slice(&bytes[..taken]);
            (self.head_len, bytes) = (self.head_len + taken, &bytes[taken..]);
            if self.head_len == HEAD_LEN {
                self.begin(now)?;
            }
        }
        Ok(())
    }

    /// A frame head is whole (RFC 9113 §4.1).
    fn begin(&mut self, now: u64) -> Result<(), Flood> {
        let [a, b, c, kind, flags, ..] = self.head;
        (self.left, self.head_len) = (u32::from_be_bytes([0, a, b, c]) as usize, 0);
        let (budget, flood) = match kind {
            DATA if self.left == 0 && flags & END_STREAM == 0 => (&mut self.empties, Flood::Empties),
            DATA | HEADERS => return Ok(()),
            CONTINUATION => (&mut self.empties, Flood::Empties),
            RST_STREAM => (&mut self.resets, Flood::Resets),
            WINDOW_UPDATE => (&mut self.windows, Flood::Windows),
            _ => (&mut self.controls, Flood::Controls),
        };
        if budget.spend(now) { Ok(()) } else { Err(flood) }
    }
}

impl Budget {
    /// Of `most` at once, and `per_second` in the long run.
    fn new(most: u64, per_second: u64) -> Self {
        Self { left: most * 1000, most: most * 1000, per_second, at: 0 }
    }

    fn refill(&mut self, frames: u64) {
        self.left = self.left.saturating_add(frames.saturating_mul(1000)).min(self.most);
    }

    fn spend(&mut self, now: u64) -> bool {
        // So many a second are as many thousandths a millisecond.
        let gained = now.saturating_sub(self.at).saturating_mul(self.per_second);
        self.left = self.left.saturating_add(gained).min(self.most);
        self.at = now;
        let is_enough = self.left >= 1000;
        self.left -= if is_enough { 1000 } else { 0 };
        is_enough
    }
}

/// RFC 9113 §3.4.
const PREFACE_LEN: usize = 24;
/// RFC 9113 §4.1.
const HEAD_LEN: usize = 9;
/// Clients open a window again when half of it was used, and none is smaller than this on purpose.
const SENT_PER_WINDOW: u64 = 1024;

/// RFC 9113 §6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, len: u8) -> Vec<u8> {
        [&[0, 0, len, kind, 0, 0, 0, 0, 1][..], &vec![kind; usize::from(len)]].concat()
    }

    fn connection(frames: &[u8], count: usize) -> Vec<u8> {
        [&[b'P'; PREFACE_LEN][..], &frames.repeat(count)].concat()
    }

    #[test]
    fn each_kind_that_brings_nothing_forward_has_an_end() {
        for (kind, len, most, flood) in [
            (RST_STREAM, 4, 300, Flood::Resets),
            (PING, 8, 1000, Flood::Controls),
            (99, 200, 1000, Flood::Controls),
            (DATA, 0, 1000, Flood::Empties),
            (CONTINUATION, 5, 1000, Flood::Empties),
            (WINDOW_UPDATE, 4, 10_000, Flood::Windows),
        ] {
            let check = |count| Frames::new().check(&connection(&frame(kind, len), count), 0, 0);
            assert_eq!((check(most), check(most + 1)), (Ok(()), Err(flood)), "kind {kind}");
        }
        assert_eq!(Frames::new().check(&connection(&[frame(HEADERS, 9), frame(DATA, 1)].concat(), 50_000), 0, 0), Ok(()));
    }

    #[test]
    fn budgets_refill_with_time_and_windows_with_what_was_sent() {
        let mut frames = Frames::new();
        assert_eq!(frames.check(&connection(&frame(RST_STREAM, 4), 300), 0, 0), Ok(()));
        assert_eq!(frames.check(&frame(RST_STREAM, 4).repeat(10), 100, 0), Ok(()));
        assert_eq!(frames.check(&frame(RST_STREAM, 4), 100, 0), Err(Flood::Resets));

        let mut frames = Frames::new();
        assert_eq!(frames.check(&connection(&frame(WINDOW_UPDATE, 4), 10_000), 100, 0), Ok(()));
        assert_eq!(frames.check(&frame(WINDOW_UPDATE, 4).repeat(64), 100, 64 << 10), Ok(()));
        assert_eq!(frames.check(&frame(WINDOW_UPDATE, 4), 100, 64 << 10), Err(Flood::Windows));
    }

    #[test]
    fn frames_are_counted_however_their_bytes_arrive() {
        for step in 1..20 {
            let bytes = connection(&[frame(RST_STREAM, 4), frame(DATA, 30)].concat(), 300);
            let mut frames = Frames::new();
            assert!(bytes.chunks(step).all(|bytes| frames.check(bytes, 0, 0) == Ok(())), "in steps of {step}");
            assert_eq!(frames.check(&frame(RST_STREAM, 4), 0, 0), Err(Flood::Resets), "in steps of {step}");
        }
    }
}
