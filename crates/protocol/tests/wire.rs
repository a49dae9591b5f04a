//! Frames that real clients and real nodes sent: every request of a generated API decodes and encodes to its bytes, and
//! so does its answer.

mod golden;

use std::collections::BTreeMap;

use golden::{ToJson, Visitor, hex, unhex};
use protocol::codec::varint;
use protocol::messages::{RequestHeader, ResponseHeader};
use protocol::{ApiKey, Bytes, Decoder, Encoder, Message};
use serde_json::Value;

/// Reads a body behind its header and writes both again. Says how many bytes were left over.
struct Body<'a> {
    input: &'a mut Decoder,
    version: i16,
    out: Encoder,
}

impl Visitor for Body<'_> {
    type Out = Result<(Vec<u8>, usize), String>;

    fn visit<M: Message + ToJson + PartialEq + std::fmt::Debug>(self) -> Self::Out {
        let Self { input, version, mut out } = self;
        let message = M::decode(input, version).map_err(|error| error.to_string())?;
        message.encode(&mut out, version).map_err(|error| error.to_string())?;
        Ok((out.finish().to_vec(), input.remaining()))
    }
}

#[derive(Default)]
struct Tally {
    same: BTreeMap<String, usize>,
    left_over: usize,
    not_generated: BTreeMap<String, usize>,
    unknown_version: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn judge(&mut self, name: String, frame: &[u8], result: Option<Result<(Vec<u8>, usize), String>>) {
        match result {
            None => *self.not_generated.entry(name).or_default() += 1,
            Some(Err(error)) => self.wrong.push(error),
            // librdkafka's Metadata with a wide null (formats, trap 16): the rest must be ignored.
            Some(Ok((bytes, left))) if left > 0 && frame.starts_with(&bytes) => self.left_over += 1,
            Some(Ok((bytes, 0))) if bytes == frame => *self.same.entry(name).or_default() += 1,
            Some(Ok((bytes, left))) => {
                self.wrong.push(format!("{name}, {left} left over:\n  {}\n  {}", hex(&bytes), hex(frame)));
            }
        }
    }
}

#[test]
fn recorded_frames_are_read_and_written_alike() {
    let mut tally = Tally::default();
    for file in golden::names("wire").into_iter().filter(|name| name.ends_with(".jsonl")) {
        for line in golden::objects(&format!("wire/{file}")) {
            let frame = unhex(line["request"].as_str().expect("hex"));
            let mut input = Decoder::from(Bytes::from(frame.clone()));
            let header = RequestHeader::decode_frame(&mut input).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert_eq!(header.correlation_id, line["correlation"].as_i64().expect("a number") as i32);
            assert_eq!(header.client_id.as_deref(), line["clientId"].as_str());
            let (key, version) = (header.request_api_key, header.request_api_version);
            let api = ApiKey::from_code(key).expect("a key");
            if !(api.min_version()..=api.latest_version()).contains(&version) {
                tally.unknown_version += 1;
                continue;
            }
            let mut out = Encoder::new();
            header.encode_for(&mut out).expect("a header");
            let result = golden::with_request(key, Body { input: &mut input, version, out });
            tally.judge(format!("{api}Request"), &frame, result);

            let Some(frame) = line["response"].as_str().map(unhex) else { continue };
            let mut input = Decoder::from(Bytes::from(frame.clone()));
            let header = ResponseHeader::decode_for(&mut input, api, version).expect("a header");
            let mut out = Encoder::new();
            header.encode_for(&mut out, api, version).expect("a header");
            let name = format!("{api}Response");
            let result = golden::with_message(&name, Body { input: &mut input, version, out });
            tally.judge(name, &frame, result);
        }
    }
    golden::report(&format!("{} frames alike: {:?}", tally.same.values().sum::<usize>(), tally.same));
    golden::report(&format!(
        "{} with bytes left over, {} of an unknown version",
        tally.left_over, tally.unknown_version
    ));
    golden::report(&format!(
        "{} of messages that are not generated: {:?}",
        tally.not_generated.values().sum::<usize>(),
        tally.not_generated.keys().collect::<Vec<_>>()
    ));
    assert!(
        tally.wrong.is_empty(),
        "{} differ:\n{}",
        tally.wrong.len(),
        tally.wrong[..tally.wrong.len().min(4)].join("\n")
    );
    assert!(tally.not_generated.is_empty(), "frames that nobody can read: {:?}", tally.not_generated);
    assert!(!tally.same.is_empty());
}

#[test]
fn variable_length_integers_are_kafkas() {
    let text = |value: &Value| value.as_str().expect("text").to_owned();
    let mut done = 0;
    for row in golden::rows("tables/varint.csv") {
        let (kind, value, bytes) = (text(&row["kind"]), text(&row["value"]), unhex(&text(&row["hex"])));
        let mut out = Vec::new();
        let size = match kind.as_str() {
            "varint32" => {
                let value: i32 = value.parse().expect("a number");
                varint::put_i32(&mut out, value);
                varint::size_i32(value)
            }
            "varint64" => {
                let value: i64 = value.parse().expect("a number");
                varint::put_i64(&mut out, value);
                varint::size_i64(value)
            }
            _ => {
                let value: u64 = value.parse().expect("a number");
                varint::put_u64(&mut out, value);
                varint::size_u64(value)
            }
        };
        assert_eq!((&out, size), (&bytes, bytes.len()), "{kind} {value}");
        assert_eq!(read(&kind, &bytes), Ok((value, bytes.len())), "{kind}");
        done += 1;
    }
    for row in golden::rows("tables/varint_decode.csv") {
        let (kind, bytes, result) = (text(&row["kind"]), unhex(&text(&row["hex"])), text(&row["result"]));
        let wanted = match result.as_str() {
            "BufferUnderflowException" => Err(varint::VarintError::Short),
            "IllegalArgumentException" => Err(varint::VarintError::TooLong),
            value => Ok((value.to_owned(), text(&row["consumed"]).parse().expect("a number"))),
        };
        assert_eq!(read(&kind, &bytes), wanted, "{kind} {}", hex(&bytes));
        // The decoder, which reads across pieces, agrees.
        let rope = golden::in_pieces(&bytes, 1);
        match kind.as_str() {
            "uvarint32" => assert_eq!(
                Decoder::new(rope).uvarint().ok().map(|value| value.to_string()),
                wanted.ok().map(|found| found.0)
            ),
            "varint64" => assert_eq!(
                Decoder::new(rope).varlong().ok().map(|value| value.to_string()),
                wanted.ok().map(|found| found.0)
            ),
            _ => {}
        }
        done += 1;
    }
    golden::report(&format!("{done} variable-length integers agree"));
}

fn read(kind: &str, bytes: &[u8]) -> Result<(String, usize), varint::VarintError> {
    fn text<T: ToString>((value, size): (T, usize)) -> (String, usize) {
        (value.to_string(), size)
    }
    match kind {
        "varint32" => varint::read_i32(bytes).map(text),
        "varint64" => varint::read_i64(bytes).map(text),
        "uvarint32" => varint::read_u32(bytes).map(text),
        _ => varint::read_u64(bytes).map(text),
    }
}
