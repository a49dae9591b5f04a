//! What is wrong with a configuration, where exactly, and what may have been meant; rendered in rustc's look.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A text that properties came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file, or `the command line`.
    pub path: String,
    /// Its content.
    pub text: String,
}

/// Bytes of a source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which source.
    pub source: usize,
    /// Which bytes.
    pub span: Range<usize>,
}

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing is started.
    Error,
    /// It is started, but may not do what was meant.
    Warning,
}

/// One thing that is wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub title: String,
    /// Where; nothing if it is about what is not there.
    pub place: Option<Place>,
    /// What to do, said at the caret.
    pub label: Option<String>,
    /// Lines below.
    pub notes: Vec<String>,
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
}

/// Everything that is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Problems {
    /// In order of finding.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Adds an error.
    pub fn error(&mut self, place: Option<Place>, title: impl Into<String>) -> &mut Problem {
        self.add(Severity::Error, place, title.into())
    }

    /// Adds a warning.
    pub fn warning(&mut self, place: Option<Place>, title: impl Into<String>) -> &mut Problem {
        self.add(Severity::Warning, place, title.into())
    }

    fn add(&mut self, severity: Severity, place: Option<Place>, title: String) -> &mut Problem {
        self.list.push(Problem { severity, title, place, label: None, notes: Vec::new() });
        self.list.last_mut().expect("just pushed")
    }

    /// Whether anything forbids the start.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All of them as text, in order of place. `styled` adds terminal colours.
    pub fn render(&self, sources: &[Source], styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(100);
        let mut list: Vec<&Problem> = self.list.iter().collect();
        list.sort_by_key(|it| it.place.as_ref().map_or((usize::MAX, 0), |place| (place.source, place.span.start)));
        let mut out = String::new();
        for problem in list {
            let level = match problem.severity {
                Severity::Error => Level::ERROR,
                Severity::Warning => Level::WARNING,
            };
            let mut group = Group::with_title(level.primary_title(&problem.title));
            match &problem.place {
                Some(place) => {
                    let source = &sources[place.source];
                    let mut annotation = AnnotationKind::Primary.span(place.span.clone());
                    if let Some(label) = &problem.label {
                        annotation = annotation.label(label);
                    }
                    group = group.element(Snippet::source(&source.text).path(&source.path).annotation(annotation));
                }
                None => {
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

/// The known word most like `word`, if any is like it.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['_', '-'], ".");
    let word = plain(word);
    known
        .map(|candidate| (strsim::jaro_winkler(&word, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.85)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
