//! What IncrementalAlterConfigs does to a value (KIP-339).

/// An operation on a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    /// Sets it.
    Set,
    /// Takes it away: what is inherited, or the default, counts again.
    Delete,
    /// Adds words to a list.
    Append,
    /// Takes words out of a list.
    Subtract,
}

impl Operation {
    /// The operation of Kafka's number.
    pub const fn from_code(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    /// A list after it: words that are there are not added again, of each word that is taken away one goes.
    pub fn on_list(self, present: &str, words: &str) -> super::Str {
        let mut list: Vec<&str> = present.split(',').filter(|word| !word.is_empty()).collect();
        for word in words.split(',') {
            let at = list.iter().position(|it| *it == word);
            match (self, at) {
                (Self::Append, None) => list.push(word),
                (Self::Subtract, Some(at)) => drop(list.remove(at)),
                _ => {}
            }
        }
        list.join(",").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_added_once_and_taken_away_if_there() {
        assert_eq!(&*Operation::Append.on_list("delete", "compact,delete"), "delete,compact");
        assert_eq!(&*Operation::Append.on_list("", "compact"), "compact");
        assert_eq!(&*Operation::Subtract.on_list("delete,compact", "delete,other"), "compact");
        assert_eq!(&*Operation::Subtract.on_list("compact", "compact"), "");
    }
}
