//! From evidence to verdicts: rise and fall, soft and hard evidence, a region's score.
