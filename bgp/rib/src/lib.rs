//! The routing table: what all peers have announced, the best path to each prefix, and longest match (RFC 4271 §3.2, §9).
