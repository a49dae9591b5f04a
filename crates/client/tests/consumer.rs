//! What a consumer tells, and what an admin is told, against brokers that follow a script.
#![cfg(madsim)]

mod fake;

use std::collections::BTreeMap;
use std::time::Duration;

use client::{Admin, AdminError, AutoOffsetReset, ClientConfig, Consumer, ConsumerEvent, NewTopic, OffsetSpec, Start};
use fake::{Act, Fake, against, config};
use protocol::batch::{BatchBuilder, Codec, ControlRecord};
use protocol::messages::EndTxnMarker;
use protocol::{Bytes, ErrorCode, LeaderEpoch, Offset, Timestamp, TopicPartition};

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

/// Appends a batch of records with these values.
fn append(fake: &Fake, index: usize, values: &[&'static str]) {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.append(Timestamp(1), None, Some(Bytes::from_static(value.as_bytes())), &[]);
    }
    let batch = builder.build().expect("a batch");
    fake.log("t", index, |log| log.append(&batch));
}

/// Offset and value of the records of the next event, which must be that.
fn records(event: ConsumerEvent) -> Vec<(i64, String)> {
    match event {
        ConsumerEvent::Records { records, .. } => records
            .into_iter()
            .map(|record| (record.offset.0, String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned()))
            .collect(),
        other => panic!("{other:?} instead of records"),
    }
}

fn pairs(list: &[(i64, &str)]) -> Vec<(i64, String)> {
    list.iter().map(|(offset, value)| (*offset, (*value).to_owned())).collect()
}

#[test]
fn records_come_in_order_from_the_start_and_as_they_are_written() {
    against(1, |env, fake| async move {
        append(&fake, 0, &["a", "b"]);
        append(&fake, 0, &["c"]);
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::Earliest)]);
        let first = ConsumerEvent::Positioned { partition: partition(0), offset: Offset(0) };
        assert_eq!(consumer.next().await, first);
        assert_eq!(records(consumer.next().await), pairs(&[(0, "a"), (1, "b")]));
        assert_eq!(records(consumer.next().await), pairs(&[(2, "c")]));
        assert!(env.timeout(Duration::from_secs(5), consumer.next()).await.is_err(), "nothing more is there");
        append(&fake, 0, &["d"]);
        assert_eq!(records(consumer.next().await), pairs(&[(3, "d")]));
        assert_eq!(
            (consumer.position(&partition(0)), consumer.high_watermark(&partition(0))),
            (Some(Offset(4)), Some(Offset(4)))
        );
    });
}

#[test]
fn it_begins_where_it_is_told_within_a_batch_or_at_the_end() {
    against(1, |env, fake| async move {
        append(&fake, 0, &["a", "b", "c"]);
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::At(Offset(1)))]);
        assert_eq!(records(consumer.next().await), pairs(&[(1, "b"), (2, "c")]));
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::Latest)]);
        let end = ConsumerEvent::Positioned { partition: partition(0), offset: Offset(3) };
        assert_eq!(consumer.next().await, end);
        append(&fake, 0, &["d"]);
        assert_eq!(records(consumer.next().await), pairs(&[(3, "d")]));
        consumer.seek(&partition(0), Start::At(Offset(2)));
        assert_eq!(records(consumer.next().await), pairs(&[(2, "c")]));
    });
}

#[test]
fn partitions_of_all_leaders_are_read_and_a_new_leader_is_followed() {
    against(3, |env, fake| async move {
        let mut consumer = Consumer::new(&env, config(3), (0..3).map(|index| (partition(index), Start::At(Offset(0)))));
        for (index, value) in ["a", "b", "c"].into_iter().enumerate() {
            append(&fake, index, &[value]);
        }
        let mut seen = BTreeMap::new();
        for _ in 0..3 {
            let event = consumer.next().await;
            seen.insert(event.partition().partition, records(event));
        }
        assert_eq!(seen, BTreeMap::from([(0, pairs(&[(0, "a")])), (1, pairs(&[(0, "b")])), (2, pairs(&[(0, "c")]))]));
        fake.log("t", 0, |log| (log.leader, log.epoch) = (3, 1));
        append(&fake, 0, &["d"]);
        assert_eq!(records(consumer.next().await), pairs(&[(1, "d")]));
    });
}

#[test]
fn control_records_are_passed_over() {
    against(1, |env, fake| async move {
        append(&fake, 0, &["a"]);
        let marker = ControlRecord::Commit(EndTxnMarker::default()).marker_batch(1, 0, Timestamp(1)).expect("a marker");
        fake.log("t", 0, |log| log.append(&marker));
        append(&fake, 0, &["b"]);
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::At(Offset(0)))]);
        assert_eq!(records(consumer.next().await), pairs(&[(0, "a")]));
        assert_eq!(records(consumer.next().await), pairs(&[(2, "b")]));
    });
}

