//! Durations, rates, sizes and shares as people write them, and back.
//!
//! A [`Refusal`] says what is wrong at which bytes of the text; the caller knows where the text stands.

use std::fmt;
use std::ops::Range;

use super::diagnostic::code;

/// Why a text was not taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Of [`code`].
    pub code: &'static str,
    /// Bytes of the text.
    pub at: Range<usize>,
    /// What is wrong.
    pub title: String,
    /// What to do.
    pub label: Option<String>,
    /// More lines.
    pub notes: Vec<String>,
}

impl Refusal {
    /// A refusal of these bytes.
    pub fn new(code: &'static str, at: Range<usize>, title: impl Into<String>) -> Self {
        Self { code, at, title: title.into(), label: None, notes: Vec::new() }
    }

    /// Says what to do.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Says which word was probably meant, and which there are.
    #[must_use]
    pub fn suggest(mut self, word: &str, heading: &str, known: &[&str]) -> Self {
        if let Some(best) = super::diagnostic::closest(word, known) {
            self.label = Some(format!("did you mean `{best}`?"));
        }
        self.notes.push(format!("{heading}: {}", if known.is_empty() { "none".to_owned() } else { known.join(", ") }));
        self
    }

    /// The same, further on in a longer text.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> Self {
        self.at = self.at.start + by..self.at.end + by;
        self
    }
}

const DURATIONS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("min", 60_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// `5s`, `1.5ms`, `10min`: ns.
pub fn duration(text: &str) -> Result<u64, Refusal> {
    let refuse = |at: Range<usize>, title: String| {
        Err(Refusal::new(code::BAD_DURATION, at, title)
            .label("a duration is a number and a unit: ns, us, ms, s, min, h"))
    };
    let (number, unit) = split(text);
    if number.is_empty() {
        return refuse(0..text.len(), format!("`{text}` is no duration"));
    }
    let Some((_, factor)) = DURATIONS.iter().find(|(name, _)| *name == unit) else {
        let title =
            if unit.is_empty() { format!("`{text}` has no unit") } else { format!("`{unit}` is no unit of time") };
        return refuse(text.len() - unit.len()..text.len(), title);
    };
    match scaled(number, *factor) {
        Some(nanos) => Ok(nanos),
        None => refuse(0..number.len(), format!("`{number}` is no number, or has parts of a nanosecond")),
    }
}

/// `2k/s`, `500/s`, `1.5M/s`: operations a second, in thousandths.
pub fn rate(text: &str) -> Result<u64, Refusal> {
    let refuse = |at: Range<usize>, title: String| {
        Err(Refusal::new(code::BAD_RATE, at, title).label("a rate is a number and a unit: /s, k/s, M/s"))
    };
    let (number, unit) = split(text);
    let factor = match unit {
        "/s" => 1_000,
        "k/s" => 1_000_000,
        "M/s" => 1_000_000_000,
        _ => return refuse(text.len() - unit.len()..text.len(), format!("`{text}` is no rate")),
    };
    match scaled(number, factor) {
        Some(0) => refuse(0..number.len(), "a rate of zero does nothing".to_owned()),
        Some(rate) => Ok(rate),
        None => refuse(0..number.len(), format!("`{number}` is no number of operations a second")),
    }
}

/// `1KiB`, `64B`, `1MB`: bytes.
pub fn size(text: &str) -> Result<u64, Refusal> {
    let refuse = |at: Range<usize>, title: String| {
        Err(Refusal::new(code::BAD_SIZE, at, title)
            .label("a size is a number and a unit: B, KiB, MiB, GiB, kB, MB, GB"))
    };
    let (number, unit) = split(text);
    let Some((_, factor)) = SIZES.iter().find(|(name, _)| *name == unit) else {
        let title =
            if unit.is_empty() { format!("`{text}` has no unit") } else { format!("`{unit}` is no unit of size") };
        return refuse(text.len() - unit.len()..text.len(), title);
    };
    match scaled(number, *factor) {
        Some(bytes) => Ok(bytes),
        None => refuse(0..number.len(), format!("`{number}` is no number of whole bytes")),
    }
}

/// `98%`: hundredths of a percent.
pub fn percent(text: &str) -> Option<u64> {
    scaled(text.strip_suffix('%')?.trim(), 100)
}

/// How long from one event to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Distribution {
    /// Always so long, in ns.
    Fixed(u64),
    /// Exponential with this mean, in ns: events that know nothing of each other.
    Exp(u64),
    /// Evenly between the two, in ns.
    Uniform(u64, u64),
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(nanos) => f.write_str(&show_duration(*nanos)),
            Self::Exp(mean) => write!(f, "exp({})", show_duration(*mean)),
            Self::Uniform(from, to) => write!(f, "uniform({}..{})", show_duration(*from), show_duration(*to)),
        }
    }
}

