//! Error codes by Kafka's numbers and names. From the table `schemas/errors.csv`.

use std::fmt;

include!(concat!(env!("OUT_DIR"), "/error_codes.rs"));

impl ErrorCode {
    /// Its number on the wire.
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Its name, as in `NOT_LEADER_OR_FOLLOWER`.
    pub const fn name(self) -> &'static str {
        self.facts().0
    }

    /// Whether this is `None`: no error.
    pub const fn is_ok(self) -> bool {
        matches!(self, Self::None)
    }

    /// Whether the same request may succeed later.
    pub const fn is_retriable(self) -> bool {
        self.facts().1
    }

    /// Whether a client should ask for metadata before it tries again.
    pub const fn is_invalid_metadata(self) -> bool {
        self.facts().2
    }

    /// Whether Kafka's `RefreshRetriableException` covers it: retriable after fresh metadata.
    pub const fn is_refresh_retriable(self) -> bool {
        self.facts().3
    }
}

impl From<ErrorCode> for i16 {
    fn from(code: ErrorCode) -> Self {
        code.code()
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl std::error::Error for ErrorCode {}
