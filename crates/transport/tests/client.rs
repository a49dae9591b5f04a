//! What the asking end does when all goes well, and what it says when not.

mod common;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::*;
use protocol::messages::api_versions_response::ApiVersion;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, MetadataResponse, ProduceRequest, ProduceResponse};
use protocol::{ApiKey, Bytes, Chunks, Decoder, Message};
use rand::RngExt;
use runtime::Env;
use transport::ApiRanges;
use transport::client::{Channel, ChannelOptions, ClientOptions, Connection, Reason, RpcError};
use transport::server::Answer;

/// Options for a peer that is known to speak everything.
fn known() -> ClientOptions {
    ClientOptions { peer_speaks: Some(ApiRanges::stable()), ..ClientOptions::new("test") }
}

/// A listener, and a connection to whoever answers there by hand.
async fn by_hand(env: &Env, options: &ClientOptions) -> (Connection, Raw) {
    let mut listener = env.listen(here(env)).await.unwrap();
    let connection = Connection::open(env, listener.local(), options).await.unwrap();
    (connection, Raw::over(listener.accept().await.unwrap()))
}

fn topic(response: &MetadataResponse) -> String {
    response.topics[0].name.as_ref().unwrap().to_string()
}

/// The frame that answers a Metadata request with `topic`.
fn metadata_answer(frame: &Chunks, topic: &str) -> Vec<u8> {
    let (header, _) = parsed(frame);
    let mut out = header.correlation_id.to_be_bytes().to_vec();
    if header.api_key.response_header_version(header.api_version) > 0 {
        out.push(0);
    }
    out.extend(encoded(&told(topic.into()), header.api_version));
    framed(&out)
}

