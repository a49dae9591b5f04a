//! Writes `json.rs`, which only the tests include: every generated message in the form of Kafka's own JSON converters,
//! and the unknown tagged fields with the path of their struct. The including file defines `ToJson` and its small impls.

use std::fmt::Write as _;

use crate::emit::{Scope, When, ident, snake};
use crate::parse::{Field, Message, Type};

fn lower(name: &str) -> String {
    name[..1].to_lowercase() + &name[1..]
}

fn holds_structs(field: &Field) -> bool {
    field.ty.struct_name().is_some()
}

/// `json.rs`.
pub fn converters(messages: &[Message]) -> String {
    let mut out = String::new();
    let mut dispatch = String::new();
    for message in messages {
        let module = snake(&message.root.name);
        for scope in Scope::all(message) {
            let name = &scope.owner.name;
            let (mut fields, mut tags) = (String::new(), String::new());
            for field in scope.fields() {
                let (ident, key) = (ident(&field.name), lower(&field.name));
                let put = if field.ty == Type::Records {
                    format!("put_records(&mut o, {key:?}, &self.{ident});")
                } else {
                    format!("o.insert({key:?}.into(), self.{ident}.to_json(v));")
                };
                let tagged = When::of(field.tagged, scope.within);
                let present = scope.present(field);
                let condition = match tagged {
                    When::Never => present.expr().to_owned(),
                    _ => {
                        format!("{} && !({} && self.{ident} == Self::default().{ident})", present.expr(), tagged.expr())
                    }
                };
                let _ = writeln!(fields, "        if {condition} {{ {put} }}");
                if holds_structs(field) {
                    let _ = writeln!(tags, "        self.{ident}.unknown_tags(format!(\"{{path}}.{key}\"), out);");
                }
            }
            let _ = writeln!(
                out,
                "impl ToJson for protocol::messages::{module}::{name} {{\n    fn to_json(&self, v: i16) -> Value {{\n        \
                 let mut o = Map::new();\n{fields}        Value::Object(o)\n    }}\n    \
                 fn unknown_tags(&self, path: String, out: &mut Vec<Value>) {{\n        \
                 put_tags(&self.unknown_tagged_fields, &path, out);\n{tags}    }}\n}}"
            );
        }
        let name = &message.root.name;
        let _ = writeln!(dispatch, "        {name:?} => visitor.visit::<protocol::messages::{name}>(),");
    }
    let _ = writeln!(
        out,
        "/// Calls the visitor with the type of the message of this name; `None` if it is not generated.\n\
         pub fn with_message<V: Visitor>(name: &str, visitor: V) -> Option<V::Out> {{\n    Some(match name {{\n{dispatch}        _ => return None,\n    }})\n}}"
    );
    let requests = messages.iter().filter(|message| message.kind == crate::parse::Kind::Request);
    let mut by_key = String::new();
    for message in requests {
        let name = &message.root.name;
        let _ =
            writeln!(by_key, "        {} => visitor.visit::<protocol::messages::{name}>(),", message.key.unwrap_or(-1));
    }
    let _ = writeln!(
        out,
        "/// Calls the visitor with the type of the request of this key; `None` if it is not generated.\n\
         pub fn with_request<V: Visitor>(key: i16, visitor: V) -> Option<V::Out> {{\n    Some(match key {{\n{by_key}        _ => return None,\n    }})\n}}"
    );
    out
}
