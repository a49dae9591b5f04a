//! The shape of a message: read from what `Debug` prints of it.

use std::collections::BTreeSet;

/// The set of an answer's fields with their kinds.
pub type Shape = BTreeSet<String>;

/// Fields whose value counts.
const EXACT: &[&str] = &[
    "error_code",
    "config_source",
    "config_type",
    "read_only",
    "is_sensitive",
    "num_partitions",
    "replication_factor",
    "is_internal",
    "preferred_read_replica",
    "cluster_authorized_operations",
    "topic_authorized_operations",
    "endpoint_type",
    "election_type",
    "low_watermark",
];

/// Reads what `Debug` prints of a message.
pub struct Printed<'a> {
    text: &'a [u8],
    at: usize,
    shape: Shape,
}

impl Printed<'_> {
    pub fn shape(message: &impl std::fmt::Debug) -> Shape {
        let text = format!("{message:?}");
        let mut printed = Printed { text: text.as_bytes(), at: 0, shape: Shape::new() };
        printed.value("", "");
        assert_eq!(printed.at, text.len(), "{text}");
        printed.shape
    }

    fn peek(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(b' ')
    }

    fn word(&mut self) -> String {
        let start = self.at;
        while !b",:(){}[] \"".contains(&self.peek()) {
            self.at += 1;
        }
        String::from_utf8_lossy(&self.text[start..self.at]).into_owned()
    }

    fn skip(&mut self, what: &[u8]) {
        while what.contains(&self.peek()) && self.at < self.text.len() {
            self.at += 1;
        }
    }

    fn leaf(&mut self, path: &str, field: &str, kind: &str, value: &str) {
        let shown = if EXACT.contains(&field) { value } else { kind };
        self.shape.insert(format!("{path}={shown}"));
    }

    fn value(&mut self, path: &str, field: &str) {
        match self.peek() {
            b'[' => {
                self.at += 1;
                while self.peek() != b']' {
                    self.value(&format!("{path}[]"), field);
                    self.skip(b", ");
                }
                self.at += 1;
            }
            b'"' => {
                self.string();
                self.leaf(path, field, "text", "text");
            }
            _ => {
                let word = self.word();
                match self.peek() {
                    b'"' => {
                        self.string();
                        self.leaf(path, field, "text", "text");
                    }
                    b'(' if word == "Some" => {
                        self.at += 1;
                        self.value(path, field);
                        self.at += 1;
                    }
                    b'(' => {
                        while self.peek() != b')' {
                            self.at += 1;
                        }
                        self.at += 1;
                        self.leaf(path, field, "value", "value");
                    }
                    b' ' if self.text.get(self.at + 1) == Some(&b'{') => {
                        self.at += 2;
                        self.skip(b" ");
                        while self.peek() != b'}' {
                            let field = self.word();
                            self.skip(b": ");
                            self.value(&format!("{path}.{field}"), &field);
                            self.skip(b", ");
                        }
                        self.at += 1;
                    }
                    _ if word == "None" => self.leaf(path, field, "none", "none"),
                    _ => self.leaf(path, field, "value", &word),
                }
            }
        }
    }

    fn string(&mut self) {
        self.at += 1;
        while self.peek() != b'"' {
            self.at += if self.peek() == b'\\' { 2 } else { 1 };
        }
        self.at += 1;
    }
}