both_arms! {
    async fn requests_in_flight_are_answered_each_with_its_own(env) {
        let gates = Gates::default();
        let server = start(&env, |_| (), gates.service()).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        let answers: Vec<_> = ["a", "b", "c"].map(|topic| connection.send(&ask(topic))).into();
        gates.seen_at_least(&env, 3).await;
        for topic in ["c", "a", "b"] {
            gates.open(topic);
        }
        for (answer, expected) in answers.into_iter().zip(["a", "b", "c"]) {
            assert_eq!(topic(&answer.await.unwrap()), expected);
        }
    }

    async fn versions_are_asked_for_and_stepped_down_to(env) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let asked = Arc::clone(&asked);
            move |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
                asked.lock().unwrap().push((context.api_key, context.api_version));
                if context.api_key == ApiKey::Metadata {
                    return echo(context, request);
                }
                request.decode::<ApiVersionsRequest>(context.api_version).unwrap();
                let ranges = [(ApiKey::Metadata, 0, 5), (ApiKey::ApiVersions, 0, 2)];
                let api_keys = ranges
                    .map(|(key, min_version, max_version)| ApiVersion {
                        api_key: key.code(),
                        min_version,
                        max_version,
                        ..Default::default()
                    })
                    .into();
                context.answer(&ApiVersionsResponse { api_keys, ..Default::default() })
            }
        };
        let server = start(&env, |config| config.apis.set(ApiKey::ApiVersions.code(), (0, 2)), service).await;
        let connection =
            Connection::open(&env, server.local().clone(), &ClientOptions::new("test")).await.unwrap();
        assert_eq!(connection.peer_range(ApiKey::Metadata), Some((0, 5)));
        assert_eq!(topic(&connection.send(&ask("a")).await.unwrap()), "a");
        assert_eq!(*asked.lock().unwrap(), [(ApiKey::ApiVersions, 2), (ApiKey::Metadata, 5)]);

        let refused = connection.send(&ProduceRequest::default()).await.unwrap_err();
        assert!(matches!(refused, RpcError::UnsupportedVersion { api: ApiKey::Produce, theirs: None, .. }), "{refused}");
        assert!(!refused.may_have_been_sent() && !connection.closed());
    }

    async fn a_request_that_is_not_answered_in_time_ends_the_connection(env) {
        let options = ClientOptions { request_timeout: Duration::from_millis(50), ..known() };
        let (connection, mut peer) = by_hand(&env, &options).await;
        let (first, second) = (connection.send(&ask("a")), connection.send(&ask("b")));
        let error = first.await.unwrap_err();
        assert!(error.is_timeout() && error.may_have_been_sent() && error.is_disconnect(), "{error}");
        assert!(connection.closed());
        assert!(matches!(second.await, Err(RpcError::Lost(Reason::Timeout))));
        assert!(matches!(connection.send(&ask("c")).await, Err(RpcError::NotSent(_))));
        for _ in 0..2 {
            peer.frame().await.unwrap();
        }
        assert!(peer.frame().await.is_none());
    }

    async fn an_answer_in_time_keeps_the_connection_past_older_deadlines(env) {
        let options = ClientOptions { request_timeout: Duration::from_secs(2), ..known() };
        let server = start(&env, |_| (), echo).await;
        let connection = Connection::open(&env, server.local().clone(), &options).await.unwrap();
        for _ in 0..8 {
            assert_eq!(topic(&connection.send(&ask("a")).await.unwrap()), "a");
            env.sleep(Duration::from_millis(300)).await;
        }
        assert!(!connection.closed());
    }

    async fn a_lost_connection_fails_all_in_flight_and_says_what_was_sent(env) {
        let (connection, mut peer) = by_hand(&env, &known()).await;
        let small = connection.send(&ask("a"));
        // More than any window takes: it is sent in part, what comes behind it not at all.
        let huge = connection.send(&produce(vec![Bytes::from(vec![0; 1 << 20]); 64]));
        let behind = connection.send(&ask("b"));
        peer.frame().await.unwrap();
        let mut some = std::collections::VecDeque::new();
        peer.stream.reader.read(&mut some, 1_000).await.unwrap();
        drop(peer);
        assert!(matches!(small.await, Err(RpcError::Lost(_))));
        assert!(matches!(huge.await, Err(RpcError::Lost(_))));
        assert!(matches!(behind.await, Err(RpcError::NotSent(_))));
        assert!(connection.closed());
    }

    async fn giving_up_on_an_answer_disturbs_nobody(env) {
        let (connection, mut peer) = by_hand(&env, &known()).await;
        drop(connection.send(&ask("a")));
        let second = connection.send(&ask("b"));
        for topic in ["a", "b"] {
            let frame = peer.frame().await.unwrap();
            peer.write(metadata_answer(&frame, topic)).await;
        }
        assert_eq!(topic(&second.await.unwrap()), "b");
    }

    async fn a_peer_that_answers_what_was_not_asked_loses_the_connection(env) {
        let (connection, mut peer) = by_hand(&env, &known()).await;
        let first = connection.send(&ask("a"));
        let frame = peer.frame().await.unwrap();
        let mut answer = metadata_answer(&frame, "a");
        answer[7] ^= 1;
        peer.write(answer).await;
        assert!(matches!(first.await, Err(RpcError::Lost(Reason::Correlation { expected: 0, got: 1 }))));

        let (connection, mut peer) = by_hand(&env, &known()).await;
        peer.write(framed(&[0, 0, 0, 0])).await;
        assert!(peer.frame().await.is_none());
        assert!(connection.closed());

        let (connection, mut peer) = by_hand(&env, &known()).await;
        let first = connection.send(&ask("a"));
        peer.write((-5_i32).to_be_bytes().to_vec()).await;
        assert!(matches!(first.await, Err(RpcError::Lost(Reason::Frame(_)))));
    }

    async fn no_bytes_of_a_peer_make_a_request_wait_for_ever(env) {
        let options = ClientOptions { request_timeout: Duration::from_millis(40), frame_bytes_max: 5_000, ..known() };
        let mut random = env.rng("garbage");
        for _ in 0..25 {
            let (connection, mut peer) = by_hand(&env, &options).await;
            let answers: Vec<_> = ["a", "b"].map(|topic| connection.send(&ask(topic))).into();
            let frame = peer.frame().await.unwrap();
            let mut bytes = metadata_answer(&frame, "a");
            for _ in 0..random.random_range(1..4) {
                let at = random.random_range(0..bytes.len());
                bytes[at] = random.random();
            }
            bytes.truncate(random.random_range(0..=bytes.len()));
            // It may have closed already: nothing there is owed to the peer.
            peer.stream.writer.write_chunks(bytes.into()).await.ok();
            for answer in answers {
                answer.await.ok();
            }
        }
    }

    async fn an_answer_that_cannot_be_read_fails_its_request_only(env) {
        let (connection, mut peer) = by_hand(&env, &known()).await;
        let (first, second) = (connection.send(&ask("a")), connection.send(&ask("b")));
        let frame = peer.frame().await.unwrap();
        let whole = metadata_answer(&frame, "a");
        peer.write(framed(&whole[4..whole.len() - 3])).await;
        let frame = peer.frame().await.unwrap();
        peer.write(metadata_answer(&frame, "b")).await;
        assert!(matches!(first.await, Err(RpcError::Decode(_))));
        assert_eq!(topic(&second.await.unwrap()), "b");
    }

    async fn records_in_many_pieces_are_one_frame(env) {
        let service = |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
            let request: ProduceRequest = request.decode(context.api_version).unwrap();
            let records = request.topic_data[0].partition_data[0].records.as_ref().unwrap();
            let sum: u64 = records.iter().flat_map(|piece| piece.iter()).map(|byte| u64::from(*byte)).sum();
            context.answer(&ProduceResponse { throttle_time_ms: i32::try_from(sum).unwrap(), ..Default::default() })
        };
        let server = start(&env, |_| (), service).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        let pieces: Vec<_> = (0..500_usize).map(|index| Bytes::from(vec![(index % 7) as u8; 600 + index])).collect();
        let sum: u64 = pieces.iter().flatten().map(|byte| u64::from(*byte)).sum();
        let response = connection.send(&produce(pieces)).await.unwrap();
        assert_eq!(u64::try_from(response.throttle_time_ms).unwrap(), sum);
    }

    async fn records_are_shared_with_the_frame_and_in_the_world_with_their_sender(env) {
        let received = Arc::new(Mutex::new(Chunks::new()));
        let service = {
            let received = Arc::clone(&received);
            move |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
                let frame: Vec<_> = request.whole().iter().map(|piece| piece.as_ptr_range()).collect();
                let request: ProduceRequest = request.decode(context.api_version).unwrap();
                let records = request.topic_data[0].partition_data[0].records.clone().unwrap();
                for piece in records.iter() {
                    let part = piece.as_ptr_range();
                    assert!(frame.iter().any(|whole| whole.start <= part.start && part.end <= whole.end), "copied");
                }
                *received.lock().unwrap() = records;
                context.answer(&ProduceResponse::default())
            }
        };
        let server = start(&env, |_| (), service).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        let sent: Vec<Bytes> = (0..20_u8).map(|fill| Bytes::from(vec![fill; 2_000])).collect();
        connection.send(&produce(sent.clone())).await.unwrap();
        let received = received.lock().unwrap();
        assert_eq!(received.to_vec(), sent.concat());
        if matches!(env, Env::Sim(_)) {
            for piece in received.iter() {
                let part = piece.as_ptr_range();
                let known = sent.iter().map(|whole| whole.as_ptr_range());
                assert!(known.clone().any(|whole| whole.start <= part.start && part.end <= whole.end), "copied");
            }
        }
    }

    async fn requests_without_an_answer_leave_in_order_with_the_others(env) {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let calls = Arc::clone(&calls);
            move |context: transport::server::RequestContext, request| {
                calls.lock().unwrap().push(context.api_key);
                if context.api_key == ApiKey::Produce { Answer::NO_RESPONSE } else { echo(context, request) }
            }
        };
        let server = start(&env, |_| (), service).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        connection.send_unanswered(&ProduceRequest { acks: 0, ..Default::default() }).unwrap();
        assert_eq!(topic(&connection.send(&ask("a")).await.unwrap()), "a");
        assert_eq!(*calls.lock().unwrap(), [ApiKey::Produce, ApiKey::Metadata]);
    }

    async fn where_nobody_listens_there_is_no_connection(env) {
        let listener = env.listen(here(&env)).await.unwrap();
        let address = listener.local();
        drop(listener);
        let error = Connection::open(&env, address, &known()).await.unwrap_err();
        assert!(matches!(error, RpcError::Connect { reason: Reason::Io(_), .. }), "{error}");
        assert!(!error.may_have_been_sent() && error.is_disconnect());
    }

    async fn the_last_handle_dropped_still_lets_answers_in(env) {
        let server = start(&env, |_| (), echo).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        let answer = connection.send(&ask("a"));
        drop(connection);
        assert_eq!(topic(&answer.await.unwrap()), "a");
        while server.counters().connections() > 0 {
            env.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn a_channel_connects_anew_after_its_node_came_back(env) {
        let server = start(&env, |_| (), echo).await;
        let address = server.local().clone();
        let channel = Channel::new(&env, address.clone(), ChannelOptions::new(known()));
        assert!(!channel.connected());
        assert_eq!(topic(&channel.send(ask("a")).await.unwrap()), "a");
        assert!(channel.connected());

        server.stop(Duration::ZERO).await;
        let error = loop {
            match channel.send(ask("b")).await {
                Err(error @ RpcError::Connect { .. }) => break error,
                Err(error) => assert!(error.is_disconnect(), "{error}"),
                Ok(_) => panic!("nobody answers"),
            }
        };
        assert!(!error.may_have_been_sent());

        let listener = env.listen(address).await.unwrap();
        let config = transport::server::ServerConfig::new("PLAINTEXT", ApiRanges::stable());
        let _server = transport::server::serve(&env, listener, config, Arc::new(Fake(echo)));
        assert_eq!(topic(&channel.send(ask("c")).await.unwrap()), "c");
    }

    async fn a_channel_keeps_the_order_of_requests_across_its_connecting(env) {
        let topics = Arc::new(Mutex::new(Vec::new()));
        let service = {
            let topics = Arc::clone(&topics);
            move |context: transport::server::RequestContext, request: transport::server::RequestFrame| {
                topics.lock().unwrap().push(asked(&request, context.api_version).to_string());
                echo(context, request)
            }
        };
        let server = start(&env, |_| (), service).await;
        let channel = Channel::new(&env, server.local().clone(), ChannelOptions::new(known()));
        let (post, mut inbox) = runtime::inbox(1);
        for index in 0..200 {
            let post = post.clone();
            channel.submit(ask(&index.to_string()), move |outcome| post.post(topic(&outcome.unwrap())));
            if index % 50 == 49 {
                env.sleep(Duration::from_millis(2)).await;
            }
        }
        let expected: Vec<String> = (0..200).map(|index| index.to_string()).collect();
        for topic in &expected {
            assert_eq!(inbox.recv().await.as_ref(), Some(topic));
        }
        assert_eq!(*topics.lock().unwrap(), expected);
    }

    async fn a_channel_can_be_led_elsewhere(env) {
        let hits = Arc::new(AtomicUsize::new(0));
        let counted = |hits: &Arc<AtomicUsize>| {
            let hits = Arc::clone(hits);
            move |context, request| {
                hits.fetch_add(1, Ordering::SeqCst);
                echo(context, request)
            }
        };
        let (one, two) = (start(&env, |_| (), echo).await, start(&env, |_| (), counted(&hits)).await);
        let channel = Channel::new(&env, one.local().clone(), ChannelOptions::new(known()));
        channel.send(ask("a")).await.unwrap();
        channel.set_address(two.local().clone());
        channel.send(ask("b")).await.unwrap();
        assert_eq!(hits.load(Ordering::SeqCst), 1);
        assert_eq!(channel.address(), *two.local());
    }

    async fn a_channel_without_handles_ends(env) {
        let server = start(&env, |_| (), echo).await;
        let channel = Channel::new(&env, server.local().clone(), ChannelOptions::new(known()));
        channel.send(ask("a")).await.unwrap();
        drop(channel);
        while server.counters().connections() > 0 {
            env.sleep(Duration::from_millis(1)).await;
        }
    }

    async fn an_encoded_request_is_answered_with_bytes(env) {
        let server = start(&env, |_| (), echo).await;
        let connection = Connection::open(&env, server.local().clone(), &known()).await.unwrap();
        let request = transport::client::EncodedRequest::new(&ask("a"), 12).unwrap();
        let body = connection.send_encoded(request).await.unwrap();
        assert_eq!(topic(&MetadataResponse::decode(&mut Decoder::new(body), 12).unwrap()), "a");
    }
}

fn produce(pieces: Vec<Bytes>) -> ProduceRequest {
    let records = Some(pieces.into_iter().collect::<Chunks>());
    let partition_data = vec![PartitionProduceData { index: 0, records, ..Default::default() }];
    ProduceRequest {
        acks: -1,
        topic_data: vec![TopicProduceData { partition_data, ..Default::default() }],
        ..Default::default()
    }
}
