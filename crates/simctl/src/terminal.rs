//! Where words go: results to standard output, problems and progress to standard error.

use std::io::{self, IsTerminal, Write};

use harness::report::Style;

/// Both outputs and what they can show.
pub struct Terminal {
    out: io::Stdout,
    err: io::Stderr,
    colour_out: bool,
    colour_err: bool,
    live: bool,
    /// Columns of the progress line that is on the screen.
    shown: usize,
}

impl Terminal {
    /// The process's own outputs. No colours if `NO_COLOR` is set or nobody looks.
    pub fn new() -> Self {
        let (out, err) = (io::stdout(), io::stderr());
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour_out: colours && !dumb && out.is_terminal(),
            colour_err: colours && !dumb && err.is_terminal(),
            live: err.is_terminal() && !dumb,
            out,
            err,
            shown: 0,
        }
    }

    /// How results are shown.
    pub fn style(&self, verbose: bool) -> Style {
        Style { colour: self.colour_out, verbose }
    }

    /// Whether problems are shown in colours.
    pub fn colour_err(&self) -> bool {
        self.colour_err
    }

    /// Whether a line that changes can be shown.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// A result. The error says that it is the output that failed, not a run.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.clear();
        let end: &[u8] = if text.ends_with('\n') { b"" } else { b"\n" };
        let written = self.out.write_all(text.as_bytes()).and_then(|()| self.out.write_all(end));
        written.and_then(|()| self.out.flush()).map_err(|error| {
            io::Error::new(error.kind(), format!("results could not be written to standard output: {error}"))
        })
    }

    /// A problem. What cannot be shown is not worth ending for.
    pub fn error(&mut self, text: &str) {
        self.clear();
        drop(self.err.write_all(text.as_bytes()));
        if !text.ends_with('\n') {
            drop(self.err.write_all(b"\n"));
        }
    }

    /// The line that changes; shown to people only.
    pub fn progress(&mut self, text: &str) {
        if !self.live {
            return;
        }
        let text: String = text.chars().take(99).collect();
        let width = text.chars().count();
        let pad = " ".repeat(self.shown.saturating_sub(width));
        drop(write!(self.err, "\r{text}{pad}"));
        drop(self.err.flush());
        self.shown = width;
    }

    /// Takes the changing line away.
    pub fn clear(&mut self) {
        if self.shown > 0 {
            drop(write!(self.err, "\r{}\r", " ".repeat(self.shown)));
            drop(self.err.flush());
            self.shown = 0;
        }
    }
}
