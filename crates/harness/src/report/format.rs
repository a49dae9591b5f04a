//! Numbers as people read them: three digits, the right unit.

use crate::event::grouped;

/// A time: `850us`, `1.9ms`, `250ms`, `2.31s`, `12.5s`.
pub fn duration(nanos: u64) -> String {
    let n = nanos as f64;
    match nanos {
        0 => "0".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..999_500 => format!("{:.0}us", n / 1e3),
        999_500..99_950_000 => format!("{:.1}ms", n / 1e6),
        99_950_000..999_500_000 => format!("{:.0}ms", n / 1e6),
        999_500_000..9_995_000_000 => format!("{:.2}s", n / 1e9),
        9_995_000_000..999_950_000_000 => format!("{:.1}s", n / 1e9),
        _ => format!("{:.0}s", n / 1e9),
    }
}

/// A rate: `950/s`, `20.0k/s`, `1.25M/s`.
pub fn rate(per_second: f64) -> String {
    format!("{}/s", scaled(per_second))
}

/// A count in a narrow column: `950`, `16.2k`, `1.25M`.
pub fn count(number: u64) -> String {
    if number < 10_000 { grouped(i64::try_from(number).unwrap_or(i64::MAX)) } else { scaled(number as f64) }
}

fn scaled(number: f64) -> String {
    let n = number.abs();
    if n == 0.0 {
        "0".to_owned()
    } else if n < 9.95 {
        format!("{number:.1}")
    } else if n < 999.5 {
        format!("{number:.0}")
    } else if n < 999_950.0 {
        format!("{:.1}k", number / 1e3)
    } else {
        format!("{:.2}M", number / 1e6)
    }
}

/// An amount of memory or data: `180 MB`.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// A row of blocks, one a value, scaled to the largest.
pub(super) fn sparkline(values: &[f64], width: usize) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    if values.is_empty() {
        return String::new();
    }
    let width = width.min(values.len());
    let max = values.iter().copied().fold(0.0, f64::max);
    (0..width)
        .map(|column| {
            let (from, to) = (column * values.len() / width, ((column + 1) * values.len() / width).max(1));
            let slice = &values[from..to.max(from + 1)];
            // The mean hides a dip of one bin, the extremes hide nothing worth seeing at this size.
            let value = slice.iter().sum::<f64>() / slice.len() as f64;
            let level = if max > 0.0 { (value / max * 7.0).round() as usize } else { 0 };
            BLOCKS[level.min(7)]
        })
        .collect()
}

/// A text as the words that [`wrap`] takes.
pub fn words_of(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Puts words into lines of at most `width` columns, the first behind `head`, the others indented by its width.
pub fn wrap(head: &str, words: &[String], separator: &str, width: usize) -> Vec<String> {
    let indent = " ".repeat(head.chars().count());
    let mut lines = vec![head.to_owned()];
    let mut empty = true;
    for word in words {
        let last = lines.last_mut().expect("never empty");
        let room = width.saturating_sub(last.chars().count() + separator.trim_end().chars().count());
        let wanted = word.chars().count() + if empty { 0 } else { separator.chars().count() };
        if !empty && wanted > room {
            let trimmed = format!("{last}{}", separator.trim_end()).trim_end().to_owned();
            *last = trimmed;
            lines.push(format!("{indent}{word}"));
        } else {
            if !empty {
                last.push_str(separator);
            }
            last.push_str(word);
        }
        empty = false;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_their_unit() {
        let table = [
            (0, "0"),
            (850_000, "850us"),
            (1_900_000, "1.9ms"),
            (25_000_000, "25.0ms"),
            (250_000_000, "250ms"),
            (999_999_999, "1.00s"),
            (2_310_000_000, "2.31s"),
            (12_500_000_000, "12.5s"),
        ];
        for (nanos, text) in table {
            assert_eq!(duration(nanos), text);
        }
    }

    #[test]
    fn rates_and_counts_are_short() {
        assert_eq!(rate(20_000.0), "20.0k/s");
        assert_eq!(rate(950.0), "950/s");
        assert_eq!(count(1_234), "1 234");
        assert_eq!(count(16_200), "16.2k");
        assert_eq!(bytes(180_000_000), "180 MB");
    }

    #[test]
    fn words_are_wrapped_under_their_head() {
        let words: Vec<String> = ["alpha", "beta", "gamma"].map(str::to_owned).to_vec();
        assert_eq!(wrap("  x ", &words, "  ", 16), ["  x alpha  beta", "    gamma"]);
    }
}
