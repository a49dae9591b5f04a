//! What becomes of records, against brokers that follow a script.
#![cfg(madsim)]

mod fake;

use std::time::Duration;

use client::{Acks, ClientConfig, Outcome, Partitioner, Producer, ProducerRecord, SendError};
use fake::{Act, against, config};
use protocol::batch::Codec;
use protocol::{ApiKey, ErrorCode, Offset};
use runtime::{Address, Env};

fn record(value: impl ToString) -> ProducerRecord {
    ProducerRecord::new("t", value.to_string().into_bytes()).to(0)
}

/// The outcome of one record.
async fn outcome(env: &Env, config: ClientConfig) -> Outcome {
    Producer::new(env, config).send(record("x")).await.outcome
}

fn failed(code: ErrorCode) -> Outcome {
    Outcome::Failed { error: SendError::Code(code) }
}

fn unknown(code: ErrorCode) -> Outcome {
    Outcome::Unknown { error: SendError::Code(code) }
}

#[test]
fn acknowledged_records_have_the_offsets_at_which_they_lie() {
    for codec in [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        against(1, move |env, fake| async move {
            let producer = Producer::new(&env, ClientConfig { compression: codec, batch_size: 200, ..config(1) });
            let sends: Vec<_> = (0..50).map(|index| producer.send(record(index))).collect();
            for (index, send) in sends.into_iter().enumerate() {
                assert_eq!(send.await.offset(), Some(Offset(index as i64)));
            }
            let wanted: Vec<String> = (0..50).map(|index| index.to_string()).collect();
            assert_eq!(fake.log("t", 0, |log| log.values()), wanted);
            let counters = producer.counters();
            assert_eq!((counters.records, counters.ok, counters.retries), (50, 50, 0));
            assert!(counters.batches > 5, "{counters:?}");
            assert_eq!(producer.pending(), 0);
        });
    }
}

#[test]
fn records_that_linger_together_share_a_request() {
    against(1, |env, _| async move {
        let producer = Producer::new(&env, config(1));
        let sends: Vec<_> = (0..100).map(|index| producer.send(record(index))).collect();
        for send in sends {
            assert!(send.await.offset().is_some());
        }
        assert_eq!(producer.counters().requests, 1);
    });
}

#[test]
fn a_code_that_proves_absence_is_a_definite_failure() {
    for code in [ErrorCode::MessageTooLarge, ErrorCode::InvalidRecord, ErrorCode::InvalidTimestamp] {
        against(1, move |env, fake| async move {
            fake.script([Act::Refuse(code)]);
            assert_eq!(outcome(&env, config(1)).await, failed(code));
            assert!(fake.log("t", 0, |log| log.batches.is_empty()));
        });
    }
}

#[test]
fn a_definite_code_after_an_attempt_without_an_answer_is_unknown() {
    for lost in [Act::AppendAndClose, Act::Close, Act::Silence] {
        against(1, move |env, fake| async move {
            fake.script([lost, Act::Refuse(ErrorCode::InvalidRecord)]);
            assert_eq!(outcome(&env, config(1)).await, unknown(ErrorCode::InvalidRecord), "{lost:?}");
        });
    }
}

#[test]
fn codes_that_may_follow_an_append_prove_nothing() {
    // NOT_LEADER_OR_FOLLOWER may follow an append only where the leader waited for others.
    for (first, acks, certain) in [
        (ErrorCode::NotEnoughReplicasAfterAppend, Acks::All, false),
        (ErrorCode::RequestTimedOut, Acks::All, false),
        (ErrorCode::NotLeaderOrFollower, Acks::All, false),
        (ErrorCode::NotLeaderOrFollower, Acks::Leader, true),
        (ErrorCode::NotEnoughReplicas, Acks::All, true),
        (ErrorCode::KafkaStorageError, Acks::Leader, false),
    ] {
        against(1, move |env, fake| async move {
            fake.script([Act::AppendAndRefuse(first), Act::Refuse(ErrorCode::InvalidRecord)]);
            let outcome = outcome(&env, ClientConfig { acks, ..config(1) }).await;
            let last = ErrorCode::InvalidRecord;
            assert_eq!(outcome, if certain { failed(last) } else { unknown(last) }, "{first:?} with {acks:?}");
        });
    }
}

