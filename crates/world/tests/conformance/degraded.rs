//! Connections across a cable that is cut, slow, lossy, or leads to a machine that is gone.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::time::Duration;

use bytes::Bytes;
use protocol::Monotonic;
use runtime::{Connection, Env};

use crate::arm::{pattern, read_exactly, text};
use crate::wire::{BACKLOG, SYN_RETRIES, Way};
use crate::wired;

const MS: Duration = Duration::from_millis(1);

/// What a read ends with.
async fn error_of_read(connection: &mut Connection) -> ErrorKind {
    connection.reader.read(&mut VecDeque::new(), 1).await.expect_err("nothing can be read").kind()
}

async fn nothing_within(env: &Env, wait: Duration, connection: &mut Connection) {
    let outcome = env.timeout(wait, connection.reader.read(&mut VecDeque::new(), 1)).await;
    assert!(outcome.is_err(), "{outcome:?} came through");
}

fn since(env: &Env, start: Monotonic) -> Duration {
    env.now().mono.since(start)
}

wired! {
    needs Cable;

    async fn a_cable_that_is_whole_carries_bytes_both_ways(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        near.writer.write_chunks(pattern(0, 300_000).into()).await.unwrap();
        assert!(read_exactly(&mut far.reader, 300_000).await == pattern(0, 300_000));
        far.writer.write_chunks(text("back")).await.unwrap();
        assert_eq!(read_exactly(&mut near.reader, 4).await, b"back");
    }

    async fn a_cut_shorter_than_the_limit_only_delays(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.cut(Way::Both);
        let start = wire.a.now().mono;
        near.writer.write_chunks(text("late")).await.unwrap();
        nothing_within(&wire.a, 500 * MS, &mut far).await;
        wire.heal();
        near.writer.write_chunks(text(" but in order")).await.unwrap();
        assert_eq!(read_exactly(&mut far.reader, 17).await, b"late but in order");
        let took = since(&wire.a, start);
        assert!(took < 3_000 * MS, "{took:?}");
        // Sent again after 200 and 600 ms; the second finds the cable whole.
        assert!(wire.world().is_none() || took == 600 * MS + Duration::from_micros(100), "{took:?}");
    }

    async fn a_cut_longer_than_the_limit_times_out(wire) {
        let (mut near, _far, _doorman) = wire.pair().await;
        wire.cut(Way::Both);
        let start = wire.a.now().mono;
        near.writer.write_chunks(text("lost")).await.unwrap();
        assert_eq!(error_of_read(&mut near).await, ErrorKind::TimedOut);
        let took = since(&wire.a, start);
        assert!(took > 1_000 * MS && took < 15_000 * MS, "{took:?}");
        // After 200, 600, 1,400 ms again; given up when the fourth would be due.
        assert!(wire.world().is_none() || took == 3_000 * MS, "{took:?}");
        assert_eq!(near.writer.write_chunks(text("x")).await.unwrap_err().kind(), ErrorKind::BrokenPipe);
    }

    async fn in_a_one_way_cut_data_arrives_and_acknowledgements_do_not(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.cut(Way::Back);
        near.writer.write_chunks(text("one")).await.unwrap();
        assert_eq!(read_exactly(&mut far.reader, 3).await, b"one");
        far.writer.write_chunks(text("ok")).await.unwrap();
        nothing_within(&wire.a, 700 * MS, &mut near).await;
        wire.heal();
        assert_eq!(read_exactly(&mut near.reader, 2).await, b"ok");
    }

    async fn a_sender_gives_up_without_acknowledgements_though_all_arrived(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.cut(Way::Back);
        near.writer.write_chunks(text("all")).await.unwrap();
        assert_eq!(read_exactly(&mut far.reader, 3).await, b"all");
        assert_eq!(error_of_read(&mut near).await, ErrorKind::TimedOut);
    }

    async fn an_idle_connection_survives_any_cut(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.cut(Way::Both);
        wire.a.sleep(4_000 * MS).await;
        wire.heal();
        near.writer.write_chunks(text("still here")).await.unwrap();
        assert_eq!(read_exactly(&mut far.reader, 10).await, b"still here");
    }

    async fn a_connect_across_a_cut_times_out_and_is_not_refused(wire) {
        let doorman = wire.listen().await;
        wire.cut(Way::Both);
        let start = wire.a.now().mono;
        let error = wire.a.connect(doorman.address.clone()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        // As long as SYNs with back-off would take, though since Linux 6.5 the first are sent a second apart.
        let (took, expected) = (since(&wire.a, start), 1_000 * MS * ((2 << SYN_RETRIES) - 1));
        assert!(took >= expected && took < expected + 1_000 * MS, "{took:?}");
        assert!(wire.world().is_none() || took == expected, "{took:?}");
    }

    async fn a_connect_that_finds_the_cable_whole_in_time_succeeds(wire) {
        let mut doorman = wire.listen().await;
        wire.cut(Way::There);
        let connecting = wire.a.spawn("connect", {
            let (env, address) = (wire.a.clone(), doorman.address.clone());
            async move { env.connect(address).await }
        });
        wire.a.sleep(500 * MS).await;
        wire.heal();
        let mut near = connecting.join().await.unwrap().unwrap();
        near.writer.write_chunks(text("in the end")).await.unwrap();
        let mut far = doorman.accept().await;
        assert_eq!(read_exactly(&mut far.reader, 10).await, b"in the end");
    }

    async fn a_host_that_is_lost_says_nothing(wire) {
        let (mut near, _far, doorman) = wire.pair().await;
        wire.lose_b();
        near.writer.write_chunks(text("anybody?")).await.unwrap();
        nothing_within(&wire.a, 1_000 * MS, &mut near).await;
        let connect = wire.a.timeout(500 * MS, wire.a.connect(doorman.address.clone())).await;
        assert!(connect.is_err(), "neither accepted nor refused");
        assert_eq!(error_of_read(&mut near).await, ErrorKind::TimedOut);
    }

    async fn a_full_backlog_makes_connecting_wait_until_somebody_accepts(wire) {
        let mut doorman = wire.listen().await;
        let mut kept = Vec::new();
        while let Ok(connected) = wire.a.timeout(300 * MS, wire.a.connect(doorman.address.clone())).await {
            kept.push(connected.unwrap());
            assert!(kept.len() < 100, "the backlog has no end");
        }
        // Linux takes one more than it was told.
        assert_eq!(kept.len(), BACKLOG + 1);
        let waiting = wire.a.spawn("connect", {
            let (env, address) = (wire.a.clone(), doorman.address.clone());
            async move { env.connect(address).await }
        });
        wire.a.sleep(100 * MS).await;
        doorman.accept().await;
        waiting.join().await.unwrap().unwrap();
    }

    async fn a_stream_gets_the_bandwidth_of_its_link(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.limit(80);
        let start = wire.a.now().mono;
        let writing = wire.a.spawn("writer", async move {
            near.writer.write_chunks(pattern(0, 1 << 20).into()).await.unwrap();
            near
        });
        assert!(read_exactly(&mut far.reader, 1 << 20).await == pattern(0, 1 << 20));
        let took = since(&wire.a, start);
        // 1 MiB at 10 MB/s; a real card has some bytes of credit, and headers to send.
        assert!(took >= 90 * MS && took < 1_000 * MS, "{took:?}");
        assert!(wire.world().is_none() || took == Duration::from_nanos(104_857_600 + 100_000), "{took:?}");
        writing.join().await.unwrap();
    }

    async fn two_streams_share_the_bandwidth_of_a_link(wire) {
        let mut doorman = wire.listen().await;
        wire.limit(80);
        let mut pairs = Vec::new();
        for _ in 0..2 {
            let near = wire.a.connect(doorman.address.clone()).await.unwrap();
            pairs.push((near, doorman.accept().await));
        }
        let start = wire.a.now().mono;
        let mut reading = Vec::new();
        for (mut near, mut far) in pairs {
            let env = wire.a.clone();
            reading.push(wire.a.spawn("stream", async move {
                let mut list: VecDeque<Bytes> = [pattern(0, 1 << 20).into()].into();
                let mut reader = far.reader;
                let read = env.spawn("reader", {
                    let env = env.clone();
                    async move {
                        read_exactly(&mut reader, 1 << 20).await;
                        since(&env, start)
                    }
                });
                near.writer.write(&mut list).await.unwrap();
                far.writer.shutdown();
                read.join().await.unwrap()
            }));
        }
        let mut ends = Vec::new();
        for stream in reading {
            ends.push(stream.join().await.unwrap());
        }
        ends.sort();
        assert!(ends[1] >= 190 * MS && ends[1] < 2_000 * MS, "{ends:?}");
        assert!(ends[0] >= ends[1] * 3 / 10, "one had it all: {ends:?}");
    }
}

wired! {
    needs Netem;

    async fn latency_is_counted_once_per_flight_and_not_per_write(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.slow(30 * MS);
        let start = wire.a.now().mono;
        for at in 0..50 {
            near.writer.write_chunks(pattern(at * 100, 100).into()).await.unwrap();
        }
        assert!(read_exactly(&mut far.reader, 5_000).await == pattern(0, 5_000));
        let took = since(&wire.a, start);
        assert!(took >= 30 * MS && took < 500 * MS, "{took:?}");
        assert!(wire.world().is_none() || took == 30 * MS, "{took:?}");
    }

    async fn what_a_lossy_link_loses_is_sent_again(wire) {
        let (mut near, mut far, _doorman) = wire.pair().await;
        wire.lose(10);
        let env = wire.a.clone();
        let writing = wire.a.spawn("writer", async move {
            for at in 0..100 {
                near.writer.write_chunks(pattern(at * 1_000, 1_000).into()).await.unwrap();
                env.sleep(2 * MS).await;
            }
            near
        });
        assert!(read_exactly(&mut far.reader, 100_000).await == pattern(0, 100_000));
        writing.join().await.unwrap();
    }
}
