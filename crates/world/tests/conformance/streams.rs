//! Connections: addresses, order, flow control, and every way to end.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;

use bytes::Bytes;
use runtime::{Address, Chunks, WriteHalf};

use crate::arm::{pattern, read_exactly, read_to_end, text};
use crate::both;

/// More than any window takes.
const MORE_THAN_A_WINDOW: usize = 64 << 20;

/// Offers the list once; whether all was taken.
async fn write_now(writer: &mut WriteHalf, list: &mut VecDeque<Bytes>) -> bool {
    poll_fn(|cx| Poll::Ready(writer.0.poll_write(cx, list).is_ready())).await
}

fn len(list: &VecDeque<Bytes>) -> usize {
    list.iter().map(Bytes::len).sum()
}

both! {
    async fn a_listener_is_connected_to(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("there")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 5).await, b"there");
        server.writer.write_chunks(text("and back")).await.unwrap();
        assert_eq!(read_exactly(&mut client.reader, 8).await, b"and back");
    }

    async fn where_nobody_listens_a_connection_is_refused(arm) {
        let listener = arm.listen().await;
        let address = arm.at(&listener);
        drop(listener);
        let before = arm.a.now().mono;
        assert_eq!(arm.a.connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        if let Some(world) = &arm.world {
            assert!(arm.a.now().mono > before, "a refusal takes a round trip, at {:?}", world.now());
        }
    }

    async fn a_connection_waits_to_be_accepted_and_may_be_written_to_meanwhile(arm) {
        let mut listener = arm.listen().await;
        let mut client = arm.a.connect(arm.at(&listener)).await.unwrap();
        client.writer.write_chunks(text("early")).await.unwrap();
        client.writer.shutdown();
        arm.settle().await;
        let mut server = listener.accept().await.unwrap();
        assert_eq!(read_to_end(&mut server.reader).await, b"early");
    }

    async fn connections_are_accepted_in_the_order_of_their_making(arm) {
        let mut listener = arm.listen().await;
        let mut clients = Vec::new();
        for index in 0..20_u8 {
            let mut client = arm.a.connect(arm.at(&listener)).await.unwrap();
            client.writer.write_chunks(vec![index].into()).await.unwrap();
            clients.push(client);
        }
        for index in 0..20_u8 {
            let mut server = listener.accept().await.unwrap();
            assert_eq!(read_exactly(&mut server.reader, 1).await, [index]);
        }
    }

    async fn each_end_knows_its_address_and_the_others(arm) {
        let listener = arm.listen().await;
        let address = arm.at(&listener);
        drop(listener);
        let (client, server) = arm.pair().await;
        assert_eq!((&client.local, &client.peer), (&server.peer, &server.local));
        assert_eq!(server.local.host, address.host);
        assert_ne!(client.local.port, 0);
        assert_ne!(client.local, server.local);
    }

    async fn two_listeners_that_do_not_choose_get_two_ports(arm) {
        let (one, two) = (arm.listen().await, arm.listen().await);
        assert!(one.local().port != 0 && two.local().port != 0);
        assert_ne!(one.local().port, two.local().port);
    }

    async fn an_address_in_use_cannot_be_listened_at(arm) {
        let listener = arm.listen().await;
        let error = arm.b.listen(arm.at(&listener)).await.err().expect("the port is taken");
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
    }

    async fn a_port_can_be_taken_again_after_its_listener_and_connections_are_gone(arm) {
        let mut listener = arm.listen().await;
        let address = arm.at(&listener);
        let client = arm.a.connect(address.clone()).await.unwrap();
        let server = listener.accept().await.unwrap();
        drop((listener, server, client));
        arm.settle().await;
        let mut listener = arm.b.listen(address.clone()).await.unwrap();
        let _client = arm.a.connect(address).await.unwrap();
        listener.accept().await.unwrap();
    }

    async fn a_port_can_be_taken_again_while_old_connections_live(arm) {
        let mut listener = arm.listen().await;
        let address = arm.at(&listener);
        let mut client = arm.a.connect(address.clone()).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        drop(listener);
        let _listener = arm.b.listen(address).await.unwrap();
        client.writer.write_chunks(text("still")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 5).await, b"still");
    }

    async fn a_dropped_listener_refuses_the_next_and_keeps_the_accepted(arm) {
        let mut listener = arm.listen().await;
        let address = arm.at(&listener);
        let mut client = arm.a.connect(address.clone()).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        drop(listener);
        assert_eq!(arm.a.connect(address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        server.writer.write_chunks(text("x")).await.unwrap();
        assert_eq!(read_exactly(&mut client.reader, 1).await, b"x");
    }

    async fn an_empty_host_listens_everywhere(arm) {
        let mut listener = arm.b.listen(Address::new("", 0)).await.unwrap();
        let _client = arm.a.connect(arm.at(&listener)).await.unwrap();
        listener.accept().await.unwrap();
    }

    async fn bytes_arrive_once_and_in_order(arm) {
        let (mut client, mut server) = arm.pair().await;
        let total = 3_000_000;
        let sender = arm.a.spawn("sender", async move {
            let mut at = 0;
            while at < total {
                let size = (at % 70_001).clamp(1, total - at);
                client.writer.write_chunks(pattern(at, size).into()).await.unwrap();
                at += size;
            }
            client.writer.shutdown();
            client
        });
        assert!(read_to_end(&mut server.reader).await == pattern(0, total));
        sender.join().await.unwrap();
    }

    async fn both_directions_move_at_once(arm) {
        let (client, server) = arm.pair().await;
        let total = 4_000_000;
        let run = |env: &runtime::Env, mut end: runtime::Connection| {
            let mut reader = end.reader;
            let write = env.spawn("writer", async move {
                end.writer.write_chunks(pattern(0, total).into()).await.unwrap();
                end.writer.shutdown();
            });
            let read = env.spawn("reader", async move { read_to_end(&mut reader).await });
            async move {
                write.join().await.unwrap();
                read.join().await.unwrap()
            }
        };
        let (one, two) = (run(&arm.a, client), run(&arm.b, server));
        assert!(one.await == pattern(0, total) && two.await == pattern(0, total));
    }

    async fn lists_of_pieces_keep_their_order(arm) {
        let (mut client, mut server) = arm.pair().await;
        let pieces: Chunks = (0..2_000_u32).map(|at| Bytes::from(at.to_be_bytes().to_vec())).collect();
        let expected = pieces.to_vec();
        client.writer.write_chunks(pieces).await.unwrap();
        client.writer.shutdown();
        assert_eq!(read_to_end(&mut server.reader).await, expected);
    }

    async fn what_is_written_is_sent_without_a_flush(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("x")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 1).await, b"x");
    }

    async fn writing_nothing_takes_no_time(arm) {
        let (mut client, _server) = arm.pair().await;
        assert!(write_now(&mut client.writer, &mut VecDeque::new()).await);
        assert!(write_now(&mut client.writer, &mut [Bytes::new(), Bytes::new()].into()).await);
    }

    async fn a_read_gives_what_is_there_and_never_more_than_asked(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("abcdef")).await.unwrap();
        arm.settle().await;
        let mut list = VecDeque::new();
        assert_eq!(server.reader.read(&mut list, 4).await.unwrap(), 4);
        assert_eq!(server.reader.read(&mut list, 1_000).await.unwrap(), 2);
        assert_eq!(list.into_iter().collect::<Chunks>().to_vec(), b"abcdef");
    }

    async fn a_read_waits_for_bytes(arm) {
        let (mut client, mut server) = arm.pair().await;
        let reading = arm.b.spawn("reader", async move { read_exactly(&mut server.reader, 3).await });
        arm.settle().await;
        client.writer.write_chunks(text("abc")).await.unwrap();
        assert_eq!(reading.join().await.unwrap(), b"abc");
    }

    async fn a_large_write_is_taken_in_part_and_the_rest_when_it_is_read(arm) {
        let (mut client, mut server) = arm.pair().await;
        let mut list: VecDeque<Bytes> = [pattern(0, MORE_THAN_A_WINDOW).into()].into();
        assert!(!write_now(&mut client.writer, &mut list).await);
        let left = len(&list);
        assert!(left > 0 && left < MORE_THAN_A_WINDOW, "{left} bytes left");
        let writing = arm.a.spawn("writer", async move {
            client.writer.write(&mut list).await.unwrap();
            client.writer.shutdown();
            client
        });
        assert!(read_to_end(&mut server.reader).await == pattern(0, MORE_THAN_A_WINDOW));
        writing.join().await.unwrap();
    }

    async fn a_reader_that_does_not_read_bounds_what_is_taken(arm) {
        let (mut client, _server) = arm.pair().await;
        let mut list: VecDeque<Bytes> = (0..MORE_THAN_A_WINDOW >> 20).map(|_| vec![0; 1 << 20].into()).collect();
        for _ in 0..10 {
            assert!(!write_now(&mut client.writer, &mut list).await);
            arm.settle().await;
        }
        let taken = MORE_THAN_A_WINDOW - len(&list);
        assert!(taken < MORE_THAN_A_WINDOW / 2, "{taken} bytes are held for a reader that does not read");
    }

    async fn a_write_given_up_loses_and_doubles_nothing(arm) {
        let (mut client, mut server) = arm.pair().await;
        let mut list: VecDeque<Bytes> = [pattern(0, MORE_THAN_A_WINDOW).into()].into();
        let short = std::time::Duration::from_millis(5);
        arm.a.timeout(short, client.writer.write(&mut list)).await.expect_err("more than a window");
        let writing = arm.a.spawn("writer", async move {
            client.writer.write(&mut list).await.unwrap();
            client.writer.shutdown();
            client
        });
        assert!(read_to_end(&mut server.reader).await == pattern(0, MORE_THAN_A_WINDOW));
        writing.join().await.unwrap();
    }

    async fn a_read_given_up_loses_nothing(arm) {
        let (mut client, mut server) = arm.pair().await;
        let mut list = VecDeque::new();
        let short = std::time::Duration::from_millis(5);
        arm.b.timeout(short, server.reader.read(&mut list, 10)).await.expect_err("nothing is there");
        client.writer.write_chunks(text("late")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 4).await, b"late");
    }

    async fn after_fin_the_rest_is_read_then_the_end_and_the_end_again(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("rest")).await.unwrap();
        client.writer.shutdown();
        assert_eq!(read_to_end(&mut server.reader).await, b"rest");
        for _ in 0..2 {
            assert_eq!(server.reader.read(&mut VecDeque::new(), 1).await.unwrap(), 0);
        }
    }

    async fn after_half_a_close_the_other_direction_works(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.shutdown();
        assert_eq!(read_to_end(&mut server.reader).await, b"");
        server.writer.write_chunks(pattern(0, 200_000).into()).await.unwrap();
        server.writer.shutdown();
        assert!(read_to_end(&mut client.reader).await == pattern(0, 200_000));
    }

    async fn nothing_can_be_written_after_shutdown(arm) {
        let (mut client, _server) = arm.pair().await;
        client.writer.shutdown();
        client.writer.shutdown();
        let error = client.writer.write_chunks(text("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }

    async fn a_dropped_connection_ends_the_peers_stream(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("last words")).await.unwrap();
        drop(client);
        assert_eq!(read_to_end(&mut server.reader).await, b"last words");
    }

    async fn writes_to_a_peer_that_is_gone_fail_after_the_first(arm) {
        let (client, mut server) = arm.pair().await;
        drop(client);
        assert_eq!(read_to_end(&mut server.reader).await, b"");
        // The first is taken: only the answer to it says that nobody is there.
        server.writer.write_chunks(text("x")).await.unwrap();
        let error = loop {
            arm.settle().await;
            if let Err(error) = server.writer.write_chunks(text("x")).await {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }

    async fn a_peer_that_drops_what_it_has_not_read_resets_the_connection(arm) {
        let (mut client, mut server) = arm.pair().await;
        client.writer.write_chunks(text("unread")).await.unwrap();
        arm.settle().await;
        let mut pending = VecDeque::new();
        let reading = arm.a.spawn("reader", async move {
            let outcome = client.reader.read(&mut pending, 100).await;
            (client, outcome)
        });
        // A byte of it is read, so that the rest is surely there.
        read_exactly(&mut server.reader, 1).await;
        drop(server);
        let (mut client, outcome) = reading.join().await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::ConnectionReset);
        let error = client.writer.write_chunks(text("x")).await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    }

    async fn a_dropped_reader_tells_the_peer_nothing(arm) {
        let (client, mut server) = arm.pair().await;
        let mut writer = client.writer;
        drop(client.reader);
        server.writer.write_chunks(text("for nobody")).await.unwrap();
        arm.settle().await;
        server.writer.write_chunks(text("for nobody")).await.unwrap();
        writer.write_chunks(text("still here")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 10).await, b"still here");
    }

    async fn the_end_of_one_connection_is_not_that_of_another(arm) {
        let mut listener = arm.listen().await;
        let one = arm.a.connect(arm.at(&listener)).await.unwrap();
        let mut two = arm.a.connect(arm.at(&listener)).await.unwrap();
        let (mut first, mut second) = (listener.accept().await.unwrap(), listener.accept().await.unwrap());
        drop(one);
        assert_eq!(read_to_end(&mut first.reader).await, b"");
        two.writer.write_chunks(text("here")).await.unwrap();
        assert_eq!(read_exactly(&mut second.reader, 4).await, b"here");
    }

    async fn many_connections_at_once_do_not_mix(arm) {
        let mut listener = arm.listen().await;
        let address = arm.at(&listener);
        let serving = arm.b.spawn("server", {
            let env = arm.b.clone();
            async move {
                for _ in 0..100 {
                    let mut server = listener.accept().await.unwrap();
                    env.spawn_detached("echo", async move {
                        let got = read_exactly(&mut server.reader, 1_000).await;
                        server.writer.write_chunks(got.into()).await.unwrap();
                        server.writer.shutdown();
                        read_to_end(&mut server.reader).await;
                    });
                }
            }
        });
        let clients: Vec<_> = (0..100_usize)
            .map(|index| {
                let (env, address) = (arm.a.clone(), address.clone());
                arm.a.spawn("client", async move {
                    let mut client = env.connect(address).await.unwrap();
                    client.writer.write_chunks(pattern(index * 1_000, 1_000).into()).await.unwrap();
                    read_to_end(&mut client.reader).await == pattern(index * 1_000, 1_000)
                })
            })
            .collect();
        for client in clients {
            assert!(client.join().await.unwrap());
        }
        serving.join().await.unwrap();
    }

    async fn a_host_can_connect_to_itself(arm) {
        let mut listener = arm.listen().await;
        let mut client = arm.b.connect(arm.at(&listener)).await.unwrap();
        let mut server = listener.accept().await.unwrap();
        client.writer.write_chunks(text("self")).await.unwrap();
        assert_eq!(read_exactly(&mut server.reader, 4).await, b"self");
    }

    async fn an_unknown_host_cannot_be_connected_to(arm) {
        assert!(arm.a.connect(Address::new("no-such-host.invalid", 9092)).await.is_err());
    }
}