#[test]
fn retries_end_with_an_acknowledgement_and_keep_the_order() {
    against(1, |env, fake| async move {
        fake.script([
            Act::Refuse(ErrorCode::NotEnoughReplicas),
            Act::Accept,
            Act::Close,
            Act::Silence,
            Act::Refuse(ErrorCode::LeaderNotAvailable),
        ]);
        let producer = Producer::new(&env, ClientConfig { batch_size: 0, ..config(1) });
        let sends: Vec<_> = (0..5).map(|index| producer.send(record(index))).collect();
        for (index, send) in sends.into_iter().enumerate() {
            assert_eq!(send.await.offset(), Some(Offset(index as i64)));
        }
        assert_eq!(fake.log("t", 0, |log| log.values()), ["0", "1", "2", "3", "4"]);
        assert_eq!(producer.counters().retries, 4);
    });
}

#[test]
fn a_new_leader_named_in_the_answer_is_asked_at_once() {
    against(2, |env, fake| async move {
        let producer = Producer::new(&env, ClientConfig { linger: Duration::ZERO, ..config(2) });
        assert!(producer.send(record("a")).await.offset().is_some());
        fake.log("t", 0, |log| (log.leader, log.epoch) = (2, 1));
        fake.with(|state| state.hints = true);
        let refreshes = producer.counters().refreshes;
        let delivered = producer.send(record("b")).await;
        assert_eq!((delivered.offset(), delivered.attempts), (Some(Offset(1)), 2));
        assert_eq!(producer.counters().refreshes, refreshes, "no metadata were asked for");
    });
}

#[test]
fn a_new_leader_is_found_by_metadata_where_no_answer_names_it() {
    against(2, |env, fake| async move {
        let producer = Producer::new(&env, config(2));
        assert!(producer.send(record("a")).await.offset().is_some());
        fake.log("t", 0, |log| (log.leader, log.epoch) = (2, 1));
        assert_eq!(producer.send(record("b")).await.offset(), Some(Offset(1)));
        assert!(fake.asked(2, ApiKey::Produce) > 0);
    });
}

#[test]
fn what_could_never_be_sent_fails_for_sure_when_its_time_is_up() {
    against(1, |env, _| async move {
        let nobody = ClientConfig::fast("test", vec![Address::new("b1", 1)]);
        let before = env.now().mono;
        let error = SendError::TimedOut;
        assert_eq!(outcome(&env, nobody.clone()).await, Outcome::Failed { error });
        assert!(env.now().mono.since(before) >= nobody.delivery_timeout);
    });
}

#[test]
fn what_was_sent_without_an_answer_is_unknown_when_its_time_is_up() {
    against(1, |env, fake| async move {
        fake.script(std::iter::repeat_n(Act::Silence, 100));
        let outcome = outcome(&env, ClientConfig { delivery_timeout: Duration::from_secs(4), ..config(1) }).await;
        assert!(matches!(outcome, Outcome::Unknown { error: SendError::Connection(_) }), "{outcome:?}");
        assert!(fake.asked(1, ApiKey::Produce) >= 2, "a connection whose request timed out is made anew");
    });
}

#[test]
fn a_full_buffer_and_a_large_record_are_refused_at_once() {
    against(1, |env, _| async move {
        let producer = Producer::new(&env, ClientConfig { buffer_memory: 150, ..config(1) });
        let kept = producer.send(record("x"));
        let refused = [
            (producer.send(record("y".repeat(100))), SendError::BufferFull),
            (producer.send(record("z".repeat(2_000_000))), SendError::TooLarge),
        ];
        for (send, error) in refused {
            assert_eq!(send.await.outcome, Outcome::Failed { error });
        }
        assert!(kept.await.offset().is_some());
        let wrong = ProducerRecord::new("t", "x").to(7);
        assert_eq!(producer.send(wrong).await.outcome, Outcome::Failed { error: SendError::NoSuchPartition });
    });
}

