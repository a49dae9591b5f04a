//! Words for hosts and links: `b2`, `leader(orders/0)`, `except(b1)`, `b1 -> {b2, b3}`.

use std::fmt;
use std::ops::Range;

use super::diagnostic::code;
use super::units::Refusal;

/// Which host, or hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NodeTerm {
    /// One by its name; of links also a client's, `writers-1`.
    Host(String),
    /// The leader of a partition.
    Leader(String, i32),
    /// One follower of a partition, drawn by the seed.
    Follower(String, i32),
    /// The leader of the quorum.
    Controller,
    /// One broker, drawn by the seed.
    Any,
    /// As many voters as may fail, drawn by the seed.
    Minority,
    /// One voter more than may fail, drawn by the seed.
    Majority,
    /// Every broker but these.
    Except(Box<Self>),
}

impl NodeTerm {
    /// The hosts named in it.
    pub fn hosts(&self) -> Vec<&str> {
        match self {
            Self::Host(name) => vec![name],
            Self::Except(inner) => inner.hosts(),
            _ => Vec::new(),
        }
    }

    /// The partition named in it.
    pub fn partition(&self) -> Option<(&str, i32)> {
        match self {
            Self::Leader(topic, partition) | Self::Follower(topic, partition) => Some((topic, *partition)),
            Self::Except(inner) => inner.partition(),
            _ => None,
        }
    }
}

impl fmt::Display for NodeTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(name) => f.write_str(name),
            Self::Leader(topic, partition) => write!(f, "leader({topic}/{partition})"),
            Self::Follower(topic, partition) => write!(f, "follower({topic}/{partition})"),
            Self::Controller => f.write_str("controller"),
            Self::Any => f.write_str("any"),
            Self::Minority => f.write_str("minority"),
            Self::Majority => f.write_str("majority"),
            Self::Except(inner) => write!(f, "except({inner})"),
        }
    }
}

/// Which links: from each host of one side to each of the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LinkTerm {
    /// One side.
    pub from: Vec<NodeTerm>,
    /// The other.
    pub to: Vec<NodeTerm>,
    /// `->`: only this way; `|`: both.
    pub one_way: bool,
}

impl LinkTerm {
    /// The terms of both sides.
    pub fn terms(&self) -> impl Iterator<Item = &NodeTerm> {
        self.from.iter().chain(&self.to)
    }
}

impl fmt::Display for LinkTerm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = |list: &[NodeTerm]| match list {
            [one] => one.to_string(),
            many => format!("{{{}}}", many.iter().map(NodeTerm::to_string).collect::<Vec<_>>().join(", ")),
        };
        write!(f, "{} {} {}", side(&self.from), if self.one_way { "->" } else { "|" }, side(&self.to))
    }
}

const WORDS: &[&str] =
    &["b1", "leader(orders/0)", "follower(orders/0)", "controller", "any", "minority", "majority", "except(b1)"];

/// Reads a host term.
pub fn node(text: &str) -> Result<NodeTerm, Refusal> {
    node_within(text, 0..text.len())
}

fn node_within(whole: &str, range: Range<usize>) -> Result<NodeTerm, Refusal> {
    let range = trim(whole, range);
    let text = &whole[range.clone()];
    let word = text.split('(').next().unwrap_or_default().trim_end();
    let inside = || -> Result<Range<usize>, Refusal> {
        let open = text.find('(');
        match (open, text.ends_with(')')) {
            (Some(open), true) => Ok(range.start + open + 1..range.end - 1),
            _ => {
                Err(Refusal::new(code::BAD_TERM, range.clone(), format!("`{word}` needs its argument in parentheses")))
            }
        }
    };
    match word {
        "controller" | "any" | "minority" | "majority" if word == text => Ok(match word {
            "controller" => NodeTerm::Controller,
            "any" => NodeTerm::Any,
            "minority" => NodeTerm::Minority,
            _ => NodeTerm::Majority,
        }),
        "leader" | "follower" => {
            let inner = trim(whole, inside()?);
            let (topic, partition) = partition(&whole[inner.clone()]).ok_or_else(|| {
                Refusal::new(code::BAD_TERM, inner.clone(), format!("`{}` is no partition", &whole[inner.clone()]))
                    .label(format!("a topic and a number: `{word}(orders/0)`"))
            })?;
            Ok(if word == "leader" { NodeTerm::Leader(topic, partition) } else { NodeTerm::Follower(topic, partition) })
        }
        "except" => Ok(NodeTerm::Except(Box::new(node_within(whole, inside()?)?))),
        "coordinator" | "rack" => {
            Err(Refusal::new(code::LATER, range, format!("the host term `{word}(…)` comes with a later version")))
        }
        _ if is_host(text) || is_client(text) => Ok(NodeTerm::Host(text.to_owned())),
        _ => {
            let known = ["leader", "follower", "controller", "any", "minority", "majority", "except"];
            let mut refusal = Refusal::new(code::BAD_TERM, range, format!("`{text}` names no host"));
            if let Some(best) = super::diagnostic::closest(word, &known) {
                refusal = refusal.label(format!("did you mean `{best}`?"));
            }
            refusal.notes.push(format!("host terms: {}", WORDS.join(", ")));
            Err(refusal)
        }
    }
}

