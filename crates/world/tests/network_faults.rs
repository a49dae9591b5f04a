//! What each fault of the network does to streams and handshakes, to the nanosecond where it is a law.
#![cfg(madsim)]

mod support;

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use runtime::{Address, Observation};
use support::{MS, Pair, S, US, read, seconds, write};
use world::{Config, Fault, Link, LinkProfile, NetworkFault, ResetOf, Time, World};

const MILLION: u32 = 1_000_000;

fn loss(link: Link, share: u32) -> Fault {
    Fault::Network(NetworkFault::Loss { link, share })
}

/// Sends one byte every 10 ms and says when each arrived, in the order of their sending.
async fn arrivals(pair: &mut Pair, count: u64) -> Vec<u64> {
    let (world, start) = (pair.world.clone(), pair.world.now());
    let mut at = Vec::new();
    let Pair { near, far, .. } = pair;
    let send = async {
        for index in 0..count {
            world.sleep_until(start + Duration::from_millis(10 * index)).await;
            near.writer.write_chunks(vec![index as u8].into()).await.expect("the connection lives");
        }
    };
    let receive = async {
        for index in 0..count {
            assert_eq!(read(far, 1).await.expect("it arrives"), [index as u8], "once and in order");
            at.push(world.now().since(start).as_nanos() as u64);
        }
    };
    futures_util::join!(send, receive);
    at
}

#[test]
fn what_is_lost_is_sent_again_after_the_time_out_and_the_stream_stays_in_order() {
    World::run(3, |world| async move {
        let mut pair = Pair::new(&world).await;
        let fault = world.apply(loss(Link::between(pair.a, pair.b), MILLION / 20));
        let at = arrivals(&mut pair, 250).await;
        let late = at.iter().enumerate().filter(|(index, at)| **at > *index as u64 * 10 * MS + 100 * US).count();
        assert!(late > 0, "nothing was late");
        assert!(at.windows(2).all(|two| two[0] <= two[1]));
        // The first that is late was sent again 200 ms after it left.
        let first = at.iter().enumerate().find(|(index, at)| **at > *index as u64 * 10 * MS + 100 * US).expect("late");
        assert_eq!(*first.1, first.0 as u64 * 10 * MS + 200 * MS + 100 * US);
        assert!(world.fault(fault).hits > 0);
        assert!(world.counters().retransmissions > 0);
        world.heal(fault);
        let hits = world.fault(fault).hits;
        world.sleep(Duration::from_secs(5)).await;
        let at = arrivals(&mut pair, 20).await;
        assert!(at.iter().enumerate().all(|(index, at)| *at == index as u64 * 10 * MS + 100 * US), "{at:?}");
        assert_eq!(world.fault(fault).hits, hits, "a healed fault does nothing");
    });
}

#[test]
fn the_share_of_flights_that_are_lost_is_the_share_asked_for() {
    World::run(11, |world| async move {
        let mut pair = Pair::new(&world).await;
        let fault = world.apply(loss(Link::one_way(pair.a, pair.b), MILLION / 10));
        for _ in 0..3_000 {
            write(&mut pair.near, b"x").await.expect("the connection lives");
            assert_eq!(read(&mut pair.far, 1).await.expect("it arrives"), b"x");
        }
        // 3,000 that got through of 3,333 that were sent, give or take three deviations.
        let hits = world.fault(fault).hits;
        assert!((280..=390).contains(&hits), "{hits}");
        assert_eq!(world.counters().retransmissions, hits, "each loss costs one retransmission");
    });
}

