//! The range coder (Martin 1979): a text is a number in a range that every symbol narrows to its share.
//!
//! The range is at least 2^56 wide before a symbol, so that frequencies that sum to 2^38 lose less than a hundred-thousandth
//! of a bit. The last bytes are as few as name a number in the range, zeros being read behind them: one, or none.

use crate::damage::Damage;

/// The range is at least this wide before a symbol.
const LEAST: u64 = 1 << 56;

/// Bytes of the number that the decoder looks at.
const WINDOW: usize = 8;

/// The share of a symbol: `width` of `total` parts, behind `start` others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    pub(crate) start: u64,
    pub(crate) width: u64,
    pub(crate) total: u64,
}

/// The numbers from `low` on that are still possible, in units that shrink with every byte taken off; modulo 2^64, what
/// is above having become bytes.
#[derive(Clone, Debug)]
struct Range {
    low: u64,
    width: u64,
}

impl Range {
    const fn new() -> Self {
        Self {
            low: 0,
            width: u64::MAX,
        }
    }

    /// The distance of a share from the low end.
    const fn offset(&self, share: Share) -> u64 {
        self.width / share.total * share.start
    }

    /// Narrows the range to a share; `true` if the low end passes 2^64.
    const fn narrow(&mut self, share: Share) -> bool {
        let (low, carries) = self.low.overflowing_add(self.offset(share));
        self.low = low;
        self.width = self.width / share.total * share.width;
        carries
    }

    /// Takes off the first byte of the low end while the range is narrow.
    fn shift(&mut self) -> Option<u8> {
        if self.width >= LEAST {
            return None;
        }
        let byte = (self.low / LEAST) as u8;
        self.low <<= 8;
        self.width <<= 8;
        Some(byte)
    }

    /// How to name a number of the range by as few bytes as possible.
    const fn ending(&self) -> Ending {
        // To the next number without any byte of the window.
        let to_border = self.low.wrapping_neg();
        if to_border < self.width {
            return Ending {
                offset: to_border,
                bytes: 0,
            };
        }
        Ending {
            offset: to_border % LEAST,
            bytes: 1,
        }
    }
}

/// A number by its distance from the low end, and how many bytes it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    offset: u64,
    bytes: usize,
}

/// Writes symbols.
#[derive(Debug)]
pub(crate) struct Encoder {
    range: Range,
    bytes: Vec<u8>,
}

impl Encoder {
    pub(crate) const fn new() -> Self {
        Self {
            range: Range::new(),
            bytes: Vec::new(),
        }
    }

    pub(crate) fn encode(&mut self, share: Share) {
        if self.range.narrow(share) {
            self.carry();
        }
        while let Some(byte) = self.range.shift() {
            self.bytes.push(byte);
        }
    }

    /// Adds one to the number that the bytes are. It is below the first range, so that it has no more bytes then.
    fn carry(&mut self) {
        for byte in self.bytes.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte > 0 {
                break;
            }
        }
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        let Ending { offset, bytes } = self.range.ending();
        let (number, carries) = self.range.low.overflowing_add(offset);
        if carries {
            self.carry();
        }
        self.bytes.extend(&number.to_be_bytes()[..bytes]);
        self.bytes
    }
}

/// Reads symbols. Bytes that no encoder wrote give other symbols or [`Damage`].
#[derive(Debug)]
pub(crate) struct Decoder<'b> {
    range: Range,
    bytes: &'b [u8],
    /// Bytes taken off the front.
    shifted: usize,
    /// The distance of the number from the low end of the range.
    offset: u64,
}

