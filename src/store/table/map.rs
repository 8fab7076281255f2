//! A map that wastes little: a million entries of 40 bytes take some 47 bytes each, where a map that doubles takes 45 to 90.
//!
//! Open addressing. Entries stand in the order of their hashes, each at the place its hash names or behind it, with no gap between: a search
//! goes forward from there and ends at a gap or at a larger hash. The map grows by an eighth when nine places of ten are taken; a removal
//! moves back what stands behind it, so that no marks are left.

/// What entries are found by.
pub(in crate::store) trait Hashed: Copy + Eq {
    /// Spread evenly over all 64 bits.
    fn hashed(self) -> u64;
}

/// See the module.
#[derive(Debug)]
pub(in crate::store) struct Map<K, V> {
    /// First `homes` places that hashes name, then what was pushed beyond them.
    places: Vec<Option<(K, V)>>,
    homes: usize,
    len: usize,
}

/// Places that are taken at most, of ten.
const TAKEN_MAX: usize = 9;

/// The map grows by one in so many of its places.
const GROWTH: usize = 8;

const HOMES_MIN: usize = 8;

/// Room beyond the last home for what is pushed there; more is made if need be.
const BEYOND: usize = 16;

impl<K, V> Default for Map<K, V> {
    fn default() -> Self {
        Self { places: Vec::new(), homes: 0, len: 0 }
    }
}

impl<K: Hashed, V> Map<K, V> {
    pub(in crate::store) fn get(&self, key: &K) -> Option<&V> {
        let at = self.search(*key).ok()?;
        self.places[at].as_ref().map(|(_, value)| value)
    }

    pub(in crate::store) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        let at = self.search(*key).ok()?;
        self.places[at].as_mut().map(|(_, value)| value)
    }

    /// Gives the value that stood under `key` before.
    pub(in crate::store) fn insert(&mut self, key: K, value: V) -> Option<V> {
        let mut at = match self.search(key) {
            Ok(at) => return self.places[at].replace((key, value)).map(|(_, before)| before),
            Err(free) => free,
        };
        if (self.len + 1) * 10 > self.homes * TAKEN_MAX {
            self.resize((self.homes + self.homes / GROWTH).max(HOMES_MIN));
            at = self.search(key).unwrap_or_else(|free| free);
        }
        let gap = self.places[at..].iter().position(Option::is_none).map(|distance| at + distance);
        let gap = gap.unwrap_or_else(|| self.push(None));
        // What stands between moves on by one; the gap comes to the front.
        self.places[at..=gap].rotate_right(1);
        self.places[at] = Some((key, value));
        self.len += 1;
        None
    }

    pub(in crate::store) fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.search(*key).ok()?;
        let removed = self.places[at].take();
        let behind = self.places[at + 1..].iter().enumerate();
        let moved = behind
            .take_while(|(distance, place)| place.as_ref().is_some_and(|(key, _)| self.home(key.hashed()) < at + 1 + distance));
        let moved = moved.count();
        self.places[at..=at + moved].rotate_left(1);
        self.len -= 1;
        removed.map(|(_, value)| value)
    }

    pub(in crate::store) fn len(&self) -> usize {
        self.len
    }

    /// In the order of their hashes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> {
        self.places.iter().flatten().map(|(key, value)| (*key, value))
    }

    /// In the order of their hashes.
    pub(super) fn keys(&self) -> impl Iterator<Item = K> + '_ {
        self.iter().map(|(key, _)| key)
    }

    /// Makes room for so many more, so that they need no growing.
    pub(super) fn reserve(&mut self, more: usize) {
        let homes = ((self.len + more) * 10).div_ceil(TAKEN_MAX).max(HOMES_MIN);
        if homes > self.homes {
            self.resize(homes);
        }
    }

    /// Bytes its places take.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<Option<(K, V)>>()
    }

    /// Where `key` stands, or else where it would have to.
    fn search(&self, key: K) -> Result<usize, usize> {
        let hash = key.hashed();
        let mut at = self.home(hash);
        while let Some(Some((there, _))) = self.places.get(at) {
            let of_there = there.hashed();
            if of_there == hash && *there == key {
                return Ok(at);
            }
            if of_there > hash {
                break;
            }
            at += 1;
        }
        Err(at)
    }

    /// The place a hash names. It rises with the hash.
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.homes as u128) >> 64) as usize
    }

    fn resize(&mut self, homes: usize) {
        let before = std::mem::take(&mut self.places);
        self.homes = homes;
        self.places.reserve_exact(homes + BEYOND);
        self.places.resize_with(homes, || None);
        let mut free = 0;
        for entry in before.into_iter().flatten() {
            let at = free.max(self.home(entry.0.hashed()));
            if at < self.places.len() {
                self.places[at] = Some(entry);
            } else {
                self.push(Some(entry));
            }
            free = at + 1;
        }
    }

    /// Adds a place at the end; says which.
    fn push(&mut self, place: Option<(K, V)>) -> usize {
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact(BEYOND);
        }
        self.places.push(place);
        self.places.len() - 1
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A key whose hash the test chooses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    struct Chosen(u64, u8);

    impl Hashed for Chosen {
        fn hashed(self) -> u64 {
            self.0
        }
    }

    /// Few hashes, crowded at both ends, and some keys that share one.
    fn chosen() -> impl Strategy<Value = Chosen> {
        let hash = prop_oneof![0..20_u64, (u64::MAX - 20)..=u64::MAX, (0..16_u64).prop_map(|part| part << 60)];
        (hash, 0..2_u8).prop_map(|(hash, twin)| Chosen(hash, twin))
    }

    proptest! {
        #[test]
        fn it_holds_what_any_map_would(steps in prop::collection::vec((chosen(), prop::option::weighted(0.6, 0..1_000_u32)), 0..400)) {
            let (mut map, mut model) = (Map::default(), HashMap::new());
            for (key, value) in steps {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), model.insert(key, value)),
                    None => prop_assert_eq!(map.remove(&key), model.remove(&key)),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(model.iter().all(|(key, value)| map.get(key) == Some(value)));
                prop_assert_eq!(map.keys().count(), model.len());
            }
        }
    }

    #[test]
    fn room_that_was_reserved_is_enough() {
        let mut map = Map::default();
        map.reserve(1_000);
        let homes = map.homes;
        for number in 0..1_000_u64 {
            map.insert(Chosen(number.wrapping_mul(0x9e37_79b9_7f4a_7c15), 0), number);
        }
        assert_eq!((map.homes, map.len()), (homes, 1_000));
    }
}
