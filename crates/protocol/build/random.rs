//! Writes `random.rs`, which only the tests include: a random instance of every generated struct, with all the fields
//! that a version has. The including file defines `Random` and its small impls.

use std::fmt::Write as _;

use crate::emit::{Scope, When, ident, snake};
use crate::parse::{Message, Type};

/// `random.rs`.
pub fn generators(messages: &[Message]) -> String {
    let mut out = String::new();
    let mut all = String::new();
    for message in messages {
        let module = snake(&message.root.name);
        for scope in Scope::all(message) {
            let name = &scope.owner.name;
            let mut fields = String::new();
            for field in scope.fields() {
                let ident = ident(&field.name);
                let value = match scope.nullable(field) {
                    _ if !scope.optional(field) => "Random::random(g, v)".to_owned(),
                    When::Never if field.ty == Type::Records => "Some(Random::random(g, v))".to_owned(),
                    nullable => format!(
                        "if {} {{ Random::random(g, v) }} else {{ Some(Random::random(g, v)) }}",
                        nullable.expr()
                    ),
                };
                let _ = writeln!(fields, "        if {} {{ out.{ident} = {value}; }}", scope.present(field).expr());
            }
            let flexible = When::of(message.flexible, scope.within);
            let _ = writeln!(
                out,
                "impl Random for protocol::messages::{module}::{name} {{\n    fn random(g: &mut Generator, v: i16) -> Self {{\n        \
                 let mut out = Self::default();\n{fields}        if {} {{ out.unknown_tagged_fields = g.tags(); }}\n        out\n    }}\n}}",
                flexible.expr()
            );
        }
        let _ = writeln!(all, "    visitor.visit::<protocol::messages::{}>();", message.root.name);
    }
    let _ = writeln!(
        out,
        "/// Calls the visitor with the type of every generated message.\npub fn with_every_message(visitor: &mut impl EveryMessage) {{\n{all}}}"
    );
    out
}
