//! Service-level objectives: `METRIC[(scope)] [in PHASE | after LABEL] OP VALUE`.

use std::fmt;

use super::diagnostic::{Spanned, code};
use super::units::{self, Refusal};

/// One objective.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Slo {
    /// As written.
    pub text: Spanned<String>,
    /// What is measured.
    pub metric: Metric,
    /// Of this topic only, with its place in the text.
    pub scope: Option<Placed<String>>,
    /// When.
    pub when: When,
    /// How it is compared.
    pub op: Op,
    /// With what.
    pub value: Limit,
}

/// A part of an objective and its bytes in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed<T> {
    /// The part.
    pub value: T,
    /// Its bytes within the objective's text.
    pub at: std::ops::Range<usize>,
}

/// What is measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metric {
    /// Latency of a produce, from the intended send to the acknowledgement.
    Produce(Statistic),
    /// Latency from the intended send to the record's arrival at a consumer.
    EndToEnd(Statistic),
    /// Latency of an echo, from the intended send.
    Echo(Statistic),
    /// Acknowledged operations a second.
    Throughput,
    /// The longest time between two acknowledgements while a send was pending: the worst partition of the scope.
    Unavailable,
    /// From a fault's beginning until rate and latency are as before.
    Recover,
    /// How many operations failed or stayed without an answer.
    Errors,
}

/// Which number of a distribution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Statistic {
    /// A quantile, in thousandths: 990 is p99.
    Quantile(u16),
    /// The largest.
    Max,
    /// The mean.
    Mean,
}

/// When it is measured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum When {
    /// In all measured phases.
    Run,
    /// In one phase.
    Phase(Placed<String>),
    /// From the beginning of a fault on.
    After(Placed<String>),
}

/// How it is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `>`
    Above,
    /// `==`
    Equal,
}

/// What it is compared with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Limit {
    /// A time, in ns.
    Duration(u64),
    /// A rate, in thousandths a second.
    Rate(u64),
    /// A count.
    Count(u64),
    /// So many hundredths of a percent of the same metric in another phase.
    PercentOf(u64, Placed<String>),
    /// What follows from the configuration.
    Bound,
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
            Self::Below => "<",
            Self::Above => ">",
            Self::Equal => "==",
        })
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, statistic) = match self {
            Self::Produce(statistic) => ("produce", statistic),
            Self::EndToEnd(statistic) => ("e2e", statistic),
            Self::Echo(statistic) => ("echo", statistic),
            Self::Throughput => return f.write_str("throughput"),
            Self::Unavailable => return f.write_str("unavailable"),
            Self::Recover => return f.write_str("recover"),
            Self::Errors => return f.write_str("errors"),
        };
        let statistic = STATISTICS.iter().find(|(_, known)| known == statistic).map_or("?", |(word, _)| word);
        write!(f, "{name}.{statistic}")
    }
}

const STATISTICS: &[(&str, Statistic)] = &[
    ("p50", Statistic::Quantile(500)),
    ("p90", Statistic::Quantile(900)),
    ("p99", Statistic::Quantile(990)),
    ("p999", Statistic::Quantile(999)),
    ("max", Statistic::Max),
    ("mean", Statistic::Mean),
];

const METRICS: &[&str] =
    &["produce.p50", "produce.p99", "e2e.p99", "echo.p99", "throughput", "unavailable", "recover", "errors"];

/// Words of other versions.
const LATER: &[&str] = &["capacity", "drain_time", "lag"];

const OPERATORS: &[(&str, Op)] =
    &[("<=", Op::AtMost), (">=", Op::AtLeast), ("==", Op::Equal), ("<", Op::Below), (">", Op::Above)];

/// A reader that remembers where it is.
struct Words<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<Placed<&'a str>> {
        let rest = &self.text[self.at..];
        let start = self.at + (rest.len() - rest.trim_start().len());
        let word = self.text[start..].split_whitespace().next()?;
        self.at = start + word.len();
        Some(Placed { value: word, at: start..self.at })
    }
}

/// Reads an objective; its [`Slo::text`] has an empty span, which the caller fills in.
pub fn read(text: &str) -> Result<Slo, Refusal> {
    let refuse = |at: std::ops::Range<usize>, title: String| Refusal::new(code::BAD_SLO, at, title);
    let Some((symbol_at, symbol, op)) = OPERATORS
        .iter()
        .filter_map(|(symbol, op)| text.find(symbol).map(|at| (at, *symbol, *op)))
        .min_by_key(|(at, symbol, _)| (*at, usize::MAX - symbol.len()))
    else {
        return Err(refuse(0..text.len(), format!("`{text}` compares with nothing"))
            .label("METRIC [in PHASE | after LABEL] <= VALUE"));
    };
    let mut words = Words { text: &text[..symbol_at], at: 0 };
    let Some(head) = words.next() else {
        return Err(refuse(0..text.len(), "an objective needs a metric".to_owned()).suggest("", "metrics", METRICS));
    };
    let (name, scope) = match head.value.split_once('(') {
        Some((name, rest)) => {
            let Some(topic) = rest.strip_suffix(')').filter(|topic| !topic.is_empty()) else {
                return Err(refuse(head.at, format!("`{}` needs a topic in parentheses", head.value)));
            };
            let start = head.at.start + name.len() + 1;
            (name, Some(Placed { value: topic.to_owned(), at: start..start + topic.len() }))
        }
        None => (head.value, None),
    };
    let name_at = head.at.start..head.at.start + name.len();
    let metric = metric(name, name_at.clone())?;
    if scope.is_some() && matches!(metric, Metric::Echo(_) | Metric::Recover) {
        return Err(refuse(head.at, format!("`{name}` has no scope")));
    }
    let when = match words.next() {
        None => When::Run,
        Some(word) => {
            let Some(place) = words.next() else {
                return Err(
                    refuse(word.at.clone(), format!("`{}` of what?", word.value)).label("`in PHASE` or `after LABEL`")
                );
            };
            let owned = Placed { value: place.value.to_owned(), at: place.at };
            match word.value {
                "in" => When::Phase(owned),
                "after" => When::After(owned),
                other => {
                    return Err(refuse(word.at, format!("`{other}` is neither `in` nor `after`")));
                }
            }
        }
    };
    if let Some(more) = words.next() {
        return Err(refuse(more.at, format!("`{}` is one word too many", more.value)));
    }
    if metric == Metric::Recover && !matches!(when, When::After(_)) {
        return Err(
            refuse(name_at, "`recover` is measured after a fault".to_owned()).label("`recover after LABEL <= 10s`")
        );
    }
    if matches!(when, When::After(_)) && metric != Metric::Recover {
        return Err(refuse(name_at, format!("`{name}` is measured in a phase")).label(format!("`{name} in PHASE`")));
    }
    let behind = symbol_at + symbol.len();
    let trimmed = text[behind..].trim();
    let start = behind + (text[behind..].len() - text[behind..].trim_start().len());
    let value = limit(trimmed, start, metric)?;
    Ok(Slo { text: Spanned::new(text.to_owned(), 0..0), metric, scope, when, op, value })
}

