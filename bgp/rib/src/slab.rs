//! Values by number, in chunks: growing copies nothing, and a chunk that is empty again is given back.

const CHUNK: usize = 1024;

#[derive(Debug)]
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// Chunks with room.
    open: Vec<u32>,
    len: usize,
}

#[derive(Debug)]
struct Chunk<T> {
    items: Vec<T>,
    /// Places in `items` that are free.
    free: Vec<u16>,
}

impl<T> Chunk<T> {
    fn is_full(&self) -> bool {
        self.free.is_empty() && self.items.len() == CHUNK
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), open: Vec::new(), len: 0 }
    }
}

impl<T: Default> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn octets(&self) -> usize {
        let chunk = |chunk: &Chunk<T>| chunk.items.capacity() * size_of::<T>() + chunk.free.capacity() * 2;
        self.chunks.iter().map(chunk).sum::<usize>() + self.chunks.capacity() * size_of::<Chunk<T>>()
    }

    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let number = self.open.last().copied().unwrap_or_else(|| {
            self.chunks.push(Chunk { items: Vec::new(), free: Vec::new() });
            self.chunks.len() as u32 - 1
        });
        if self.open.is_empty() {
            self.open.push(number);
        }
        let chunk = &mut self.chunks[number as usize];
        let at = if let Some(at) = chunk.free.pop() {
            chunk.items[usize::from(at)] = value;
            usize::from(at)
        } else {
            if chunk.items.is_empty() {
                chunk.items.reserve_exact(CHUNK);
            }
            chunk.items.push(value);
            chunk.items.len() - 1
        };
        if chunk.is_full() {
            self.open.pop();
        }
        self.len += 1;
        number * CHUNK as u32 + at as u32
    }

    /// Takes the value of a number that is in use.
    pub(crate) fn remove(&mut self, number: u32) -> T {
        let (number, at) = split(number);
        let chunk = &mut self.chunks[number];
        if chunk.is_full() {
            self.open.push(number as u32);
        }
        let value = std::mem::take(&mut chunk.items[at]);
        chunk.free.push(at as u16);
        if chunk.free.len() == chunk.items.len() {
            *chunk = Chunk { items: Vec::new(), free: Vec::new() };
        }
        self.len -= 1;
        if self.len == 0 {
            *self = Self::default();
        }
        value
    }
}

impl<T> std::ops::Index<u32> for Slab<T> {
    type Output = T;

    fn index(&self, number: u32) -> &T {
        let (chunk, at) = split(number);
        &self.chunks[chunk].items[at]
    }
}

impl<T> std::ops::IndexMut<u32> for Slab<T> {
    fn index_mut(&mut self, number: u32) -> &mut T {
        let (chunk, at) = split(number);
        &mut self.chunks[chunk].items[at]
    }
}

fn split(number: u32) -> (usize, usize) {
    (number as usize / CHUNK, number as usize % CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_and_are_used_again() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..5000).map(|n| slab.insert(n)).collect();
        for (value, number) in numbers.iter().enumerate().filter(|(value, _)| value % 2 == 0) {
            assert_eq!(slab.remove(*number), value);
        }
        let again: Vec<u32> = (0..2500).map(|n| slab.insert(10_000 + n)).collect();
        assert_eq!(slab.chunks.len(), 5, "2500 places were free");
        for (value, number) in numbers.iter().enumerate().filter(|(value, _)| value % 2 == 1) {
            assert_eq!(slab[*number], value);
        }
        for (n, number) in again.iter().enumerate() {
            assert_eq!(slab[*number], 10_000 + n);
        }
        assert_eq!(slab.len(), 5000);
    }

    #[test]
    fn an_empty_chunk_gives_its_memory_back() {
        let mut slab = Slab::default();
        let numbers: Vec<u32> = (0..3 * CHUNK as u64).map(|n| slab.insert(n)).collect();
        let full = slab.octets();
        for number in &numbers[CHUNK..2 * CHUNK] {
            slab.remove(*number);
        }
        assert!(slab.octets() <= full - CHUNK * 8, "{} of {full}", slab.octets());
        assert_eq!(slab[numbers[2 * CHUNK]], 2 * CHUNK as u64);
        for number in numbers[..CHUNK].iter().chain(&numbers[2 * CHUNK..]) {
            slab.remove(*number);
        }
        assert_eq!(slab.octets(), 0);
    }
}
