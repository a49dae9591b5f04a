//! Planted disorder: three ways in which code asks something that no seed decides, on purpose, to show that it is noticed.
//!
//! The shims of a simulated process answer the common ones (the standard library's hasher, the clock, the C library's
//! entropy) from the seed; these three they cannot. [`disorder`] stands where a broker's shard takes in what a Fetch gave,
//! partition by partition: any order is correct there, so nothing but the comparison of two runs can find it.

use std::hash::Hash;

/// Puts `list` into an order that no seed decides, if such a bug is planted; else leaves it alone. `key` names an item,
/// `address` tells where its state lies.
pub fn disorder<T, K: Hash + Eq>(list: &mut Vec<T>, key: impl Fn(&T) -> K, address: impl Fn(&T) -> usize) {
    if cfg!(feature = "planted") {
        planted(list, key, address);
    }
}

#[cfg(not(feature = "planted"))]
fn planted<T, K>(_: &mut Vec<T>, _: impl Fn(&T) -> K, _: impl Fn(&T) -> usize) {}

#[cfg(feature = "planted")]
fn planted<T, K: Hash + Eq>(list: &mut Vec<T>, key: impl Fn(&T) -> K, address: impl Fn(&T) -> usize) {
    if list.len() < 2 {
        return;
    }
    if crate::planted!(order_by_address) {
        list.sort_by_key(address);
    } else if crate::planted!(default_hasher) {
        let map: hashbrown::HashMap<K, T> = list.drain(..).map(|item| (key(&item), item)).collect();
        list.extend(map.into_values());
    } else if crate::planted!(stray_entropy) {
        let mut byte = [0];
        getrandom::getrandom(&mut byte).expect("the kernel has entropy");
        let by = usize::from(byte[0]) % list.len();
        list.rotate_left(by);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_a_plant_the_order_stays() {
        let mut list: Vec<usize> = vec![3, 1, 2];
        super::disorder(&mut list, |item| *item, |item| *item);
        assert_eq!(list, [3, 1, 2]);
    }
}