/// Reads a link term.
pub fn link(text: &str) -> Result<LinkTerm, Refusal> {
    let (at, width, one_way) = match (text.find("->"), text.find('|')) {
        (Some(at), None) => (at, 2, true),
        (None, Some(at)) => (at, 1, false),
        _ => {
            return Err(Refusal::new(code::BAD_TERM, 0..text.len(), format!("`{text}` is no link"))
                .label("two sides: `b1 -> b2` one way, `b1 | {b2, b3}` both ways"));
        }
    };
    Ok(LinkTerm { from: side(text, 0..at)?, to: side(text, at + width..text.len())?, one_way })
}

fn side(whole: &str, range: Range<usize>) -> Result<Vec<NodeTerm>, Refusal> {
    let range = trim(whole, range);
    let text = &whole[range.clone()];
    let Some(inner) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        return Ok(vec![node_within(whole, range)?]);
    };
    let mut at = range.start + 1;
    inner
        .split(',')
        .map(|part| {
            let start = at;
            at += part.len() + 1;
            node_within(whole, start..start + part.len())
        })
        .collect()
}

/// `orders/0`.
pub fn partition(text: &str) -> Option<(String, i32)> {
    let (topic, number) = text.rsplit_once('/')?;
    let number = number.trim().parse::<i32>().ok().filter(|number| *number >= 0)?;
    (!topic.is_empty()).then(|| (topic.trim().to_owned(), number))
}

/// `b1`, `c3`.
pub fn is_host(text: &str) -> bool {
    text.strip_prefix(['b', 'c']).is_some_and(|number| {
        !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Whether a text means a link, not a host or a name.
pub fn is_link(text: &str) -> bool {
    text.contains("->") || text.contains('|')
}

/// `writers-1`: a load and the number of one of its clients. Which there are is judged with the whole scenario.
fn is_client(text: &str) -> bool {
    let Some((load, number)) = text.rsplit_once('-') else { return false };
    let named =
        !load.is_empty() && load.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    named && !number.is_empty() && !number.starts_with('0') && number.bytes().all(|byte| byte.is_ascii_digit())
}

fn trim(whole: &str, range: Range<usize>) -> Range<usize> {
    let text = &whole[range.clone()];
    let start = range.start + (text.len() - text.trim_start().len());
    start..(start + text.trim().len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terms_read_and_print() {
        for text in WORDS {
            assert_eq!(node(text).unwrap().to_string(), *text);
        }
        assert_eq!(node("except(leader(a/1))").unwrap().to_string(), "except(leader(a/1))");
        for text in ["b1 -> b2", "b1 | {b2, b3}", "{b1, c1} -> any", "except(leader(a/0)) | controller"] {
            assert_eq!(link(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_wrong_term_is_pointed_at() {
        assert_eq!(node("leder(orders/0)").unwrap_err().label.as_deref(), Some("did you mean `leader`?"));
        assert_eq!(node("leader(orders)").unwrap_err().at, 7..13);
        assert_eq!(link("b1 -> {b2, x}").unwrap_err().at, 11..12);
        assert_eq!(link("b1").unwrap_err().code, code::BAD_TERM);
        assert_eq!(node("rack(east)").unwrap_err().code, code::LATER);
        assert!(node("b01").is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in "[a-c1-3(){}|>,/ -]{0,16}|\\PC{0,12}") {
            let _ = (node(&text), link(&text));
        }
    }
}
