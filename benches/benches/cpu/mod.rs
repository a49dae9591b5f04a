//! What benches of a simulated process are measured in.

use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Time on a CPU of this thread, which other work on the machine does not lengthen.
pub struct CpuTime;

impl CpuTime {
    #[expect(clippy::disallowed_methods, reason = "a bench may ask the system what it cost")]
    /// Nanoseconds.
    pub fn now() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells it there");
        text.split(' ').next().and_then(|field| field.parse().ok()).expect("its first field is nanoseconds")
    }
}

impl Measurement for CpuTime {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        Self::now()
    }

    fn end(&self, start: u64) -> u64 {
        Self::now() - start
    }

    fn add(&self, one: &u64, other: &u64) -> u64 {
        one + other
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
