//! Every golden vector of every generated message: its bytes decode to its fields, its fields encode to its bytes.

mod golden;

use std::collections::BTreeMap;

use golden::{ToJson, Visitor, hex, in_pieces, unhex};
use protocol::codec::RawTaggedField;
use protocol::{ApiKey, Decoder, ErrorCode, Message, MetadataRecord, Uuid};
use serde_json::Value;

/// What one vector says, checked against the type of its message.
struct Vector<'a>(&'a Value);

impl Visitor for Vector<'_> {
    type Out = Result<(), String>;

    fn visit<M: Message + ToJson + PartialEq + std::fmt::Debug>(self) -> Self::Out {
        let vector = self.0;
        let version = vector["version"].as_i64().expect("a version") as i16;
        let bytes = unhex(vector["hex"].as_str().expect("hex"));
        let place = format!("{} v{version} {}#{}", M::NAME, vector["kind"], vector["index"]);

        // In one piece, and cut so that values lie across pieces.
        let message =
            M::decode_exact(protocol::Chunks::from(bytes.clone()), version).map_err(|error| error.to_string())?;
        for size in [1, 3, 7] {
            let same = M::decode_exact(in_pieces(&bytes, size), version).map_err(|error| error.to_string())?;
            if same != message {
                return Err(format!("{place}: pieces of {size} bytes give another message"));
            }
        }
        let json = message.to_json(version);
        if json != vector["json"] {
            return Err(format!("{place}: fields\n  {json}\n  {}", vector["json"]));
        }
        let mut tags = Vec::new();
        message.unknown_tags("$".into(), &mut tags);
        let wanted = vector.get("unknownTags").and_then(Value::as_array).cloned().unwrap_or_default();
        let sorted = |mut list: Vec<Value>| {
            list.sort_by_key(|tag| (tag["path"].as_str().map(str::to_owned), tag["tag"].as_u64()));
            list
        };
        let (tags, wanted) = (sorted(tags), sorted(wanted));
        if tags != wanted {
            return Err(format!("{place}: unknown tagged fields {tags:?}, not {wanted:?}"));
        }
        let encoded = message.to_bytes(version).map_err(|error| format!("{place}: {error}"))?;
        if encoded != bytes {
            return Err(format!("{place}: bytes\n  {}\n  {}", hex(&encoded), hex(&bytes)));
        }
        Ok(())
    }
}

#[test]
fn every_vector_decodes_to_its_fields_and_encodes_to_its_bytes() {
    let (mut done, mut unknown, mut wrong) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for file in golden::names("messages") {
        for vector in golden::objects(&format!("messages/{file}")) {
            let name = vector["message"].as_str().expect("a message").to_owned();
            match golden::with_message(&name, Vector(&vector)) {
                Some(Ok(())) => *done.entry(name).or_insert(0) += 1,
                Some(Err(error)) => wrong.push(error),
                None => *unknown.entry(name).or_insert(0) += 1,
            }
        }
    }
    let total: i32 = done.values().sum();
    golden::report(&format!("{total} vectors of {} messages agree", done.len()));
    golden::report(&format!(
        "{} vectors of {} messages that are not generated: {}",
        unknown.values().sum::<i32>(),
        unknown.len(),
        unknown.keys().cloned().collect::<Vec<_>>().join(" ")
    ));
    assert!(wrong.is_empty(), "{} vectors differ, the first:\n{}", wrong.len(), wrong[..wrong.len().min(5)].join("\n"));
    assert!(total > 0, "no vectors found");
}

#[test]
fn metadata_records_have_kafkas_frame() {
    let mut done = 0;
    for file in golden::names("messages") {
        for vector in golden::objects(&format!("messages/{file}")) {
            let (Some(framed), Some(id)) = (vector["framedHex"].as_str(), vector["apiKey"].as_i64()) else { continue };
            if !vector["message"].as_str().is_some_and(|name| name.ends_with("Record")) {
                continue;
            }
            let bytes = unhex(framed);
            let (record, version) =
                MetadataRecord::decode_framed(protocol::Bytes::from(bytes.clone())).expect("a record");
            assert_eq!(
                (i64::from(record.id()), i64::from(version)),
                (id, vector["version"].as_i64().expect("a version"))
            );
            assert_eq!(record.name(), vector["message"]);
            assert_eq!(record.encode_framed(version).expect("encodes"), bytes);
            done += 1;
        }
    }
    golden::report(&format!("{done} framed metadata records agree"));
    assert!(done > 0, "no framed records found");
}

