//! States of texts that were read before. A prompt that begins like one of them is read from there on: what a model
//! remembers of a text has one size, however long that is.
//!
//! A state depends on nothing but weights and tokens, so an answer is the same to the last bit. Each client has its
//! own, since how soon an answer comes would tell what others have asked.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hashlink::LruCache;
use itera_core::model::State;

use crate::{client::ClientId, weights::Variant};

/// Tokens from one state that is kept of a long prompt to the next.
pub(super) const STRIDE: usize = 512;

/// What the model remembers of a text.
#[derive(Clone, Debug)]
pub(super) struct Read {
    pub(super) tokens: Arc<[u32]>,
    pub(super) state: State,
    /// What predicts the next token; none in the middle of a prompt, where it was not computed.
    pub(super) logits: Option<Arc<[f32]>>,
}

impl Read {
    fn bytes(&self) -> usize {
        let logits = self
            .logits
            .as_ref()
            .map_or(0, |logits| size_of_val::<[f32]>(logits));
        self.state.bytes() + size_of_val::<[u32]>(&self.tokens) + logits
    }
}

/// Whose text it is, and by which weights it was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    client: ClientId,
    variant: u64,
}

impl Owner {
    pub(super) fn new(client: ClientId, variant: &Variant) -> Self {
        Self {
            client,
            variant: variant.serial,
        }
    }
}

/// A text by owner, length and a digest of its tokens.
type Key = (Owner, usize, u64);

/// The states, at most so many bytes of them; the one that was not used for the longest goes first.
#[derive(Debug)]
pub(super) struct Prefixes {
    most_bytes: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    reads: LruCache<Key, Arc<Read>>,
    bytes: usize,
    /// How many texts there are of each length.
    lens: BTreeMap<usize, usize>,
}

impl Prefixes {
    pub(super) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            inner: Mutex::new(Inner {
                reads: LruCache::new_unbounded(),
                bytes: 0,
                lens: BTreeMap::new(),
            }),
        }
    }

    /// The longest text of this owner that `tokens` begin with. If it is all of them, its logits are known.
    pub(super) fn find(&self, owner: &Owner, tokens: &[u32]) -> Option<Arc<Read>> {
        let mut inner = self.lock();
        if inner.lens.is_empty() {
            return None;
        }
        let digests = digests(tokens);
        let lens: Vec<usize> = inner
            .lens
            .range(..=tokens.len())
            .rev()
            .map(|(len, _)| *len)
            .collect();
        for len in lens {
            let found = inner.reads.get(&(owner.clone(), len, digests[len]));
            let fits = |read: &&Arc<Read>| {
                *read.tokens == tokens[..len] && (len < tokens.len() || read.logits.is_some())
            };
            if let Some(read) = found.filter(|read| fits(&&**read)) {
                return Some(Arc::clone(read));
            }
        }
        None
    }

    /// Keeps what was read of a text.
    pub(super) fn keep(&self, owner: &Owner, read: Read) {
        let (len, bytes) = (read.tokens.len(), read.bytes());
        if bytes > self.most_bytes {
            return;
        }
        let key = (owner.clone(), len, digests(&read.tokens)[len]);
        let mut inner = self.lock();
        let replaced = inner.reads.insert(key, Arc::new(read));
        inner.bytes += bytes;
        *inner.lens.entry(len).or_default() += 1;
        if let Some(old) = replaced {
            inner.forget(&old);
        }
        while inner.bytes > self.most_bytes
            && let Some((_, oldest)) = inner.reads.remove_lru()
        {
            inner.forget(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, read: &Read) {
        self.bytes -= read.bytes();
        let len = read.tokens.len();
        if let Some(count) = self.lens.get_mut(&len) {
            *count -= 1;
            if *count == 0 {
                self.lens.remove(&len);
            }
        }
    }
}

/// A digest of the first `n` tokens for every `n`; tokens are compared where it is the same.
fn digests(tokens: &[u32]) -> Vec<u64> {
    // FNV-1a (Fowler, Noll, Vo), a token at a time.
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let next = |digest: &mut u64, token: &u32| {
        *digest = (*digest ^ u64::from(*token)).wrapping_mul(PRIME);
        Some(*digest)
    };
    let rest = tokens.iter().scan(BASIS, next);
    std::iter::once(BASIS).chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::base;

    fn read(tokens: &[u32], state: &State, has_logits: bool) -> Read {
        Read {
            tokens: tokens.into(),
            state: state.clone(),
            logits: has_logits.then(|| vec![0.0; 7].into()),
        }
    }

    #[test]
    fn the_longest_beginning_of_the_same_owner_is_found() {
        let base = base();
        let variant = base.weights.variant(base.default);
        let state = variant.model.new_state();
        let owner = |name: &str| Owner::new(ClientId::Key(name.into()), variant);
        let prefixes = Prefixes::new(1 << 20);
        for (tokens, has_logits) in [
            (&[1, 2][..], true),
            (&[1, 2, 3, 4], false),
            (&[1, 2, 9], true),
        ] {
            prefixes.keep(&owner("a"), read(tokens, &state, has_logits));
        }
        let len = |name: &str, tokens: &[u32]| {
            let found = prefixes.find(&owner(name), tokens);
            found.map(|read| read.tokens.len())
        };
        assert_eq!(len("a", &[1, 2, 3, 4, 5]), Some(4));
        // All of it, but not what comes next.
        assert_eq!(len("a", &[1, 2, 3, 4]), Some(2));
        assert_eq!(len("a", &[1, 2]), Some(2));
        assert_eq!(len("a", &[1]), None);
        assert_eq!(len("b", &[1, 2, 3, 4, 5]), None);
    }

    #[test]
    fn what_was_not_used_for_the_longest_makes_room() {
        let base = base();
        let variant = base.weights.variant(base.default);
        let state = variant.model.new_state();
        let owner = Owner::new(ClientId::Key("a".into()), variant);
        let size = read(&[1, 2], &state, false).bytes();
        let prefixes = Prefixes::new(2 * size);
        let holds = |first| prefixes.find(&owner, &[first, 2, 3]).is_some();
        for first in [1, 2] {
            prefixes.keep(&owner, read(&[first, 2], &state, false));
        }
        assert!(holds(1));
        prefixes.keep(&owner, read(&[3, 2], &state, false));
        assert!(holds(1) && holds(3) && !holds(2));
        // The same again counts once.
        prefixes.keep(&owner, read(&[3, 2], &state, false));
        assert!(holds(1) && holds(3));
        let inner = prefixes.lock();
        assert_eq!(
            (inner.bytes, &inner.lens),
            (2 * size, &BTreeMap::from([(2, 2)]))
        );
    }
}