#[test]
fn a_link_that_loses_everything_is_a_cut_link() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        pair.until(1.0).await;
        world.apply(loss(Link::between(pair.a, pair.b), MILLION));
        write(&mut pair.near, b"lost").await.expect("accepted");
        let start = world.now();
        let connect = pair.client.connect(Address::new("b", 9092));
        assert_eq!(connect.await.expect_err("no SYN gets through").kind(), ErrorKind::TimedOut);
        assert_eq!(world.now().since(start), Duration::from_secs(131));
        assert_eq!(read(&mut pair.near, 1).await.expect_err("given up").kind(), ErrorKind::TimedOut);
        assert_eq!(world.now(), seconds(1.0 + 924.6));
    });
}

#[test]
fn a_lost_acknowledgement_delays_nothing_when_another_follows() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let fault = world.apply(loss(Link::one_way(pair.b, pair.a), MILLION / 3));
        let at = arrivals(&mut pair, 200).await;
        assert!(at.iter().enumerate().all(|(index, at)| *at == index as u64 * 10 * MS + 100 * US), "{at:?}");
        assert!(world.fault(fault).hits > 20);
    });
}

#[test]
fn lost_window_updates_do_not_stop_a_stream_for_ever() {
    World::run(5, |world| async move {
        let mut pair = Pair::new(&world).await;
        world.apply(loss(Link::one_way(pair.b, pair.a), MILLION / 2));
        let reader = pair.server.spawn("reader", async move {
            let mut left = 20 << 20;
            while left > 0 {
                left -= read(&mut pair.far, 1 << 19).await.expect("all").len();
            }
        });
        pair.near.writer.write_chunks(support::zeros(20 << 20)).await.expect("all taken");
        reader.join().await.expect("the reader ends");
        assert!(world.now() < seconds(120.0), "{}", world.now());
    });
}

#[test]
fn handshakes_are_lost_too_and_sent_again_each_second_at_first() {
    let mut took = std::collections::BTreeSet::new();
    for seed in 0..40 {
        took.insert(World::run(seed, |world| async move {
            let pair = Pair::new(&world).await;
            world.apply(loss(Link::between(pair.a, pair.b), MILLION * 2 / 5));
            let start = world.now();
            pair.client.connect(Address::new("b", 9092)).await.expect("in the end");
            world.now().since(start).as_micros()
        }));
    }
    let lawful = [0, 1, 2, 3, 4, 5, 7, 11, 19, 35, 67].map(|seconds| seconds * 1_000_000 + 200);
    assert!(took.iter().all(|took| lawful.contains(took)), "{took:?}");
    assert!(took.len() > 2, "{took:?}");
}

#[test]
fn data_completes_a_handshake_whose_last_part_was_lost() {
    World::run(1, |world| async move {
        let pair = Pair::new(&world).await;
        let mut listener = pair.server.listen(Address::new("", 9093)).await.expect("a free port");
        let start = world.now();
        let mut near = pair.client.connect(Address::new("b", 9093)).await.expect("b listens");
        let cut = world.apply(Fault::Network(NetworkFault::Cut(Link::one_way(pair.a, pair.b))));
        world.sleep(Duration::from_millis(2)).await;
        world.heal(cut);
        write(&mut near, b"hello").await.expect("accepted");
        let mut far = listener.accept().await.expect("the data told");
        assert_eq!(world.now().since(start), Duration::from_micros(200 + 2_000 + 100));
        assert_eq!(read(&mut far, 5).await.expect("it is there"), b"hello");
    });
}

#[test]
fn a_fault_of_one_link_draws_nothing_from_the_others() {
    let jittery = LinkProfile { jitter: Duration::from_millis(3), ..LinkProfile::default() };
    let run = |with: bool| {
        World::run_with(9, Config { link: jittery, ..Config::default() }, |world| async move {
            let mut pair = Pair::new(&world).await;
            let c = world.add_host("c");
            if with {
                world.apply(loss(Link::between(pair.a, c), MILLION / 2));
                world.apply(Fault::Network(NetworkFault::DelayMessages {
                    link: Link::between(c, pair.b),
                    share: MILLION / 2,
                    by: Duration::from_secs(1),
                }));
            }
            arrivals(&mut pair, 50).await
        })
        .expect("it ends")
    };
    assert_eq!(run(false), run(true));
}

