//! What is wrong with a scenario, where exactly, and what may have been meant.
//!
//! [`Problems`] collects everything that is found, so that one run shows all of it; [`Problem`] has a code of its own form
//! (`S012`), a span in the [`Source`], and help. Rendered in rustc's look.

use std::ops::Range;

pub use problem::Severity;
use problem::{Place, Text};

/// One thing that is wrong; its code is of [`code`], its place in the one [`Source`].
pub type Problem = problem::Problem<&'static str>;

/// The codes, each one form of mistake.
pub mod code {
    #![expect(missing_docs, reason = "each constant is the sentence in its table row")]
    /// The file cannot be read as text.
    pub const UNREADABLE: &str = "S001";
    /// Not TOML.
    pub const SYNTAX: &str = "S002";
    pub const MISSING_KEY: &str = "S010";
    pub const WRONG_TYPE: &str = "S011";
    pub const UNKNOWN_KEY: &str = "S012";
    pub const LATER: &str = "S013";
    pub const UNKNOWN_WORD: &str = "S014";
    pub const OUT_OF_RANGE: &str = "S015";
    pub const NAMED_TWICE: &str = "S016";
    pub const BAD_DURATION: &str = "S020";
    pub const BAD_RATE: &str = "S021";
    pub const BAD_SIZE: &str = "S022";
    pub const BAD_TERM: &str = "S023";
    pub const BAD_SLO: &str = "S024";
    pub const BAD_REACH: &str = "S025";
    pub const BAD_SHARE: &str = "S026";
    pub const UNKNOWN_PROPERTY: &str = "S030";
    pub const NO_SUCH_PHASE: &str = "S031";
    pub const NO_SUCH_HOST: &str = "S032";
    pub const NO_SUCH_LOAD: &str = "S033";
    pub const NO_SUCH_LABEL: &str = "S034";
    pub const NO_SUCH_TOPIC: &str = "S044";
    pub const TOO_FEW_BROKERS: &str = "S040";
    pub const VACUOUS_SLO: &str = "S041";
    pub const QUORUM_LOSS: &str = "S042";
    pub const NOT_TOGETHER: &str = "S043";
    pub const NEVER_ACKNOWLEDGED: &str = "S045";
    pub const NOT_A_CHECK: &str = "S046";
    pub const AFTER_THE_END: &str = "S101";
    pub const AFTER_THE_LAST_MEASURED: &str = "S102";
    pub const LINK_TOO_SLOW: &str = "S104";
}

/// A value and where it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Bytes in the source.
    pub span: Range<usize>,
}

impl<T> Spanned<T> {
    /// A value and where it stands.
    pub const fn new(value: T, span: Range<usize>) -> Self {
        Self { value, span }
    }
}

/// The file, with what `--set` adds behind its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// As given by the user.
    pub path: String,
    /// The content.
    pub text: String,
    /// Pieces of `text` that came from the command line: where each begins.
    pub sets_from: usize,
}

impl Source {
    /// Line and column of a byte, both from 1; columns count characters.
    pub fn line_and_column(&self, at: usize) -> (usize, usize) {
        let at = at.min(self.text.len());
        let before = &self.text.as_bytes()[..at];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
        (line, column)
    }
}

/// Everything that is wrong with one scenario.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems {
    /// In order of finding; [`Problems::sort`] puts them in order of place.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, code: &'static str, span: Range<usize>, title: impl Into<String>) -> &mut Problem {
        self.add(code, Severity::Error, Place::at(0, span), title.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, code: &'static str, span: Range<usize>, title: impl Into<String>) -> &mut Problem {
        self.add(code, Severity::Warning, Place::at(0, span), title.into())
    }

    /// Adds an error about the whole file.
    pub fn whole(&mut self, code: &'static str, title: impl Into<String>) -> &mut Problem {
        self.add(code, Severity::Error, Place::whole(0), title.into())
    }

    fn add(&mut self, code: &'static str, severity: Severity, place: Place, title: String) -> &mut Problem {
        self.list.push(Problem::new(code, severity, Some(place), title));
        self.list.last_mut().expect("just pushed")
    }

    /// Whether anything forbids the run.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// In order of place; what is about the whole file comes first.
    pub fn sort(&mut self) {
        let span = |problem: &Problem| problem.place.as_ref().and_then(|place| place.span.clone());
        self.list.sort_by_key(|problem| span(problem).map_or((0, 0), |span| (1 + span.start, span.end)));
    }

    /// All of them as text, at most 100 columns of it ours. `styled` adds terminal colours.
    pub fn render(&self, source: &Source, styled: bool) -> String {
        problem::render(&self.list, &[Text { path: &source.path, text: &source.text }], styled)
    }
}

/// Says which word was meant.
pub trait Suggest {
    /// Says at the caret which of `known` was probably meant; below, all of them under `heading`.
    fn suggest<'a>(&mut self, word: &str, heading: &str, known: impl IntoIterator<Item = &'a str>) -> &mut Self;
}

impl Suggest for Problem {
    fn suggest<'a>(&mut self, word: &str, heading: &str, known: impl IntoIterator<Item = &'a str>) -> &mut Self {
        let known: Vec<&str> = known.into_iter().collect();
        if let Some(best) = closest(word, &known) {
            self.label(format!("did you mean `{best}`?"));
        }
        if known.is_empty() {
            self.note(format!("{heading}: none"))
        } else {
            self.note(format!("{heading}: {}", known.join(", ")))
        }
    }
}

/// The known word most like `word`, if any is like it.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    problem::most_like(word, known.iter().copied(), 0.8, |text| text.to_lowercase().replace('_', "."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(closest("failovr", &["warmup", "steady", "failover"]), Some("failover"));
        assert_eq!(closest("min_insync", &["max.message.bytes", "min.insync.replicas"]), Some("min.insync.replicas"));
        assert_eq!(closest("zebra", &["warmup", "steady"]), None);
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let source = Source { path: "x".into(), text: "a\nüü b".into(), sets_from: 0 };
        assert_eq!(source.line_and_column(7), (2, 4));
    }
}
