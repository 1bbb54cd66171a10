//! Which backend next: levels by tier and distance, and balancing policies.