/// `2s`, `exp(2s)`, `uniform(1s..3s)`.
pub fn distribution(text: &str) -> Result<Distribution, Refusal> {
    let forms = "`2s` (always), `exp(2s)` (the mean) or `uniform(1s..3s)`";
    let positive = |text: &str, at: usize| match duration(text.trim()) {
        Ok(0) => Err(Refusal::new(code::OUT_OF_RANGE, at..at + text.len(), "an interval of no length")),
        Ok(nanos) => Ok(nanos),
        Err(refusal) => Err(refusal.shifted(at + (text.len() - text.trim_start().len())).label(forms)),
    };
    let Some((word, rest)) = text.split_once('(') else { return positive(text, 0).map(Distribution::Fixed) };
    let inner_at = word.len() + 1;
    let Some(inner) = rest.strip_suffix(')') else {
        return Err(Refusal::new(code::BAD_DURATION, 0..text.len(), format!("`{text}` lacks a `)`")).label(forms));
    };
    match word.trim() {
        "exp" => positive(inner, inner_at).map(Distribution::Exp),
        "uniform" => {
            let Some((from, to)) = inner.split_once("..") else {
                return Err(Refusal::new(code::BAD_DURATION, inner_at..inner_at + inner.len(), "a range has two ends")
                    .label("like `uniform(1s..3s)`"));
            };
            let to_at = inner_at + from.len() + 2;
            let (from, to) = (positive(from, inner_at)?, positive(to, to_at)?);
            if from > to {
                return Err(Refusal::new(
                    code::OUT_OF_RANGE,
                    inner_at..text.len() - 1,
                    "the range ends before it begins",
                ));
            }
            Ok(Distribution::Uniform(from, to))
        }
        other => {
            Err(Refusal::new(code::BAD_DURATION, 0..word.len(), format!("`{other}` is no distribution")).label(forms))
        }
    }
}

/// `5%`, `0.01%`, `100%`: parts per million, none of them nothing.
pub fn share(text: &str) -> Result<u32, Refusal> {
    let label = "a share is a percentage above 0% and up to 100%: `5%`, `0.1%`";
    match percent(text).map(|hundredths| hundredths * 100) {
        Some(share @ 1..=1_000_000) => Ok(u32::try_from(share).expect("at most a million")),
        Some(_) => Err(Refusal::new(code::OUT_OF_RANGE, 0..text.len(), format!("`{text}` is no share")).label(label)),
        None => Err(Refusal::new(code::BAD_SHARE, 0..text.len(), format!("`{text}` is no share")).label(label)),
    }
}

