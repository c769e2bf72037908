//! A table whose keys are never reused: a key of something gone finds nothing, not its successor.

/// A place in a [`Slab`] and the generation that filled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The key as one number.
    pub fn to_u64(self) -> u64 {
        (u64::from(self.generation) << 32) | u64::from(self.index)
    }

    /// The key that a number stands for.
    pub fn from_u64(n: u64) -> Self {
        Self { index: n as u32, generation: (n >> 32) as u32 }
    }
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

/// Places that are allocated together. One list of all of them would be copied whenever it grows, and would leave a hole of
/// its old size among what was allocated meanwhile.
const CHUNK: usize = 64;

/// Values in places that are reused, each under a [`Key`] of its place and generation. Adding, finding and removing take
/// constant time.
pub struct Slab<T> {
    /// Places by index, [`CHUNK`] in each but the last.
    chunks: Vec<Vec<Place<T>>>,
    free: Vec<u32>,
    len: usize,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), free: Vec::new(), len: 0 }
    }
}

impl<T> Slab<T> {
    /// Puts a value in.
    pub fn insert(&mut self, value: T) -> Key {
        self.len += 1;
        if let Some(index) = self.free.pop()
            && let Some(place) = self.place_mut(index)
        {
            place.value = Some(value);
            return Key { index, generation: place.generation };
        }
        let place = Place { generation: 0, value: Some(value) };
        match self.chunks.last_mut() {
            Some(last) if last.len() < CHUNK => last.push(place),
            // A short table takes no more room than its values.
            None => self.chunks.push(vec![place]),
            Some(_) => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(place);
                self.chunks.push(chunk);
            }
        }
        Key { index: (self.len - 1) as u32, generation: 0 }
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        self.chunks.get(index as usize / CHUNK)?.get(index as usize % CHUNK)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.chunks.get_mut(index as usize / CHUNK)?.get_mut(index as usize % CHUNK)
    }

    /// Takes a value out.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.place_mut(key.index).filter(|p| p.generation == key.generation)?;
        let value = place.value.take()?;
        // 2^32 lives of one place are out of reach.
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        self.len -= 1;
        Some(value)
    }

    /// The value that a key names.
    pub fn get(&self, key: Key) -> Option<&T> {
        self.place(key.index).filter(|p| p.generation == key.generation)?.value.as_ref()
    }

    /// The value that a key names, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.place_mut(key.index).filter(|p| p.generation == key.generation)?.value.as_mut()
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// All values with their keys, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.chunks.iter().flatten().enumerate().filter_map(|(index, p)| {
            p.value.as_ref().map(|v| (Key { index: index as u32, generation: p.generation }, v))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_does_not_find_the_new_tenant() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        assert_eq!(slab.remove(a), Some('a'));
        let b = slab.insert('b');
        assert_eq!((slab.get(a), slab.get(b), slab.len()), (None, Some(&'b'), 1));
        assert_eq!(slab.get_mut(a), None);
        assert_eq!(slab.get_mut(b), Some(&mut 'b'));
        assert_eq!(Key::from_u64(b.to_u64()), b);
    }

    #[test]
    fn a_value_stays_where_it_is_while_the_table_grows() {
        let mut slab = Slab::default();
        let keys: Vec<_> = (0..5 * CHUNK).map(|n| slab.insert(n)).collect();
        let gone = [0, CHUNK - 1, CHUNK, 3 * CHUNK + 7];
        gone.iter().for_each(|&n| assert_eq!(slab.remove(keys[n]), Some(n)));
        assert_eq!(slab.iter().map(|(key, &n)| (key, n)).collect::<Vec<_>>(), {
            let left = keys.iter().enumerate().filter(|(n, _)| !gone.contains(n));
            left.map(|(n, &key)| (key, n)).collect::<Vec<_>>()
        });
        let again: Vec<_> = (0..gone.len()).map(|n| slab.insert(1000 + n)).collect();
        assert_eq!(slab.chunks.len(), 5, "free places are used first");
        assert!(slab.chunks.iter().all(|chunk| chunk.len() == CHUNK));
        for (n, &key) in keys.iter().enumerate() {
            assert_eq!(slab.get(key).copied(), (!gone.contains(&n)).then_some(n));
        }
        assert!(again.iter().enumerate().all(|(n, &key)| slab.get(key) == Some(&(1000 + n))));
        let next = slab.insert(0);
        assert_eq!((slab.chunks.len(), slab.get(next), slab.len()), (6, Some(&0), 5 * CHUNK + 1));
    }
}