#[test]
fn a_delayed_message_is_late_by_what_was_said_and_holds_up_its_stream_only() {
    World::run(2, |world| async move {
        let mut pair = Pair::new(&world).await;
        let link = Link::between(pair.a, pair.b);
        let fault =
            Fault::Network(NetworkFault::DelayMessages { link, share: MILLION / 50, by: Duration::from_secs(2) });
        let fault = world.apply(fault);
        let at = arrivals(&mut pair, 200).await;
        let first = at.iter().enumerate().find(|(index, at)| **at > *index as u64 * 10 * MS + 100 * US).expect("late");
        assert_eq!(*first.1, first.0 as u64 * 10 * MS + 2 * S + 100 * US);
        assert_eq!(at[first.0 + 1], *first.1, "what is behind it waits for it");
        assert!(world.fault(fault).hits > 0);
        assert_eq!(world.counters().retransmissions, 0, "late is not lost");
    });
}

#[test]
fn a_link_that_flaps_is_cut_and_whole_in_turn_until_it_is_healed() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        pair.until(1.0).await;
        let (link, every) = (Link::between(pair.a, pair.b), Duration::from_secs(1));
        let before = world.pending();
        let flap = world.apply(Fault::Network(NetworkFault::Flap { link, every }));
        // Cut from 1 to 2, from 3 to 4, from 5 to 6. Sent at 1.0, again at 1.2, 1.6, 2.4.
        write(&mut pair.near, b"one").await.expect("accepted");
        assert_eq!(read(&mut pair.far, 3).await.expect("between two cuts"), b"one");
        assert_eq!(world.now(), Time(2_400 * MS + 100 * US));
        write(&mut pair.near, b"two").await.expect("accepted");
        assert_eq!(read(&mut pair.far, 3).await.expect("the link is whole"), b"two");
        assert_eq!(world.now(), Time(2_400 * MS + 200 * US));
        pair.until(3.5).await;
        write(&mut pair.near, b"six").await.expect("accepted");
        pair.until(3.6).await;
        world.heal(flap);
        assert_eq!(read(&mut pair.far, 3).await.expect("healed"), b"six");
        assert_eq!(world.now(), Time(3_700 * MS + 100 * US));
        assert_eq!(world.pending(), before, "a healed link flaps no more");
        assert!(world.fault(flap).hits > 0);
    });
}

#[test]
fn resetting_connections_breaks_both_ends_of_each_and_no_other() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let c = world.add_host("c");
        let third = world.start(c);
        let mut listener = pair.server.listen(Address::new("", 9093)).await.expect("a free port");
        let mut other = third.connect(Address::new("b", 9093)).await.expect("b listens");
        let mut other_far = listener.accept().await.expect("connected");
        let mut own = pair.server.connect(Address::new("b", 9093)).await.expect("b listens");
        let mut own_far = listener.accept().await.expect("connected");
        write(&mut pair.near, b"on its way").await.expect("accepted");
        let start = world.now();
        let fault = Fault::Network(NetworkFault::ResetConnections(ResetOf::Link(Link::one_way(pair.a, pair.b))));
        let fault = world.apply(fault);
        assert_eq!(read(&mut pair.near, 1).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert_eq!(read(&mut pair.far, 1).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        assert_eq!(world.now(), start, "at once");
        assert_eq!(world.fault(fault).hits, 1);
        write(&mut other, b"fine").await.expect("accepted");
        assert_eq!(read(&mut other_far, 4).await.expect("untouched"), b"fine");
        // The link the other way: who opened it matters.
        let back = Fault::Network(NetworkFault::ResetConnections(ResetOf::Link(Link::one_way(pair.b, c))));
        assert_eq!(world.fault(world.apply(back)).hits, 0);
        let of_host = world.apply(Fault::Network(NetworkFault::ResetConnections(ResetOf::Host(pair.b))));
        assert_eq!(world.fault(of_host).hits, 1, "that of c; those inside b stay");
        assert_eq!(read(&mut other, 1).await.expect_err("reset").kind(), ErrorKind::ConnectionReset);
        write(&mut own, b"self").await.expect("accepted");
        assert_eq!(read(&mut own_far, 4).await.expect("untouched"), b"self");
        third.connect(Address::new("b", 9093)).await.expect("new connections are welcome");
    });
}

