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
    // User and system time are fields 14 and 15, in hundredths of a second; the name before them may hold blanks.
    let stat = read("/proc/self/stat");
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / 100.0
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
