//! What is wrong with a scenario, where exactly, and what may have been meant.
//!
//! [`Problems`] collects everything that is found, so that one run shows all of it; [`Problem`] has a code of its own form
//! (`S012`), a span in the [`Source`], and help. Rendered in rustc's look.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

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

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing is run.
    Error,
    /// It can be run, but does hardly what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Of [`code`].
    pub code: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub title: String,
    /// Where; nothing if the whole file is meant.
    pub span: Option<Range<usize>>,
    /// What to do, said at the caret.
    pub label: Option<String>,
    /// Lines below.
    pub notes: Vec<String>,
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
        self.add(code, Severity::Error, Some(span), title.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, code: &'static str, span: Range<usize>, title: impl Into<String>) -> &mut Problem {
        self.add(code, Severity::Warning, Some(span), title.into())
    }

    /// Adds an error about the whole file.
    pub fn whole(&mut self, code: &'static str, title: impl Into<String>) -> &mut Problem {
        self.add(code, Severity::Error, None, title.into())
    }

    fn add(
        &mut self,
        code: &'static str,
        severity: Severity,
        span: Option<Range<usize>>,
        title: String,
    ) -> &mut Problem {
        self.list.push(Problem { code, severity, title, span, label: None, notes: Vec::new() });
        self.list.last_mut().expect("just pushed")
    }

    /// Whether anything forbids the run.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// In order of place; what has no place comes first.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|problem| problem.span.as_ref().map_or((0, 0), |span| (1 + span.start, span.end)));
    }

    /// All of them as text, at most 100 columns of it ours. `styled` adds terminal colours.
    pub fn render(&self, source: &Source, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(100);
        let mut out = String::new();
        for problem in &self.list {
            let level = match problem.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let mut group = Group::with_title(level.primary_title(&problem.title).id(problem.code));
            match &problem.span {
                Some(span) => {
                    let mut annotation = AnnotationKind::Primary.span(span.clone());
                    if let Some(label) = &problem.label {
                        annotation = annotation.label(label);
                    }
                    group = group.element(Snippet::source(&source.text).path(&source.path).annotation(annotation));
                }
                None => {
                    group = group.element(annotate_snippets::Origin::path(&source.path));
                    if let Some(label) = &problem.label {
                        group = group.element(Level::HELP.message(label));
                    }
                }
            }
            for note in &problem.notes {
                group = group.element(Level::NOTE.no_name().message(note));
            }
            out.push_str(&renderer.render(&[group]));
            out.push('\n');
        }
        out
    }
}

impl Problem {
    /// Says something at the caret.
    pub fn label(&mut self, label: impl Into<String>) -> &mut Self {
        self.label = Some(label.into());
        self
    }

    /// Adds a line below.
    pub fn note(&mut self, note: impl Into<String>) -> &mut Self {
        self.notes.push(note.into());
        self
    }

    /// Says at the caret which of `known` was probably meant; below, all of them under `heading`.
    pub fn suggest<'a>(&mut self, word: &str, heading: &str, known: impl IntoIterator<Item = &'a str>) -> &mut Self {
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
    let lower = word.to_lowercase().replace('_', ".");
    known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(&lower, &candidate.to_lowercase().replace('_', ".")), *candidate))
        .filter(|(likeness, _)| *likeness >= 0.8)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
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
