//! Reads schema files. A file is a list of messages:
//!
//! ```text
//! message NAME kind=KIND { ATTRIBUTE }
//!   FIELD TYPE v=VERSIONS { ATTRIBUTE }      deeper fields: the struct's own
//!   struct NAME v=VERSIONS                   a struct used from several places
//! ```
//!
//! Two blanks a level, one blank between tokens. Everything that does not fit is an error with file and line.

use std::path::Path;

/// A range of versions; `first > last` is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Versions {
    pub first: i16,
    pub last: i16,
}

impl Versions {
    pub const NONE: Self = Self { first: 0, last: -1 };

    pub fn is_empty(self) -> bool {
        self.first > self.last
    }

    pub fn and(self, other: Self) -> Self {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        if both.is_empty() { Self::NONE } else { both }
    }

    fn parse(text: &str) -> Option<Self> {
        if text == "none" {
            return Some(Self::NONE);
        }
        if let Some(first) = text.strip_suffix('+') {
            return Some(Self { first: first.parse().ok()?, last: i16::MAX });
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Some(Self { first: first.parse().ok()?, last: last.parse().ok()? }).filter(|range| !range.is_empty())
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Type {
    Bool,
    Int8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Float64,
    String,
    Bytes,
    Uuid,
    Records,
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    fn parse(text: &str) -> Option<Self> {
        if let Some(element) = text.strip_prefix("[]") {
            return Some(Self::Array(Box::new(Self::parse(element)?)));
        }
        Some(match text {
            "bool" => Self::Bool,
            "int8" => Self::Int8,
            "int16" => Self::Int16,
            "uint16" => Self::Uint16,
            "int32" => Self::Int32,
            "uint32" => Self::Uint32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "uuid" => Self::Uuid,
            "records" => Self::Records,
            name if name.starts_with(|first: char| first.is_ascii_uppercase()) => Self::Struct(name.to_owned()),
            _ => return None,
        })
    }

    /// The struct that this names, behind any number of arrays.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub ty: Type,
    pub versions: Versions,
    pub nullable: Versions,
    /// Versions in which it is a tagged field.
    pub tagged: Versions,
    pub tag: u32,
    pub default: Option<String>,
    /// Overrides the message's.
    pub flexible: Option<Versions>,
    pub ignorable: bool,
    /// `file:line`, for errors.
    pub place: String,
}

#[derive(Clone, Debug)]
pub struct Struct {
    pub name: String,
    pub versions: Versions,
    pub fields: Vec<Field>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Request,
    Response,
    Header,
    Metadata,
    CoordinatorKey,
    CoordinatorValue,
    Data,
}

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    pub key: Option<i16>,
    pub valid: Versions,
    pub flexible: Versions,
    /// The message's own fields; its name and versions.
    pub root: Struct,
    pub structs: Vec<Struct>,
}

/// Reads one file.
pub fn file(path: &Path) -> Result<Vec<Message>, String> {
    let shown = path.strip_prefix(path.ancestors().nth(3).unwrap_or(path)).unwrap_or(path).display().to_string();
    text(&shown, &crate::read(path)?)
}

struct Line<'a> {
    level: usize,
    tokens: Vec<&'a str>,
    place: String,
}

/// Reads the text of one file, called `name` in errors.
pub fn text(name: &str, text: &str) -> Result<Vec<Message>, String> {
    let mut messages: Vec<Message> = Vec::new();
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let place = format!("{name}:{}", index + 1);
        let blanks = line.len() - line.trim_start_matches(' ').len();
        if blanks % 2 != 0 {
            return Err(format!("{place}: indented by {blanks} blanks, not by two a level"));
        }
        let tokens: Vec<&str> = line.trim().split(' ').collect();
        if tokens.contains(&"") {
            return Err(format!("{place}: more than one blank between two tokens"));
        }
        lines.push(Line { level: blanks / 2, tokens, place });
    }
    let mut at = 0;
    while at < lines.len() {
        let mut message = head(&lines[at])?;
        at += 1;
        let mut structs = Vec::new();
        at = fields(&lines, at, 1, &mut message.root.fields, &mut structs)?;
        message.structs = structs;
        check(&message)?;
        messages.push(message);
    }
    Ok(messages)
}

fn head(line: &Line) -> Result<Message, String> {
    let place = &line.place;
    let ["message", name, attributes @ ..] = line.tokens.as_slice() else {
        return Err(format!("{place}: expected `message NAME kind=KIND …`"));
    };
    let mut kind = None;
    let (mut key, mut valid, mut flexible) = (None, None, Versions::NONE);
    for attribute in attributes {
        match attribute.split_once('=') {
            Some(("kind", value)) => {
                kind = Some(match value {
                    "request" => Kind::Request,
                    "response" => Kind::Response,
                    "header" => Kind::Header,
                    "metadata" => Kind::Metadata,
                    "coordinator-key" => Kind::CoordinatorKey,
                    "coordinator-value" => Kind::CoordinatorValue,
                    "data" => Kind::Data,
                    _ => return Err(format!("{place}: unknown kind `{value}`")),
                });
            }
            Some(("key", value)) => key = Some(value.parse().map_err(|_| format!("{place}: bad key `{value}`"))?),
            Some(("valid", value)) => valid = Some(versions(place, value)?),
            Some(("flexible", value)) => flexible = versions(place, value)?,
            Some(("listeners", _)) => {}
            // Which versions are for production says the table of the API versions.
            None if *attribute == "latestUnstable" => {}
            _ => return Err(format!("{place}: unknown attribute `{attribute}` of a message")),
        }
    }
    let valid = valid.ok_or_else(|| format!("{place}: `{name}` has no valid="))?;
    if valid.last == i16::MAX {
        return Err(format!("{place}: the valid versions of `{name}` have no end"));
    }
    let kind = kind.ok_or_else(|| format!("{place}: `{name}` has no kind="))?;
    if matches!(kind, Kind::Request | Kind::Response | Kind::Metadata) && key.is_none() {
        return Err(format!("{place}: `{name}` has no key="));
    }
    let root = Struct { name: (*name).to_owned(), versions: valid, fields: Vec::new() };
    Ok(Message { kind, key, valid, flexible, root, structs: Vec::new() })
}

