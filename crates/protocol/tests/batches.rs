//! Record batches: Kafka's own and damaged ones, judged as Kafka judges them, except that a record count is bounded by
//! the bytes there are.

mod golden;

use golden::{ToJson, hex, in_pieces, unhex};
use protocol::batch::{
    Attributes, Batch, BatchBuilder, BatchError, Batches, Codec, ControlRecord, Record, RecordHeader, Rules,
    TimestampType, compress, decompress, single, validate,
};
use protocol::{Bytes, Chunks, ErrorCode, LeaderEpoch, Offset, Timestamp};
use serde_json::Value;

fn int(value: &Value, name: &str) -> i64 {
    value[name].as_i64().unwrap_or_else(|| panic!("{name} in {value}"))
}

fn optional_hex(bytes: Option<&Bytes>) -> Value {
    bytes.map_or(Value::Null, |bytes| hex(bytes).into())
}

fn record_json(record: &Record) -> Value {
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|header| {
            let key = String::from_utf8(header.key.to_vec()).expect("UTF-8");
            serde_json::json!({ "key": key, "value": optional_hex(header.value.as_ref()) })
        })
        .collect();
    serde_json::json!({
        "recordAttributes": record.attributes,
        "timestampDelta": record.timestamp_delta,
        "offsetDelta": record.offset_delta,
        "offset": record.offset.0,
        "sequence": record.sequence,
        "timestamp": record.timestamp.0,
        "key": optional_hex(record.key.as_ref()),
        "value": optional_hex(record.value.as_ref()),
        "headers": headers,
    })
}

/// A builder with the header and the records of `batch`.
fn rebuilt(batch: &Batch, records: &[Record], codec: Codec) -> Batch {
    let header = &batch.header;
    let mut builder = BatchBuilder::new(codec)
        .at(header.base_offset, header.leader_epoch)
        .producer(header.producer_id, header.producer_epoch, header.base_sequence)
        .last_offset_delta(header.last_offset_delta);
    builder = match header.delete_horizon() {
        Some(horizon) => builder.delete_horizon(horizon),
        None => builder.base_timestamp(header.base_timestamp),
    };
    if header.is_control() {
        builder = builder.control();
    }
    if header.is_transactional() {
        builder = builder.transactional();
    }
    if header.timestamp_type() == TimestampType::LogAppendTime {
        builder = builder.log_append_time(header.max_timestamp);
    }
    for record in records {
        let timestamp = Timestamp(header.base_timestamp.0.wrapping_add(record.timestamp_delta));
        builder.append_at(record.offset_delta, timestamp, record.key.clone(), record.value.clone(), &record.headers);
    }
    builder.build().expect("a batch")
}

