//! Tokenised documents in one buffer of two bytes a token. Vocabularies have at most 65,536 entries.

/// Documents as token ids, end-of-text not among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenSet {
    ids: Vec<u16>,
    /// Where each document ends in `ids`.
    ends: Vec<usize>,
}

impl TokenSet {
    /// Appends the document that `write` appends to the buffer. The set stays as it was where `write`
    /// fails.
    ///
    /// # Errors
    /// The error of `write`.
    pub fn push_with<E>(
        &mut self,
        write: impl FnOnce(&mut Vec<u16>) -> Result<(), E>,
    ) -> Result<(), E> {
        let end = self.tokens();
        match write(&mut self.ids) {
            Ok(()) => self.ends.push(self.ids.len()),
            Err(error) => {
                self.ids.truncate(end);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes the last document, if there is one.
    pub fn pop(&mut self) {
        if self.ends.pop().is_some() {
            self.ids.truncate(self.start(self.len()));
        }
    }

    /// Appends the documents of `part`.
    pub fn append(&mut self, part: &Self) {
        let start = self.tokens();
        self.ids.extend_from_slice(&part.ids);
        self.ends.extend(part.ends.iter().map(|end| start + end));
    }

    /// Makes room for so many more tokens, so that the buffer is not copied while it grows.
    pub fn reserve(&mut self, tokens: usize) {
        self.ids.reserve(tokens);
    }

    /// Documents.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is no document.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Tokens of all documents.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Positions of all documents: each has one for an end-of-text token before it and one for every
    /// token.
    pub fn positions(&self) -> usize {
        self.tokens() + self.len()
    }

    /// The position of the end-of-text token before a document, where all are laid end to end in the
    /// order of the set.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn position(&self, index: usize) -> usize {
        self.start(index) + index
    }

    /// The tokens of one document.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn document(&self, index: usize) -> &[u16] {
        &self.ids[self.start(index)..self.ends[index]]
    }

    /// The tokens of each document, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u16]> {
        (0..self.len()).map(|index| self.document(index))
    }

    fn start(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

impl<D: AsRef<[u16]>> FromIterator<D> for TokenSet {
    fn from_iter<I: IntoIterator<Item = D>>(documents: I) -> Self {
        let mut set = Self::default();
        for document in documents {
            set.ids.extend_from_slice(document.as_ref());
            set.ends.push(set.ids.len());
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(documents: &[&[u16]]) -> TokenSet {
        documents.iter().collect()
    }

    #[test]
    fn sets_are_joined_between_documents() {
        let documents: [&[u16]; 4] = [&[1, 2], &[], &[3], &[65_535, 5, 6]];
        let whole = set(&documents);
        assert_eq!((whole.len(), whole.tokens()), (4, 6));
        assert_eq!(whole.document(3), [65_535, 5, 6]);
        let positions = [0, 1, 2, 3].map(|index| whole.position(index));
        assert_eq!((positions, whole.positions()), ([0, 3, 4, 6], 10));
        for at in 0..=whole.len() {
            let mut joined = set(&documents[..at]);
            joined.append(&set(&documents[at..]));
            assert_eq!(joined, whole, "{at}");
            for _ in at..=whole.len() {
                joined.pop();
            }
            assert_eq!(joined, set(&documents[..at.saturating_sub(1)]));
        }
    }

    #[test]
    fn a_document_that_fails_leaves_nothing_behind() {
        let mut tokens = set(&[&[1, 2]]);
        let failed = tokens.push_with(|ids| {
            ids.extend([7, 8]);
            Err("broken")
        });
        assert_eq!((failed, &tokens), (Err("broken"), &set(&[&[1, 2]])));
        tokens
            .push_with(|ids| {
                ids.push(9);
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(tokens, set(&[&[1, 2], &[9]]));
    }
}
