//! Time, tasks, causes and what subscribers see.
#![cfg(madsim)]

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::{Monotonic, Timestamp};
use runtime::observation::ProcessEnd;
use runtime::{Env, Observation, inbox};
use support::{MS, Pair, S, US, echo, read, write};
use world::{ClockSetting, Config, End, Event, ProcessFault, Stop, Time, World};

/// Runs `body` in a process of its own, to its end.
fn in_a_process<F>(body: impl FnOnce(World, Env) -> F + 'static) -> F::Output
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let task = env.spawn("main", body(world.clone(), env.clone()));
        match task.join().await {
            Some(output) => output,
            None => panic!("{:?}", world.ended(host).await),
        }
    })
}

#[test]
fn a_sleep_takes_exactly_as_long_as_asked_for() {
    in_a_process(|world, env| async move {
        for nanos in [1, 100 * US, 999 * US, 3600 * S] {
            let start = world.now();
            env.sleep(Duration::from_nanos(nanos)).await;
            assert_eq!(world.now().since(start), Duration::from_nanos(nanos));
        }
        let start = world.now();
        env.sleep(Duration::ZERO).await;
        env.sleep_until(Monotonic(0)).await;
        assert_eq!(world.now(), start);
    });
}

#[test]
fn a_million_polls_of_a_sleep_leave_one_event_and_its_drop_leaves_none() {
    in_a_process(|world, env| async move {
        let before = world.pending();
        {
            let mut sleep = std::pin::pin!(env.sleep(Duration::from_secs(1)));
            for _ in 0..1_000_000 {
                let pending = futures_util::poll!(sleep.as_mut());
                assert!(pending.is_pending());
            }
            assert_eq!(world.pending(), before + 1);
        }
        assert_eq!(world.pending(), before);
    });
}

#[test]
fn a_timeout_drops_its_future_and_tells_the_time() {
    in_a_process(|world, env| async move {
        let (post, mut inbox) = inbox::<()>(1);
        let outcome = env.timeout(Duration::from_millis(7), async move {
            let _post = post;
            std::future::pending::<()>().await;
        });
        assert!(outcome.await.is_err());
        assert_eq!(world.now(), Time(7 * MS));
        assert_eq!(inbox.recv().await, None, "the sender was dropped");
    });
}

#[test]
fn an_aborted_task_is_dropped_at_the_same_instant() {
    struct Tell(runtime::Post<Time>, World);
    impl Drop for Tell {
        fn drop(&mut self) {
            self.0.post(self.1.now());
        }
    }
    in_a_process(|world, env| async move {
        let (post, mut inbox) = inbox(1);
        let tell = Tell(post, world.clone());
        let task = env.spawn("sleeper", {
            let env = env.clone();
            async move {
                let _tell = tell;
                env.sleep(Duration::from_secs(100)).await;
            }
        });
        env.sleep(Duration::from_secs(1)).await;
        task.abort();
        assert_eq!(inbox.recv().await, Some(Time(S)));
        assert_eq!(task.join().await, None);
    });
}

#[test]
fn a_panicking_destructor_is_a_crash_too_and_not_the_end_of_the_run() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let task = env.spawn("holder", async {
            let _bad = Bad;
            std::future::pending::<()>().await;
        });
        world.sleep(Duration::from_millis(1)).await;
        task.abort();
        assert!(matches!(world.ended(host).await, End::Panicked { task: "holder", .. }));
        // And one in a process that is killed: it is dead already.
        let env = world.start(host);
        env.spawn_detached("holder", async {
            let _bad = Bad;
            std::future::pending::<()>().await;
        });
        world.sleep(Duration::from_millis(1)).await;
        world.stop(host, Stop::Kill);
        world.sleep(Duration::from_millis(1)).await;
        assert_eq!(world.ended(host).await, End::Killed);
    });
}

