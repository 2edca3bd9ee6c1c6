//! The rules of a validation record: every metric must follow from the values beside it.

use super::{Baselines, Documents, ValidationRecord, ValidationRow};
use crate::{
    Record,
    check::{self, RecordError},
};

/// More draws than anybody waits for.
const MAX_DRAWS: u64 = 1_000_000;

impl Record for ValidationRecord {
    const SCHEMA: &'static str = "itera.validation/1";

    fn validate(&self) -> Result<(), RecordError> {
        self.envelope.validate(Self::SCHEMA)?;
        for (i, row) in self.rows.iter().enumerate() {
            row.validate()?;
            let field = format!("rows[{i}].protocol");
            check::ensure(
                row.protocol == self.protocol,
                &field,
                &row.protocol,
                "the record's protocol",
            )?;
        }
        Ok(())
    }
}

impl ValidationRow {
    /// Checks the digests, the counts, and every metric against the values that it follows from.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self) -> Result<(), RecordError> {
        self.model.validate()?;
        check::sha256("dataset_sha256", &self.dataset_sha256)?;
        let draws = self.protocol.bootstrap.draws;
        let in_range = (1..=MAX_DRAWS).contains(&draws);
        check::ensure(
            in_range,
            "protocol.bootstrap.draws",
            draws,
            format!("1 to {MAX_DRAWS}"),
        )?;
        if let Some(shard) = self.shard {
            let in_range = (1..=shard.count).contains(&shard.index);
            check::ensure(in_range, "shard", shard, "I/N with I from 1 to N")?;
        }
        if let Some(divergence) = &self.divergence {
            divergence.validate()?;
            let all = divergence.tokens == self.tokens;
            check::ensure(
                all,
                "divergence.tokens",
                divergence.tokens,
                "`tokens`, all of them",
            )?;
        }
        self.validate_adaptation()?;
        self.validate_counts()?;
        self.validate_documents()?;
        self.validate_metrics()
    }

    fn validate_adaptation(&self) -> Result<(), RecordError> {
        let (adaptation, mix) = (&self.protocol.adaptation, &self.protocol.mix);
        let score = &self.static_score;
        check::ensure(
            (adaptation.is_some() || mix.is_some()) == score.is_some(),
            "static_score",
            if score.is_some() { "there" } else { "absent" },
            "there if and only if the protocol has `adaptation` or `mix`",
        )?;
        if let Some(adaptation) = adaptation {
            adaptation.validate()?;
        }
        if let Some(mix) = mix {
            mix.validate()?;
        }
        score.iter().try_for_each(|score| score.validate(self))
    }

    fn validate_counts(&self) -> Result<(), RecordError> {
        check::ensure(self.bytes > 0, "bytes", self.bytes, "at least 1")?;
        let chars = (1..=self.bytes).contains(&self.chars);
        check::ensure(chars, "chars", self.chars, "1 to `bytes`")?;
        let tokens = (1..=self.bytes).contains(&self.tokens);
        check::ensure(tokens, "tokens", self.tokens, "1 to `bytes`")?;
        let unknown = self.unknown_tokens <= self.tokens;
        check::ensure(
            unknown,
            "unknown_tokens",
            self.unknown_tokens,
            "at most `tokens`",
        )?;
        check::ensure(
            self.bytes <= self.dataset_bytes,
            "dataset_bytes",
            self.dataset_bytes,
            "at least `bytes`",
        )?;
        let fraction = self.bytes as f64 / self.dataset_bytes as f64;
        check::close(
            "bytes_scored_fraction",
            self.bytes_scored_fraction,
            fraction,
        )
    }

    fn validate_documents(&self) -> Result<(), RecordError> {
        let Documents {
            document_indices,
            document_bytes,
            document_nll_nats,
        } = &self.per_document;
        for (field, len) in [
            ("document_indices", document_indices.len()),
            ("document_bytes", document_bytes.len()),
            ("document_nll_nats", document_nll_nats.len()),
        ] {
            let found = format!("a list of {len}");
            let expected = format!("one value for each of {} documents", self.documents);
            check::ensure(len as u64 == self.documents, field, found, expected)?;
        }
        let ordered = document_indices.is_sorted_by(|a, b| a < b);
        check::ensure(
            ordered,
            "document_indices",
            "out of order",
            "each index above the last",
        )?;
        let empty = document_bytes.contains(&0);
        check::ensure(!empty, "document_bytes", 0, "at least 1 for each document")?;
        // Saturating: a sum beyond 64 bits cannot be the count it is compared with.
        let bytes = document_bytes
            .iter()
            .fold(0_u64, |sum, bytes| sum.saturating_add(*bytes));
        check::ensure(
            bytes == self.bytes,
            "bytes",
            self.bytes,
            format!("the sum {bytes}"),
        )?;
        for (i, &nll) in document_nll_nats.iter().enumerate() {
            check::finite(&format!("document_nll_nats[{i}]"), nll)?;
        }
        let nll: f64 = document_nll_nats.iter().sum();
        let exact = nll.to_bits() == self.nll_nats.to_bits();
        check::ensure(
            exact,
            "nll_nats",
            self.nll_nats,
            format!("the exact sum {nll}"),
        )
    }

    fn validate_metrics(&self) -> Result<(), RecordError> {
        let per = |count: u64| self.nll_nats / count as f64;
        let bits_per_byte = per(self.bytes) / std::f64::consts::LN_2;
        check::close("bits_per_byte", self.bits_per_byte, bits_per_byte)?;
        check::close(
            "byte_perplexity",
            self.byte_perplexity,
            self.bits_per_byte.exp2(),
        )?;
        check::close(
            "char_perplexity",
            self.char_perplexity,
            per(self.chars).exp(),
        )?;
        check::close(
            "token_perplexity",
            self.token_perplexity,
            per(self.tokens).exp(),
        )?;
        if let Some(perplexity) = self.word_perplexity {
            check::close("word_perplexity", perplexity, per(self.words).exp())?;
        }
        if let Some([low, high]) = self.bits_per_byte_ci95 {
            check::finite("bits_per_byte_ci95", low)?;
            check::finite("bits_per_byte_ci95", high)?;
            check::ensure(
                low <= high,
                "bits_per_byte_ci95",
                low,
                format!("at most {high}"),
            )?;
        }
        let Baselines {
            uniform_bits_per_byte: uniform,
            unigram_bits_per_byte: unigram,
            zstd_bits_per_byte: zstd,
            ppmd_bits_per_byte: ppmd,
            ppmd_primed_bits_per_byte: primed,
            primed_with: ref text,
            worse_than_uniform: worse,
        } = self.baselines;
        check::finite("uniform_bits_per_byte", uniform)?;
        check::finite("unigram_bits_per_byte", unigram)?;
        for (field, bits) in [
            ("zstd_bits_per_byte", zstd),
            ("ppmd_bits_per_byte", ppmd),
            ("ppmd_primed_bits_per_byte", primed),
        ] {
            bits.map_or(Ok(()), |bits| check::finite(field, bits))?;
        }
        check::ensure(
            primed.is_some() == text.is_some(),
            "primed_with",
            if text.is_some() { "there" } else { "absent" },
            "there if and only if `ppmd_primed_bits_per_byte` is",
        )?;
        if let Some(text) = text {
            check::sha256("primed_with.sha256", &text.sha256)?;
        }
        let expected = self.bits_per_byte > uniform;
        check::ensure(worse == expected, "worse_than_uniform", worse, expected)?;
        if let Some(code) = self.code_length {
            let text = (self.nll_nats / std::f64::consts::LN_2 / 8.0).ceil();
            check::close("code_length.text_bytes", code.text_bytes as f64, text)?;
            let total = code.text_bytes.saturating_add(code.model_file_bytes);
            check::ensure(
                code.total_bytes == total,
                "code_length.total_bytes",
                code.total_bytes,
                format!("the sum {total}"),
            )?;
        }
        check::finite("seconds", self.seconds)?;
        check::finite("tokens_per_s", self.tokens_per_s)
    }
}