#[test]
fn kafkas_batches_are_read_and_written_alike() {
    let (mut done, mut exact, mut decompressed) = (0, 0, 0);
    for vector in golden::objects("tables/record_batches.jsonl") {
        let name = vector["name"].as_str().expect("a name");
        let bytes = unhex(vector["hex"].as_str().expect("hex"));
        for size in [1, 7, bytes.len()] {
            let batch = Batch::parse(in_pieces(&bytes, size)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let header = &batch.header;
            batch.verify_crc().unwrap_or_else(|error| panic!("{name}: {error}"));
            for (field, value) in [
                ("baseOffset", header.base_offset.0),
                ("batchLength", header.length.into()),
                ("partitionLeaderEpoch", header.leader_epoch.0.into()),
                ("magic", header.magic.into()),
                ("crc", header.crc.into()),
                ("attributes", header.attributes.0.into()),
                ("lastOffsetDelta", header.last_offset_delta.into()),
                ("lastOffset", header.last_offset().0),
                ("nextOffset", header.next_offset().0),
                ("baseTimestampField", header.base_timestamp.0),
                ("maxTimestamp", header.max_timestamp.0),
                ("producerId", header.producer_id),
                ("producerEpoch", header.producer_epoch.into()),
                ("baseSequence", header.base_sequence.into()),
                ("lastSequence", header.last_sequence().into()),
                ("count", header.count.into()),
            ] {
                assert_eq!(value, int(&vector, field), "{name}: {field}");
            }
            assert_eq!(header.to_bytes()[..], bytes[..61], "{name}: the header");
            assert_eq!(header.codec().expect("a codec").name(), vector["compression"], "{name}");
            assert_eq!(header.is_transactional(), vector["isTransactional"], "{name}");
            assert_eq!(header.is_control(), vector["isControl"], "{name}");
            assert_eq!(header.delete_horizon().is_some(), vector["hasDeleteHorizon"], "{name}");
            if let Some(horizon) = vector["deleteHorizonMs"].as_i64() {
                assert_eq!(header.delete_horizon(), Some(Timestamp(horizon)), "{name}");
            }

            let records: Vec<Record> =
                batch.records().expect("records").map(|record| record.expect("a record")).collect();
            let json: Vec<Value> = records.iter().map(record_json).collect();
            let mut wanted = vector["records"].as_array().expect("records").clone();
            for record in wanted.iter_mut().filter_map(Value::as_object_mut) {
                // What control records say is the test's below.
                record.retain(|key, _| !key.starts_with("control") && key != "coordinatorEpoch");
            }
            assert_eq!(json, wanted, "{name}");
            let mut walked = Vec::new();
            batch.walk(|facts| walked.push(facts)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(walked.len(), records.len(), "{name}: a walk sees every record");
            for (facts, record) in walked.iter().zip(&records) {
                assert_eq!((facts.offset_delta, facts.timestamp), (record.offset_delta, record.timestamp), "{name}");
                assert_eq!(facts.key, record.key.as_ref().map(Bytes::len), "{name}");
                assert_eq!(facts.value, record.value.as_ref().map(Bytes::len), "{name}");
                assert_eq!(facts.headers as usize, record.headers.len(), "{name}");
            }

            let codec = header.codec().expect("a codec");
            if vector["reencodesExactly"] == true {
                // What only the header says (a lying maximum) is not the records' to give.
                let again = rebuilt(&batch, &records, codec).restamp(header.timestamp_type(), header.max_timestamp);
                assert_eq!(hex(&again.bytes.to_vec()), hex(&bytes), "{name}");
                exact += usize::from(size == 1);
            } else {
                let body = decompress(codec, &batch.body(), 1 << 20).expect("decompresses");
                assert_eq!(hex(&body), vector["uncompressedRecordsHex"], "{name}");
                // Our own compression of the same records reads back to them.
                let again = rebuilt(&batch, &records, codec);
                assert_eq!(decompress(codec, &again.body(), 1 << 20).expect("ours decompresses"), body, "{name}");
                decompressed += usize::from(size == 1);
            }
        }
        done += 1;
    }
    golden::report(&format!("{done} batches agree: {exact} written byte for byte, {decompressed} decompressed"));
    assert!(exact > 0 && decompressed > 0);
}

#[test]
fn damaged_batches_are_judged_as_kafka_judges_them() {
    let (mut done, mut bounded) = (0, 0);
    for vector in golden::objects("tables/record_batches_bad.jsonl") {
        let place = format!("#{} {} {} {}", vector["id"], vector["fromName"], vector["damage"], vector["field"]);
        let bytes = unhex(vector["hex"].as_str().expect("hex"));
        for size in [3, bytes.len()] {
            let mut batches = Batches::new(in_pieces(&bytes, size));
            let found: Vec<Result<Batch, BatchError>> = batches.by_ref().collect();
            let whole = found.iter().filter(|batch| batch.is_ok()).count();
            let error = found.iter().find_map(|batch| batch.as_ref().err());
            // Old magics are batches to Kafka, which it then refuses to read.
            let old_magic = vector["class"].as_str().is_some_and(|class| class != "DefaultRecordBatch");
            match &vector["batches"] {
                Value::Number(count) if !old_magic => {
                    assert_eq!((whole as u64, error), (count.as_u64().expect("a count"), None), "{place}");
                }
                _ => assert!(error.is_some(), "{place}: {found:?} is not refused"),
            }
            if let (Some(Ok(batch)), Some(valid)) = (found.first(), vector["ensureValid"].as_str()) {
                assert_eq!(batch.verify_crc().is_ok(), valid == "ok", "{place}: checksum");
                let records: Result<Vec<Record>, BatchError> = batch.records().and_then(Iterator::collect);
                let mut walked = 0;
                let walk = batch.walk(|_| walked += 1);
                if let Some("ok") = vector["iterate"].as_str() {
                    let iterated = int(&vector, "iterated") as usize;
                    assert_eq!(records.map(|records| records.len()), Ok(iterated), "{place}: records");
                    assert_eq!((walk, walked), (Ok(()), iterated), "{place}: walk");
                } else {
                    bounded += usize::from(size == 3 && vector["iterate"] == "OutOfMemoryError");
                    assert!(records.is_err(), "{place}: records are not refused");
                    assert!(walk.is_err(), "{place}: the walk finds nothing");
                }
            }
        }
        done += 1;
    }
    golden::report(&format!("{done} damaged batches judged alike ({bounded} of them cost Kafka its memory)"));
    assert!(done > 0);
}

#[test]
fn every_cut_of_a_batch_is_a_short_tail_and_no_damage() {
    let batch = sample(Codec::None, 3);
    let bytes = batch.bytes.to_vec();
    for cut in 0..bytes.len() {
        let mut batches = Batches::new(in_pieces(&bytes[..cut], 10));
        assert!(batches.next().is_none(), "{cut} bytes");
        assert_eq!(batches.tail().len(), cut);
    }
    let two = [bytes.clone(), bytes[..30].to_vec()].concat();
    let mut batches = Batches::new(two.into());
    assert_eq!(batches.next(), Some(Ok(batch)));
    assert_eq!(batches.next(), None);
    assert_eq!(
        (batches.position(), batches.tail().len(), batches.next_size()),
        (bytes.len(), 30, Some(bytes.len() as u64))
    );
}

fn sample(codec: Codec, count: i32) -> Batch {
    let mut builder = BatchBuilder::new(codec);
    for index in 0..count {
        let headers = [RecordHeader { key: Bytes::from_static(b"h"), value: None }];
        let value = Bytes::from(vec![index as u8; 40]);
        builder.append(
            Timestamp(NOW.0 + i64::from(index)),
            Some(Bytes::from(format!("k{index}"))),
            Some(value),
            &headers,
        );
    }
    builder.build().expect("a batch")
}

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

#[test]
fn assigning_a_place_shares_the_records_and_keeps_the_checksum() {
    for codec in CODECS {
        let batch = sample(codec, 5);
        let placed = batch.assign(Offset(1000), LeaderEpoch(7));
        placed.verify_crc().expect("outside the checksum");
        assert_eq!(placed.header.last_offset(), Offset(1004));
        assert_eq!(Batch::parse(placed.bytes.clone()), Ok(placed.clone()));
        let tail = |batch: &Batch| batch.bytes.iter().last().map(|piece| piece.as_ptr_range().end);
        assert_eq!(tail(&batch), tail(&placed), "the records are the same bytes in memory");
    }
}

#[test]
fn a_good_batch_is_taken_as_it_is_and_a_lying_maximum_is_corrected() {
    for codec in CODECS {
        let batch = sample(codec, 5);
        assert_eq!(validate(&batch, &Rules::new(NOW)), Ok(batch.clone()), "{codec}");
        let lying = batch.restamp(TimestampType::CreateTime, Timestamp(5));
        assert_eq!(validate(&lying, &Rules::new(NOW)), Ok(batch.clone()), "{codec}");
        // A producer's LogAppendTime bit on a CreateTime topic is cleared; its maximum counts for every record.
        let stamped = batch.restamp(TimestampType::LogAppendTime, NOW);
        let taken = validate(&stamped, &Rules::new(NOW)).expect("taken");
        assert_eq!((taken.header.timestamp_type(), taken.header.max_timestamp), (TimestampType::CreateTime, NOW));
        taken.verify_crc().expect("computed anew");
        let rules = Rules { timestamp_type: TimestampType::LogAppendTime, ..Rules::new(Timestamp(9)) };
        let taken = validate(&batch, &rules).expect("taken");
        assert_eq!(taken.header.max_timestamp, Timestamp(9));
        assert_eq!(taken.header.base_timestamp, batch.header.base_timestamp);
        taken.verify_crc().expect("computed anew");
        assert_eq!(validate(&stamped, &rules).expect_err("refused").error, ErrorCode::InvalidTimestamp);
    }
}

/// Builds a batch whose header says something else than its records, with the right checksum.
fn forged(codec: Codec, body: &[u8], change: impl FnOnce(&mut protocol::batch::BatchHeader)) -> Batch {
    let body = compress(codec, &Bytes::copy_from_slice(body).into()).expect("compresses");
    let mut header = sample(codec, 1).header;
    header.length = 49 + body.len() as i32;
    change(&mut header);
    let crc = crc32c(&[&header.to_bytes()[21..], &body]);
    header.crc = crc;
    let mut bytes = Chunks::from(header.to_bytes().to_vec());
    bytes.push(body);
    Batch { header, bytes }
}

fn crc32c(parts: &[&[u8]]) -> u32 {
    // Bit by bit, so that it is not the code under test.
    let mut crc = !0u32;
    for byte in parts.iter().flat_map(|part| part.iter()) {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[test]
fn the_checksum_is_kafkas() {
    for row in golden::rows("tables/crc32c.csv") {
        let data = unhex(row["data_hex"].as_str().expect("hex"));
        assert_eq!(crc32c(&[&data]).to_string(), row["crc32c_unsigned"].as_str().expect("a number"));
    }
}

#[test]
fn what_kafka_refuses_is_refused_with_kafkas_code() {
    use ErrorCode::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, UnknownServerError};
    let rules = Rules::new(NOW);
    let code = |batch: &Batch, rules: &Rules| validate(batch, rules).map_err(|invalid| invalid.error);
    let body = sample(Codec::None, 2).body().to_vec();
    for codec in CODECS {
        let good = forged(codec, &body, |header| (header.count, header.last_offset_delta) = (2, 1));
        assert!(code(&good, &rules).is_ok(), "{codec}");
        let bad = |change: fn(&mut protocol::batch::BatchHeader)| {
            code(&forged(codec, &body, change), &rules).expect_err("refused")
        };
        assert_eq!(bad(|h| (h.count, h.last_offset_delta, h.base_offset) = (2, 1, Offset(1))), InvalidRecord);
        assert_eq!(bad(|h| (h.count, h.last_offset_delta) = (3, 2)), InvalidRecord, "{codec}: fewer than said");
        assert_eq!(bad(|h| (h.count, h.last_offset_delta) = (1, 0)), InvalidRecord, "{codec}: bytes left over");
        assert_eq!(bad(|h| (h.count, h.last_offset_delta) = (2, 2)), InvalidRecord);
        assert_eq!(bad(|h| (h.count, h.last_offset_delta) = (0, -1)), InvalidRecord);
        assert_eq!(bad(|h| (h.count, h.last_offset_delta) = (i32::MAX, i32::MAX - 1)), InvalidRecord, "{codec}");
        assert_eq!(
            bad(|h| (h.count, h.last_offset_delta, h.attributes) = (2, 1, h.attributes.with_control(true))),
            InvalidRecord
        );
        assert_eq!(bad(|h| (h.count, h.last_offset_delta, h.producer_id) = (2, 1, 4)), InvalidRecord);
        let small = Rules { max_message_bytes: good.bytes.len() as i32 - 1, ..rules };
        assert_eq!(code(&good, &small), Err(MessageTooLarge));
        assert!(code(&good, &Rules { max_message_bytes: good.bytes.len() as i32, ..rules }).is_ok());
        let late = Rules::new(Timestamp(NOW.0 - 3_600_001));
        assert_eq!(code(&good, &late), Err(InvalidTimestamp));
        assert_eq!(validate(&good, &late).expect_err("refused").records.len(), 2);
        assert!(code(&sample(codec, 1), &Rules::new(Timestamp(NOW.0 - 3_600_000))).is_ok());

        // Offset deltas 0, 2: passed on as they are without a codec, beyond Kafka's repair with one.
        let mut gaps = BatchBuilder::new(codec).last_offset_delta(1);
        gaps.append_at(0, NOW, None, None, &[]).append_at(2, NOW, None, None, &[]);
        let gaps = gaps.build().expect("a batch");
        let wanted = if codec == Codec::None { Ok(gaps.clone()) } else { Err(UnknownServerError) };
        assert_eq!(code(&gaps, &rules), wanted);
        assert_eq!(code(&gaps, &Rules { compacted: true, ..rules }), Err(InvalidRecord));
    }
    let mut flipped = sample(Codec::None, 1).bytes.to_vec();
    flipped[70] ^= 1;
    assert_eq!(code(&Batch::parse(flipped.into()).expect("a batch"), &rules), Err(CorruptMessage));
    // Compressed bytes that are none, with the right checksum.
    for codec in &CODECS[1..] {
        let plain = forged(Codec::None, &body, |header| {
            (header.count, header.last_offset_delta) = (2, 1);
            header.attributes = Attributes(0).with_codec(*codec);
        });
        assert_eq!(code(&plain, &rules), Err(UnknownServerError), "{codec}");
    }
}

#[test]
fn a_request_holds_one_batch_and_drops_a_tail_in_silence() {
    let one = sample(Codec::None, 2);
    let refused = |bytes: Vec<u8>| single(bytes.into(), 9).map_err(|invalid| invalid.error);
    let bytes = one.bytes.to_vec();
    assert_eq!(refused(bytes.clone()), Ok(one.clone()));
    assert_eq!(refused([&bytes[..], &bytes[..40]].concat()), Ok(one));
    assert_eq!(refused([&bytes[..], &bytes[..]].concat()), Err(ErrorCode::InvalidRecord));
    assert_eq!(refused(Vec::new()), Err(ErrorCode::InvalidRecord));
    let mut old = bytes.clone();
    old[16] = 1;
    assert_eq!(refused(old), Err(ErrorCode::InvalidRecord));
    let mut broken = bytes;
    broken[8] = 0xff;
    assert_eq!(refused(broken), Err(ErrorCode::CorruptMessage));
    let zstd = sample(Codec::Zstd, 1).bytes;
    assert_eq!(single(zstd.clone(), 6).map_err(|invalid| invalid.error), Err(ErrorCode::UnsupportedCompressionType));
    assert!(single(zstd, 7).is_ok());
}

#[test]
fn control_records_are_kafkas() {
    let mut done = 0;
    for vector in golden::objects("tables/record_batches.jsonl") {
        if vector["isControl"] != true {
            continue;
        }
        let batch = Batch::parse(unhex(vector["hex"].as_str().expect("hex")).into()).expect("a batch");
        let wanted = vector["records"].as_array().expect("records");
        for (record, wanted) in batch.records().expect("records").map(|record| record.expect("a record")).zip(wanted) {
            let control = ControlRecord::decode(&record).expect("reads").expect("a known type");
            assert_eq!(
                (control.kind() as i64, control.kind().name()),
                (int(wanted, "controlTypeId"), wanted["controlType"].as_str().expect("a name"))
            );
            let (body, marker) = match &control {
                ControlRecord::Abort(body) | ControlRecord::Commit(body) => (Value::Null, Some(body.coordinator_epoch)),
                ControlRecord::LeaderChange(body) => (body.to_json(body.version), None),
                ControlRecord::SnapshotHeader(body) => (body.to_json(body.version), None),
                ControlRecord::SnapshotFooter(body) => (body.to_json(body.version), None),
                ControlRecord::KraftVersion(body) => (body.to_json(body.version), None),
                ControlRecord::KraftVoters(body) => (body.to_json(body.version), None),
            };
            assert_eq!(body, *wanted.get("control").unwrap_or(&Value::Null));
            assert_eq!(marker.map(i64::from), wanted.get("coordinatorEpoch").and_then(Value::as_i64));
            assert_eq!(Some(control.key()), record.key, "{}", vector["name"]);
            assert_eq!(Some(control.value().expect("encodes")), record.value, "{}", vector["name"]);
            done += 1;
        }
    }
    golden::report(&format!("{done} control records agree"));
    assert!(done > 0);
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    // A raw snappy block that states 4 GiB, and a gigabyte of zeros in gzip.
    let snappy = Chunks::from(vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0]);
    assert!(decompress(Codec::Snappy, &snappy, u64::MAX - 1).is_err());
    let zeros: Chunks = (0..64).map(|_| Bytes::from_static(&[0; 65536])).collect();
    for codec in &CODECS[1..] {
        let packed = compress(*codec, &zeros).expect("compresses");
        assert!(packed.len() < zeros.len() / 15, "{codec}: {}", packed.len());
        assert_eq!(decompress(*codec, &packed.clone().into(), 1 << 20), Err(BatchError::TooLarge(1 << 20)), "{codec}");
        assert_eq!(decompress(*codec, &packed.into(), 1 << 22).expect("fits").len(), 1 << 22, "{codec}");
    }
}