#[test]
fn a_diverging_log_is_told_and_read_on_where_the_logs_agree() {
    against(1, |env, fake| async move {
        append(&fake, 0, &["a", "b"]);
        append(&fake, 0, &["c"]);
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::At(Offset(0)))]);
        assert_eq!(records(consumer.next().await), pairs(&[(0, "a"), (1, "b")]));
        assert_eq!(records(consumer.next().await), pairs(&[(2, "c")]));
        fake.with(|state| state.diverging = Some((3, 0, 2)));
        fake.log("t", 0, |log| {
            log.batches.truncate(1);
            log.epoch = 1;
        });
        append(&fake, 0, &["C", "D"]);
        let event = consumer.next().await;
        let (from, to, epoch) = (Offset(3), Offset(2), LeaderEpoch(0));
        assert_eq!(event, ConsumerEvent::Truncated { partition: partition(0), from, to, epoch });
        assert_eq!(records(consumer.next().await), pairs(&[(2, "C"), (3, "D")]));
    });
}

#[test]
fn an_offset_that_is_not_there_is_told_and_reset_as_configured() {
    for (reset, wanted) in
        [(AutoOffsetReset::Earliest, Some(5)), (AutoOffsetReset::Latest, Some(6)), (AutoOffsetReset::None, None)]
    {
        against(1, move |env, fake| async move {
            fake.log("t", 0, |log| log.start = 5);
            append(&fake, 0, &["a"]);
            let config = ClientConfig { auto_offset_reset: reset, ..config(1) };
            let mut consumer = Consumer::new(&env, config, [(partition(0), Start::At(Offset(2)))]);
            let position = Offset(2);
            assert_eq!(consumer.next().await, ConsumerEvent::OutOfRange { partition: partition(0), position });
            let next = env.timeout(Duration::from_secs(5), consumer.next()).await.ok();
            let positioned = |offset| ConsumerEvent::Positioned { partition: partition(0), offset: Offset(offset) };
            assert_eq!(next, wanted.map(positioned), "{reset:?}");
        });
    }
}

#[test]
fn a_batch_with_a_wrong_checksum_is_told_and_asked_for_again() {
    against(1, |env, fake| async move {
        append(&fake, 0, &["a"]);
        fake.with(|state| state.corrupt.insert(0, 1));
        let mut consumer = Consumer::new(&env, config(1), [(partition(0), Start::At(Offset(0)))]);
        let event = consumer.next().await;
        assert!(matches!(&event, ConsumerEvent::Corrupt { position: Offset(0), .. }), "{event:?}");
        assert_eq!(records(consumer.next().await), pairs(&[(0, "a")]));
    });
}

#[test]
fn topics_are_made_once_the_controller_is_there_and_refusals_are_told() {
    against(1, |env, fake| async move {
        let admin = Admin::new(&env, config(1));
        fake.script([
            Act::Refuse(ErrorCode::NotController),
            Act::Refuse(ErrorCode::RequestTimedOut),
            Act::AppendAndClose,
        ]);
        let made = admin.create_topics(&[NewTopic::new("n", 2, 1)]).await;
        assert!(made["n"].is_ok(), "{made:?}: the attempt without an answer made it");
        let metadata = admin.wait_for_leaders(&["n".into()]).await.expect("led");
        assert_eq!(metadata.topics["n"].partitions.len(), 2);
        let again = admin.create_topics(&[NewTopic::new("n", 2, 1)]).await;
        let refused = |result: &Result<_, AdminError>| match result {
            Err(AdminError::Code { code, .. }) => Some(*code),
            _ => None,
        };
        assert_eq!(refused(&again["n"]), Some(ErrorCode::TopicAlreadyExists));
        assert_eq!(admin.describe_cluster().await.expect("an answer").brokers.len(), 1);
    });
}

#[test]
fn offsets_are_asked_of_the_leaders() {
    against(2, |env, fake| async move {
        append(&fake, 1, &["a", "b"]);
        let admin = Admin::new(&env, config(2));
        let asked = [(partition(0), OffsetSpec::Latest), (partition(1), OffsetSpec::Latest)];
        let offsets = admin.list_offsets(&asked).await.expect("an answer");
        let offsets: Vec<i64> = offsets.values().map(|answer| answer.offset.0).collect();
        assert_eq!(offsets, [0, 2]);
    });
}

#[test]
fn one_seed_has_one_trace() {
    let trace = || {
        world::World::run(7, |world| async move {
            let fake = Fake::start(&world, 3, "t");
            fake.script([Act::Silence, Act::Refuse(ErrorCode::NotEnoughReplicas)]);
            let host = world.add_host("c");
            let env = world.start(host);
            let task = env.spawn("test", {
                let env = env.clone();
                async move {
                    let producer = client::Producer::new(&env, config(3));
                    let mut consumer =
                        Consumer::new(&env, config(3), (0..3).map(|index| (partition(index), Start::At(Offset(0)))));
                    for index in 0..100 {
                        let _delivery = producer.send(client::ProducerRecord::new("t", vec![index]));
                        env.sleep(Duration::from_millis(1)).await;
                    }
                    let mut seen = 0;
                    while seen < 100 {
                        let event = env.timeout(Duration::from_secs(30), consumer.next()).await;
                        seen += records(event.expect("the next record within its time")).len();
                    }
                }
            });
            task.join().await.expect("it ends");
            world.trace_hash()
        })
    };
    assert_eq!(trace(), trace());
}