#[test]
fn a_task_that_spins_is_stopped_as_a_livelock() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        env.spawn_detached("spinner", async {
            loop {
                std::future::poll_fn(|cx| {
                    cx.waker().wake_by_ref();
                    std::task::Poll::<()>::Pending
                })
                .await;
            }
        });
        let End::Panicked { task, message } = world.ended(host).await else { panic!("it spins") };
        assert_eq!(task, "spinner");
        assert!(message.starts_with("livelock"), "{message}");
        assert_eq!(world.now(), Time::ZERO);
    });
}

#[test]
fn an_env_is_dead_after_its_process() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let old = world.start(host);
        world.stop(host, Stop::Exit);
        let new = world.start(host);
        let task = old.spawn("never", async {});
        assert_eq!(task.join().await, None);
        assert!(old.listen(runtime::Address::new("", 1)).await.is_err());
        assert!(old.connect(runtime::Address::new("a", 1)).await.is_err());
        let mut nothing = std::pin::pin!(old.sleep(Duration::from_secs(1)));
        assert!(world.timeout(Duration::from_secs(2), nothing.as_mut()).await.is_some(), "time has passed anyway");
        old.observe(Observation::BrokerStopped);
        assert_eq!(new.spawn("alive", async { 7 }).join().await, Some(7));
    });
}

#[test]
fn a_machine_keeps_its_name_and_a_process_start_has_its_own_random_numbers() {
    use rand::Rng;
    World::run(1, |world| async move {
        let host = world.add_host("a");
        assert_eq!(world.host("a"), Some(host));
        let env = world.start(host);
        let draws = [env.rng("x").next_u64(), env.rng("y").next_u64()];
        assert_eq!(draws[0], env.rng("x").next_u64());
        assert_ne!(draws[0], draws[1]);
        world.stop(host, Stop::Exit);
        assert_ne!(world.start(host).rng("x").next_u64(), draws[0]);
    });
}

#[test]
fn a_clock_that_runs_fast_fires_early_and_a_jump_of_the_wall_clock_moves_no_timer() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let begin = env.now().wall;
        let task = env.spawn("sleeper", {
            let (env, world) = (env.clone(), world.clone());
            async move {
                env.sleep(Duration::from_secs(10)).await;
                world.now()
            }
        });
        world.sleep(Duration::from_secs(4)).await;
        world.set_clock(host, ClockSetting { offset: -3_600 * S as i64, ..ClockSetting::default() });
        assert_eq!(env.now().wall, Timestamp(begin.0 - 3_596_000));
        world.sleep(Duration::from_secs(1)).await;
        world.set_clock(host, ClockSetting { drift_ppm: 1_000_000, ..ClockSetting::default() });
        assert_eq!(task.join().await, Some(Time(7_500 * MS)));
        assert_eq!(env.now().mono, Monotonic(10 * S));
    });
}

#[test]
fn events_say_what_led_to_them() {
    let events = Arc::new(Mutex::new(Vec::<Event>::new()));
    World::run(1, |world| {
        let seen = Arc::clone(&events);
        async move {
            world.on_event(Box::new(move |event| seen.lock().expect("one thread").push(event.clone())));
            let mut pair = Pair::new(&world).await;
            // One delivery wakes one task, which tells two things; an inbox hands the cause on to a third.
            let (post, mut inbox) = inbox::<u8>(8);
            let server = pair.server.clone();
            pair.server.spawn_detached("receiver", async move {
                read(&mut pair.far, 1).await.expect("a byte");
                server.observe(Observation::Note { what: "first".into() });
                server.observe(Observation::Note { what: "second".into() });
                post.post(1);
                std::future::pending::<()>().await;
            });
            let server = pair.server.clone();
            pair.server.spawn_detached("next", async move {
                inbox.recv().await;
                server.observe(Observation::Note { what: "third".into() });
            });
            write(&mut pair.near, b"x").await.expect("accepted");
            world.sleep(Duration::from_millis(1)).await;
            pair.client.observe(Observation::Note { what: "elsewhere".into() });
            world.stop(pair.b, Stop::Kill);
        }
    });
    let events = events.lock().expect("one thread");
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id && pair[0].at <= pair[1].at));
    let find = |text: &str| {
        let is_it = |event: &&Event| matches!(&event.what, Observation::Note { what } if what == text);
        events.iter().find(is_it).expect("it was told")
    };
    let [first, second, third] = ["first", "second", "third"].map(find);
    assert_ne!(first.cause.0, 0);
    assert_eq!((first.cause, first.at), (second.cause, second.at));
    assert_eq!(first.cause, third.cause);
    assert!(first.cause.0 < first.id);
    assert!(matches!(events.last().expect("some").what, Observation::ProcessEnded { how: ProcessEnd::Killed, .. }));
    assert!(events.iter().any(|event| event.what == Observation::ProcessStarted));
}

