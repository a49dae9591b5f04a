//! Writes a module per message: its structs, their defaults and their codecs against `codec::{Decoder, Encoder}`.
//!
//! A struct's `read` and `write` go through the fields in the order of the file; what depends on the version is an `if`
//! whose condition is left out where it always holds. Tagged fields come last. Every field first says its name (`at`),
//! which costs one store and names the place in errors.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::parse::{Field, Kind, Message, Struct, Type, Versions};

/// Whether a field is there, as far as the versions at hand tell.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    Never,
    Always,
    /// A condition on `v`.
    If(String),
}

impl When {
    /// `range`, seen from inside `within`.
    pub fn of(range: Versions, within: Versions) -> Self {
        let both = range.and(within);
        if both.is_empty() {
            return Self::Never;
        }
        match (both.first > within.first, both.last < within.last) {
            (false, false) => Self::Always,
            (true, false) => Self::If(format!("v >= {}", both.first)),
            (false, true) => Self::If(format!("v <= {}", both.last)),
            (true, true) if both.first == both.last => Self::If(format!("v == {}", both.first)),
            (true, true) => Self::If(format!("({}..={}).contains(&v)", both.first, both.last)),
        }
    }

    /// As an expression.
    pub fn expr(&self) -> &str {
        match self {
            Self::Never => "false",
            Self::Always => "true",
            Self::If(condition) => condition,
        }
    }
}

/// `ClusterId` to `cluster_id`. `KRaft` is one word.
pub fn snake(name: &str) -> String {
    let name = name.replace("KRaft", "Kraft");
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (index, c) in chars.iter().enumerate() {
        let starts = c.is_ascii_uppercase()
            && index > 0
            && (!chars[index - 1].is_ascii_uppercase() || chars.get(index + 1).is_some_and(char::is_ascii_lowercase));
        if starts {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// The Rust name of a field.
pub fn ident(name: &str) -> String {
    let name = snake(name);
    if matches!(name.as_str(), "type" | "match" | "ref" | "move" | "in" | "where" | "use" | "mod" | "loop" | "impl") {
        format!("r#{name}")
    } else {
        name
    }
}

/// One struct of a message with all that its code depends on.
pub struct Scope<'a> {
    pub message: &'a Message,
    pub owner: &'a Struct,
    /// Versions in which the struct can be met.
    pub within: Versions,
}

impl<'a> Scope<'a> {
    /// The structs of a message, its own first; those that no valid version has are left out.
    pub fn all(message: &'a Message) -> impl Iterator<Item = Self> {
        let owners = [&message.root].into_iter().chain(&message.structs);
        owners
            .map(move |owner| Self { message, owner, within: owner.versions.and(message.valid) })
            .filter(|scope| !scope.within.is_empty())
    }

    /// Fields that some valid version has.
    pub fn fields(&self) -> impl Iterator<Item = &'a Field> + use<'a> {
        let within = self.within;
        self.owner.fields.iter().filter(move |field| !field.versions.and(within).is_empty())
    }

    /// When the field is in the struct at all.
    pub fn present(&self, field: &Field) -> When {
        When::of(field.versions, self.within)
    }

    /// Tagged fields by tag.
    fn tagged(&self) -> Vec<&'a Field> {
        let mut found: Vec<&Field> = self.fields().filter(|field| !field.tagged.and(self.within).is_empty()).collect();
        found.sort_by_key(|field| field.tag);
        found
    }

    /// When the field stands in file order rather than among the tagged ones. Tagged versions are a tail of the others.
    fn plain(&self, field: &Field) -> When {
        if field.tagged.is_empty() {
            return self.present(field);
        }
        let before = Versions { first: field.versions.first, last: field.versions.last.min(field.tagged.first - 1) };
        When::of(before, self.within)
    }

    fn flexible(&self, field: &Field) -> &'static str {
        match field.flexible {
            None => "f",
            Some(range) if range.and(self.within).is_empty() => "false",
            Some(_) => "true",
        }
    }

    /// Whether the Rust type is an `Option`.
    pub fn optional(&self, field: &Field) -> bool {
        field.ty == Type::Records || !field.nullable.and(self.message.valid).is_empty()
    }

    /// When the field may be null.
    pub fn nullable(&self, field: &Field) -> When {
        When::of(field.nullable, self.within.and(field.versions))
    }

    fn path(&self, field: &Field) -> String {
        format!("{}.{}", self.owner.name, field.name)
    }
}

