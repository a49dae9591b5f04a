//! What a server owes to its peers, and what no peer can do to another.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use protocol::messages::{MetadataRequest, MetadataResponse};
use protocol::{ApiKey, ErrorCode};
use rand::RngExt;
use transport::server::{Answer, Reply};

const SOON: Duration = Duration::from_secs(10);

both_arms! {
    async fn pipelined_requests_start_in_order_and_are_answered_in_order(env) {
        let gates = Gates::default();
        let server = start(&env, |_| (), gates.service()).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        peer.write([metadata(1, "a"), metadata(2, "b"), metadata(3, "c")].concat()).await;
        gates.seen_at_least(&env, 3).await;
        assert_eq!(gates.seen(), ["a", "b", "c"]);
        for topic in ["c", "b", "a"] {
            gates.open(topic);
        }
        for correlation in 1..=3 {
            assert_eq!(peer.correlation().await, Some(correlation));
        }
        assert_eq!(server.counters().responses(ApiKey::Metadata), 3);
    }

    /// librdkafka 2.16 sends three bytes too many with Metadata v13 (formats.md, trap 16).
    async fn bytes_left_over_behind_a_request_are_ignored(env) {
        let gates = Gates::default();
        let server = start(&env, |_| (), gates.service()).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        let mut frame = metadata(1, "a");
        frame.extend([0, 0, 0]);
        let size = u32::try_from(frame.len() - 4).expect("a small frame");
        frame[..4].copy_from_slice(&size.to_be_bytes());
        peer.write([frame, metadata(2, "b")].concat()).await;
        gates.seen_at_least(&env, 2).await;
        assert_eq!(gates.seen(), ["a", "b"]);
        gates.open("a");
        gates.open("b");
        for correlation in 1..=2 {
            assert_eq!(peer.correlation().await, Some(correlation));
        }
    }

    async fn an_impossible_size_closes_its_connection_only(env) {
        let server = start(&env, |config| config.frame_bytes_max = 1_000, echo).await;
        let mut good = Raw::connect(&env, server.local()).await;
        for size in [i32::MIN, -1, 0, 1_001, i32::MAX] {
            let mut bad = Raw::connect(&env, server.local()).await;
            bad.write(size.to_be_bytes().to_vec()).await;
            assert!(bad.frame().await.is_none());
            good.write(metadata(size, "a")).await;
            assert_eq!(good.correlation().await, Some(size));
        }
        assert_eq!(server.counters().connections_refused(), 5);
    }

    async fn what_is_not_served_closes_after_earlier_answers(env) {
        let server = start(&env, |_| (), echo).await;
        let unreadable = framed(&[0, 3, 0, 1, 0]);
        for bad in [
            request(ApiKey::Produce, 2, 9, &[]),
            request(ApiKey::Metadata, 99, 9, &[]),
            request(ApiKey::Metadata, -1, 9, &[]),
            framed(&[1, 0, 0, 0, 0, 0, 0, 9, 0, 0]),
            unreadable,
        ] {
            let mut peer = Raw::connect(&env, server.local()).await;
            peer.write([metadata(7, "a"), bad, metadata(8, "b")].concat()).await;
            assert_eq!(peer.correlation().await, Some(7));
            assert_eq!(peer.correlation().await, None);
        }
    }

    async fn api_versions_of_an_unknown_version_is_told_the_known_ones_and_stays(env) {
        let server = start(&env, |_| (), echo).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        for version in [5, 99] {
            peer.write(request(ApiKey::ApiVersions, version, 0, b"\x04kgo")).await;
            let code = ErrorCode::UnsupportedVersion.code().to_be_bytes();
            let expected = [&[0, 0, 0, 0], &code[..], &[0, 0, 0, 1, 0, 18, 0, 0, 0, 4]].concat();
            assert_eq!(peer.frame().await.unwrap().to_vec(), expected);
        }
        peer.write(metadata(1, "a")).await;
        assert_eq!(peer.correlation().await, Some(1));
    }

    async fn a_frame_cut_by_the_end_of_the_stream_is_never_seen(env) {
        let server = start(&env, |_| (), echo).await;
        let whole = metadata(1, "topic");
        for cut in [1, 4, 5, whole.len() - 1] {
            let mut peer = Raw::connect(&env, server.local()).await;
            peer.write(whole[..cut].to_vec()).await;
            peer.stream.writer.shutdown();
            assert!(peer.frame().await.is_none());
        }
        assert_eq!(server.counters().requests(ApiKey::Metadata), 0);
    }

    async fn a_frame_may_come_in_a_thousand_writes(env) {
        let server = start(&env, |_| (), echo).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        let topic = "t".repeat(1_000);
        for byte in metadata(5, &topic) {
            peer.write(vec![byte]).await;
        }
        let answer = peer.frame().await.unwrap().to_vec();
        assert!(String::from_utf8_lossy(&answer).contains(&topic));
    }

    async fn the_pipeline_is_bounded_in_requests(env) {
        let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let server = start(&env, |config| config.requests_in_flight_max = 3, counting(&env, &most, &now)).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        peer.write((0..20).flat_map(|id| metadata(id, "a")).collect::<Vec<u8>>()).await;
        for id in 0..20 {
            assert_eq!(peer.correlation().await, Some(id));
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    async fn the_pipeline_is_bounded_in_bytes(env) {
        let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let one = metadata(0, "topic").len() - 4;
        let server = start(&env, |config| config.bytes_in_flight_max = one + 1, counting(&env, &most, &now)).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        peer.write((0..20).flat_map(|id| metadata(id, "topic")).collect::<Vec<u8>>()).await;
        for id in 0..20 {
            assert_eq!(peer.correlation().await, Some(id));
        }
        assert_eq!(most.load(Ordering::SeqCst), 2);
    }

    async fn a_peer_that_does_not_read_is_not_read_from_and_harms_nobody(env) {
        let body = bytes::Bytes::from(vec![7; 1 << 20]);
        let calls = Arc::new(AtomicUsize::new(0));
        let service = {
            let calls = Arc::clone(&calls);
            move |_, _| {
                calls.fetch_add(1, Ordering::SeqCst);
                Answer::Now(Reply::Response(body.clone().into()))
            }
        };
        let server = start(&env, |config| config.requests_in_flight_max = 4, service).await;
        let mut deaf = Raw::connect(&env, server.local()).await;
        deaf.write((0..200).flat_map(|id| metadata(id, "a")).collect::<Vec<u8>>()).await;
        let mut other = Raw::connect(&env, server.local()).await;
        other.write(metadata(1, "a")).await;
        assert_eq!(other.correlation().await, Some(1));
        let before = calls.load(Ordering::SeqCst);
        assert!(before < 150, "{before} requests were taken from a peer that reads nothing");
        for id in 0..200 {
            assert_eq!(deaf.correlation().await, Some(id));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 201);
    }

    async fn acks_0_has_no_answer_and_a_close_waits_for_the_answers_before_it(env) {
        let service = |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
            match &*asked(&request, context.api_version) {
                "silent" => Answer::NO_RESPONSE,
                "close" => Answer::later(async { Reply::Close }),
                _ => echo(context, request),
            }
        };
        let server = start(&env, |_| (), service).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        let topics = ["silent", "a", "silent", "b", "close", "c"];
        peer.write((0..).zip(topics).flat_map(|(id, topic)| metadata(id, topic)).collect::<Vec<u8>>()).await;
        assert_eq!(peer.correlation().await, Some(1));
        assert_eq!(peer.correlation().await, Some(3));
        assert_eq!(peer.correlation().await, None);
    }

    async fn an_idle_connection_is_closed_and_a_busy_one_is_not(env) {
        let idle = Duration::from_millis(800);
        let server = start(&env, |config| config.idle_max = idle, echo).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        for id in 0..10 {
            env.sleep(idle / 8).await;
            peer.write(metadata(id, "a")).await;
            assert_eq!(peer.correlation().await, Some(id));
        }
        assert_eq!(peer.correlation().await, None);
    }

    async fn a_server_that_stops_answers_what_it_took_and_refuses_what_comes(env) {
        let gates = Gates::default();
        let server = start(&env, |_| (), gates.service()).await;
        let address = server.local().clone();
        let mut peer = Raw::connect(&env, &address).await;
        peer.write(metadata(1, "a")).await;
        gates.seen_at_least(&env, 1).await;
        let stopping = env.spawn("stopping", server.stop(SOON));
        while let Ok(probe) = env.connect(address.clone()).await {
            drop(probe);
            env.sleep(Duration::from_millis(1)).await;
        }
        gates.open("a");
        assert_eq!(peer.correlation().await, Some(1));
        assert_eq!(peer.correlation().await, None);
        stopping.join().await.unwrap();
    }

    async fn a_server_that_stops_waits_no_longer_than_its_grace(env) {
        let gates = Gates::default();
        let server = start(&env, |_| (), gates.service()).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        peer.write(metadata(1, "never")).await;
        gates.seen_at_least(&env, 1).await;
        server.stop(Duration::from_millis(10)).await;
        assert_eq!(peer.correlation().await, None);
    }

    async fn no_bytes_of_one_peer_harm_the_others(env) {
        let server = start(&env, |config| config.frame_bytes_max = 5_000, lenient).await;
        let mut good = Raw::connect(&env, server.local()).await;
        let mut random = env.rng("garbage");
        for round in 0..150 {
            let mut bad = Raw::connect(&env, server.local()).await;
            bad.write(garbage(&mut random)).await;
            bad.stream.writer.shutdown();
            good.write(metadata(round, "a")).await;
            assert_eq!(good.correlation().await, Some(round));
            while bad.frame().await.is_some() {}
        }
    }

    async fn a_request_says_who_sent_it(env) {
        let contexts = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let contexts = Arc::clone(&contexts);
            move |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
                contexts.lock().unwrap().push((context.clone(), request.whole().to_vec()));
                echo(context, request)
            }
        };
        let server = start(&env, |_| (), service).await;
        let mut peer = Raw::connect(&env, server.local()).await;
        peer.write(metadata(77, "a")).await;
        peer.frame().await.unwrap();
        let (context, whole) = contexts.lock().unwrap().pop().unwrap();
        assert_eq!((context.listener.as_str(), context.client_id.as_str()), ("PLAINTEXT", "c"));
        assert_eq!((context.api_key, context.api_version, context.correlation_id), (ApiKey::Metadata, 1, 77));
        assert_eq!(context.peer, peer.stream.local);
        assert_eq!(whole, metadata(77, "a")[4..]);
    }
}