#[test]
fn error_codes_are_kafkas() {
    let rows = golden::rows("tables/errors.csv");
    assert_eq!(rows.len(), ErrorCode::ALL.len());
    for row in &rows {
        let code = ErrorCode::from_code(row["code"].as_str().and_then(|code| code.parse().ok()).expect("a code"));
        assert_eq!(code.name(), row["name"]);
        assert_eq!(code.code().to_string(), row["code"].as_str().expect("a code"));
        assert_eq!(code.is_retriable().to_string(), row["retriable"].as_str().expect("a flag"));
        assert_eq!(code.is_invalid_metadata().to_string(), row["invalid_metadata"].as_str().expect("a flag"));
        assert_eq!(code.is_refresh_retriable().to_string(), row["refresh_retriable"].as_str().expect("a flag"));
    }
    assert_eq!(ErrorCode::from_code(30_000), ErrorCode::UnknownServerError);
}

#[test]
fn api_keys_have_kafkas_versions_and_headers() {
    let mut done = 0;
    for row in golden::rows("tables/api_versions.csv") {
        let cell = |name: &str| row[name].as_str().expect("a cell");
        let key = ApiKey::from_code(cell("key").parse().expect("a key"));
        assert_eq!(key.is_none(), cell("removed") == "true", "{}", cell("name"));
        let Some(key) = key else { continue };
        assert_eq!(key.name(), cell("schema_name"));
        assert_eq!(key.min_version().to_string(), cell("oldest"));
        assert_eq!(key.max_version().to_string(), cell("latest_stable"));
        let range = |range: Option<std::ops::RangeInclusive<i16>>| {
            range.map_or(String::new(), |range| format!("{}-{}", range.start(), range.end()))
        };
        assert_eq!(range(key.advertised_by_brokers()), cell("advertised_broker"));
        assert_eq!(range(key.advertised_by_controllers()), cell("advertised_controller"));
        assert_eq!(key.on_broker_listener().to_string(), cell("broker_listener"));
        assert_eq!(key.on_controller_listener().to_string(), cell("controller_listener"));
        assert_eq!(key.is_forwardable().to_string(), cell("forwardable"));
        for (column, header) in [
            ("request_header_by_version", ApiKey::request_header_version as fn(ApiKey, i16) -> i16),
            ("response_header_by_version", ApiKey::response_header_version),
        ] {
            for pair in cell(column).split(' ') {
                let (version, wanted) = pair.split_once(':').expect("version:header");
                let version = version.parse().expect("a version");
                assert_eq!(header(key, version).to_string(), wanted, "{} {column} v{version}", key.name());
                done += 1;
            }
        }
    }
    golden::report(&format!("{done} header versions agree"));
}

#[test]
fn uuids_are_printed_and_parsed_as_kafka_does() {
    for row in golden::rows("tables/uuid.csv") {
        let bytes: [u8; 16] = unhex(row["hex"].as_str().expect("hex")).try_into().expect("16 bytes");
        assert_eq!(Uuid(bytes).to_string(), row["text"]);
        assert_eq!(Uuid::parse(row["text"].as_str().expect("text")), Some(Uuid(bytes)));
    }
    for row in golden::rows("tables/uuid_parse.csv") {
        let parsed = Uuid::parse(row["text"].as_str().expect("text")).map(|id| hex(&id.0));
        let wanted = row["result"].as_str().filter(|result| !result.ends_with("Exception"));
        assert_eq!(parsed.as_deref(), wanted, "{}", row["text"]);
    }
}

#[test]
fn a_version_that_the_message_does_not_have_is_an_error_both_ways() {
    use protocol::messages::{FetchRequest, MetadataRequest};
    assert!(FetchRequest::default().to_bytes(3).is_err());
    assert!(FetchRequest::decode_exact(protocol::Bytes::from_static(&[0; 64]), 19).is_err());
    // Set, not ignorable, not in the version; null where it may not be.
    let ids = MetadataRequest { include_topic_authorized_operations: true, ..MetadataRequest::default() };
    assert!(ids.to_bytes(7).is_err());
    assert!(MetadataRequest { topics: None, ..MetadataRequest::default() }.to_bytes(0).is_err());
}

#[test]
fn unknown_tagged_fields_out_of_order_are_an_error() {
    use protocol::messages::FetchRequest;
    let field = |tag| RawTaggedField { tag, data: protocol::Bytes::new() };
    for tags in [vec![field(9), field(8)], vec![field(0)], vec![field(9), field(9)]] {
        let request =
            FetchRequest { cluster_id: Some("x".into()), unknown_tagged_fields: tags, ..FetchRequest::default() };
        assert!(request.to_bytes(18).is_err());
    }
}

#[test]
fn a_count_beyond_the_bytes_is_an_error_that_names_the_field() {
    // Metadata v1: 2^31 - 1 topics in a request of 20 bytes.
    let mut bytes = vec![0x7f, 0xff, 0xff, 0xff];
    bytes.resize(20, 0);
    let error = protocol::messages::MetadataRequest::decode(&mut Decoder::new(bytes.into()), 1).expect_err("too many");
    assert_eq!(
        error.to_string(),
        "MetadataRequest version 1: 2147483647 bytes needed, 16 left at MetadataRequest.Topics, byte 4"
    );
}
