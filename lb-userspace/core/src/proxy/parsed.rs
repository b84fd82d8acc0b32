//! What a parser says of the bytes that have come so far.

/// What the beginning of a connection says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// More bytes are needed to tell.
    More,
    /// It is all there.
    Done {
        /// What it says.
        value: T,
        /// How many bytes said it; those after them are the application's.
        length: usize,
    },
}

impl<T> Parsed<T> {
    /// The same bytes, said in other words.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Parsed<U> {
        match self {
            Self::More => Parsed::More,
            Self::Done { value, length } => Parsed::Done { value: change(value), length },
        }
    }
}