#[test]
fn a_host_that_refuses_takes_no_new_connection_and_keeps_the_old() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let fault = world.apply(Fault::Network(NetworkFault::RefuseConnections(pair.b)));
        let start = world.now();
        let error = pair.client.connect(Address::new("b", 9092)).await.expect_err("refused");
        assert_eq!(
            (error.kind(), world.now().since(start)),
            (ErrorKind::ConnectionRefused, Duration::from_micros(200))
        );
        write(&mut pair.near, b"old").await.expect("accepted");
        assert_eq!(read(&mut pair.far, 3).await.expect("it lives"), b"old");
        pair.server.connect(Address::new("b", 9092)).await.expect("a host reaches itself");
        assert_eq!(world.fault(fault).hits, 1);
        world.heal(fault);
        pair.client.connect(Address::new("b", 9092)).await.expect("healed");
    });
}

/// The instants at which a swizzle cut and healed each host.
fn swizzle(seed: u64) -> Vec<(u64, String)> {
    let notes = Arc::new(Mutex::new(Vec::new()));
    World::run(seed, |world| {
        let notes = Arc::clone(&notes);
        async move {
            world.on_event(Box::new(move |event| {
                if let Observation::Note { what } = &event.what {
                    notes.lock().expect("one thread").push((event.at.0, what.clone()));
                }
            }));
            let mut pair = Pair::new(&world).await;
            let c = world.add_host("c");
            pair.until(1.0).await;
            let hosts = vec![pair.a, pair.b, c];
            let before = world.pending();
            let fault = Fault::Network(NetworkFault::Swizzle { hosts, lasts: Duration::from_secs(10) });
            let fault = world.apply(fault);
            pair.until(6.0).await;
            write(&mut pair.near, b"late").await.expect("accepted");
            assert_eq!(read(&mut pair.far, 4).await.expect("all is healed in the end"), b"late");
            assert!(world.fault(fault).hits > 0);
            pair.until(60.0).await;
            assert_eq!(world.pending(), before, "nothing of it is left");
            drop(pair);
        }
    });
    Arc::into_inner(notes).expect("the world is gone").into_inner().expect("one thread")
}

#[test]
fn a_swizzle_cuts_the_hosts_one_after_the_other_and_heals_them_in_another_order() {
    let mut orders = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let notes = swizzle(seed);
        assert_eq!(notes, swizzle(seed), "the seed decides");
        assert_eq!(notes.len(), 6, "{notes:?}");
        let (cuts, heals) = notes.split_at(3);
        assert!(cuts.iter().all(|(at, what)| (S..=6 * S).contains(at) && what.ends_with("is cut off")), "{notes:?}");
        assert!(heals.iter().all(|(at, what)| (6 * S..=11 * S).contains(at) && what.ends_with("is back")), "{notes:?}");
        let who = |list: &[(u64, String)]| list.iter().map(|(_, what)| what[..1].to_owned()).collect::<Vec<_>>();
        assert_ne!(who(cuts), who(heals));
        orders.insert((who(cuts), who(heals)));
    }
    assert!(orders.len() > 4, "{orders:?}");
}

