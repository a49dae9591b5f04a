//! What is wrong with a configuration, where exactly, and what may have been meant.

use problem::{Place, Problem, Severity, Text};

/// A text that properties came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// The file, or `the command line`.
    pub path: String,
    /// Its content.
    pub text: String,
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
        self.list.push(Problem::new((), severity, place, title));
        self.list.last_mut().expect("just pushed")
    }

    /// Whether anything forbids the start.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// All of them as text, in order of place. `styled` adds terminal colours.
    pub fn render(&self, sources: &[Source], styled: bool) -> String {
        let mut list: Vec<&Problem> = self.list.iter().collect();
        list.sort_by_key(|it| it.place.as_ref().map_or((usize::MAX, 0), |place| (place.source, place.start())));
        let sources: Vec<Text<'_>> = sources.iter().map(|it| Text { path: &it.path, text: &it.text }).collect();
        problem::render(list, &sources, styled)
    }
}

/// The known word most like `word`, if any is like it.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    problem::most_like(word, known, 0.85, |text| text.to_lowercase().replace(['_', '-'], "."))
}