fn rust_type(ty: &Type) -> String {
    match ty {
        Type::Bool => "bool".into(),
        Type::Int8 => "i8".into(),
        Type::Int16 => "i16".into(),
        Type::Uint16 => "u16".into(),
        Type::Int32 => "i32".into(),
        Type::Uint32 => "u32".into(),
        Type::Int64 => "i64".into(),
        Type::Float64 => "f64".into(),
        Type::String => "Str".into(),
        Type::Bytes => "Bytes".into(),
        Type::Uuid => "Uuid".into(),
        Type::Records => "Chunks".into(),
        Type::Struct(name) => name.clone(),
        Type::Array(element) => format!("Vec<{}>", rust_type(element)),
    }
}

/// The default as an expression, and as a test of the place `self.name`.
fn default(scope: &Scope, field: &Field) -> Result<(String, String), String> {
    let at = format!("self.{}", ident(&field.name));
    let wrong = || {
        format!(
            "{}: `{}` cannot be the default of `{}`",
            field.place,
            field.default.as_deref().unwrap_or(""),
            field.name
        )
    };
    let text = field.default.as_deref();
    let (value, inner_is) = match &field.ty {
        _ if text == Some("null") => ("None".to_owned(), String::new()),
        Type::Records if text.is_none() => ("None".to_owned(), String::new()),
        Type::Bool => {
            let value: bool = text.unwrap_or("false").parse().map_err(|_| wrong())?;
            (value.to_string(), if value { "{}".into() } else { "!{}".into() })
        }
        Type::Float64 => {
            let value: f64 = text.unwrap_or("0").parse().map_err(|_| wrong())?;
            (format!("{value:?}"), format!("{{}} == {value:?}"))
        }
        Type::Int8 | Type::Int16 | Type::Uint16 | Type::Int32 | Type::Uint32 | Type::Int64 => {
            let value: i64 = text.unwrap_or("0").parse().map_err(|_| wrong())?;
            (value.to_string(), format!("{{}} == {value}"))
        }
        Type::Uuid if text.is_none() => ("Uuid::ZERO".into(), "{}.is_zero()".into()),
        Type::String if matches!(text, None | Some("\"\"")) => ("Str::EMPTY".into(), "{}.is_empty()".into()),
        Type::String => {
            let value = text.unwrap_or_default();
            (format!("Str::from_static({value:?})"), format!("{{}} == *{value:?}"))
        }
        Type::Bytes if text.is_none() => ("Bytes::new()".into(), "{}.is_empty()".into()),
        Type::Array(_) if text.is_none() => ("Vec::new()".into(), "{}.is_empty()".into()),
        Type::Struct(name) if text.is_none() => (format!("{name}::default()"), format!("{{}} == {name}::default()")),
        _ => return Err(wrong()),
    };
    Ok(if value == "None" {
        (value, format!("{at}.is_none()"))
    } else if scope.optional(field) {
        let value = format!("Some({value})");
        let test = format!("{at} == {value}");
        (value, test)
    } else {
        (value, inner_is.replace("{}", &at))
    })
}

/// An expression of type `Result<T, DecodeError>` that reads a value which is never null.
fn read_value(ty: &Type, f: &str) -> String {
    match ty {
        Type::Bool => "d.bool()".into(),
        Type::Int8 => "d.i8()".into(),
        Type::Int16 => "d.i16()".into(),
        Type::Uint16 => "d.u16()".into(),
        Type::Int32 => "d.i32()".into(),
        Type::Uint32 => "d.u32()".into(),
        Type::Int64 => "d.i64()".into(),
        Type::Float64 => "d.f64()".into(),
        Type::Uuid => "d.uuid()".into(),
        Type::String => format!("d.string({f})"),
        Type::Bytes => format!("d.bytes({f})"),
        Type::Records => format!("d.nullable_records({f}, true)"),
        Type::Struct(name) => format!("{name}::read(d, v)"),
        Type::Array(element) => format!("d.array({f}, |d| {})", read_value(element, f)),
    }
}

