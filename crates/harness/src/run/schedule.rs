//! When a client of an open-loop load wants to send: fixed in advance, whatever the answers do.

use std::time::Duration;

use protocol::Monotonic;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use runtime::Env;

use super::record::Recorder;
use crate::scenario::Arrivals;

/// How often a load that rests looks whether it may go on.
const PAUSE_CHECK: Duration = Duration::from_millis(10);

/// The intended send times of one client.
#[derive(Debug)]
pub struct Schedule {
    /// The beginning, ns.
    origin: u64,
    /// How many were given since `origin`.
    count: u64,
    /// The load's rate in thousandths a second.
    rate: u64,
    clients: u64,
    client: u64,
    arrivals: Arrivals,
    /// The last time given by Poisson arrivals, ns.
    last: u64,
    rng: ChaCha8Rng,
}

impl Schedule {
    /// The schedule of client `client` of `clients` that share `rate`, from `origin` on. `rng` is the client's own stream.
    pub fn new(origin: u64, rate: u64, clients: u32, client: u32, arrivals: Arrivals, rng: ChaCha8Rng) -> Self {
        assert!(rate > 0, "a load of no rate has no schedule");
        Self {
            origin,
            count: 0,
            rate,
            clients: u64::from(clients),
            client: u64::from(client),
            arrivals,
            last: origin,
            rng,
        }
    }

    /// The next intended send, ns.
    pub fn next(&mut self) -> u64 {
        match self.arrivals {
            Arrivals::Uniform => {
                let turn = u128::from(self.count * self.clients + self.client);
                self.count += 1;
                self.origin + u64::try_from(turn * 1_000_000_000_000 / u128::from(self.rate)).unwrap_or(u64::MAX / 2)
            }
            Arrivals::Poisson => {
                // In (0, 1]: 53 random bits, and never zero.
                let uniform = ((self.rng.next_u64() >> 11) + 1) as f64 / (1u64 << 53) as f64;
                let mean = self.clients as f64 * 1e12 / self.rate as f64;
                self.last += (-libm::log(uniform) * mean) as u64;
                self.last
            }
        }
    }

    /// Waits until the next send is due and gives its intended time, ns; `None` when the loads end. While `load` rests
    /// nothing is due.
    pub async fn due(&mut self, env: &Env, recorder: &Recorder, load: usize) -> Option<u64> {
        while !recorder.is_ended() {
            if recorder.is_paused(load) {
                env.sleep(PAUSE_CHECK).await;
                self.restart(env.now().mono.0);
                continue;
            }
            let intended = self.next();
            if intended > env.now().mono.0 {
                env.sleep_until(Monotonic(intended)).await;
            }
            if recorder.is_ended() {
                break;
            }
            if !recorder.is_paused(load) {
                return Some(intended);
            }
        }
        None
    }

    /// After a rest: what was not wanted meanwhile is not made up for.
    pub fn restart(&mut self, now: u64) {
        (self.origin, self.count, self.last) = (now, 0, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn schedule(arrivals: Arrivals, client: u32) -> Schedule {
        Schedule::new(1_000, 2_000_000, 4, client, arrivals, ChaCha8Rng::seed_from_u64(7))
    }

    #[test]
    fn clients_share_a_uniform_rate_evenly_and_take_turns() {
        let times: Vec<u64> = (0..4).map(|client| schedule(Arrivals::Uniform, client).next()).collect();
        assert_eq!(times, [1_000, 501_000, 1_001_000, 1_501_000]);
        let mut one = schedule(Arrivals::Uniform, 0);
        let third = (one.next(), one.next(), one.next()).2;
        assert_eq!(third, 1_000 + 2 * 2_000_000);
    }

    #[test]
    fn poisson_arrivals_have_the_rate_in_the_mean() {
        let mut schedule = schedule(Arrivals::Poisson, 0);
        let mut last = 0;
        for _ in 0..100_000 {
            let next = schedule.next();
            assert!(next >= last);
            last = next;
        }
        let mean = (last - 1_000) / 100_000;
        assert!((1_980_000..2_020_000).contains(&mean), "{mean} ns between two sends of one of 4 clients of 2k/s");
    }
}
