//! From a region's score to what is announced: hysteresis, hold-down, overrides.
