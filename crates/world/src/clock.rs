//! A host's two clocks, as functions of true time.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use protocol::{Monotonic, Now, Timestamp};

/// How a host's clocks differ from true time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockSetting {
    /// What the wall clock is ahead by, in nanoseconds.
    pub offset: i64,
    /// How much faster both clocks run, in parts per million.
    pub drift_ppm: i64,
    /// The wall clock stands still.
    pub frozen: bool,
}

/// 2026-01-01T00:00:00Z, where every world begins, in ms since the epoch.
pub(crate) const EPOCH_MS: i64 = 1_767_225_600_000;

const NOT_FROZEN: i64 = i64::MIN;

/// The clocks of one host. A world is single-threaded; the atomics only make it shareable without its lock.
pub(crate) struct HostClock {
    /// Since when the drift is what it is: true time and the monotonic clock at that moment.
    true_base: AtomicU64,
    mono_base: AtomicU64,
    drift_ppm: AtomicI64,
    offset: AtomicI64,
    /// What a frozen wall clock shows, in ns since [`EPOCH_MS`].
    frozen: AtomicI64,
    /// Whether to count who reads it.
    counts: AtomicBool,
    reads: AtomicU64,
}

impl HostClock {
    pub fn new() -> Self {
        Self {
            true_base: AtomicU64::new(0),
            mono_base: AtomicU64::new(0),
            drift_ppm: AtomicI64::new(0),
            offset: AtomicI64::new(0),
            frozen: AtomicI64::new(NOT_FROZEN),
            counts: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        }
    }

    /// Counts from now on how often the clock is read, or no more.
    pub fn count_reads(&self, on: bool) {
        self.counts.store(on, Relaxed);
    }

    /// How often it was read while that was counted.
    pub fn reads(&self) -> u64 {
        self.reads.load(Relaxed)
    }

    pub fn now(&self, now: u64) -> Now {
        if self.counts.load(Relaxed) {
            self.reads.store(self.reads.load(Relaxed) + 1, Relaxed);
        }
        let mono = self.mono(now);
        let frozen = self.frozen.load(Relaxed);
        let wall = if frozen == NOT_FROZEN { self.wall_ns(mono) } else { frozen };
        Now { mono: Monotonic(mono), wall: Timestamp(EPOCH_MS + wall.div_euclid(1_000_000)) }
    }

    /// Runs as `setting` says from `now` on. A wall clock that stands goes on standing, moved by what the offset changes.
    pub fn set(&self, now: u64, setting: ClockSetting) {
        let mono = self.mono(now);
        let stood = self.frozen.load(Relaxed);
        let shown = if stood == NOT_FROZEN { self.wall_ns(mono) } else { stood };
        let moved = setting.offset.saturating_sub(self.offset.load(Relaxed));
        let stands = shown.saturating_add(moved);
        self.true_base.store(now, Relaxed);
        self.mono_base.store(mono, Relaxed);
        self.drift_ppm.store(setting.drift_ppm.max(-999_999), Relaxed);
        self.offset.store(setting.offset, Relaxed);
        self.frozen.store(if setting.frozen { stands } else { NOT_FROZEN }, Relaxed);
    }

    /// The first true time at which the monotonic clock shows `mono` or more.
    pub fn true_time(&self, mono: u64) -> u64 {
        let (true_base, mono_base) = (self.true_base.load(Relaxed), self.mono_base.load(Relaxed));
        let ahead = mono.saturating_sub(mono_base);
        let drift = self.drift_ppm.load(Relaxed);
        if drift == 0 || mono == u64::MAX {
            return true_base.saturating_add(ahead);
        }
        let rate = (1_000_000 + drift) as u128;
        let mut at = true_base.saturating_add((u128::from(ahead) * 1_000_000 / rate) as u64);
        while self.mono(at) < mono {
            at += 1;
        }
        at
    }

    fn mono(&self, now: u64) -> u64 {
        let (true_base, mono_base) = (self.true_base.load(Relaxed), self.mono_base.load(Relaxed));
        let passed = now - true_base;
        let drift = self.drift_ppm.load(Relaxed);
        if drift == 0 {
            return mono_base + passed;
        }
        mono_base + (i128::from(passed) * i128::from(1_000_000 + drift) / 1_000_000) as u64
    }

    fn wall_ns(&self, mono: u64) -> i64 {
        (mono as i64).saturating_add(self.offset.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_moves_both_clocks_and_a_setting_never_moves_the_monotonic_one() {
        let clock = HostClock::new();
        clock.set(1_000, ClockSetting { drift_ppm: 500_000, ..ClockSetting::default() });
        assert_eq!(clock.now(1_000).mono, Monotonic(1_000));
        assert_eq!(clock.now(3_000).mono, Monotonic(4_000));
        clock.set(3_000, ClockSetting { offset: -7_000_000, ..ClockSetting::default() });
        assert_eq!(clock.now(3_000).mono, Monotonic(4_000));
        assert_eq!(clock.now(3_000).wall, Timestamp(EPOCH_MS - 7));
    }

    #[test]
    fn a_timer_of_a_drifting_clock_ends_at_the_first_instant_that_shows_it() {
        for drift_ppm in [-300_000, -7, 0, 11, 250_000] {
            let clock = HostClock::new();
            clock.set(0, ClockSetting { drift_ppm, ..ClockSetting::default() });
            for mono in [1, 999, 1_000_003, 123_456_789_123] {
                let at = clock.true_time(mono);
                assert!(clock.now(at).mono.0 >= mono, "{drift_ppm} {mono}");
                assert!(at == 0 || clock.now(at - 1).mono.0 < mono, "{drift_ppm} {mono}");
            }
        }
    }

    #[test]
    fn a_frozen_wall_clock_can_be_moved_but_does_not_go() {
        let clock = HostClock::new();
        clock.set(5_000_000, ClockSetting { frozen: true, ..ClockSetting::default() });
        clock.set(8_000_000, ClockSetting { frozen: true, offset: 2_000_000, drift_ppm: 10 });
        assert_eq!(clock.now(9_000_000_000).wall, Timestamp(EPOCH_MS + 7));
        clock.set(10_000_000_000, ClockSetting { offset: 2_000_000, ..ClockSetting::default() });
        assert_eq!(clock.now(10_000_000_000).wall, Timestamp(EPOCH_MS + 10_002), "it shows the time again");
    }

    #[test]
    fn a_frozen_wall_clock_stands_still() {
        let clock = HostClock::new();
        clock.set(5_000_000, ClockSetting { frozen: true, ..ClockSetting::default() });
        assert_eq!(clock.now(9_000_000_000).wall, Timestamp(EPOCH_MS + 5));
        assert_eq!(clock.now(9_000_000_000).mono, Monotonic(9_000_000_000));
    }
}
