//! How many requests at once help an upstream: measured, not assumed.
//!
//! A content is fetched over `level` connections. After each measuring period the level goes up while the total rate
//! grows with it, and back when it does not; then it stays for a while.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::time::Instant;

/// What is known of every upstream, by name. Names are configured or origin hosts, so the table is bounded by hand.
#[derive(Default)]
pub(super) struct Gains {
    by_upstream: Mutex<HashMap<Box<str>, Arc<Gain>>>,
    level_max: usize,
}

/// One upstream's measurements.
pub(super) struct Gain {
    level_max: usize,
    state: Mutex<State>,
}

struct State {
    level: usize,
    /// Bytes per second at the level below, when this level is on trial.
    before: Option<f64>,
    /// No trial before this moment.
    settled_until: Option<Instant>,
    since: Option<Instant>,
    bytes: u64,
    /// Whether all of the level's requests were running throughout the period.
    busy: bool,
}

impl Gains {
    pub(super) fn new(level_max: usize) -> Self {
        Self { by_upstream: Mutex::default(), level_max: level_max.max(1) }
    }

    pub(super) fn of(&self, upstream: &str) -> Arc<Gain> {
        let mut table = self.by_upstream.lock().expect("no panic while the table of gains is held");
        if let Some(gain) = table.get(upstream) {
            return gain.clone();
        }
        if table.len() >= UPSTREAMS_MAX {
            // Forgetting costs one more trial.
            table.clear();
        }
        let gain = Arc::new(Gain::new(self.level_max));
        table.insert(upstream.into(), gain.clone());
        gain
    }
}

impl Gain {
    fn new(level_max: usize) -> Self {
        let state = State { level: 2.min(level_max), before: None, settled_until: None, since: None, bytes: 0, busy: true };
        Self { level_max, state: Mutex::new(state) }
    }

    pub(super) fn level(&self) -> usize {
        self.state.lock().expect("no panic while a gain is held").level
    }

    /// Counts bytes that arrived while `running` requests were under way.
    pub(super) fn record(&self, bytes: u64, running: usize, now: Instant) {
        let mut state = self.state.lock().expect("no panic while a gain is held");
        let since = *state.since.get_or_insert(now);
        state.bytes += bytes;
        state.busy &= running >= state.level;
        let elapsed = now.saturating_duration_since(since);
        if elapsed < PERIOD {
            return;
        }
        let rate = state.bytes as f64 / elapsed.as_secs_f64();
        let comparable = state.busy && elapsed < 4 * PERIOD;
        (state.since, state.bytes, state.busy) = (None, 0, true);
        if comparable {
            state.judge(rate, self.level_max, now);
        }
    }
}

impl State {
    fn judge(&mut self, rate: f64, level_max: usize, now: Instant) {
        match self.before.take() {
            Some(before) if rate < before * GAIN_MIN => {
                self.level -= 1;
                self.settled_until = Some(now + SETTLED);
                return;
            }
            _ if self.settled_until.is_some_and(|until| now < until) => return,
            _ => {}
        }
        if self.level < level_max {
            self.level += 1;
            self.before = Some(rate);
        }
    }
}

/// Long enough to average over a segment on a slow line, short enough to be done within one large file.
const PERIOD: Duration = Duration::from_millis(400);
/// A connection more must bring a tenth more, or it only takes from others.
const GAIN_MIN: f64 = 1.1;
/// Lines change over a day, not over a minute.
const SETTLED: Duration = Duration::from_secs(120);
const UPSTREAMS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds ten seconds of traffic whose rate depends on the level.
    fn settle(gain: &Gain, rate: impl Fn(usize) -> f64) -> usize {
        let mut now = Instant::now();
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            let level = gain.level();
            gain.record((rate(level) / 100.0) as u64, level, now);
        }
        gain.level()
    }

    #[test]
    fn a_line_that_gains_from_every_connection_gets_them_all() {
        assert_eq!(settle(&Gain::new(6), |level| 20e6 * level as f64), 6);
    }

    #[test]
    fn a_full_line_gets_no_more_than_it_started_with() {
        assert_eq!(settle(&Gain::new(6), |_| 20e6), 2);
    }

    #[test]
    fn trials_stop_where_the_gain_stops() {
        assert_eq!(settle(&Gain::new(6), |level| 20e6 * level.min(4) as f64), 4);
    }

    #[test]
    fn traffic_that_did_not_use_the_level_proves_nothing() {
        let gain = Gain::new(6);
        let mut now = Instant::now();
        for _ in 0..1000 {
            now += Duration::from_millis(10);
            gain.record(1000, 1, now);
        }
        assert_eq!(gain.level(), 2);
    }
}
