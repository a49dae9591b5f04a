//! The network under faults, to the nanosecond. Laws: RFC 6298 (back-off), tcp(7) (`tcp_retries2`, `tcp_syn_retries`).
#![cfg(madsim)]

mod support;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use runtime::Address;
use support::{MS, Pair, S, US, read, seconds, write, zeros};
use world::{Config, End, Link, LinkProfile, Lose, NetworkFault, ProcessFault, Stop, TcpProfile, Time, World};

#[test]
fn a_cut_shorter_than_the_limit_only_delays_and_delivery_waits_for_the_next_retransmission() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        pair.until(5.0).await;
        let cut = world.apply(NetworkFault::Cut(Link::between(pair.a, pair.b)));
        write(&mut pair.near, b"late").await.expect("accepted");
        pair.until(6.5).await;
        world.heal(cut);
        // Sent at 5.0, again at 5.2, 5.6, 6.4 and 8.0.
        assert_eq!(read(&mut pair.far, 4).await.expect("delivered"), b"late");
        assert_eq!(world.now(), Time(8 * S + 100 * US));
        assert!(world.fault(cut).hits > 0);
        assert_eq!(world.counters().retransmissions, 4);
    });
}

#[test]
fn data_behind_a_lost_head_arrives_in_order_with_it() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let cut = world.apply(NetworkFault::Cut(Link::one_way(pair.a, pair.b)));
        write(&mut pair.near, b"one ").await.expect("accepted");
        world.sleep(Duration::from_millis(10)).await;
        world.heal(cut);
        write(&mut pair.near, b"two").await.expect("accepted");
        pair.near.writer.shutdown();
        assert_eq!(read(&mut pair.far, 100).await.expect("all"), b"one two");
    });
}

#[test]
fn a_cut_longer_than_the_limit_times_out_after_fifteen_retransmissions() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        pair.until(1.0).await;
        let cut = world.apply(NetworkFault::Cut(Link::between(pair.a, pair.b)));
        write(&mut pair.near, b"lost").await.expect("accepted");
        let error = read(&mut pair.near, 1).await.expect_err("the sender gives up");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(world.now(), seconds(1.0 + 924.6));
        assert_eq!(write(&mut pair.near, b"x").await.expect_err("it has ended").kind(), ErrorKind::BrokenPipe);
        // The other side has no idea, until it sends something itself.
        world.heal(cut);
        let idle = world.timeout(Duration::from_secs(3600), read(&mut pair.far, 1)).await;
        assert!(idle.is_none());
        write(&mut pair.far, b"hello?").await.expect("accepted");
        let error = read(&mut pair.far, 1).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn in_a_one_way_cut_data_arrives_and_acknowledgements_do_not() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        pair.until(1.0).await;
        let cut = world.apply(NetworkFault::Cut(Link::one_way(pair.b, pair.a)));
        write(&mut pair.near, b"one").await.expect("accepted");
        assert_eq!(read(&mut pair.far, 3).await.expect("delivered"), b"one");
        assert_eq!(world.now(), Time(S + 100 * US));
        // The answer does not come, and after the first retransmission nothing new leaves.
        write(&mut pair.far, b"ok").await.expect("accepted");
        world.sleep(Duration::from_millis(300)).await;
        write(&mut pair.near, b"two").await.expect("accepted");
        assert!(world.timeout(Duration::from_secs(2), read(&mut pair.far, 3)).await.is_none());
        world.heal(cut);
        assert_eq!(read(&mut pair.near, 2).await.expect("the answer"), b"ok");
        assert_eq!(read(&mut pair.far, 3).await.expect("the rest"), b"two");
        assert!(world.now() < seconds(6.5), "{}", world.now());
        assert!(world.fault(cut).hits > 0);
    });
}

#[test]
fn lost_acknowledgements_keep_the_window_closed_until_one_gets_through() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let cut = world.apply(NetworkFault::Cut(Link::one_way(pair.b, pair.a)));
        let reader = pair.server.spawn("reader", async move {
            let got = read(&mut pair.far, 3 << 20).await.expect("all").len();
            (got, pair.far)
        });
        let mut list = zeros(3 << 20).into_list();
        let blocked = world.timeout(Duration::from_secs(1), pair.near.writer.write(&mut list)).await;
        assert!(blocked.is_none());
        assert_eq!(list.iter().map(Bytes::len).sum::<usize>(), 2 << 20, "one window was taken");
        world.heal(cut);
        pair.near.writer.write(&mut list).await.expect("room again");
        assert_eq!(reader.join().await.expect("the reader ends").0, 3 << 20);
    });
}