fn read_nullable(ty: &Type, f: &str, nullable: &str, tagged: bool) -> String {
    match ty {
        Type::String => format!("d.nullable_string({f}, {nullable})"),
        Type::Bytes => format!("d.nullable_bytes({f}, {nullable})"),
        Type::Records => format!("d.nullable_records({f}, {nullable})"),
        Type::Struct(name) => format!("d.nullable_struct({tagged}, {nullable}, |d| {name}::read(d, v))"),
        Type::Array(element) => format!("d.nullable_array({f}, {nullable}, |d| {})", read_value(element, f)),
        _ => read_value(ty, f),
    }
}

/// A statement (without `;`) that writes the value behind the reference `at`. With `result`, an expression of type
/// `Result<(), EncodeError>` instead.
fn write_value(ty: &Type, f: &str, at: &str, result: bool) -> String {
    let plain = |method: &str| {
        if result { format!("{{ e.{method}(*{at}); Ok(()) }}") } else { format!("e.{method}(*{at})") }
    };
    let tried = |call: String| if result { call } else { format!("{call}?") };
    match ty {
        Type::Bool => plain("bool"),
        Type::Int8 => plain("i8"),
        Type::Int16 => plain("i16"),
        Type::Uint16 => plain("u16"),
        Type::Int32 => plain("i32"),
        Type::Uint32 => plain("u32"),
        Type::Int64 => plain("i64"),
        Type::Float64 => plain("f64"),
        Type::Uuid => plain("uuid"),
        Type::String => tried(format!("e.string({f}, {at})")),
        Type::Bytes => tried(format!("e.bytes({f}, {at})")),
        Type::Records => tried(format!("e.nullable_records({f}, true, {at})")),
        Type::Struct(_) => tried(format!("{at}.write(e, v)")),
        Type::Array(element) => tried(format!("e.array({f}, {at}, |e, x| {})", write_value(element, f, "x", true))),
    }
}

fn write_field(scope: &Scope, field: &Field, f: &str, tagged: bool) -> String {
    let at = format!("(&self.{})", ident(&field.name));
    if !scope.optional(field) {
        return write_value(&field.ty, f, &at, false);
    }
    let nullable = scope.nullable(field);
    let nullable = nullable.expr();
    match &field.ty {
        Type::String => format!("e.nullable_string({f}, {nullable}, {at}.as_ref())?"),
        Type::Bytes => format!("e.nullable_bytes({f}, {nullable}, {at}.as_ref())?"),
        Type::Records => format!("e.nullable_records({f}, {nullable}, {at}.as_ref())?"),
        Type::Struct(_) => format!("e.nullable_struct({tagged}, {nullable}, {at}.as_ref(), |e, x| x.write(e, v))?"),
        Type::Array(element) => format!(
            "e.nullable_array({f}, {nullable}, {at}.as_deref(), |e, x| {})?",
            write_value(element, f, "x", true)
        ),
        _ => write_value(&field.ty, f, &at, false),
    }
}

fn shown(range: Versions) -> String {
    match range {
        Versions { first, last } if first == last => first.to_string(),
        Versions { first, last: i16::MAX } => format!("{first}+"),
        Versions { first, last } => format!("{first}-{last}"),
    }
}

fn definition(scope: &Scope, out: &mut String) -> Result<(), String> {
    let name = &scope.owner.name;
    let _ = writeln!(out, "    /// `{name}`, versions {}.", shown(scope.within));
    let _ = writeln!(out, "    #[derive(Clone, Debug, PartialEq)]\n    pub struct {name} {{");
    let mut defaults = String::new();
    for field in scope.fields() {
        let ty = rust_type(&field.ty);
        let ty = if scope.optional(field) { format!("Option<{ty}>") } else { ty };
        let tag = if field.tagged.is_empty() { String::new() } else { format!(", tag {}", field.tag) };
        let ident = ident(&field.name);
        let _ = writeln!(
            out,
            "        /// `{}`, versions {}{tag}.\n        pub {ident}: {ty},",
            field.name,
            shown(field.versions)
        );
        let _ = writeln!(defaults, "                {ident}: {},", default(scope, field)?.0);
    }
    let _ = writeln!(
        out,
        "        /// Tagged fields that these schemas do not know, by tag; kept and written back.\n        \
         pub unknown_tagged_fields: Vec<RawTaggedField>,\n    }}\n\n    impl Default for {name} {{\n        \
         fn default() -> Self {{\n            Self {{\n{defaults}                unknown_tagged_fields: Vec::new(),\n            \
         }}\n        }}\n    }}\n"
    );
    Ok(())
}

