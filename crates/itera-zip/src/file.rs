//! Compressed files: a header, then blocks. Both ways take and give streams, some blocks at a time.

use std::io::{Read, Write};

use anyhow::Context as _;
use flate2::Crc;
use rayon::iter::{IntoParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _};

use crate::{
    block::{Block, Content, MOST_BYTES},
    bytes::read_up_to,
    codec::Codec,
    damage::Damage,
    layout,
};

/// Bytes of a text and of its compressed form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) text: u64,
    pub(crate) compressed: u64,
}

/// Compresses `from`, as many blocks at a time as rayon has threads; the bytes do not depend on how many those are.
/// `on_text` is told how many bytes were read.
pub(crate) fn compress(
    codec: &Codec,
    from: impl Read,
    to: &mut impl Write,
    on_text: impl Fn(u64),
) -> anyhow::Result<Sizes> {
    compress_blocks(codec, Texts::new(from, MOST_BYTES), to, on_text)
}

fn compress_blocks(
    codec: &Codec,
    mut texts: Texts<impl Read>,
    to: &mut impl Write,
    on_text: impl Fn(u64),
) -> anyhow::Result<Sizes> {
    let (mut sizes, mut crc) = (Sizes::default(), Crc::new());
    while !texts.is_over {
        let group = texts.group(rayon::current_num_threads())?;
        let contents: Vec<Content> = group
            .par_iter()
            .map(|text| Content::pack(codec, text))
            .collect();
        let last = contents.len() - 1;
        for (at, (text, content)) in group.iter().zip(contents).enumerate() {
            crc.update(text);
            let block = Block {
                is_last: texts.is_over && at == last,
                checksum: crc.sum(),
                content,
            };
            let bytes = block.to_bytes();
            to.write_all(&bytes).context("cannot write the output")?;
            sizes.text += text.len() as u64;
            sizes.compressed += bytes.len() as u64;
            on_text(text.len() as u64);
        }
    }
    Ok(sizes)
}

/// Restores the text of the blocks in `from`. What is written is what was compressed: the checksum of a block is compared
/// before.
pub(crate) fn restore(
    codec: &Codec,
    mut from: impl Read,
    to: &mut impl Write,
    on_text: impl Fn(u64),
) -> anyhow::Result<Sizes> {
    let (mut sizes, mut crc) = (Sizes::default(), Crc::new());
    let mut is_over = false;
    while !is_over {
        let mut group = Vec::new();
        while group.len() < rayon::current_num_threads() && !is_over {
            let block = Block::read(&mut from)?;
            is_over = block.is_last;
            group.push(block);
        }
        let checksums: Vec<u32> = group.iter().map(|block| block.checksum).collect();
        sizes.compressed += group
            .iter()
            .map(|block| block.to_bytes().len() as u64)
            .sum::<u64>();
        let texts = group
            .into_par_iter()
            .map(|block| block.content.unpack(codec));
        let texts: Vec<Vec<u8>> = texts.collect::<Result<_, Damage>>()?;
        for (text, checksum) in texts.iter().zip(checksums) {
            crc.update(text);
            if crc.sum() != checksum {
                return Err(Damage::Checksum.into());
            }
            to.write_all(text).context("cannot write the output")?;
            sizes.text += text.len() as u64;
            on_text(text.len() as u64);
        }
    }
    Ok(sizes)
}

/// The texts of the blocks.
struct Texts<R> {
    from: R,
    /// The longest.
    most: usize,
    /// Read and not given yet.
    rest: Vec<u8>,
    /// Whether all were given; the last may be empty.
    is_over: bool,
}

impl<R: Read> Texts<R> {
    const fn new(from: R, most: usize) -> Self {
        Self {
            from,
            most,
            rest: Vec::new(),
            is_over: false,
        }
    }

    /// The next texts, at least one and at most `len`.
    fn group(&mut self, len: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut group = Vec::new();
        while group.len() < len && !self.is_over {
            // One byte more tells whether the text goes on.
            let missing = self.most + 1 - self.rest.len();
            let more = read_up_to(&mut self.from, missing)?;
            self.rest.extend(more);
            self.is_over = self.rest.len() <= self.most;
            let end = if self.is_over {
                self.rest.len()
            } else {
                layout::cut(&self.rest[..self.most])
            };
            let rest = self.rest.split_off(end);
            group.push(std::mem::replace(&mut self.rest, rest));
        }
        Ok(group)
    }
}