/// Answers what can be read, and closes for what cannot.
fn lenient(context: transport::server::RequestContext, request: transport::server::RequestFrame) -> Answer {
    if context.api_key == ApiKey::Metadata && request.decode::<MetadataRequest>(context.api_version).is_ok() {
        return context.answer(&MetadataResponse::default());
    }
    Answer::CLOSE
}

/// Bytes of which the first may be good.
fn garbage(random: &mut impl RngExt) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..random.random_range(0..3)).flat_map(|id| metadata(id, "a")).collect();
    let from = bytes.len();
    let noise = random.random_range(0..300);
    bytes.extend((0..noise).map(|_| random.random::<u8>()));
    // Half of it is framed, a quarter also begins with a header that is served.
    if random.random() {
        let mut frame = bytes.split_off(from);
        if random.random() && frame.len() > 4 {
            frame[..4].copy_from_slice(&[0, 3, 0, random.random_range(0..14)]);
        }
        bytes.extend(framed(&frame));
    }
    bytes
}

/// Answers a little later, and counts how many requests were in flight at most.
fn counting(
    env: &runtime::Env,
    most: &Arc<AtomicUsize>,
    now: &Arc<AtomicUsize>,
) -> impl Fn(transport::server::RequestContext, transport::server::RequestFrame) -> Answer + Send + Sync + 'static + use<>
{
    let (env, most, now) = (env.clone(), Arc::clone(most), Arc::clone(now));
    move |context, request| {
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let topic = asked(&request, context.api_version);
        let (env, now) = (env.clone(), Arc::clone(&now));
        Answer::later(async move {
            env.sleep(Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
            context.reply(&told(topic))
        })
    }
}
