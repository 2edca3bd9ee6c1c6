//! The subcommand `tokenizer`, and where the tokenizer of a run comes from.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context as _, Error, anyhow, bail, ensure};
use itera_cli::{ExitStatus, Files, print};
use itera_core::{
    files::write_atomic,
    tokenizer::{BpeTokenizer, BytesTokenizer, CharTokenizer, Tokenizer, TokenizerKind},
};

use crate::{args::TokenizerArgs, texts::Texts};

/// Entries of a bpe vocabulary by default.
const DEFAULT_VOCAB_SIZE: usize = 512;

/// Where a tokenizer comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenizerSource {
    /// Trained on the training text.
    Train(TokenizerKind),
    /// Read from a file.
    File(PathBuf),
}

impl FromStr for TokenizerSource {
    type Err = Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        if let Ok(kind) = text.parse() {
            return Ok(Self::Train(kind));
        }
        let path = Path::new(text);
        let is_file = path
            .extension()
            .is_some_and(|extension| extension == "json");
        ensure!(
            is_file || path.is_file(),
            "no tokenizer is called `{text}`; give bpe, char, bytes or a .json file"
        );
        Ok(Self::File(path.to_owned()))
    }
}

impl fmt::Display for TokenizerSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Train(kind) => kind.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl TokenizerSource {
    /// The default of a run with random weights.
    pub(crate) const BPE: Self = Self::Train(TokenizerKind::Bpe);

    /// Trains or reads the tokenizer.
    pub(crate) fn obtain(
        &self,
        vocab_size: Option<usize>,
        texts: &Texts,
    ) -> anyhow::Result<Tokenizer> {
        match self {
            Self::Train(kind) => train(*kind, vocab_size, texts),
            Self::File(path) => read(path),
        }
    }

    /// Entries of the vocabulary, if they are known before the text is. A bpe vocabulary may come
    /// out smaller, if the text is short.
    pub(crate) fn vocab_size(&self, requested: Option<usize>) -> Option<usize> {
        match self {
            Self::Train(TokenizerKind::Bpe) => Some(requested.unwrap_or(DEFAULT_VOCAB_SIZE)),
            Self::Train(TokenizerKind::Bytes) => Some(BytesTokenizer::VOCAB_SIZE),
            Self::Train(TokenizerKind::Char) | Self::File(_) => None,
        }
    }

    /// Refuses a size that would be ignored, or that no bpe tokenizer can have.
    pub(crate) fn check_vocab_size(&self, requested: Option<usize>) -> anyhow::Result<()> {
        let Some(requested) = requested else {
            return Ok(());
        };
        ensure!(
            *self == Self::BPE,
            "`--vocab-size` is for bpe tokenizers; leave it out for `{self}`"
        );
        // The tokenizer knows its own range; without text this takes no time.
        BpeTokenizer::train(std::iter::empty(), requested)?;
        Ok(())
    }
}

/// Trains a tokenizer, measures it on the text for evaluation, writes it.
pub(crate) fn run(args: &TokenizerArgs) -> anyhow::Result<ExitStatus> {
    let source = TokenizerSource::Train(args.kind);
    source.check_vocab_size(args.vocab_size)?;
    let files = Files::default().read_dataset("`--dataset`", &args.dataset);
    files.write("`--output`", &args.output).check()?;
    let texts = Texts::load(&args.dataset, None)?;
    let tokenizer = source.obtain(args.vocab_size, &texts)?;
    let (documents, label) = match texts.valid_documents().collect::<Vec<_>>() {
        none if none.is_empty() => (texts.train_documents().collect(), texts.name().to_owned()),
        valid => (valid, texts.valid_label()),
    };
    let bytes_per_token = bytes_per_token(&tokenizer, &documents)
        .with_context(|| format!("cannot tokenise {label}"))?;
    let json = serde_json::to_string_pretty(&tokenizer.to_json())?;
    write_atomic(&args.output, format!("{json}\n").as_bytes())?;
    print(format_args!(
        "{}: {} entries, {bytes_per_token:.4} bytes per token on {label}\nwritten to {}\n",
        args.kind,
        tokenizer.vocab_size(),
        args.output.display(),
    ))?;
    Ok(ExitStatus::Done)
}

fn train(
    kind: TokenizerKind,
    vocab_size: Option<usize>,
    texts: &Texts,
) -> anyhow::Result<Tokenizer> {
    Ok(match kind {
        TokenizerKind::Bytes => Tokenizer::Bytes(BytesTokenizer::new()),
        TokenizerKind::Char => {
            if let Some(offset) = texts.first_invalid_utf8() {
                bail!(
                    "byte {offset} of {} is not valid UTF-8, which the char tokenizer needs; use \
                     `bpe` or `bytes`, which accept any bytes",
                    texts.name()
                );
            }
            Tokenizer::Char(CharTokenizer::train(texts.train_documents())?)
        }
        TokenizerKind::Bpe => {
            let vocab_size = vocab_size.unwrap_or(DEFAULT_VOCAB_SIZE);
            Tokenizer::Bpe(BpeTokenizer::train(texts.train_documents(), vocab_size)?)
        }
    })
}

fn read(path: &Path) -> anyhow::Result<Tokenizer> {
    let json = fs::read_to_string(path).map_err(Error::from);
    json.and_then(|json| Ok(Tokenizer::from_json(&json)?))
        .map_err(|error| {
            anyhow!(
                "cannot use `{}`: {error:#}; give a file written by `itera-train tokenizer`",
                path.display()
            )
        })
}

fn bytes_per_token(tokenizer: &Tokenizer, documents: &[&[u8]]) -> anyhow::Result<f64> {
    let (mut bytes, mut tokens) = (0, 0);
    for document in documents {
        bytes += document.len();
        tokens += tokenizer.encode(document)?.len();
    }
    Ok(bytes as f64 / tokens as f64)
}