fn reader(scope: &Scope, out: &mut String) {
    let flexible = When::of(scope.message.flexible, scope.within);
    let _ = writeln!(out, "        pub(super) fn read(d: &mut Decoder, v: i16) -> Result<Self, DecodeError> {{");
    let _ = writeln!(out, "            let f = {};\n            let mut out = Self::default();", flexible.expr());
    for field in scope.fields() {
        let plain = scope.plain(field);
        if plain == When::Never {
            continue;
        }
        let f = scope.flexible(field);
        let value = if scope.optional(field) {
            read_nullable(&field.ty, f, scope.nullable(field).expr(), false)
        } else {
            read_value(&field.ty, f)
        };
        let statement = format!("d.at({:?}); out.{} = {value}?;", scope.path(field), ident(&field.name));
        let _ = match plain {
            When::If(condition) => writeln!(out, "            if {condition} {{ {statement} }}"),
            _ => writeln!(out, "            {statement}"),
        };
    }
    if flexible != When::Never {
        let _ = writeln!(out, "            if f {{\n                d.at(\"{}.tags\");", scope.owner.name);
        let _ = writeln!(
            out,
            "                for _ in 0..d.tag_count()? {{\n                    let (tag, end) = d.tag()?;\n                    match tag {{"
        );
        for field in scope.tagged() {
            let guard = match When::of(field.tagged, scope.within.and(scope.message.flexible)) {
                When::If(condition) => format!(" if {condition}"),
                _ => String::new(),
            };
            let value = if scope.optional(field) {
                read_nullable(&field.ty, "f", scope.nullable(field).expr(), true)
            } else {
                read_value(&field.ty, "f")
            };
            let _ = writeln!(
                out,
                "                        {}{guard} => {{ d.at({:?}); out.{} = {value}?; d.tag_end(end)?; }}",
                field.tag,
                scope.path(field),
                ident(&field.name),
            );
        }
        let _ = writeln!(
            out,
            "                        _ => out.unknown_tagged_fields.push(d.unknown_tag(tag, end)?),\n                    }}\n                }}\n            }}"
        );
    }
    let _ = writeln!(out, "            Ok(out)\n        }}\n");
}

fn writer(scope: &Scope, out: &mut String) -> Result<(), String> {
    let flexible = When::of(scope.message.flexible, scope.within);
    let _ = writeln!(out, "        pub(super) fn write(&self, e: &mut Encoder, v: i16) -> Result<(), EncodeError> {{");
    let _ = writeln!(out, "            let f = {};", flexible.expr());
    for field in scope.fields() {
        let plain = scope.plain(field);
        let path = scope.path(field);
        if plain != When::Never {
            let statement = format!("e.at({path:?}); {};", write_field(scope, field, scope.flexible(field), false));
            let _ = match &plain {
                When::If(condition) => writeln!(out, "            if {condition} {{ {statement} }}"),
                _ => writeln!(out, "            {statement}"),
            };
        }
        // Set, but the version has no place for it.
        if let (When::If(condition), false) = (scope.present(field), field.ignorable) {
            let _ = writeln!(
                out,
                "            if !({condition}) && !({}) {{ e.at({path:?}); return Err(e.absent(v)); }}",
                default(scope, field)?.1
            );
        }
    }
    let tagged = scope.tagged();
    match flexible {
        When::Never => {
            let _ = writeln!(out, "            e.no_unknown_tags(&self.unknown_tagged_fields, v)?;");
        }
        _ => {
            let _ = writeln!(out, "            if !f {{ return e.no_unknown_tags(&self.unknown_tagged_fields, v); }}");
            let mut writes = String::new();
            let mut count = "self.unknown_tagged_fields.len()".to_owned();
            for field in &tagged {
                let there = match When::of(field.tagged, scope.within.and(scope.message.flexible)) {
                    When::If(condition) => format!("{condition} && "),
                    _ => String::new(),
                };
                let name = format!("has_{}", field.tag);
                let _ = writeln!(out, "            let {name} = {there}!({});", default(scope, field)?.1);
                let _ = write!(count, " + usize::from({name})");
                let _ = writeln!(
                    writes,
                    "            if {name} {{ raw = e.unknown_tags_below(raw, {tag})?; e.at({:?}); e.tagged({tag}, |e| {{ {}; Ok(()) }})?; }}",
                    scope.path(field),
                    write_field(scope, field, "f", true),
                    tag = field.tag,
                );
            }
            let _ = writeln!(out, "            e.tag_count({count});");
            let _ = writeln!(
                out,
                "            let mut raw = self.unknown_tagged_fields.as_slice();\n{writes}            e.unknown_tags(raw)?;"
            );
        }
    }
    let _ = writeln!(out, "            Ok(())\n        }}");
    Ok(())
}