#[test]
fn a_subscriber_may_act_on_the_world() {
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let actor = world.clone();
        let faults = Arc::new(Mutex::new(0));
        let count = Arc::clone(&faults);
        world.on_event(Box::new(move |event| match &event.what {
            Observation::Note { .. } => drop(actor.apply(ProcessFault::Kill(host))),
            Observation::FaultBegan { label, what } => {
                assert_eq!((&**label, &**what), ("kill", "kill a"));
                *count.lock().expect("one thread") += 1;
            }
            _ => {}
        }));
        world.start(host).observe(Observation::Note { what: "now".into() });
        assert_eq!(world.ended(host).await, End::Killed);
        assert_eq!(*faults.lock().expect("one thread"), 1);
    });
}

#[test]
fn checkpoints_come_every_thousand_events_and_end_like_the_trace() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        pair.server.spawn_detached("echo", echo(pair.server.clone(), 7));
        world.sleep(Duration::from_millis(1)).await;
        let mut connection = pair.client.connect(runtime::Address::new("b", 7)).await.expect("it listens");
        for _ in 0..1_000 {
            write(&mut connection, b"x").await.expect("accepted");
            read(&mut connection, 1).await.expect("an answer");
        }
        let checkpoints = world.checkpoints();
        assert!(checkpoints.len() >= 2);
        assert!(checkpoints.iter().enumerate().all(|(index, point)| point.events == 1_000 * (index as u64 + 1)));
        assert_ne!(checkpoints[0].hash, checkpoints[1].hash);
    });
}

#[test]
fn a_world_refuses_to_run_inside_a_tokio_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let _entered = runtime.enter();
    let result = std::panic::catch_unwind(|| World::run(1, |_| async {}));
    let message = *result.expect_err("it refuses").downcast::<&str>().expect("a message");
    assert!(message.contains("tokio"), "{message}");
}

#[test]
fn a_stalled_world_says_when_and_how_many_tasks_wait() {
    let stalled = World::run_with(1, Config::default(), |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        for _ in 0..3 {
            env.spawn_detached("waiter", std::future::pending());
        }
        world.sleep(Duration::from_secs(1)).await;
        world.ended(host).await;
    })
    .expect_err("nobody ends it");
    // The three, and the idle hook.
    assert_eq!((stalled.at, stalled.tasks), (Time(S), 4));
}

#[test]
fn everything_a_run_made_is_freed_at_its_end() {
    let alive = Arc::new(());
    World::run(1, |world| {
        let held = Arc::clone(&alive);
        async move {
            let pair = Pair::new(&world).await;
            for env in [&pair.client, &pair.server] {
                let (held, env_inside) = (Arc::clone(&held), env.clone());
                env.spawn_detached("holder", async move {
                    let disk = env_inside.disk("data");
                    let file = disk.open("log", runtime::OpenMode::Create).await.expect("a file");
                    env_inside.sleep(Duration::from_secs(1_000_000)).await;
                    drop((held, file));
                });
            }
            world.on_event(Box::new(move |_| drop(Arc::clone(&held))));
            world.sleep(Duration::from_secs(1)).await;
        }
    });
    assert_eq!(Arc::strong_count(&alive), 1);
}
