//! Integers written by their frequency, so that frequent ones take less than their bits: range
//! asymmetric numeral systems (Duda 2013, arXiv:1311.2540) with a state of 32 bits that moves by bytes.
//!
//! A stream is, in little-endian order: the lowest integer (i8); how many more there are up to the
//! highest (u8); the frequency of each, which together are [`TOTAL`]; the state (u32); and the bytes that
//! move into it. A frequency below 128 is one byte; any other is its lower 7 bits plus 128, then the higher bits. Where
//! the stream would not be shorter than the integers, or so short that [`decode`] would not believe it, it is the
//! integers as they are.

use alloc::{vec, vec::Vec};

/// Bits of a frequency.
const BITS: u32 = 12;

/// Sum of the frequencies.
const TOTAL: u32 = 1 << BITS;

/// What a byte of a frequency has added if another follows.
const FLAG: u32 = 128;

/// The lowest state between two integers, and the state before the first.
const LOWEST: u32 = 1 << 23;

/// The most integers that a byte of a stream stands for: what a short stream claims to be is not
/// believed.
const MOST_OF_A_BYTE: usize = 16;

/// The stream of `integers`; `None` without any.
fn encode(integers: &[i8]) -> Option<Vec<u8>> {
    let table = Table::of(integers)?;
    let mut state = LOWEST;
    // From the last to the first, as decoding takes them from the end.
    let mut reversed = Vec::new();
    for &integer in integers.iter().rev() {
        let (start, frequency) = table.slots(integer);
        while state >= ((LOWEST >> BITS) << 8) * frequency {
            reversed.push(state as u8);
            state >>= 8;
        }
        state = ((state / frequency) << BITS) + state % frequency + start;
    }
    reversed.extend(state.to_be_bytes());
    let mut stream = table.to_bytes();
    stream.extend(reversed.iter().rev());
    let len = integers.len();
    if stream.len() >= len || !is_believed(len, stream.len()) {
        stream = integers
            .iter()
            .map(|integer| integer.cast_unsigned())
            .collect();
    }
    Some(stream)
}

/// The `len` integers of a stream; `None` if it is not the stream of so many.
fn decode(stream: &[u8], len: usize) -> Option<Vec<i8>> {
    if !is_believed(len, stream.len()) {
        return None;
    }
    if stream.len() >= len {
        let integers = stream.iter().map(|byte| byte.cast_signed());
        return (stream.len() == len).then(|| integers.collect());
    }
    let (table, rest) = Table::parse(stream)?;
    let by_slot = table.by_slot();
    let (state, mut rest) = rest.split_first_chunk()?;
    let mut state = u32::from_le_bytes(*state);
    let mut integers = Vec::with_capacity(len);
    for _ in 0..len {
        let slot = state & (TOTAL - 1);
        let integer = by_slot[slot as usize];
        let (start, frequency) = table.slots(integer);
        state = frequency * (state >> BITS) + slot - start;
        while state < LOWEST {
            let (&byte, others) = rest.split_first()?;
            state = state << 8 | u32::from(byte);
            rest = others;
        }
        integers.push(integer);
    }
    (rest.is_empty() && state == LOWEST).then_some(integers)
}

const fn is_believed(len: usize, bytes: usize) -> bool {
    len <= MOST_OF_A_BYTE * bytes
}

/// Appends the stream of `integers` after its length (u32); `None` if there are none or too many.
pub(super) fn push(bytes: &mut Vec<u8>, integers: &[i8]) -> Option<()> {
    let stream = encode(integers)?;
    bytes.extend(u32::try_from(stream.len()).ok()?.to_le_bytes());
    bytes.extend(stream);
    Some(())
}

/// Bytes that are not read yet.
pub(super) struct Unread<'a>(pub(super) &'a [u8]);

impl Unread<'_> {
    /// The next `N` bytes, if there are so many.
    pub(super) fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, others) = self.0.split_first_chunk()?;
        self.0 = others;
        Some(*chunk)
    }

    /// The `len` integers that [`push`] appended.
    pub(super) fn stream(&mut self, len: usize) -> Option<Vec<i8>> {
        let length = usize::try_from(u32::from_le_bytes(self.chunk()?)).ok()?;
        let (stream, others) = self.0.split_at_checked(length)?;
        self.0 = others;
        decode(stream, len)
    }
}

/// How often each integer occurs, in parts of [`TOTAL`].
struct Table {
    lowest: i8,
    frequencies: Vec<u32>,
    /// Sum of the frequencies of all lower integers.
    starts: Vec<u32>,
}

impl Table {
    /// `None` without integers.
    fn of(integers: &[i8]) -> Option<Self> {
        let lowest = *integers.iter().min()?;
        let highest = *integers.iter().max()?;
        let mut counts = vec![0_usize; usize::from(highest.abs_diff(lowest)) + 1];
        for integer in integers {
            counts[usize::from(integer.abs_diff(lowest))] += 1;
        }
        let share = |&count: &usize| {
            let parts = (count as u64 * u64::from(TOTAL) / integers.len() as u64) as u32;
            parts.max(u32::from(count > 0))
        };
        let mut frequencies: Vec<u32> = counts.iter().map(share).collect();
        // What rounding left over or took too much is a part of the most frequent.
        let mut sum: u32 = frequencies.iter().sum();
        while sum > TOTAL {
            *frequencies.iter_mut().max()? -= 1;
            sum -= 1;
        }
        *frequencies.iter_mut().max()? += TOTAL - sum;
        Some(Self::new(lowest, frequencies))
    }

