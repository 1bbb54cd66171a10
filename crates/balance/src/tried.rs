//! The candidates that one request has already been sent to.

/// The indices of the candidates that one request has tried, in order. Small and `Copy`; it never allocates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tried {
    indices: [u32; Self::LIMIT],
    count: u8,
}

impl Tried {
    /// A request is tried on at most so many candidates.
    pub const LIMIT: usize = 16;

    /// Nothing tried yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records an attempt on the candidate `index`. Beyond [`Tried::LIMIT`] nothing more is recorded, and nothing
    /// more is picked.
    pub fn add(&mut self, index: usize) {
        if !self.is_full() && !self.contains(index) {
            self.indices[usize::from(self.count)] = index as u32;
            self.count += 1;
        }
    }

    /// Whether the candidate `index` was tried.
    pub fn contains(&self, index: usize) -> bool {
        self.indices().any(|tried| tried == index)
    }

    /// The indices tried, in order.
    pub fn indices(&self) -> impl Iterator<Item = usize> + '_ {
        self.indices[..usize::from(self.count)].iter().map(|&index| index as usize)
    }

    /// How many candidates were tried.
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether nothing was tried yet.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether no further attempt is allowed.
    pub fn is_full(&self) -> bool {
        self.len() == Self::LIMIT
    }
}
