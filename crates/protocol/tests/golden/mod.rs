//! Where the golden files are, and how their JSON is compared with messages.
//!
//! `WAVETANK_GOLDEN` names another directory of the form of `tests/golden/` at the root of the repository.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::PathBuf;

use protocol::{Bytes, Chunks, Message, Request, Str, Uuid};
use serde_json::{Map, Value};

#[expect(clippy::disallowed_methods, reason = "tests find their inputs by the environment")]
pub fn directory() -> PathBuf {
    match std::env::var("WAVETANK_GOLDEN") {
        Ok(path) => path.into(),
        Err(_) => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden"),
    }
}

#[expect(clippy::disallowed_methods, reason = "tests read files")]
pub fn read(path: &str) -> String {
    let path = directory().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The objects of a file with one a line.
pub fn objects(path: &str) -> Vec<Value> {
    read(path)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{path}: {error}")))
        .collect()
}

/// The rows of a CSV file, each by column.
pub fn rows(path: &str) -> Vec<Map<String, Value>> {
    let text = read(path);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().expect("a header").clone();
    reader
        .records()
        .map(|row| {
            let row = row.expect("a row");
            header.iter().map(str::to_owned).zip(row.iter().map(Value::from)).collect()
        })
        .collect()
}

/// File names in a folder, sorted.
pub fn names(folder: &str) -> Vec<String> {
    let path = directory().join(folder);
    let entries = std::fs::read_dir(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Prints what a test counted. Cargo shows it with `--nocapture`; the counts are asserted too.
#[expect(clippy::disallowed_macros, reason = "what was tested is said, not only whether it passed")]
pub fn report(text: &str) {
    eprintln!("{text}");
}

pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "half a byte in {text}");
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex")).collect()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Cuts bytes into pieces of odd sizes, so that values lie across pieces.
pub fn in_pieces(bytes: &[u8], size: usize) -> Chunks {
    bytes.chunks(size.max(1)).map(Bytes::copy_from_slice).collect()
}

/// A value in the form of Kafka's JSON converters, in version `v`.
pub trait ToJson {
    fn to_json(&self, v: i16) -> Value;

    fn unknown_tags(&self, _path: String, _out: &mut Vec<Value>) {}
}

macro_rules! plain {
    ($($ty:ty)*) => { $(impl ToJson for $ty {
        fn to_json(&self, _v: i16) -> Value {
            Value::from(*self)
        }
    })* };
}
plain!(bool i8 i16 u16 i32 u32 i64 f64);

impl ToJson for Str {
    fn to_json(&self, _v: i16) -> Value {
        Value::from(self.as_str())
    }
}

impl ToJson for Uuid {
    fn to_json(&self, _v: i16) -> Value {
        Value::from(self.to_string())
    }
}

impl ToJson for Bytes {
    fn to_json(&self, _v: i16) -> Value {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut out = String::new();
        for three in self.chunks(3) {
            let bits = three.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
            for index in 0..4 {
                let six = (bits >> (18 - 6 * index)) as usize & 63;
                out.push(if index <= three.len() { ALPHABET[six] as char } else { '=' });
            }
        }
        Value::from(out)
    }
}

impl<T: ToJson> ToJson for Vec<T> {
    fn to_json(&self, v: i16) -> Value {
        self.iter().map(|element| element.to_json(v)).collect()
    }

    fn unknown_tags(&self, path: String, out: &mut Vec<Value>) {
        for (index, element) in self.iter().enumerate() {
            element.unknown_tags(format!("{path}[{index}]"), out);
        }
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self, v: i16) -> Value {
        self.as_ref().map_or(Value::Null, |value| value.to_json(v))
    }

    fn unknown_tags(&self, path: String, out: &mut Vec<Value>) {
        if let Some(value) = self {
            value.unknown_tags(path, out);
        }
    }
}

fn put_records(object: &mut Map<String, Value>, name: &str, records: &Option<Chunks>) {
    match records {
        None => {
            object.insert(name.into(), Value::Null);
        }
        Some(records) => {
            object.insert(format!("{name}SizeInBytes"), records.len().into());
            object.insert(format!("{name}Hex"), hex(&records.to_vec()).into());
        }
    }
}

fn put_tags(fields: &[protocol::codec::RawTaggedField], path: &str, out: &mut Vec<Value>) {
    for field in fields {
        out.push(serde_json::json!({ "path": path, "tag": field.tag, "hex": hex(&field.data) }));
    }
}

/// Called with the type of a message that is known by its name only.
pub trait Visitor {
    type Out;
    fn visit<M: Message + ToJson + PartialEq + std::fmt::Debug>(self) -> Self::Out;
}

/// The generated part; not every struct has fields or a version.
mod generated {
    #![allow(unused, clippy::all, reason = "generated")]

    use super::*;

    include!(concat!(env!("OUT_DIR"), "/json.rs"));
}

#[allow(unused_imports, reason = "each test binary uses its part")]
pub use generated::{with_message, with_request};

/// The version of a request's answer is its own.
pub fn response_name<R: Request>() -> &'static str {
    <R::Response as Message>::NAME
}
