//! What is wrong with a text that a user wrote: a scenario, a configuration.
//!
//! [`Problem`] is one thing that is wrong, with its place and what to do; [`render`] shows several in rustc's look;
//! [`most_like`] finds the word that may have been meant. Reading texts is their owners' affair: they collect problems in
//! lists of their own, so that one run shows all of them.

use std::ops::Range;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Severity {
    /// Nothing is begun.
    Error,
    /// It can be begun, but may not do what was meant.
    Warning,
}

/// A text, or a part of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Which of the sources.
    pub source: usize,
    /// Which bytes; nothing if the whole of it is meant.
    pub span: Option<Range<usize>>,
}

impl Place {
    /// Bytes of a source.
    pub const fn at(source: usize, span: Range<usize>) -> Self {
        Self { source, span: Some(span) }
    }

    /// All of a source.
    pub const fn whole(source: usize) -> Self {
        Self { source, span: None }
    }

    /// The first byte.
    pub fn start(&self) -> usize {
        self.span.as_ref().map_or(0, |span| span.start)
    }
}

/// One thing that is wrong. `C` is the code that its form of mistake has; `()` where there are none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem<C = ()> {
    /// Which form of mistake.
    pub code: C,
    /// How bad.
    pub severity: Severity,
    /// What, in one line.
    pub title: String,
    /// Where; nothing if it is about what stands nowhere.
    pub place: Option<Place>,
    /// What to do, said at the caret.
    pub label: Option<String>,
    /// Lines below.
    pub notes: Vec<String>,
}

impl<C> Problem<C> {
    /// Without advice yet.
    pub const fn new(code: C, severity: Severity, place: Option<Place>, title: String) -> Self {
        Self { code, severity, title, place, label: None, notes: Vec::new() }
    }

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

/// What may stand as a code in the head of a shown problem.
pub trait Code {
    /// The code; nothing if there is none.
    fn id(&self) -> Option<&'static str>;
}

impl Code for () {
    fn id(&self) -> Option<&'static str> {
        None
    }
}

impl Code for &'static str {
    fn id(&self) -> Option<&'static str> {
        Some(self)
    }
}

/// A text that problems are shown in.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// Where it came from, as the user knows it.
    pub path: &'a str,
    /// Its content.
    pub text: &'a str,
}

/// Problems in the order given, an empty line after each, 100 columns wide. `styled` adds terminal colours.
pub fn render<'a, C: Code + 'a>(
    problems: impl IntoIterator<Item = &'a Problem<C>>,
    sources: &[Text<'_>],
    styled: bool,
) -> String {
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii).term_width(100);
    let mut out = String::new();
    for problem in problems {
        out.push_str(&renderer.render(&[shown(problem, sources)]));
        out.push('\n');
    }
    out
}

fn shown<'a, C: Code>(problem: &'a Problem<C>, sources: &[Text<'a>]) -> Group<'a> {
    let level = match problem.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut title = level.primary_title(&problem.title);
    if let Some(id) = problem.code.id() {
        title = title.id(id);
    }
    let mut group = Group::with_title(title);
    let source = problem.place.as_ref().map(|place| sources[place.source]);
    if let (Some(source), Some(span)) = (source, problem.place.as_ref().and_then(|place| place.span.clone())) {
        let mut annotation = AnnotationKind::Primary.span(span);
        if let Some(label) = &problem.label {
            annotation = annotation.label(label);
        }
        group = group.element(Snippet::source(source.text).path(source.path).annotation(annotation));
    } else {
        if let Some(source) = source {
            group = group.element(Origin::path(source.path));
        }
        if let Some(label) = &problem.label {
            group = group.element(Level::HELP.message(label));
        }
    }
    for note in &problem.notes {
        group = group.element(Level::NOTE.no_name().message(note));
    }
    group
}

/// The known word most like `word`, if any is at least so like it (0 to 1). `plain` takes from both what does not matter.
pub fn most_like<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    least: f64,
    plain: impl Fn(&str) -> String,
) -> Option<&'a str> {
    let word = plain(word);
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= least)
        .max_by(|left, right| left.0.total_cmp(&right.0))
        .map(|(_, candidate)| candidate)
}