#[test]
fn a_link_between_two_hosts_of_a_swizzle_is_whole_only_when_both_are_back() {
    World::run(4, |world| async move {
        let pair = Pair::new(&world).await;
        let healed = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&healed);
        world.on_event(Box::new(move |event| {
            if matches!(&event.what, Observation::Note { what } if what.ends_with("is back")) {
                seen.lock().expect("one thread").push(event.at);
            }
        }));
        let hosts = vec![pair.a, pair.b];
        world.apply(Fault::Network(NetworkFault::Swizzle { hosts, lasts: Duration::from_secs(100) }));
        pair.until(60.0).await;
        loop {
            let connect = pair.client.connect(Address::new("b", 9092));
            if world.timeout(Duration::from_millis(50), connect).await.is_some() {
                break;
            }
        }
        let healed = healed.lock().expect("one thread").clone();
        assert_eq!(healed.len(), 2, "connected before both were back");
        assert!(world.now().since(healed[1]) < Duration::from_millis(60));
    });
}

#[test]
fn a_process_that_hangs_accepts_and_gets_nothing_of_what_arrives_until_it_is_healed() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        // b has a connection of its own to a, opened before.
        let mut listener = pair.client.listen(Address::new("", 7000)).await.expect("a free port");
        let mut out = pair.server.connect(Address::new("a", 7000)).await.expect("a listens");
        let mut out_far = listener.accept().await.expect("connected");
        let hang = world.apply(Fault::Network(NetworkFault::Hang(pair.b)));
        write(&mut pair.near, b"request").await.expect("the kernel takes it");
        let start = world.now();
        let reader = pair.server.spawn("reader", {
            let world = world.clone();
            async move {
                let got = read(&mut pair.far, 7).await.expect("in the end");
                write(&mut pair.far, b"answer").await.expect("accepted");
                (got, world.now(), pair.far)
            }
        });
        let _kept = pair.client.connect(Address::new("b", 9092)).await.expect("the kernel accepts");
        write(&mut out, b"heartbeat").await.expect("accepted");
        assert_eq!(read(&mut out_far, 9).await.expect("its own connections go on"), b"heartbeat");
        write(&mut out_far, b"ok").await.expect("accepted");
        assert_eq!(read(&mut out, 2).await.expect("both ways"), b"ok");
        pair.server.sleep(Duration::from_secs(1)).await;
        assert!(world.now().since(start) >= Duration::from_secs(1), "its timers go on");
        assert!(world.timeout(Duration::from_secs(5), read(&mut pair.near, 6)).await.is_none());
        assert_eq!(world.counters().retransmissions, 0, "the kernel acknowledges");
        world.heal(hang);
        let healed = world.now();
        let (got, at, _far) = reader.join().await.expect("the reader ends");
        assert_eq!((got.as_slice(), at), (&b"request"[..], healed));
        assert_eq!(read(&mut pair.near, 6).await.expect("answered"), b"answer");
        assert_eq!(world.fault(hang).hits, 1, "one delivery was kept from it");
    });
}

#[test]
fn a_hang_bounds_what_the_kernel_takes_and_does_not_outlive_the_process() {
    World::run(1, |world| async move {
        let mut pair = Pair::new(&world).await;
        let hang = world.apply(Fault::Network(NetworkFault::Hang(pair.b)));
        let mut list = support::zeros(5 << 20).into_list();
        assert!(world.timeout(Duration::from_secs(1), pair.near.writer.write(&mut list)).await.is_none());
        assert_eq!(list.iter().map(bytes::Bytes::len).sum::<usize>(), 4 << 20, "one window");
        world.apply(Fault::Process(world::ProcessFault::Kill(pair.b)));
        let server = world.start(pair.b);
        let mut listener = server.listen(Address::new("", 9092)).await.expect("a free port");
        let mut near = pair.client.connect(Address::new("b", 9092)).await.expect("b listens");
        let mut far = listener.accept().await.expect("connected");
        write(&mut near, b"new").await.expect("accepted");
        assert_eq!(read(&mut far, 3).await.expect("the next start does not hang"), b"new");
        world.heal(hang);
    });
}
