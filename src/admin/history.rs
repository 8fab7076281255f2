//! Bytes by hour, for a day: samples of counters turned into rows.

use std::collections::VecDeque;

use crate::admin::{Hour, Traffic};

/// The last hours, oldest first. Hours in which nothing was sampled have no row.
#[derive(Debug, Default)]
pub(super) struct History {
    hours: VecDeque<Hour>,
    seen: Traffic,
}

/// A day, the running hour included.
const HOURS_MAX: usize = 24;
const HOUR: u64 = 3600;

impl History {
    /// Adds what came since the last sample to the hour of `now` (seconds of Unix time). A clock that was set back adds to the newest row.
    pub(super) fn sample(&mut self, traffic: Traffic, now: u64) {
        let start = now - now % HOUR;
        if self.hours.back().is_none_or(|newest| newest.start < start) {
            self.hours.push_back(Hour { start, ..Hour::default() });
        }
        if self.hours.len() > HOURS_MAX {
            self.hours.pop_front();
        }
        let hour = self.hours.back_mut().expect("a row was pushed if there was none");
        hour.content_bytes += traffic.content_bytes.saturating_sub(self.seen.content_bytes);
        hour.wan_bytes += traffic.wan_bytes.saturating_sub(self.seen.wan_bytes);
        self.seen = traffic;
    }

    pub(super) fn hours(&self) -> Vec<Hour> {
        self.hours.iter().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic(content_bytes: u64, wan_bytes: u64) -> Traffic {
        Traffic { content_bytes, wan_bytes, ..Traffic::default() }
    }

    #[test]
    fn samples_add_up_to_hours() {
        let mut history = History::default();
        history.sample(traffic(100, 50), 7200);
        history.sample(traffic(300, 60), 10_799);
        history.sample(traffic(301, 60), 10_800);
        let row = |start, content_bytes, wan_bytes| Hour { start, content_bytes, wan_bytes };
        assert_eq!(history.hours(), [row(7200, 300, 60), row(10_800, 1, 0)]);
    }

    #[test]
    fn a_clock_set_back_loses_nothing() {
        let mut history = History::default();
        history.sample(traffic(1, 0), 7200);
        history.sample(traffic(3, 0), 3600);
        assert_eq!(history.hours(), [Hour { start: 7200, content_bytes: 3, wan_bytes: 0 }]);
    }

    #[test]
    fn a_day_is_kept() {
        let mut history = History::default();
        for hour in 0..100 {
            history.sample(traffic(hour, 0), hour * HOUR);
        }
        let hours = history.hours();
        assert_eq!((hours.len(), hours[0].start, hours[23].start), (24, 76 * HOUR, 99 * HOUR));
    }
}
