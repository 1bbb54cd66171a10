//! What clients are given up for when they are slow.

/// What a client was too slow with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slow {
    /// The head of a request.
    Head,
    /// Nothing of a body came, or nothing of a response was taken, for too long.
    Idle,
    /// A request's body came slower than [`BodyRate::request`](crate::BodyRate::request).
    RequestRate,
    /// A response was taken slower than [`BodyRate::response`](crate::BodyRate::response).
    ResponseRate,
}

impl Slow {
    /// Every kind, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::Head, Self::Idle, Self::RequestRate, Self::ResponseRate];

    /// A short name for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Idle => "idle",
            Self::RequestRate => "request-rate",
            Self::ResponseRate => "response-rate",
        }
    }
}
