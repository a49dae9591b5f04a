//! Clocks, timers, tasks, random numbers, inboxes.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use protocol::Monotonic;
use rand::Rng;
use runtime::inbox;

use crate::both;

const MS: Duration = Duration::from_millis(1);

/// Counts when it is dropped.
struct Counts(Arc<AtomicUsize>);

impl Drop for Counts {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counter() -> Arc<AtomicUsize> {
    Arc::default()
}

both! {
    async fn a_sleep_takes_its_time_and_in_the_world_not_a_nanosecond_more(arm) {
        for micros in [1, 100, 999, 1_000, 2_500, 20_000] {
            let duration = Duration::from_micros(micros);
            let start = arm.a.now().mono;
            arm.a.sleep(duration).await;
            let took = arm.a.now().mono.since(start);
            assert!(took >= duration, "{took:?} instead of {duration:?}");
            assert!(arm.world.is_none() || took == duration, "{took:?} instead of {duration:?}");
        }
    }

    async fn sleeps_end_in_order(arm) {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let start = arm.a.now().mono;
        let tasks: Vec<_> = [30, 10, 50, 20, 40]
            .map(|ms| {
                let (env, ended) = (arm.a.clone(), Arc::clone(&ended));
                arm.a.spawn("sleeper", async move {
                    env.sleep_until(start + MS * ms).await;
                    ended.lock().unwrap().push((env.now().mono, ms));
                })
            })
            .into();
        for task in tasks {
            task.join().await.unwrap();
        }
        for (now, ms) in ended.lock().unwrap().iter() {
            assert!(*now >= start + MS * *ms);
        }
        if arm.world.is_some() {
            assert_eq!(ended.lock().unwrap().iter().map(|(_, ms)| *ms).collect::<Vec<_>>(), [10, 20, 30, 40, 50]);
        }
    }

    async fn equal_deadlines_all_end(arm) {
        let at = arm.a.now().mono + MS * 5;
        let tasks: Vec<_> = (0..100)
            .map(|_| {
                let env = arm.a.clone();
                arm.a.spawn("sleeper", async move {
                    env.sleep_until(at).await;
                    env.now().mono
                })
            })
            .collect();
        for task in tasks {
            assert!(task.join().await.unwrap() >= at);
        }
    }

    async fn a_time_that_is_past_is_not_waited_for(arm) {
        arm.a.sleep(MS).await;
        let now = arm.a.now().mono;
        arm.a.sleep_until(Monotonic::default()).await;
        arm.a.sleep_until(now).await;
        assert!(arm.world.is_none() || arm.a.now().mono == now);
    }

    async fn never_does_not_come(arm) {
        assert!(arm.a.timeout(MS * 5, arm.a.sleep_until(Monotonic::NEVER)).await.is_err());
    }

    async fn an_interval_keeps_its_phase(arm) {
        let start = arm.a.now().mono;
        for tick in 1..=10 {
            arm.a.sleep_until(start + MS * 2 * tick).await;
            assert!(arm.a.now().mono >= start + MS * 2 * tick);
        }
        assert!(arm.world.is_none() || arm.a.now().mono == start + MS * 20);
    }

    async fn a_time_out_drops_its_future(arm) {
        let dropped = counter();
        let guard = Counts(Arc::clone(&dropped));
        let outcome = arm.a.timeout(MS, async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        assert!(outcome.await.is_err());
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    async fn a_future_that_is_ready_wins_against_a_time_that_is_up(arm) {
        assert_eq!(arm.a.timeout(Duration::ZERO, async { 7 }).await, Ok(7));
        let sleep = arm.a.sleep(MS);
        assert_eq!(arm.a.timeout(MS * 10_000, async { sleep.await; 8 }).await, Ok(8));
    }

    async fn a_sleep_asked_again_and_again_and_then_dropped_leaves_nothing_behind(arm) {
        let before = arm.world.as_ref().map(|world| world.pending());
        {
            let mut sleep = pin!(arm.a.sleep(Duration::from_secs(3_600)));
            for _ in 0..100_000 {
                assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            }
        }
        for _ in 0..10_000 {
            let mut sleep = pin!(arm.a.sleep(Duration::from_secs(3_600)));
            assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(arm.world.as_ref().map(|world| world.pending()), before);
    }

    async fn a_sleep_wakes_who_asked_last(arm) {
        let mut sleep = Box::pin(arm.a.sleep(MS * 5));
        assert!(sleep.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        arm.a.spawn("other", sleep).join().await.unwrap();
    }

    async fn the_monotonic_clock_never_goes_back(arm) {
        let mut last = arm.a.now();
        for round in 0..1_000 {
            let now = arm.a.now();
            assert!(now.mono >= last.mono);
            last = now;
            if round % 250 == 0 {
                arm.a.sleep(MS).await;
            }
        }
        assert!(last.mono > Monotonic::default() && last.wall.0 > 0);
    }

    async fn a_task_gives_its_result(arm) {
        let env = arm.a.clone();
        let task = arm.a.spawn("task", async move {
            env.sleep(MS).await;
            "done"
        });
        assert_eq!(task.join().await, Some("done"));
    }

    async fn a_task_without_handle_runs_on(arm) {
        let (post, mut inbox) = inbox(1);
        let env = arm.a.clone();
        drop(arm.a.spawn("task", async move {
            env.sleep(MS).await;
            post.post(1);
        }));
        assert_eq!(inbox.recv().await, Some(1));
    }

    async fn an_aborted_task_runs_its_destructors_and_gives_nothing(arm) {
        let dropped = counter();
        let guard = Counts(Arc::clone(&dropped));
        let task = arm.a.spawn("task", async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        });
        arm.a.sleep(MS).await;
        assert_eq!(dropped.load(Ordering::SeqCst), 0);
        task.abort();
        assert_eq!(task.join().await, None);
        while dropped.load(Ordering::SeqCst) == 0 {
            arm.a.sleep(MS).await;
        }
    }

    async fn a_task_aborted_before_its_first_step_never_runs(arm) {
        let (ran, dropped) = (counter(), counter());
        let (guard, seen) = (Counts(Arc::clone(&dropped)), Arc::clone(&ran));
        let env = arm.a.clone();
        let task = arm.a.spawn("task", async move {
            let _guard = guard;
            env.sleep(MS * 20).await;
            seen.fetch_add(1, Ordering::SeqCst);
        });
        task.abort();
        assert_eq!(task.join().await, None);
        arm.a.sleep(MS * 30).await;
        assert_eq!((ran.load(Ordering::SeqCst), dropped.load(Ordering::SeqCst)), (0, 1));
    }

    async fn a_task_that_ended_can_be_aborted_without_harm(arm) {
        let task = arm.a.spawn("task", async { 1 });
        arm.a.sleep(MS).await;
        task.abort();
        assert_eq!(task.join().await, Some(1));
    }

    async fn random_numbers_repeat_by_purpose_and_differ_between_purposes(arm) {
        let draw = |purpose: &str| -> Vec<u64> {
            let mut rng = arm.a.rng(purpose);
            (0..4).map(|_| rng.next_u64()).collect()
        };
        assert_eq!(draw("election"), draw("election"));
        assert_ne!(draw("election"), draw("fetch"));
    }

    async fn messages_arrive_in_order_and_then_the_end(arm) {
        let (post, mut inbox) = inbox(4);
        arm.a.spawn_detached("sender", async move {
            for message in 0..1_000 {
                post.send(message).await.unwrap();
                assert!(post.waiting() <= 4);
            }
        });
        for message in 0..1_000 {
            assert_eq!(inbox.recv().await, Some(message));
        }
        assert_eq!(inbox.recv().await, None);
    }

    async fn a_full_inbox_refuses_or_makes_wait_and_a_dropped_one_says_so(arm) {
        let (post, mut inbox) = inbox(1);
        post.try_send(1).unwrap();
        assert_eq!(post.try_send(2).unwrap_err().0, 2);
        assert!(arm.a.timeout(MS, post.send(3)).await.is_err());
        assert_eq!(inbox.recv().await, Some(1));
        post.send(4).await.unwrap();
        assert_eq!(inbox.try_recv(), Some(4));
        post.send(5).await.unwrap();
        let waiting = arm.a.spawn("sender", {
            let post = post.clone();
            async move { post.send(6).await }
        });
        arm.a.sleep(MS).await;
        drop(inbox);
        assert!(waiting.join().await.unwrap().is_err());
        assert!(post.send(7).await.is_err());
    }

    async fn many_senders_lose_nothing(arm) {
        let (post, mut inbox) = inbox(8);
        for sender in 0..20_u32 {
            let (post, env) = (post.clone(), arm.a.clone());
            arm.a.spawn_detached("sender", async move {
                for message in 0..100_u32 {
                    post.send((sender, message)).await.unwrap();
                    if message % 40 == 0 {
                        env.sleep(MS).await;
                    }
                }
            });
        }
        drop(post);
        let mut next = [0; 20];
        while let Some((sender, message)) = inbox.recv().await {
            assert_eq!(message, next[sender as usize]);
            next[sender as usize] += 1;
        }
        assert_eq!(next, [100; 20]);
    }

    async fn a_task_that_wakes_itself_lets_others_run(arm) {
        let (done, seen) = (counter(), counter());
        let other = Arc::clone(&done);
        arm.a.spawn_detached("other", async move {
            other.fetch_add(1, Ordering::SeqCst);
        });
        std::future::poll_fn(|cx| {
            if done.load(Ordering::SeqCst) > 0 {
                return Poll::Ready(());
            }
            seen.fetch_add(1, Ordering::SeqCst);
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }
}
