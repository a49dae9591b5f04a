//! The TOML document as a tree with the place of every key and value, and the strict reader of one table.
//!
//! [`Fields`] hands out keys by name, remembers which were asked for, and reports all others: nothing is ignored.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::diagnostic::{Problems, Source, Spanned, Suggest, code};
use super::units::{self, Refusal};

/// A value with its place.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Bytes in the source.
    pub span: Range<usize>,
    /// The value.
    pub value: Value,
}

/// What a value can be.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// Another number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A list.
    List(Vec<Node>),
    /// A table.
    Table(Vec<Entry>),
    /// What no scenario uses (dates) or cannot be held (numbers past 64 bits); its TOML type.
    Other(&'static str),
}

/// A key with its value.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub key_span: Range<usize>,
    /// The value.
    pub node: Node,
}

impl Value {
    /// In words, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a string",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Parses the file and the `--set` lines behind it; reports every syntax error.
pub fn parse(source: &Source, problems: &mut Problems) -> Vec<Entry> {
    let (file, sets) = source.text.split_at(source.sets_from);
    let mut root = parse_piece(file, 0, problems);
    let mut offset = source.sets_from;
    for line in sets.split_inclusive('\n') {
        let set = parse_piece(line.trim_end_matches('\n'), offset, problems);
        merge(&mut root, set);
        offset += line.len();
    }
    root
}

fn parse_piece(text: &str, offset: usize, problems: &mut Problems) -> Vec<Entry> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        problems.error(code::SYNTAX, span.start + offset..span.end + offset, format!("not TOML: {}", error.message()));
    }
    entries(table.into_inner(), offset)
}

fn entries(table: DeTable<'_>, offset: usize) -> Vec<Entry> {
    let mut list: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_span: key.span().start + offset..key.span().end + offset,
            key: key.into_inner().into_owned(),
            node: node(value, offset),
        })
        .collect();
    list.sort_by_key(|entry| entry.key_span.start);
    list
}

fn node(value: toml::Spanned<DeValue<'_>>, offset: usize) -> Node {
    let span = value.span().start + offset..value.span().end + offset;
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number too large"), Value::Integer),
        DeValue::Float(number) => number.as_str().parse().map_or(Value::Other("a number too large"), Value::Float),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(list) => Value::List(list.into_iter().map(|item| node(item, offset)).collect()),
        DeValue::Table(table) => Value::Table(entries(table, offset)),
    };
    Node { span, value }
}

/// Puts `new` over `old`: tables are merged, everything else is replaced.
fn merge(old: &mut Vec<Entry>, new: Vec<Entry>) {
    for entry in new {
        match old.iter_mut().find(|known| known.key == entry.key) {
            Some(known) => match (&mut known.node.value, entry.node.value) {
                (Value::Table(inner), Value::Table(more)) => merge(inner, more),
                (place, value) => {
                    *place = value;
                    known.key_span = entry.key_span;
                    known.node.span = entry.node.span;
                }
            },
            None => old.push(entry),
        }
    }
}

/// Reads one table strictly.
pub struct Fields<'a> {
    /// As in messages: `[topics.orders]`.
    pub title: String,
    /// The whole table.
    pub span: Range<usize>,
    entries: &'a [Entry],
    asked: Vec<&'static str>,
    later: Vec<&'static str>,
    hints: Vec<(&'static str, &'static str)>,
}

impl<'a> Fields<'a> {
    /// A table of this title.
    pub fn new(title: impl Into<String>, span: Range<usize>, entries: &'a [Entry]) -> Self {
        Self { title: title.into(), span, entries, asked: Vec::new(), later: Vec::new(), hints: Vec::new() }
    }