#[test]
fn without_acks_nothing_is_known_but_that_it_was_sent() {
    against(1, |env, fake| async move {
        let config = ClientConfig { acks: Acks::None, ..config(1) };
        let outcome = outcome(&env, config).await;
        assert!(matches!(outcome, Outcome::Ok { offset: Offset::NONE, .. }), "{outcome:?}");
        env.sleep(Duration::from_millis(10)).await;
        assert_eq!(fake.log("t", 0, |log| log.end()), 1);
    });
}

#[test]
fn keyless_records_go_round_or_stick_and_keyed_ones_follow_their_key() {
    against(3, |env, fake| async move {
        let spread = async |partitioner, keyed: bool| {
            let producer = Producer::new(&env, ClientConfig { partitioner, ..config(3) });
            for index in 0..30u8 {
                let record = ProducerRecord::new("t", vec![index]);
                let _delivery = producer.send(if keyed { record.keyed(vec![1]) } else { record });
            }
            producer.flush().await;
            fake.with(|state| {
                let logs = &mut state.topics.get_mut("t").expect("the topic").1;
                let counts: Vec<usize> = logs.iter().map(|log| log.values().len()).collect();
                logs.iter_mut().for_each(|log| log.batches.clear());
                counts
            })
        };
        assert_eq!(spread(Partitioner::RoundRobin, false).await, [10, 10, 10]);
        let mut sticky = spread(Partitioner::Sticky, false).await;
        sticky.sort_unstable();
        assert_eq!(sticky, [0, 0, 30]);
        let wanted = client::partition_of_key(&[1], 3) as usize;
        assert_eq!(spread(Partitioner::RoundRobin, true).await[wanted], 30);
    });
}

#[test]
fn a_sink_hears_of_every_record_under_its_tag() {
    against(1, |env, fake| async move {
        fake.script([Act::Refuse(ErrorCode::MessageTooLarge)]);
        let (post, mut inbox) = runtime::inbox(usize::MAX);
        let producer = Producer::with_sink(&env, ClientConfig { batch_size: 0, ..config(1) }, move |it| post.post(it));
        for tag in 0..3 {
            producer.submit(record(tag), tag).expect("room");
        }
        producer.flush().await;
        let mut heard = Vec::new();
        while let Some(delivered) = inbox.try_recv() {
            heard.push((delivered.tag, delivered.offset(), delivered.first_sent.is_some()));
        }
        assert_eq!(heard, [(0, None, true), (1, Some(Offset(0)), true), (2, Some(Offset(1)), true)]);
    });
}

#[test]
fn a_dropped_producer_gives_every_record_an_outcome() {
    against(1, |env, fake| async move {
        fake.script([Act::Silence]);
        let producer = Producer::new(&env, ClientConfig { batch_size: 0, linger: Duration::ZERO, ..config(1) });
        let sent = producer.send(record("sent"));
        env.sleep(Duration::from_millis(50)).await;
        let kept = producer.send(record("kept"));
        drop(producer);
        assert_eq!(sent.await.outcome, Outcome::Unknown { error: SendError::Closed });
        assert_eq!(kept.await.outcome, Outcome::Failed { error: SendError::Closed });
    });
}

#[test]
fn a_topic_made_later_gets_what_waited_for_it() {
    against(1, |env, fake| async move {
        let producer = Producer::new(&env, config(1));
        let send = producer.send(ProducerRecord::new("later", "x"));
        env.sleep(Duration::from_secs(2)).await;
        fake.with(|state| {
            let log = fake::Log { leader: 1, ..fake::Log::default() };
            state.topics.insert("later".into(), (protocol::Uuid::from_halves(8, 8), vec![log]));
        });
        assert_eq!(send.await.offset(), Some(Offset(0)));
    });
}