/// Reads the fields from line `at` on that stand at `level`; returns the line behind them.
fn fields(
    lines: &[Line],
    mut at: usize,
    level: usize,
    into: &mut Vec<Field>,
    structs: &mut Vec<Struct>,
) -> Result<usize, String> {
    while let Some(line) = lines.get(at) {
        let place = &line.place;
        if line.level < level {
            break;
        }
        if line.level > level {
            return Err(format!("{place}: deeper than its parent's fields"));
        }
        at += 1;
        let (name, versions) = if line.tokens[0] == "struct" {
            let ["struct", name, range] = line.tokens.as_slice() else {
                return Err(format!("{place}: expected `struct NAME v=VERSIONS`"));
            };
            if level != 1 {
                return Err(format!("{place}: a named struct stands at the first level"));
            }
            let range = range.strip_prefix("v=").ok_or_else(|| format!("{place}: expected v= instead of `{range}`"))?;
            ((*name).to_owned(), self::versions(place, range)?)
        } else {
            let field = field(line)?;
            let found = (field.ty.struct_name().unwrap_or_default().to_owned(), field.versions);
            into.push(field);
            found
        };
        if lines.get(at).is_some_and(|next| next.level > level) {
            if name.is_empty() {
                return Err(format!("{}: fields below a field that is no struct", lines[at].place));
            }
            if structs.iter().any(|known| known.name == name) {
                return Err(format!("{place}: struct `{name}` has fields already"));
            }
            let mut inner = Vec::new();
            at = fields(lines, at, level + 1, &mut inner, structs)?;
            structs.push(Struct { name, versions, fields: inner });
        }
    }
    Ok(at)
}

fn field(line: &Line) -> Result<Field, String> {
    let place = &line.place;
    let [name, ty, attributes @ ..] = line.tokens.as_slice() else {
        return Err(format!("{place}: expected `NAME TYPE v=VERSIONS …`"));
    };
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.chars().all(|c| c.is_ascii_alphanumeric())
    {
        return Err(format!("{place}: `{name}` is no name of a field"));
    }
    let ty = Type::parse(ty).ok_or_else(|| format!("{place}: unknown type `{ty}`"))?;
    let mut range = None;
    let mut field = Field {
        name: (*name).to_owned(),
        ty,
        versions: Versions::NONE,
        nullable: Versions::NONE,
        tagged: Versions::NONE,
        tag: 0,
        default: None,
        flexible: None,
        ignorable: false,
        place: place.clone(),
    };
    let mut tag = None;
    for attribute in attributes {
        match attribute.split_once('=') {
            Some(("v", value)) => range = Some(versions(place, value)?),
            Some(("null", value)) => field.nullable = versions(place, value)?,
            Some(("tagged", value)) => field.tagged = versions(place, value)?,
            Some(("tag", value)) => tag = Some(value.parse().map_err(|_| format!("{place}: bad tag `{value}`"))?),
            Some(("default", value)) => field.default = Some(value.to_owned()),
            Some(("flexible", value)) => field.flexible = Some(versions(place, value)?),
            Some(("entity", _)) => {}
            None if *attribute == "ignorable" => field.ignorable = true,
            None if matches!(*attribute, "mapKey" | "zeroCopy") => {}
            _ => return Err(format!("{place}: unknown attribute `{attribute}` of a field")),
        }
    }
    field.versions = range.ok_or_else(|| format!("{place}: `{name}` has no v="))?;
    if field.tagged.is_empty() != tag.is_none() {
        return Err(format!("{place}: `{name}` has tagged= without tag=, or the other way round"));
    }
    field.tag = tag.unwrap_or(0);
    Ok(field)
}

fn versions(place: &str, text: &str) -> Result<Versions, String> {
    Versions::parse(text).ok_or_else(|| format!("{place}: `{text}` is no range of versions"))
}

/// What the grammar alone does not say.
fn check(message: &Message) -> Result<(), String> {
    let all = || message.structs.iter().chain([&message.root]);
    for owner in all() {
        for (index, field) in owner.fields.iter().enumerate() {
            let place = &field.place;
            if let Some(name) = field.ty.struct_name()
                && !message.structs.iter().any(|known| known.name == name)
            {
                return Err(format!("{place}: no struct `{name}` in `{}`", message.root.name));
            }
            if owner.fields[..index].iter().any(|earlier| earlier.name == field.name) {
                return Err(format!("{place}: a second field `{}`", field.name));
            }
            let tagged = field.tagged.and(message.valid);
            if tagged.and(message.flexible) != tagged {
                return Err(format!("{place}: `{}` is tagged in a version that is not flexible", field.name));
            }
            if !field.nullable.is_empty()
                && !matches!(field.ty, Type::String | Type::Bytes | Type::Records | Type::Struct(_) | Type::Array(_))
            {
                return Err(format!("{place}: `{}` has a type that is never null", field.name));
            }
            if field.default.as_deref() == Some("null") && field.nullable.is_empty() {
                return Err(format!("{place}: `{}` is null by default and never nullable", field.name));
            }
        }
    }
    Ok(())
}