fn metric(name: &str, at: std::ops::Range<usize>) -> Result<Metric, Refusal> {
    let statistic = |word: &str| STATISTICS.iter().find(|(known, _)| *known == word).map(|(_, statistic)| *statistic);
    match name {
        "throughput" => return Ok(Metric::Throughput),
        "unavailable" => return Ok(Metric::Unavailable),
        "recover" => return Ok(Metric::Recover),
        "errors" => return Ok(Metric::Errors),
        _ => {}
    }
    if LATER.contains(&name) {
        return Err(Refusal::new(code::LATER, at, format!("the metric `{name}` comes with a later version")));
    }
    let found = name.split_once('.').and_then(|(of, word)| {
        let statistic = statistic(word)?;
        match of {
            "produce" => Some(Metric::Produce(statistic)),
            "e2e" => Some(Metric::EndToEnd(statistic)),
            "echo" => Some(Metric::Echo(statistic)),
            _ => None,
        }
    });
    found.ok_or_else(|| {
        Refusal::new(code::BAD_SLO, at, format!("unknown metric `{name}`")).suggest(name, "metrics", METRICS)
    })
}

fn limit(text: &str, start: usize, metric: Metric) -> Result<Limit, Refusal> {
    let at = start..start + text.len();
    let refuse = |label: &str| {
        Refusal::new(code::BAD_SLO, at.clone(), format!("`{text}` cannot be compared with `{metric}`")).label(label)
    };
    if let Some((percent, phase)) = text.split_once(" of ") {
        let Some(hundredths) = units::percent(percent.trim()) else {
            return Err(refuse("like `98% of steady`"));
        };
        let phase = phase.trim();
        let from = start + text.len() - phase.len();
        return Ok(Limit::PercentOf(hundredths, Placed { value: phase.to_owned(), at: from..from + phase.len() }));
    }
    match metric {
        Metric::Unavailable if text == "bound" => Ok(Limit::Bound),
        Metric::Throughput => {
            units::rate(text).map(Limit::Rate).map_err(|_| refuse("a rate like `2k/s`, or `98% of steady`"))
        }
        Metric::Errors => text.parse().map(Limit::Count).map_err(|_| refuse("a whole number")),
        Metric::Unavailable => units::duration(text)
            .map(Limit::Duration)
            .map_err(|_| refuse("a duration like `5s`, `bound`, or `150% of steady`")),
        _ => units::duration(text)
            .map(Limit::Duration)
            .map_err(|_| refuse("a duration like `25ms`, or `150% of steady`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_objectives_of_the_headline_scenario_read() {
        let slo = read("produce.p99 in steady <= 25ms").unwrap();
        assert_eq!(slo.metric, Metric::Produce(Statistic::Quantile(990)));
        assert_eq!(slo.value, Limit::Duration(25_000_000));
        let slo = read("unavailable(orders) in failover <= bound").unwrap();
        assert_eq!(slo.scope, Some(Placed { value: "orders".into(), at: 12..18 }));
        assert_eq!(slo.value, Limit::Bound);
        let slo = read("throughput in after >= 98% of steady").unwrap();
        assert_eq!(slo.value, Limit::PercentOf(9_800, Placed { value: "steady".into(), at: 30..36 }));
        let slo = read("recover after powercut <= 15s").unwrap();
        assert_eq!(slo.when, When::After(Placed { value: "powercut".into(), at: 14..22 }));
    }

    #[test]
    fn a_wrong_objective_is_pointed_at() {
        assert_eq!(read("produce.p98 <= 1s").unwrap_err().at, 0..11);
        assert_eq!(read("throughput >= fast").unwrap_err().at, 14..18);
        assert_eq!(read("throughput").unwrap_err().code, code::BAD_SLO);
        assert_eq!(read("capacity >= 1k/s").unwrap_err().code, code::LATER);
        assert_eq!(read("recover in x <= 1s").unwrap_err().at, 0..7);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(produce|throughput|\\PC{0,4})( in | after |\\()?\\PC{0,6}[<>=]{0,2}\\PC{0,6}") {
            let _ = read(&text);
        }
    }
}