#[test]
fn a_syn_that_is_lost_is_sent_again_with_back_off() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        pair.until(1.0).await;
        let alone = world.apply(NetworkFault::Isolate(pair.b));
        let connect = pair.client.connect(Address::new("b", 9092));
        world.timeout(Duration::from_millis(1), std::future::pending::<()>()).await;
        let late = pair.client.connect(Address::new("b", 9092));
        let start = world.now();
        let error = connect.await.expect_err("isolated");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert_eq!(world.now().since(start), Duration::from_secs(131), "5 times 1, then 2 + 4 + 8 + 16 + 32 + 64");
        let start = world.now();
        let heals = world.clone();
        let healer = pair.client.spawn("healer", async move {
            heals.sleep(Duration::from_millis(2500)).await;
            heals.heal(alone);
        });
        late.await.expect("connected in the end");
        assert_eq!(world.now().since(start), Duration::from_secs(3) + Duration::from_micros(200));
        drop(healer);
    });
}

#[test]
fn connecting_where_nobody_listens_is_refused_after_a_round_trip() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        let start = world.now();
        let error = pair.client.connect(Address::new("b", 1)).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(world.now().since(start), Duration::from_micros(200));
    });
}

#[test]
fn a_full_backlog_makes_connecting_wait_and_accepting_makes_room() {
    let config = Config { tcp: TcpProfile { backlog: 1, ..TcpProfile::default() }, ..Config::default() };
    World::run_with(1, config, |world| async move {
        let (a, b) = (world.add_host("a"), world.add_host("b"));
        let (client, server) = (world.start(a), world.start(b));
        let mut listener = server.listen(Address::new("", 9092)).await.expect("a free port");
        let mut kept = Vec::new();
        for _ in 0..2 {
            kept.push(client.connect(Address::new("b", 9092)).await.expect("room in the backlog"));
        }
        let third = client.connect(Address::new("b", 9092));
        let mut third = std::pin::pin!(third);
        assert!(world.timeout(Duration::from_millis(500), third.as_mut()).await.is_none());
        kept.push(listener.accept().await.expect("the first"));
        third.await.expect("the SYN sent again finds room");
    })
    .expect("it ends");
}

#[test]
fn a_killed_process_closes_its_sockets_and_a_lost_host_says_nothing() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let start = world.now();
        let kill = world.apply(ProcessFault::Kill(pair.b));
        assert_eq!(world.ended(pair.b).await, End::Killed);
        assert_eq!(read(&mut pair.near, 1).await.expect("end of stream"), b"");
        assert_eq!(world.now().since(start), Duration::from_micros(100));
        let error = pair.client.connect(Address::new("b", 9092)).await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(world.fault(kill).hits, 1);

        let server = world.start(pair.b);
        let mut listener = server.listen(Address::new("", 9092)).await.expect("the port is free again");
        let mut near = pair.client.connect(Address::new("b", 9092)).await.expect("b listens");
        let _far = listener.accept().await.expect("connected");
        world.stop(pair.b, Stop::Lost);
        write(&mut near, b"anybody?").await.expect("accepted");
        assert!(world.timeout(Duration::from_secs(60), read(&mut near, 1)).await.is_none());
        // The machine comes back without memory of the connection: the next retransmission is answered with RST.
        world.start(pair.b);
        let error = read(&mut near, 1).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn what_had_left_before_its_host_was_lost_still_arrives() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        write(&mut pair.near, b"last words").await.expect("accepted");
        world.stop(pair.a, Stop::Lost);
        assert_eq!(read(&mut pair.far, 10).await.expect("arrives"), b"last words");
        assert!(world.timeout(Duration::from_secs(3600), read(&mut pair.far, 1)).await.is_none());
    });
}

