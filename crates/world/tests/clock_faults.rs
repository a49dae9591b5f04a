//! What each fault of a clock does: to the wall clock, to the monotonic clock, to timers, and that its end undoes it.
#![cfg(madsim)]

mod support;

use std::time::Duration;

use protocol::{Monotonic, Timestamp};
use runtime::Env;
use support::{MS, S, seconds};
use world::{ClockFault, ClockSetting, Fault, HostId, Time, World};

/// How far the wall clock is ahead of true time, in ms.
fn ahead(world: &World, env: &Env, begin: Timestamp) -> i64 {
    env.now().wall.0 - begin.0 - (world.now().0 / MS) as i64
}

fn on_a_host<F: Future<Output = ()>>(body: impl FnOnce(World, HostId, Env, Timestamp) -> F) {
    World::run(1, |world| {
        let host = world.add_host("a");
        let env = world.start(host);
        let begin = env.now().wall;
        body(world, host, env, begin)
    });
}

#[test]
fn an_offset_lasts_until_it_is_healed_and_offsets_add_up() {
    on_a_host(|world, host, env, begin| async move {
        let one = world.apply(Fault::Clock(ClockFault::Offset { host, by: 5 * S as i64 }));
        world.sleep(Duration::from_secs(1)).await;
        assert_eq!(ahead(&world, &env, begin), 5_000);
        let two = world.apply(Fault::Clock(ClockFault::Offset { host, by: -(7 * S as i64) }));
        assert_eq!(ahead(&world, &env, begin), -2_000);
        world.heal(one);
        assert_eq!(ahead(&world, &env, begin), -7_000);
        world.heal(two);
        assert_eq!(ahead(&world, &env, begin), 0);
        assert_eq!(
            (world.fault(one).hits, world.fault(two).hits),
            (2, 2),
            "each reading of a clock that is wrong counts"
        );
        assert_eq!(env.now().mono, Monotonic(S), "the monotonic clock does not know");
    });
}

#[test]
fn a_jump_is_for_good_and_moves_no_timer() {
    on_a_host(|world, host, env, begin| async move {
        let sleep = env.spawn("sleeper", {
            let (env, world) = (env.clone(), world.clone());
            async move {
                env.sleep(Duration::from_secs(10)).await;
                world.now()
            }
        });
        world.sleep(Duration::from_secs(1)).await;
        let jump = world.apply(Fault::Clock(ClockFault::Jump { host, by: -(3_600 * S as i64) }));
        world.heal(jump);
        world.apply(Fault::Clock(ClockFault::Jump { host, by: 60 * S as i64 }));
        assert_eq!(ahead(&world, &env, begin), -3_540_000);
        assert_eq!(sleep.join().await, Some(seconds(10.0)));
        assert_eq!(world.fault(jump).hits, 1);
    });
}

#[test]
fn a_drift_moves_both_clocks_and_the_timers_and_its_end_moves_nothing() {
    on_a_host(|world, host, env, begin| async move {
        let sleeper = |after: u64| {
            let (sleeps, world) = (env.clone(), world.clone());
            env.spawn("sleeper", async move {
                sleeps.sleep(Duration::from_secs(after)).await;
                world.now()
            })
        };
        let (soon, later) = (sleeper(10), sleeper(20));
        world.sleep(Duration::from_secs(5)).await;
        let slow = world.apply(Fault::Clock(ClockFault::Drift { host, ppm: -500_000 }));
        // 5 s of true time were 5 s, the next 10 s are 5 s.
        assert_eq!(soon.join().await, Some(seconds(15.0)));
        assert_eq!(env.now().mono, Monotonic(10 * S));
        assert_eq!(ahead(&world, &env, begin), -5_000);
        world.heal(slow);
        assert_eq!(env.now().mono, Monotonic(10 * S), "it does not jump");
        assert_eq!(later.join().await, Some(seconds(25.0)));
        assert_eq!(ahead(&world, &env, begin), -5_000, "nobody set the wall clock right");
        assert!(world.fault(slow).hits > 0);
    });
}

#[test]
fn a_frozen_wall_clock_stands_while_timers_go_on_and_shows_the_time_again_when_healed() {
    on_a_host(|world, host, env, begin| async move {
        world.sleep(Duration::from_secs(2)).await;
        let freeze = world.apply(Fault::Clock(ClockFault::Freeze(host)));
        env.sleep(Duration::from_secs(3)).await;
        assert_eq!(env.now().wall, Timestamp(begin.0 + 2_000));
        assert_eq!(env.now().mono, Monotonic(5 * S));
        world.heal(freeze);
        assert_eq!(ahead(&world, &env, begin), 0);
    });
}

#[test]
fn faults_come_on_top_of_what_the_clock_was_set_to() {
    on_a_host(|world, host, env, begin| async move {
        world.set_clock(host, ClockSetting { offset: S as i64, ..ClockSetting::default() });
        let offset = world.apply(Fault::Clock(ClockFault::Offset { host, by: 2 * S as i64 }));
        world.apply(Fault::Clock(ClockFault::Jump { host, by: 4 * S as i64 }));
        assert_eq!(ahead(&world, &env, begin), 7_000);
        world.heal(offset);
        assert_eq!(ahead(&world, &env, begin), 5_000);
        world.set_clock(host, ClockSetting::default());
        assert_eq!(ahead(&world, &env, begin), 0);
    });
}

#[test]
fn a_timer_that_a_drift_moved_can_be_cancelled_and_leaves_nothing() {
    on_a_host(|world, host, env, _begin| async move {
        let before = world.pending();
        let sleep = env.sleep(Duration::from_secs(100));
        let timeout = env.spawn("sleeper", {
            let env = env.clone();
            async move { env.timeout(Duration::from_secs(10), sleep).await.is_err() }
        });
        world.sleep(Duration::from_secs(1)).await;
        for ppm in [300_000, -200_000, 50] {
            let drift = world.apply(Fault::Clock(ClockFault::Drift { host, ppm }));
            world.sleep(Duration::from_secs(1)).await;
            world.heal(drift);
        }
        assert_eq!(timeout.join().await, Some(true));
        assert!(world.now() < Time(10 * S) && world.now() > Time(9 * S), "{}", world.now());
        assert_eq!(world.pending(), before);
    });
}

#[test]
fn a_clock_that_nobody_reads_was_not_hurt() {
    on_a_host(|world, host, env, _begin| async move {
        let offset = world.apply(Fault::Clock(ClockFault::Offset { host, by: S as i64 }));
        world.sleep(Duration::from_secs(60)).await;
        assert_eq!(world.fault(offset).hits, 0);
        env.now();
        assert_eq!(world.fault(offset).hits, 1);
        world.heal(offset);
        env.now();
        assert_eq!(world.fault(offset).hits, 1);
    });
}
