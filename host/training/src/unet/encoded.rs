//! What every encoder gives the decoder.

/// An encoder's output.
pub(super) struct Encoded<T> {
    /// The maps of every level but the deepest, the top one first, each of half the sides of the one before.
    pub(super) skips: Vec<T>,
    /// The map of the deepest level.
    pub(super) deepest: T,
}