/// `messages.rs`.
pub fn messages(messages: &[Message]) -> Result<String, String> {
    let mut out = String::new();
    for message in messages {
        let name = &message.root.name;
        let module = snake(name);
        let _ = writeln!(out, "/// [`{name}`] and its parts.\npub mod {module} {{\n    use super::support::*;\n");
        for scope in Scope::all(message) {
            definition(&scope, &mut out)?;
            let _ = writeln!(out, "    impl {} {{", scope.owner.name);
            reader(&scope, &mut out);
            writer(&scope, &mut out)?;
            out.push_str("    }\n\n");
        }
        let _ = writeln!(
            out,
            "    impl Message for {name} {{\n        const NAME: &'static str = {name:?};\n        \
             const VERSIONS: std::ops::RangeInclusive<i16> = {}..={};\n\n        \
             fn read_body(d: &mut Decoder, v: i16) -> Result<Self, DecodeError> {{ Self::read(d, v) }}\n        \
             fn write_body(&self, e: &mut Encoder, v: i16) -> Result<(), EncodeError> {{ self.write(e, v) }}\n    }}",
            message.valid.first, message.valid.last
        );
        if message.kind == Kind::Request {
            let api = name.strip_suffix("Request").ok_or_else(|| format!("the request `{name}` is not named so"))?;
            let _ = writeln!(
                out,
                "\n    impl Request for {name} {{\n        const KEY: ApiKey = ApiKey::{api};\n        type Response = super::{}::{api}Response;\n    }}",
                snake(&format!("{api}Response"))
            );
        }
        let _ = writeln!(out, "}}\npub use {module}::{name};\n");
    }
    Ok(out)
}

/// `metadata_record.rs`.
pub fn metadata_record(messages: &[Message]) -> String {
    let records: BTreeSet<(i16, &str)> = messages
        .iter()
        .filter(|message| message.kind == Kind::Metadata)
        .filter_map(|message| Some((message.key?, message.root.name.as_str())))
        .collect();
    let (mut variants, mut key, mut read, mut write, mut from, mut name_of) =
        (String::new(), String::new(), String::new(), String::new(), String::new(), String::new());
    for (id, name) in records {
        let variant = name.strip_suffix("Record").unwrap_or(name);
        let _ = writeln!(variants, "    /// Record id {id}.\n    {variant}(messages::{name}),");
        let _ = writeln!(key, "            Self::{variant}(_) => {id},");
        let _ = writeln!(name_of, "            Self::{variant}(_) => messages::{name}::NAME,");
        let _ = writeln!(read, "            {id} => Self::{variant}(messages::{name}::decode(input, version)?),");
        let _ = writeln!(write, "            Self::{variant}(record) => record.encode(out, version),");
        let _ = writeln!(
            from,
            "impl From<messages::{name}> for MetadataRecord {{\n    fn from(record: messages::{name}) -> Self {{ Self::{variant}(record) }}\n}}\n"
        );
    }
    format!(
        "/// A record of `__cluster_metadata`: what [`MetadataRecord::decode_framed`] reads and [`MetadataRecord::encode_framed`] writes.\n\
         #[derive(Clone, Debug, PartialEq)]\npub enum MetadataRecord {{\n{variants}}}\n\n\
         impl MetadataRecord {{\n    /// The record's id on the wire.\n    pub const fn id(&self) -> i16 {{\n        match self {{\n{key}        }}\n    }}\n\n    \
         /// The name of its schema.\n    pub const fn name(&self) -> &'static str {{\n        match self {{\n{name_of}        }}\n    }}\n\n    \
         fn decode_body(input: &mut Decoder, id: i16, version: i16) -> Result<Self, DecodeError> {{\n        Ok(match id {{\n{read}            \
         _ => return Err(input.unknown_record(id)),\n        }})\n    }}\n\n    \
         fn encode_body(&self, out: &mut Encoder, version: i16) -> Result<(), EncodeError> {{\n        match self {{\n{write}        }}\n    }}\n}}\n\n{from}"
    )
}
