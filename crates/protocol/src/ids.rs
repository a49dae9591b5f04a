//! What Kafka names: nodes, offsets, epochs, topics. One newtype each, so that no two of them can be mixed up.

use std::fmt;

use crate::Str;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), none = $none:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl $name {
            /// The wire's "none" or "unknown".
            pub const NONE: Self = Self($none);

            /// Whether this is [`Self::NONE`].
            pub const fn is_none(self) -> bool {
                self.0 == $none
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(
    /// A broker or a controller: `node.id`.
    NodeId(i32), none = -1
);
id!(
    /// A position in a partition's log, counted in records.
    Offset(i64), none = -1
);
id!(
    /// Rises with every change of a partition's leader (of the quorum's leader: the controller epoch).
    LeaderEpoch(i32), none = -1
);
id!(
    /// Rises with every change of a partition's state.
    PartitionEpoch(i32), none = -1
);
id!(
    /// One registration of a broker: the offset of its registration record.
    BrokerEpoch(i64), none = -1
);

impl Offset {
    /// The first offset of every log.
    pub const ZERO: Self = Self(0);

    /// The offset `n` records later.
    #[must_use]
    pub const fn plus(self, n: i64) -> Self {
        Self(self.0 + n)
    }
}

impl LeaderEpoch {
    /// The next epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl PartitionEpoch {
    /// The next epoch.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// 128 bits that name a topic, a directory or an incarnation. Printed as Kafka does: url-safe base64 without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Uuid(pub [u8; 16]);

// As the bytes are ordered, but in a register: the keys of most maps begin with one.
impl Ord for Uuid {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        u128::from_be_bytes(self.0).cmp(&u128::from_be_bytes(other.0))
    }
}

impl PartialOrd for Uuid {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Uuid {
    /// All bits zero: "none" on the wire.
    pub const ZERO: Self = Self([0; 16]);
    /// The id of `__cluster_metadata`.
    pub const METADATA_TOPIC: Self = Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);

    /// From two halves, the most significant first.
    pub const fn from_halves(high: u64, low: u64) -> Self {
        Self((((high as u128) << 64) | low as u128).to_be_bytes())
    }

    /// Whether this is [`Self::ZERO`].
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// Parses 22 characters of url-safe base64, with or without their padding; trailing bits that the last character has
    /// too many are ignored, as Java does.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix("==").unwrap_or(text);
        if text.len() != 22 {
            return None;
        }
        let mut bits: u128 = 0;
        for (index, byte) in text.bytes().enumerate() {
            let six = ALPHABET.iter().position(|known| *known == byte)? as u128;
            bits = if index < 21 { (bits << 6) | six } else { (bits << 2) | (six >> 4) };
        }
        Some(Self(bits.to_be_bytes()))
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        let bits = u128::from_be_bytes(self.0);
        for index in 0..21 {
            f.write_char(ALPHABET[(bits >> (122 - 6 * index)) as usize & 63] as char)?;
        }
        f.write_char(ALPHABET[((bits << 4) & 63) as usize] as char)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by the topic's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Str,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<Str>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

impl fmt::Debug for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by the topic's id: what survives deletion and recreation of the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TopicIdPartition {
    /// The topic's id.
    pub topic_id: Uuid,
    /// The partition's number, from 0.
    pub partition: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_print_and_parse_as_kafka_does() {
        assert_eq!(Uuid::METADATA_TOPIC.to_string(), "AAAAAAAAAAAAAAAAAAAAAQ");
        let id = Uuid::from_halves(0xd02b_b568_0d3e_4437, 0xa844_9e26_f272_8ad9);
        assert_eq!(Uuid::parse(&id.to_string()), Some(id));
    }

    #[test]
    fn uuids_are_ordered_as_their_bytes() {
        let ids = [(0, 0), (0, u64::MAX), (1, 0), (1, 1 << 63), (0x0102 << 48, 0), (0x0201 << 48, 0), (u64::MAX, 7)];
        for (one, other) in ids.iter().flat_map(|one| ids.iter().map(move |other| (one, other))) {
            let (one, other) = (Uuid::from_halves(one.0, one.1), Uuid::from_halves(other.0, other.1));
            assert_eq!(one.cmp(&other), one.0.cmp(&other.0), "{one} {other}");
        }
    }
}
