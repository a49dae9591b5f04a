//! Java's `.properties`, as `java.util.Properties.load` documents them.
//!
//! A line is `name = value`, `name: value` or `name value`; `#` and `!` begin a comment; a backslash at a line's end joins
//! the next one; `\t`, `\n`, `\r`, `\f` and `\uXXXX` are characters, before any other a backslash is dropped. The bytes are
//! UTF-8 here. A line without a value is an error: Java reads an empty one, which is never what was meant.

use super::{Property, property};
use problem::Place;

use crate::problems::Problems;

/// Reads all properties; a name given twice is told, and the last one counts.
pub fn read(text: &str, source: usize, problems: &mut Problems) -> Vec<Property> {
    let mut list: Vec<Property> = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let start = at;
        at = logical_end(text, start);
        let line = &text[start..at];
        let begin = start + (line.len() - line.trim_start().len());
        let end = start + line.trim_end_matches(['\n', '\r']).len();
        if begin >= end || text[begin..].starts_with(['#', '!']) {
            // A comment has no continuation: it ends with its first line.
            if text[begin..].starts_with(['#', '!']) {
                at = begin + text[begin..].find('\n').map_or(text.len() - begin, |end| end + 1);
            }
            continue;
        }
        let name_end = name_end(text, begin, end);
        let separator = text[name_end..end].trim_start();
        let behind = separator.strip_prefix(['=', ':']);
        let value = behind.unwrap_or(separator).trim_start();
        let value_at = end - value.len();
        let place = Place::at(source, begin..end);
        if behind.is_none() && value.is_empty() {
            problems.error(Some(place), "a property without a value").label("the form is `name=value`");
            continue;
        }
        let found = property(
            source,
            (unescape(&text[begin..name_end]), begin..name_end),
            (unescape(value).trim_end().to_owned(), value_at..value_at + value.trim_end().len()),
        );
        if let Some(known) = list.iter().position(|known| known.name == found.name) {
            let title = format!("property `{}` is given twice", found.name);
            problems.warning(Some(found.name_at.clone()), title).label("this one counts, as in Kafka");
            list.remove(known);
        }
        list.push(found);
    }
    list
}

/// Where the line that begins at `start` ends, joined lines and its line end included.
fn logical_end(text: &str, start: usize) -> usize {
    let mut at = start;
    loop {
        let Some(end) = text[at..].find('\n').map(|end| at + end) else { return text.len() };
        let line = text[start..end].trim_end_matches('\r');
        let backslashes = line.len() - line.trim_end_matches('\\').len();
        at = end + 1;
        if backslashes.is_multiple_of(2) {
            return at;
        }
    }
}

/// Where the name that begins at `begin` ends: before the first `=`, `:` or white space without a backslash.
fn name_end(text: &str, begin: usize, end: usize) -> usize {
    let mut escaped = false;
    for (at, letter) in text[begin..end].char_indices() {
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '=' | ':' | ' ' | '\t' | '\u{c}' => return begin + at,
            _ => {}
        }
    }
    end
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = letters.by_ref().take(4).collect();
                out.extend(u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32));
            }
            // A joined line: its indentation does not count.
            Some('\n' | '\r') => letters = letters.as_str().trim_start().chars(),
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let mut problems = Problems::default();
        let list = read(text, 0, &mut problems);
        assert!(!problems.has_errors(), "{problems:?}");
        list.into_iter().map(|it| (it.name, it.value)).collect()
    }

    #[test]
    fn all_forms_of_a_line_are_read_as_java_does() {
        let text = "# comment \\\na=1\n  b : two words \n! c=3\nd\te\n\nlist=x,\\\n   y,\\\n   z\nkey\\ with\\:signs=\\u00fc\\t!\nempty=\r\nlast=1";
        let expected = [
            ("a", "1"),
            ("b", "two words"),
            ("d", "e"),
            ("list", "x,y,z"),
            ("key with:signs", "ü\t!"),
            ("empty", ""),
            ("last", "1"),
        ];
        let expected: Vec<_> = expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(pairs(text), expected);
    }

    #[test]
    fn places_are_those_of_name_and_value() {
        let text = "\n  log.dirs = data\n";
        let list = read(text, 0, &mut Problems::default());
        assert_eq!(&text[list[0].name_at.span.clone().expect("bytes")], "log.dirs");
        assert_eq!(&text[list[0].value_at.span.clone().expect("bytes")], "data");
    }

    #[test]
    fn the_last_of_two_counts() {
        assert_eq!(pairs("a=1\nb=2\na=3\n"), [("b".to_owned(), "2".to_owned()), ("a".to_owned(), "3".to_owned())]);
    }
}