    /// Names keys that the schema has and this version does not act on yet.
    pub fn later(&mut self, keys: &[&'static str]) {
        self.later.extend_from_slice(keys);
    }

    /// Says what to write instead of a key that people might try.
    pub fn hint(&mut self, key: &'static str, instead: &'static str) {
        self.hints.push((key, instead));
    }

    /// The entry of a key.
    pub fn get(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.asked.push(key);
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    /// All entries whose key nobody asked for and `take` accepts.
    pub fn rest(&self, mut take: impl FnMut(&str) -> bool) -> Vec<&'a Entry> {
        self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str()) && take(&entry.key)).collect()
    }

    /// The text of a key.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<Spanned<&'a str>> {
        let entry = self.get(key)?;
        text(&entry.node, key, problems)
    }

    /// The text of a key, parsed by `read`; what it refuses is reported at the very place.
    pub fn read<T>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
        source: &Source,
        read: impl FnOnce(&str) -> Result<T, Refusal>,
    ) -> Option<Spanned<T>> {
        let entry = self.get(key)?;
        let found = text(&entry.node, key, problems)?;
        read_at(found.value, found.span, problems, source, read)
    }

    /// A whole number of a key within `range`.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<i64>,
        problems: &mut Problems,
    ) -> Option<Spanned<i64>> {
        let entry = self.get(key)?;
        match entry.node.value {
            Value::Integer(number) if range.contains(&number) => Some(Spanned::new(number, entry.node.span.clone())),
            Value::Integer(number) => {
                problems
                    .error(code::OUT_OF_RANGE, entry.node.span.clone(), format!("`{key}` = {number} is out of range"))
                    .label(format!("from {} to {}", range.start(), range.end()));
                None
            }
            ref other => {
                wrong_type(problems, &entry.node, key, "a whole number", other.kind());
                None
            }
        }
    }

    /// True or false of a key.
    pub fn boolean(&mut self, key: &'static str, problems: &mut Problems) -> Option<Spanned<bool>> {
        let entry = self.get(key)?;
        match entry.node.value {
            Value::Boolean(value) => Some(Spanned::new(value, entry.node.span.clone())),
            ref other => {
                wrong_type(problems, &entry.node, key, "true or false", other.kind());
                None
            }
        }
    }

    /// The list of a key.
    pub fn list(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'a [Node]> {
        let entry = self.get(key)?;
        match &entry.node.value {
            Value::List(list) => Some(list),
            other => {
                wrong_type(problems, &entry.node, key, "a list", other.kind());
                None
            }
        }
    }

    /// The texts of a key's list.
    pub fn texts(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Spanned<String>> {
        let list = self.list(key, problems).unwrap_or_default();
        list.iter()
            .filter_map(|node| text(node, key, problems))
            .map(|found| Spanned::new(found.value.to_owned(), found.span))
            .collect()
    }

    /// The table of a key.
    pub fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<(&'a Entry, &'a [Entry])> {
        let entry = self.get(key)?;
        table(&entry.node, key, problems).map(|entries| (entry, entries))
    }

    /// One word of a fixed list.
    pub fn word<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
        later: &[&str],
        problems: &mut Problems,
    ) -> Option<Spanned<T>> {
        let found = self.text(key, problems)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == found.value) {
            return Some(Spanned::new(*value, found.span));
        }
        let base = found.value.split(['(', ':']).next().unwrap_or_default().trim();
        if later.contains(&base) {
            comes_later(problems, found.span, &format!("`{key} = \"{}\"`", found.value));
        } else {
            problems.error(code::UNKNOWN_WORD, found.span, format!("`{key}` cannot be `{}`", found.value)).suggest(
                found.value,
                "words here",
                words.iter().map(|(word, _)| *word),
            );
        }
        None
    }

    /// A key that must be there.
    pub fn require<T>(&self, key: &str, value: Option<T>, problems: &mut Problems) -> Option<T> {
        if value.is_none() && !self.has(key) {
            problems
                .error(code::MISSING_KEY, self.span.clone(), format!("{} needs the key `{key}`", self.title))
                .label(format!("`{key}` is missing"));
        }
        value
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self, problems: &mut Problems) {
        self.finish_except(problems, |_| false);
    }

    /// Reports every key that nobody asked for and `known` does not know.
    pub fn finish_except(self, problems: &mut Problems, known: impl Fn(&str) -> bool) {
        for entry in self.entries {
            let key = entry.key.as_str();
            if self.asked.contains(&key) || known(key) {
                continue;
            }
            if self.later.contains(&key) {
                comes_later(problems, entry.key_span.clone(), &format!("`{key}` in {}", self.title));
                continue;
            }
            let title = format!("unknown key `{key}` in {}", self.title);
            let problem = problems.error(code::UNKNOWN_KEY, entry.key_span.clone(), title);
            problem.suggest(key, "keys here", self.asked.iter().copied());
            if let Some((_, instead)) = self.hints.iter().find(|(word, _)| *word == key) {
                problem.label(format!("did you mean `{instead}`?"));
            }
        }
    }
}

/// Reports a word of the schema that this version does not act on yet.
pub fn comes_later(problems: &mut Problems, span: Range<usize>, what: &str) {
    problems.error(code::LATER, span, format!("{what} comes with a later version"));
}

/// The text of a value.
pub fn text<'a>(node: &'a Node, key: &str, problems: &mut Problems) -> Option<Spanned<&'a str>> {
    match &node.value {
        Value::Text(text) => Some(Spanned::new(text, node.span.clone())),
        other => {
            wrong_type(problems, node, key, "a string", other.kind());
            None
        }
    }
}

/// The entries of a value.
pub fn table<'a>(node: &'a Node, key: &str, problems: &mut Problems) -> Option<&'a [Entry]> {
    match &node.value {
        Value::Table(entries) => Some(entries),
        other => {
            wrong_type(problems, node, key, "a table", other.kind());
            None
        }
    }
}

fn wrong_type(problems: &mut Problems, node: &Node, key: &str, wanted: &str, found: &str) {
    problems
        .error(code::WRONG_TYPE, node.span.clone(), format!("`{key}` must be {wanted}"))
        .label(format!("this is {found}"));
}

/// Parses the text of a string at `span`; what `read` refuses is reported at its place inside the string.
pub fn read_at<T>(
    text: &str,
    span: Range<usize>,
    problems: &mut Problems,
    source: &Source,
    read: impl FnOnce(&str) -> Result<T, Refusal>,
) -> Option<Spanned<T>> {
    match read(text) {
        Ok(value) => Some(Spanned::new(value, span)),
        Err(refusal) => {
            let place = within(&span, refusal.at.clone(), text, source);
            let problem = problems.error(refusal.code, place, refusal.title);
            if let Some(label) = refusal.label {
                problem.label(label);
            }
            problem.notes.extend(refusal.notes);
            None
        }
    }
}

/// The place in the source of a place inside a string; the whole string if it has escapes.
pub fn within(span: &Range<usize>, at: Range<usize>, text: &str, source: &Source) -> Range<usize> {
    let quoted = source.text.get(span.start + 1..span.end.saturating_sub(1));
    if quoted == Some(text) && at.end <= text.len() {
        let start = span.start + 1 + at.start;
        // An empty place gets a caret of one column.
        start..(start + at.len().max(1)).min(span.end)
    } else {
        span.clone()
    }
}

/// The `[hardware]` and load tables read durations so often that it has a name.
pub fn duration(
    fields: &mut Fields<'_>,
    key: &'static str,
    problems: &mut Problems,
    source: &Source,
) -> Option<Spanned<u64>> {
    fields.read(key, problems, source, units::duration)
}
