//! What selects a series: one label, or a tuple of them, as a position in an array.

/// A label whose values are the variants of an enum.
pub trait Label: Copy + 'static {
    const NAME: &'static str;
    /// All values, in the order of [`Label::index`].
    const WORDS: &'static [&'static str];

    fn index(self) -> usize;

    /// The value as it stands in metrics, logs and on the page.
    fn word(self) -> &'static str {
        Self::WORDS[self.index()]
    }
}

/// What [`crate::metrics::By`] is indexed with: a [`Label`], or a tuple of two or three.
pub trait Key: Copy + 'static {
    fn names() -> Vec<&'static str>;
    fn count() -> usize;
    fn position(self) -> usize;
    fn values(position: usize) -> Vec<&'static str>;
}

impl<L: Label> Key for L {
    fn names() -> Vec<&'static str> {
        vec![L::NAME]
    }

    fn count() -> usize {
        L::WORDS.len()
    }

    #[inline]
    fn position(self) -> usize {
        self.index()
    }

    fn values(position: usize) -> Vec<&'static str> {
        vec![L::WORDS[position]]
    }
}

impl<A: Label, B: Label> Key for (A, B) {
    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME]
    }

    fn count() -> usize {
        A::WORDS.len() * B::WORDS.len()
    }

    #[inline]
    fn position(self) -> usize {
        self.0.index() * B::WORDS.len() + self.1.index()
    }

    fn values(position: usize) -> Vec<&'static str> {
        vec![A::WORDS[position / B::WORDS.len()], B::WORDS[position % B::WORDS.len()]]
    }
}

impl<A: Label, B: Label, C: Label> Key for (A, B, C) {
    fn names() -> Vec<&'static str> {
        vec![A::NAME, B::NAME, C::NAME]
    }

    fn count() -> usize {
        A::WORDS.len() * <(B, C)>::count()
    }

    #[inline]
    fn position(self) -> usize {
        self.0.index() * <(B, C)>::count() + (self.1, self.2).position()
    }

    fn values(position: usize) -> Vec<&'static str> {
        let inner = <(B, C)>::count();
        let mut values = vec![A::WORDS[position / inner]];
        values.extend(<(B, C)>::values(position % inner));
        values
    }
}