impl<'b> Decoder<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        let window = (0..WINDOW).map(|at| bytes.get(at).copied().unwrap_or(0));
        Self {
            range: Range::new(),
            bytes,
            shifted: 0,
            offset: window.fold(0, |number, byte| (number << 8) | u64::from(byte)),
        }
    }

    /// The part, of `total`, that the next symbol holds.
    pub(crate) const fn part(&self, total: u64) -> Result<u64, Damage> {
        let part = self.offset / (self.range.width / total);
        if part < total && self.shifted <= self.bytes.len() {
            Ok(part)
        } else {
            Err(Damage::Code)
        }
    }

    /// Goes on behind a symbol, whose share holds [`part`](Self::part).
    pub(crate) fn advance(&mut self, share: Share) {
        self.offset -= self.range.offset(share);
        self.range.narrow(share);
        while self.range.shift().is_some() {
            let next = self.bytes.get(self.shifted + WINDOW).copied();
            self.offset = (self.offset << 8) | u64::from(next.unwrap_or(0));
            self.shifted += 1;
        }
    }

    /// Checks that the bytes are those of the symbols read and no more.
    pub(crate) fn finish(self) -> Result<(), Damage> {
        let Ending { offset, bytes } = self.range.ending();
        if self.shifted + bytes == self.bytes.len() && offset == self.offset {
            Ok(())
        } else {
            Err(Damage::Code)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The share of a symbol among frequencies.
    fn share(frequencies: &[u64], symbol: usize) -> Share {
        Share {
            start: frequencies[..symbol].iter().sum(),
            width: frequencies[symbol],
            total: frequencies.iter().sum(),
        }
    }

    fn decode(bytes: &[u8], frequencies: &[u64], len: usize) -> Result<Vec<usize>, Damage> {
        let mut decoder = Decoder::new(bytes);
        let mut symbols = Vec::new();
        for _ in 0..len {
            let part = decoder.part(frequencies.iter().sum())?;
            let shares = (0..frequencies.len()).map(|symbol| share(frequencies, symbol));
            let symbol = shares.take_while(|share| share.start <= part).count() - 1;
            decoder.advance(share(frequencies, symbol));
            symbols.push(symbol);
        }
        decoder.finish()?;
        Ok(symbols)
    }

    fn encode(frequencies: &[u64], symbols: &[usize]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        for &symbol in symbols {
            encoder.encode(share(frequencies, symbol));
        }
        encoder.finish()
    }

    proptest! {
        #[test]
        fn symbols_come_back_and_take_their_information(
            frequencies in prop::collection::vec(prop_oneof![1_u64..4, 1_u64..1 << 37], 2..6),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let symbols: Vec<usize> = choices.iter().map(|choice| choice.index(frequencies.len())).collect();
            let bytes = encode(&frequencies, &symbols);
            prop_assert_eq!(decode(&bytes, &frequencies, symbols.len()), Ok(symbols.clone()));
            let bits = symbols.iter().map(|&symbol| {
                let Share { width, total, .. } = share(&frequencies, symbol);
                (total as f64 / width as f64).log2()
            });
            let bits: f64 = bits.sum();
            prop_assert!(bytes.len() as f64 <= bits / 8.0 * 1.00001 + 1.0, "{} bytes for {bits} bits", bytes.len());
        }

        #[test]
        fn bytes_of_another_length_are_refused(
            choices in prop::collection::vec(0_usize..3, 0..100),
            tail in prop::collection::vec(any::<u8>(), 1..4),
        ) {
            let frequencies = [5, 1, 1 << 30];
            let mut bytes = encode(&frequencies, &choices);
            bytes.extend(tail);
            let decoded = decode(&bytes, &frequencies, choices.len());
            prop_assert!(decoded != Ok(choices));
        }
    }

    #[test]
    fn carries_reach_far_back() {
        // Ever the middle of three: the range closes in on a number whose first byte stays open.
        let frequencies = [(1 << 20) - 1, 2, (1 << 20) - 1];
        for last in 0..3 {
            let mut symbols = vec![1; 1000];
            symbols.push(last);
            let bytes = encode(&frequencies, &symbols);
            assert_eq!(decode(&bytes, &frequencies, symbols.len()), Ok(symbols));
        }
    }
}