#[test]
fn writing_to_a_process_that_is_gone_works_once_and_is_a_broken_pipe_then() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        world.stop(pair.b, Stop::Exit);
        world.sleep(Duration::from_millis(1)).await;
        write(&mut pair.near, b"x").await.expect("the kernel does not know yet");
        world.sleep(Duration::from_millis(1)).await;
        assert_eq!(write(&mut pair.near, b"x").await.expect_err("it knows now").kind(), ErrorKind::BrokenPipe);
        assert_eq!(read(&mut pair.near, 1).await.expect("the FIN came first"), b"");
    });
}

#[test]
fn closing_with_unread_data_resets() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        write(&mut pair.near, b"unread").await.expect("accepted");
        world.sleep(Duration::from_millis(1)).await;
        drop(pair.far);
        let error = read(&mut pair.near, 1).await.expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert_eq!(read(&mut pair.near, 1).await.expect("told once"), b"");
    });
}

#[test]
fn bandwidth_is_shared_by_the_streams_of_a_link_and_latency_counts_once() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let link = Link::one_way(pair.a, pair.b);
        let slow =
            NetworkFault::SlowLink { link, latency: Some(Duration::from_millis(5)), jitter: None, mbit_s: Some(80) };
        let slow = world.apply(slow);
        // 1 MiB at 10 MB/s.
        let start = world.now();
        pair.near.writer.write_chunks(zeros(1 << 20)).await.expect("one window");
        read(&mut pair.far, 1 << 20).await.expect("all");
        let took = world.now().since(start);
        assert_eq!(took, Duration::from_nanos(104_857_600 + 5 * MS));
        assert!(world.fault(slow).hits > 0);

        let mut others = Vec::new();
        let mut listener = pair.server.listen(Address::new("", 9093)).await.expect("a free port");
        for _ in 0..2 {
            let near = pair.client.connect(Address::new("b", 9093)).await.expect("b listens");
            others.push((near, listener.accept().await.expect("connected")));
        }
        let start = world.now();
        let mut readers = Vec::new();
        for (mut near, mut far) in others {
            near.writer.write_chunks(zeros(1 << 20)).await.expect("one window");
            let world = world.clone();
            readers.push(pair.server.spawn("reader", async move {
                read(&mut far, 1 << 20).await.expect("all");
                drop(near);
                world.now()
            }));
        }
        let mut ends = Vec::new();
        for reader in readers {
            ends.push(reader.join().await.expect("a reader ends").since(start));
        }
        ends.sort();
        assert_eq!(ends[1], Duration::from_nanos(2 * 104_857_600 + 5 * MS), "the link is never idle");
        assert!(ends[0] > ends[1] - Duration::from_millis(10), "they take turns: {ends:?}");
    });
}

#[test]
fn a_writer_is_bounded_by_the_window_and_goes_on_when_the_reader_reads() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let mut list = zeros(5 << 20).into_list();
        assert!(world.timeout(Duration::from_secs(1), pair.near.writer.write(&mut list)).await.is_none());
        assert_eq!(list.iter().map(Bytes::len).sum::<usize>(), 4 << 20);
        let mut into = VecDeque::new();
        assert_eq!(pair.far.reader.read(&mut into, 1000).await.expect("a part"), 1000);
        let start = world.now();
        let more = pair.near.writer.write(&mut list);
        assert!(world.timeout(Duration::from_millis(1), more).await.is_none());
        assert_eq!(list.iter().map(Bytes::len).sum::<usize>(), (4 << 20) - 1000);
        assert_eq!(world.now().since(start), Duration::from_millis(1));
    });
}

#[test]
fn a_writer_in_bulk_gets_window_over_round_trip() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let start = world.now();
        let reader =
            pair.server.spawn("reader", async move { read(&mut pair.far, 100 << 20).await.map(|all| all.len()) });
        pair.near.writer.write_chunks(zeros(100 << 20)).await.expect("all taken");
        assert_eq!(reader.join().await.expect("ends").expect("all"), 100 << 20);
        // 100 windows; each needs a flight there and a credit back, the last only the flight.
        assert_eq!(world.now().since(start), Duration::from_micros(99 * 200 + 100));
    });
}