    fn new(lowest: i8, frequencies: Vec<u32>) -> Self {
        let mut sum = 0;
        let starts = frequencies.iter().map(|frequency| {
            sum += frequency;
            sum - frequency
        });
        Self {
            lowest,
            starts: starts.collect(),
            frequencies,
        }
    }

    /// The first slot of an integer, and how many it has.
    fn slots(&self, integer: i8) -> (u32, u32) {
        let at = usize::from(integer.abs_diff(self.lowest));
        (self.starts[at], self.frequencies[at])
    }

    /// The integer of each of the [`TOTAL`] slots.
    fn by_slot(&self) -> Vec<i8> {
        let integers = (self.lowest..=i8::MAX).zip(&self.frequencies);
        integers
            .flat_map(|(integer, &frequency)| core::iter::repeat_n(integer, frequency as usize))
            .collect()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![
            self.lowest.cast_unsigned(),
            (self.frequencies.len() - 1) as u8,
        ];
        for &frequency in &self.frequencies {
            if frequency < FLAG {
                bytes.push(frequency as u8);
            } else {
                bytes.extend([(frequency % FLAG + FLAG) as u8, (frequency / FLAG) as u8]);
            }
        }
        bytes
    }

    /// The table at the start of a stream, and what follows it.
    fn parse(stream: &[u8]) -> Option<(Self, &[u8])> {
        let (&[lowest, more], mut rest) = stream.split_first_chunk()?;
        let lowest = lowest.cast_signed();
        i8::try_from(i16::from(lowest) + i16::from(more)).ok()?;
        let mut next = || {
            let (&byte, others) = rest.split_first()?;
            rest = others;
            Some(u32::from(byte))
        };
        let mut frequencies = Vec::new();
        for _ in 0..=more {
            let low = next()?;
            let high = if low < FLAG { 0 } else { next()? };
            // A second byte of 0 would be another way to write the same.
            if low >= FLAG && high == 0 {
                return None;
            }
            frequencies.push(low % FLAG + FLAG * high);
        }
        (frequencies.iter().sum::<u32>() == TOTAL).then(|| (Self::new(lowest, frequencies), rest))
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng as _, SeedableRng as _},
    };

    use super::*;

    /// Integers about zero, as weights are.
    fn weights(len: usize, width: f64, seed: u64) -> Vec<i8> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX) - 0.5;
        (0..len)
            .map(|_| {
                let sum: f64 = (0..12).map(|_| uniform()).sum();
                (sum * width).round().clamp(-127.0, 127.0) as i8
            })
            .collect()
    }

    /// Bits that no code without memory can go below.
    fn entropy(integers: &[i8]) -> f64 {
        let mut counts = [0_usize; 256];
        for integer in integers {
            counts[usize::from(integer.cast_unsigned())] += 1;
        }
        let len = integers.len() as f64;
        let counts = counts.iter().filter(|count| **count > 0);
        counts
            .map(|&count| count as f64 * (len / count as f64).log2())
            .sum()
    }

    #[test]
    fn integers_come_back_in_little_more_than_their_entropy() {
        for width in [0.7, 2.0, 5.0, 30.0, 90.0] {
            let integers = weights(20_000, width, 1);
            let stream = encode(&integers).unwrap();
            let table = 2 + 2 * 256 + 4;
            let bound = entropy(&integers) * 1.005 / 8.0 + f64::from(table);
            assert!((stream.len() as f64) < bound, "{} of {bound}", stream.len());
            assert_eq!(decode(&stream, integers.len()).unwrap(), integers);
        }
    }

    #[test]
    fn what_has_no_frequent_integers_takes_a_byte_each() {
        let all: Vec<i8> = (0..2000_u32).map(|at| (at * 157) as i8).collect();
        assert_eq!(encode(&all).unwrap().len(), all.len());
    }

    #[test]
    fn few_integers_and_the_extremes_come_back() {
        let cases: [&[i8]; 6] = [
            &[0],
            &[5; 20],
            &[-128, 127],
            &[127; 3],
            &[-128; 3],
            &[1, 2, 3, 4, 5],
        ];
        for integers in cases {
            let stream = encode(integers).unwrap();
            assert_eq!(decode(&stream, integers.len()).unwrap(), integers);
        }
        let all: Vec<i8> = (-128..=127).collect();
        assert_eq!(decode(&encode(&all).unwrap(), 256).unwrap(), all);
    }

    #[test]
    fn almost_no_bytes_are_not_believed() {
        assert_eq!(encode(&[]), None);
        assert_eq!(encode(&[0; 1000]).unwrap().len(), 1000);
        let stream = encode(&[0; 100]).unwrap();
        assert!(stream.len() < 10);
        assert_eq!(decode(&stream, 1000), None);
    }

    #[test]
    fn damage_is_an_error_or_other_integers() {
        let integers = weights(300, 3.0, 2);
        let stream = encode(&integers).unwrap();
        for end in 0..stream.len() {
            assert_eq!(decode(&stream[..end], integers.len()), None, "cut at {end}");
        }
        assert!(stream.len() < integers.len());
        for len in [299, 301] {
            assert_eq!(decode(&stream, len), None);
        }
        for bit in 0..8 * stream.len() {
            let mut damaged = stream.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(decode(&damaged, integers.len()).as_ref(), Some(&integers));
        }
    }
}
