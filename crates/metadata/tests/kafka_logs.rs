//! Metadata logs that Kafka wrote: every record is read and carried out, and where Kafka took a snapshot the image is the
//! one that the snapshot builds.
//!
//! `WAVETANK_GOLDEN` names another directory of the form of `tests/golden/` at the root of the repository.

use std::collections::BTreeMap;
use std::path::PathBuf;

use metadata::{BrokerRegistration, Controller, Image};
use protocol::batch::Batches;
use protocol::{Bytes, Chunks, LeaderEpoch, MetadataRecord, Offset};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

#[expect(clippy::disallowed_methods, reason = "tests find their inputs by the environment")]
fn directory(case: &str) -> PathBuf {
    let golden = match std::env::var("WAVETANK_GOLDEN") {
        Ok(path) => PathBuf::from(path),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    };
    golden.join("disk").join(case).join("__cluster_metadata-0")
}

/// The records of a file with their offsets and epochs; control records are left out, but counted.
#[expect(clippy::disallowed_methods, reason = "tests read files")]
fn records(path: &PathBuf) -> Vec<(Offset, LeaderEpoch, Option<MetadataRecord>)> {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut found = Vec::new();
    for batch in Batches::new(Chunks::from(Bytes::from(bytes))) {
        let batch = batch.expect("Kafka's batches are whole");
        for record in batch.records().expect("not compressed") {
            let record = record.expect("Kafka's records are whole");
            let decoded = (!batch.header.attributes.is_control()).then(|| {
                let value = record.value.expect("a metadata record has a value");
                let (decoded, version) = MetadataRecord::decode_framed(value.clone()).expect("a known record");
                assert_eq!(decoded.encode_framed(version).expect("writable"), value, "{decoded:?}");
                decoded
            });
            found.push((record.offset, batch.header.leader_epoch, decoded));
        }
    }
    found
}

fn log(case: &str, segments: &[&str]) -> Vec<(Offset, LeaderEpoch, Option<MetadataRecord>)> {
    segments.iter().flat_map(|segment| records(&directory(case).join(segment))).collect()
}

fn replay(log: &[(Offset, LeaderEpoch, Option<MetadataRecord>)]) -> Image {
    log.iter().fold(Image::new(), |image, (offset, epoch, record)| match record {
        Some(record) => image.apply(*offset, *epoch, std::slice::from_ref(record)).0,
        None => image.advance(*offset, *epoch),
    })
}

/// Everything but where registrations stand in the log.
fn assert_same(log: &Image, snapshot: &Image) {
    let brokers = |image: &Image| -> Vec<BrokerRegistration> {
        image.brokers().map(|it| BrokerRegistration { registered_at: Offset::NONE, ..(**it).clone() }).collect()
    };
    assert_eq!(brokers(log), brokers(snapshot));
    assert_eq!(log.controllers().collect::<Vec<_>>(), snapshot.controllers().collect::<Vec<_>>());
    let topics =
        |image: &Image| image.topics().map(|topic| (topic.name.clone(), topic.clone())).collect::<BTreeMap<_, _>>();
    assert_eq!(topics(log), topics(snapshot));
    assert_eq!(log.all_configs(), snapshot.all_configs());
    assert_eq!(log.features(), snapshot.features());
}

#[test]
fn at_the_offset_of_each_snapshot_the_log_builds_the_image_that_the_snapshot_builds() {
    let segments = ["00000000000000000000.log", "00000000000000000110.log", "00000000000000000229.log"];
    for (case, segments, snapshots) in [
        (
            "metadata-static/data",
            &segments[..],
            &[(88, "00000000000000000088-0000000001.checkpoint"), (219, "00000000000000000219-0000000002.checkpoint")]
                [..],
        ),
        ("quorum-dynamic/data1", &segments[..1], &[(148, "00000000000000000148-0000000003.checkpoint")][..]),
    ] {
        let log = log(case, segments);
        for (end, file) in snapshots {
            let below: Vec<_> = log.iter().filter(|(offset, ..)| offset.0 < *end).cloned().collect();
            let image = replay(&below);
            assert_eq!(image.offset(), Offset(end - 1));
            assert_same(&image, &replay(&records(&directory(case).join(file))));
        }
    }
}

#[test]
fn whole_logs_are_carried_out_by_image_and_controller_alike() {
    let first = "00000000000000000000.log";
    let metadata_static = ["00000000000000000000.log", "00000000000000000110.log", "00000000000000000229.log"];
    for (case, segments, topics) in [
        ("plain/data", &[first][..], "default-conf"),
        ("history/data1", &[first][..], "hist"),
        ("metadata-static/data", &metadata_static[..], "m0"),
    ] {
        let log = log(case, segments);
        let image = replay(&log);
        let mut controller = Controller::new(metadata::controller::Config::default(), ChaCha8Rng::seed_from_u64(1));
        for (offset, _, record) in &log {
            if let Some(record) = record {
                controller.replay(*offset, record);
            }
        }
        let view = controller.view();
        assert_eq!(view.brokers, image.brokers().len(), "{case}");
        assert_eq!(view.topics, image.topics().count(), "{case}");
        assert!(
            image.topic_named(topics).is_some(),
            "{case}: {:?}",
            image.topics().map(|it| &it.name).collect::<Vec<_>>()
        );
        assert_eq!(image.features().get("metadata.version"), Some(&30), "{case}");
    }
}

#[test]
fn records_applied_seven_at_once_give_the_image_of_one_at_a_time() {
    let log = log("plain/data", &["00000000000000000000.log"]);
    let mut at_once = Image::new();
    let mut index = 0;
    while index < log.len() {
        let (base, epoch, _) = &log[index];
        let batch: Vec<_> = log[index..].iter().map_while(|(_, _, record)| record.clone()).take(7).collect();
        at_once =
            if batch.is_empty() { at_once.advance(*base, *epoch) } else { at_once.apply(*base, *epoch, &batch).0 };
        index += batch.len().max(1);
    }
    assert_eq!(at_once.offset(), log.last().expect("not empty").0);
    assert_same(&at_once, &replay(&log));
}