#[test]
fn jitter_never_reorders_a_stream() {
    let link = LinkProfile { jitter: Duration::from_millis(50), ..LinkProfile::default() };
    World::run_with(7, Config { link, ..Config::default() }, |world| async move {
        let mut pair = Pair::new(&world).await;
        for digit in [b"0", b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"8", b"9"] {
            write(&mut pair.near, digit).await.expect("accepted");
            world.sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(read(&mut pair.far, 10).await.expect("all"), b"0123456789");
    })
    .expect("it ends");
}

#[test]
fn the_network_goes_on_while_a_process_is_paused_and_its_timers_fire_after() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let ticks = pair.server.spawn("ticks", {
            let (env, world) = (pair.server.clone(), world.clone());
            async move {
                env.sleep(Duration::from_millis(10)).await;
                world.now()
            }
        });
        world.sleep(Duration::from_micros(1)).await;
        let pause = world.apply(ProcessFault::Pause(pair.b));
        write(&mut pair.near, b"buffered").await.expect("accepted");
        let reader = pair.server.spawn("reader", {
            let world = world.clone();
            async move { (read(&mut pair.far, 8).await.expect("it was buffered"), world.now()) }
        });
        world.sleep(Duration::from_secs(5)).await;
        world.heal(pause);
        let resumed = world.now();
        assert_eq!(ticks.join().await, Some(resumed));
        assert_eq!(reader.join().await, Some((b"buffered".to_vec(), resumed)));
        assert_eq!(world.fault(pause).hits, 1);
    });
}

#[test]
fn killing_a_paused_process_drops_its_tasks_and_healing_the_pause_spares_the_next_one() {
    struct Told(std::sync::Arc<std::sync::atomic::AtomicBool>, runtime::Env);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
            // A destructor that spawns: the process is dead, so nothing comes of it.
            self.1.spawn_detached("never", async { unreachable!("its process has ended") });
        }
    }
    World::run(1, |world| async move {
        let host = world.add_host("a");
        let env = world.start(host);
        let dropped = std::sync::Arc::<std::sync::atomic::AtomicBool>::default();
        let told = Told(dropped.clone(), env.clone());
        env.spawn_detached("sleeper", {
            let env = env.clone();
            async move {
                let _told = told;
                env.sleep(Duration::from_millis(1)).await;
                std::future::pending().await
            }
        });
        world.sleep(Duration::from_micros(500)).await;
        let pause = world.apply(ProcessFault::Pause(host));
        world.sleep(Duration::from_secs(1)).await;
        world.apply(ProcessFault::Kill(host));
        world.sleep(Duration::from_micros(1)).await;
        assert!(dropped.load(std::sync::atomic::Ordering::Relaxed));
        let env = world.start(host);
        let again = world.apply(ProcessFault::Pause(host));
        world.heal(pause);
        let task = env.spawn("task", async {});
        let mut join = std::pin::pin!(task.join());
        assert!(world.timeout(Duration::from_secs(1), join.as_mut()).await.is_none(), "it is paused still");
        world.heal(again);
        assert_eq!(join.await, Some(()));
    });
}

#[test]
fn a_power_loss_is_silence() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let off = world.apply(ProcessFault::PowerOff { hosts: vec![pair.b], lose: Lose::Unsynced, torn_write: None });
        assert_eq!(world.ended(pair.b).await, End::Lost);
        assert!(world.timeout(Duration::from_secs(60), read(&mut pair.near, 1)).await.is_none());
        let start = world.now();
        let error = pair.client.connect(Address::new("b", 9092)).await.expect_err("nobody is there");
        assert_eq!((error.kind(), world.now().since(start)), (ErrorKind::TimedOut, Duration::from_secs(131)));
        assert_eq!(world.fault(off).hits, 1);
    });
}

#[test]
fn a_host_added_later_is_cut_from_an_isolated_one_too() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        let alone = world.apply(NetworkFault::Isolate(pair.b));
        let late = world.add_host("late");
        let env = world.start(late);
        let mut connect = std::pin::pin!(env.connect(Address::new("b", 9092)));
        assert!(world.timeout(Duration::from_secs(10), connect.as_mut()).await.is_none());
        world.heal(alone);
        connect.await.expect("healed");
    });
}

#[test]
fn a_connect_that_is_given_up_leaves_nothing_behind() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        let before = world.pending();
        for _ in 0..100 {
            let connect = pair.client.connect(Address::new("b", 9092));
            assert!(world.timeout(Duration::from_micros(150), connect).await.is_none());
        }
        world.sleep(Duration::from_secs(5)).await;
        assert_eq!(world.pending(), before);
    });
}