/// `5s`, `-250ms`: ns, forward or back, but not nothing.
pub fn signed_duration(text: &str) -> Result<i64, Refusal> {
    let (back, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let shift = text.len() - rest.len();
    let nanos = duration(rest).map_err(|refusal| refusal.shifted(shift))?;
    match i64::try_from(nanos) {
        Ok(nanos) if nanos > 0 => Ok(if back { -nanos } else { nanos }),
        _ => Err(Refusal::new(code::OUT_OF_RANGE, 0..text.len(), format!("`{text}` moves no clock"))
            .label("forward like `5s` or back like `-5s`")),
    }
}

/// The number in front and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

/// A decimal number times `factor`, exactly, or nothing.
fn scaled(number: &str, factor: u64) -> Option<u64> {
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || fraction.len() > 18 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let divisor = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let product = digits.checked_mul(u128::from(factor))?;
    if product % divisor != 0 {
        return None;
    }
    u64::try_from(product / divisor).ok()
}

/// A duration as one would write it in a scenario: `5s`, `1500ms`, `200us`. Exact.
pub fn show_duration(nanos: u64) -> String {
    match nanos {
        0 => "0s".to_owned(),
        n if n.is_multiple_of(60_000_000_000) => format!("{}min", n / 60_000_000_000),
        n if n.is_multiple_of(1_000_000_000) => format!("{}s", n / 1_000_000_000),
        n if n.is_multiple_of(1_000_000) => format!("{}ms", n / 1_000_000),
        n if n.is_multiple_of(1_000) => format!("{}us", n / 1_000),
        n => format!("{n}ns"),
    }
}

/// A share as one would write it in a scenario. Exact.
pub fn show_share(parts_per_million: u32) -> String {
    let (whole, rest) = (parts_per_million / 10_000, parts_per_million % 10_000);
    if rest == 0 {
        return format!("{whole}%");
    }
    format!("{}%", format!("{whole}.{rest:04}").trim_end_matches('0'))
}

/// A time forward or back as one would write it in a scenario. Exact.
pub fn show_signed_duration(nanos: i64) -> String {
    format!("{}{}", if nanos < 0 { "-" } else { "" }, show_duration(nanos.unsigned_abs()))
}

/// A rate as one would write it in a scenario. Exact.
pub fn show_rate(thousandths: u64) -> String {
    match thousandths {
        n if n.is_multiple_of(1_000_000_000) => format!("{}M/s", n / 1_000_000_000),
        n if n.is_multiple_of(1_000_000) => format!("{}k/s", n / 1_000_000),
        n if n.is_multiple_of(1_000) => format!("{}/s", n / 1_000),
        n => format!("{}.{:03}/s", n / 1_000, n % 1_000),
    }
}

/// A size as one would write it in a scenario. Exact.
pub fn show_size(bytes: u64) -> String {
    match bytes {
        0 => "0B".to_owned(),
        n if n.is_multiple_of(1 << 30) => format!("{}GiB", n >> 30),
        n if n.is_multiple_of(1 << 20) => format!("{}MiB", n >> 20),
        n if n.is_multiple_of(1 << 10) => format!("{}KiB", n >> 10),
        n => format!("{n}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_exact() {
        assert_eq!(duration("5s"), Ok(5_000_000_000));
        assert_eq!(duration("1.5ms"), Ok(1_500_000));
        assert_eq!(duration("10min"), Ok(600_000_000_000));
        assert_eq!(duration("1_000 us"), Ok(1_000_000));
        assert_eq!(duration("0.1ns").unwrap_err().code, code::BAD_DURATION);
        assert_eq!(duration("5 sec").unwrap_err().at, 2..5);
        assert_eq!(duration("5").unwrap_err().title, "`5` has no unit");
        assert_eq!(duration("99999999999h").unwrap_err().code, code::BAD_DURATION);
    }

    #[test]
    fn rates_and_sizes_have_their_units() {
        assert_eq!(rate("2k/s"), Ok(2_000_000));
        assert_eq!(rate("0.5/s"), Ok(500));
        assert!(rate("0/s").is_err());
        assert!(rate("20").is_err());
        assert_eq!(size("1KiB"), Ok(1024));
        assert_eq!(size("1.5KiB"), Ok(1536));
        assert!(size("1.5B").is_err());
        assert_eq!(percent("98%"), Some(9_800));
        assert_eq!(percent("98"), None);
    }

    #[test]
    fn a_distribution_says_what_is_wrong_where() {
        for text in ["2s", "exp(1500ms)", "uniform(1s..3s)"] {
            assert_eq!(distribution(text).unwrap().to_string(), text);
        }
        assert_eq!(distribution("exp(2)").unwrap_err().at, 5..5);
        assert_eq!(distribution("exp(0s)").unwrap_err().title, "an interval of no length");
        assert_eq!(distribution("poisson(2s)").unwrap_err().title, "`poisson` is no distribution");
        assert_eq!(distribution("uniform(3s..1s)").unwrap_err().title, "the range ends before it begins");
        assert!(distribution("uniform(3s)").is_err());
        assert!(distribution("exp(2s").is_err());
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(nanos in 0u64..10_000_000_000_000, thousandths in 1u64..10_000_000_000, bytes in 0u64..1 << 40) {
            prop_assert_eq!(duration(&show_duration(nanos)), Ok(nanos));
            prop_assert_eq!(rate(&show_rate(thousandths)), Ok(thousandths));
            prop_assert_eq!(size(&show_size(bytes)), Ok(bytes));
        }

        #[test]
        fn shares_read_back(hundredths in 1u32..=10_000) {
            prop_assert_eq!(share(&show_share(hundredths * 100)), Ok(hundredths * 100));
        }

        #[test]
        fn no_text_makes_a_parser_panic(text in "\\PC{0,12}") {
            let _ = (duration(&text), rate(&text), size(&text), percent(&text), share(&text), distribution(&text));
        }
    }
}
