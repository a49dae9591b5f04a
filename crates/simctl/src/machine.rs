//! What a run costs on the machine it runs on: read outside the world, at the end.

use std::path::Path;

use harness::report::{Build, Cost};

/// The real clock and the CPU, from now on.
pub struct Meter {
    #[expect(clippy::disallowed_types, reason = "wall time is what this measures")]
    started: std::time::Instant,
    cpu_s: f64,
}

impl Meter {
    /// Starts measuring.
    #[expect(clippy::disallowed_types, reason = "wall time is what this measures")]
    pub fn start() -> Self {
        Self { started: std::time::Instant::now(), cpu_s: cpu_s() }
    }

    /// What was used since, and the most memory of the process ever.
    pub fn cost(&self) -> Cost {
        Cost { wall_s: self.started.elapsed().as_secs_f64(), cpu_s: cpu_s() - self.cpu_s, peak_bytes: peak_bytes() }
    }
}

/// The wall's clock, from now on.
pub struct Stopwatch {
    #[expect(clippy::disallowed_types, reason = "wall time is what this measures")]
    started: std::time::Instant,
}

impl Stopwatch {
    /// Starts it.
    #[expect(clippy::disallowed_types, reason = "wall time is what this measures")]
    pub fn start() -> Self {
        Self { started: std::time::Instant::now() }
    }

    /// Seconds since.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}

/// CPU seconds of another process; nothing where the kernel does not tell.
pub fn cpu_s_of(process: u32) -> Option<f64> {
    ticks(&read(&format!("/proc/{process}/stat")), 11)
}

/// CPU seconds of all processes that this one started and waited for; 0 where the kernel does not tell.
pub fn children_cpu_s() -> f64 {
    ticks(&read("/proc/self/stat"), 13).unwrap_or(0.0)
}

/// The sum of two fields of `/proc/PID/stat` in seconds, counted from behind the name, which may hold blanks.
fn ticks(stat: &str, first: usize) -> Option<f64> {
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let field = |index: usize| fields.get(index)?.parse::<u64>().ok();
    // The kernel's unit for user space is 10 ms, on every machine that Linux runs on.
    Some((field(first)? + field(first + 1)?) as f64 / 100.0)
}

#[expect(clippy::disallowed_methods, reason = "the kernel's account of this process")]
fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(path)).unwrap_or_default()
}

/// CPU seconds of this process; 0 where the kernel does not tell.
fn cpu_s() -> f64 {
    // ns on a CPU of the only thread there is.
    if let Some(nanos) =
        read("/proc/self/schedstat").split_whitespace().next().and_then(|text| text.parse::<u64>().ok())
    {
        return nanos as f64 / 1e9;
    }
    // User and system time are fields 14 and 15.
    ticks(&read("/proc/self/stat"), 11).unwrap_or(0.0)
}

/// The most memory this process had, bytes; 0 where the kernel does not tell.
fn peak_bytes() -> u64 {
    let status = read("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) * 1_024
}

/// Which program this is.
pub fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("WAVETANK_COMMIT").to_owned(),
        profile: env!("WAVETANK_PROFILE").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_account_is_read_behind_the_name() {
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 1200 34 20 0 1";
        assert_eq!(ticks(stat, 11), Some(2.0));
        assert_eq!(ticks(stat, 13), Some(12.34));
        assert_eq!(ticks("", 11), None);
    }
}
