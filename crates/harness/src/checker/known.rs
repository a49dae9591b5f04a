//! What checkers remember by: maps that begin with nothing, and an offset that begins at 0.

use std::collections::BTreeMap;

use protocol::Offset;

/// What is known of `key`, from nothing on. The key is copied only the first time.
pub fn of<'m, K: Clone + Ord, V: Default>(map: &'m mut BTreeMap<K, V>, key: &K) -> &'m mut V {
    if !map.contains_key(key) {
        map.insert(key.clone(), V::default());
    }
    map.get_mut(key).expect("just made")
}

/// An offset that is 0 by default.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Offset0(pub Offset);

impl Default for Offset0 {
    fn default() -> Self {
        Self(Offset::ZERO)
    }
}
