//! Which versions of which APIs one end speaks.

use std::collections::BTreeMap;

use protocol::ApiKey;

/// The first and the last version of an API.
pub type VersionRange = (i16, i16);

/// The ranges of versions that one end of a connection speaks, by API.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ApiRanges(BTreeMap<i16, VersionRange>);

impl ApiRanges {
    /// Nothing.
    pub const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// The stable versions of all APIs whose messages this build has.
    pub fn stable() -> Self {
        ApiKey::ALL.iter().map(|key| (*key, (*key.versions().start(), *key.versions().end()))).collect()
    }

    /// Sets a range, also of a key that this build does not know; an empty one removes it.
    pub fn set(&mut self, key: i16, range: VersionRange) {
        if range.0 <= range.1 {
            self.0.insert(key, range);
        } else {
            self.0.remove(&key);
        }
    }

    /// The range of an API, if there is any.
    pub fn get(&self, key: ApiKey) -> Option<VersionRange> {
        self.0.get(&key.code()).copied()
    }

    /// Whether this version of the API is spoken.
    pub fn contains(&self, key: ApiKey, version: i16) -> bool {
        self.get(key).is_some_and(|(first, last)| (first..=last).contains(&version))
    }

    /// The versions that both speak.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Self {
        let mut both = Self::new();
        for (key, (first, last)) in &self.0 {
            if let Some((other_first, other_last)) = other.0.get(key) {
                both.set(*key, (*first.max(other_first), *last.min(other_last)));
            }
        }
        both
    }

    /// All ranges by key.
    pub fn iter(&self) -> impl Iterator<Item = (i16, VersionRange)> {
        self.0.iter().map(|(key, range)| (*key, *range))
    }
}

impl FromIterator<(ApiKey, VersionRange)> for ApiRanges {
    fn from_iter<I: IntoIterator<Item = (ApiKey, VersionRange)>>(ranges: I) -> Self {
        let mut out = Self::new();
        ranges.into_iter().for_each(|(key, range)| out.set(key.code(), range));
        out
    }
}

impl std::fmt::Debug for ApiRanges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(key, (first, last))| (key, format!("{first}-{last}")))).finish()
    }
}