#[cfg(test)]
mod tests {
    use itera_testing::STORIES;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        bench::Score,
        layout::Divided,
        model::Loaded,
        tests::{BUILT_IN, SMALL, cases},
    };

    fn compressed(loaded: &Loaded, text: &[u8], most: usize) -> Vec<u8> {
        let mut compressed = Vec::new();
        let texts = Texts::new(text, most);
        let sizes = compress_blocks(&loaded.codec, texts, &mut compressed, |_| ()).unwrap();
        assert_eq!(
            [sizes.text, sizes.compressed],
            [text.len() as u64, compressed.len() as u64]
        );
        compressed
    }

    fn restored(loaded: &Loaded, compressed: &[u8]) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::new();
        restore(&loaded.codec, compressed, &mut text, |_| ())?;
        Ok(text)
    }

    fn model(is_trained: bool) -> &'static Loaded {
        if is_trained { &BUILT_IN } else { &SMALL }
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let story = "(\\PC|[a-z \n]){0,40}\n?(<\\|endoftext\\|>)?\n?( = A = \n\n)?";
        prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            prop::collection::vec(story, 0..60).prop_map(|stories| stories.concat().into_bytes()),
        ]
    }

    fn short_story() -> impl Strategy<Value = Vec<u8>> {
        "(\\PC|[a-z \n]){0,20}(\n<\\|endoftext\\|>\n)?[a-z ]{0,10}".prop_map(String::into_bytes)
    }

    proptest! {
        #![proptest_config(cases(60))]

        #[test]
        fn any_text_comes_back_and_hardly_grows(text in text(), most in 50_usize..1000, is_trained: bool) {
            let model = model(is_trained);
            let compressed = compressed(model, &text, most);
            prop_assert_eq!(restored(model, &compressed).unwrap(), text.clone());
            if text.len() <= most {
                prop_assert!(compressed.len() <= text.len() + 8);
            }
        }

        #[test]
        fn any_short_text_comes_back(
            text in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), short_story()],
            most in 1_usize..60,
            is_trained: bool,
        ) {
            let model = model(is_trained);
            prop_assert_eq!(restored(model, &compressed(model, &text, most)).unwrap(), text);
        }

        #[test]
        fn damage_is_found(
            text in text(),
            at in any::<prop::sample::Index>(),
            flip in 1_u8..,
            most in 50_usize..1000,
            is_trained: bool,
        ) {
            let model = model(is_trained);
            let mut compressed = compressed(model, &text, most);
            let at = at.index(compressed.len());
            prop_assert!(restored(model, &compressed[..at]).is_err());
            compressed[at] ^= flip;
            prop_assert!(restored(model, &compressed).is_err());
            compressed[at] ^= flip;
            compressed.push(flip);
            prop_assert!(restored(model, &compressed).is_err());
        }

        #[test]
        fn any_bytes_are_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            head in 0x80_u8..0x86,
            is_trained: bool,
        ) {
            let model = model(is_trained);
            prop_assert!(restored(model, &bytes).is_err());
            prop_assert!(restored(model, &[&[head, 0x7f, 3][..], &bytes].concat()).is_err());
        }
    }

    #[test]
    fn bytes_do_not_depend_on_threads() {
        let model = &SMALL;
        let text = STORIES.repeat(5);
        let by_threads = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                let compressed = compressed(model, text.as_bytes(), 300);
                assert_eq!(restored(model, &compressed).unwrap(), text.as_bytes());
                compressed
            })
        });
        assert_eq!(by_threads[0], by_threads[1]);
    }

    #[test]
    fn a_text_takes_what_the_model_needs_to_predict_it() {
        let model = &BUILT_IN;
        let stories = include_bytes!("../../../data/samples/tinystories-sample.txt");
        let one = stories.split(|&byte| byte == b'<').next().unwrap();
        for text in [&stories[..], one] {
            let documents = Divided::new(text).documents;
            let score = Score::of(model, &documents).unwrap();
            let ends = if documents.len() > 1 { score.ends } else { 0.0 };
            let file =
                model.header.to_bytes().unwrap().len() + compressed(model, text, MOST_BYTES).len();
            let most = 1.001 * (score.documents + ends) + 16.0;
            assert!(file as f64 <= most, "{file} bytes, {score:?}");
        }
    }
}
