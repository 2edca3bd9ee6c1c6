//! The subcommand `sample`: continues a prompt, token by token.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use itera_cli::{ExitStatus, note, print};
use itera_core::{
    model::Model,
    models::load_checkpoint,
    sampling::{Sampler, SamplingConfig},
    text::unfinished,
};

use crate::args::SampleArgs;

/// Prints the prompt and its continuation on standard output, the speed on standard error.
pub(crate) fn run(args: &SampleArgs) -> anyhow::Result<ExitStatus> {
    let config = SamplingConfig {
        temperature: args.temperature,
        top_k: args.top_k,
        top_p: args.top_p,
        seed: args.seed,
    };
    let mut sampler = Sampler::new(config)?;
    ensure!(
        args.max_tokens > 0,
        "`--max-tokens` is 0, expected at least 1"
    );
    let loaded = load_checkpoint(&args.checkpoint)?;
    let tokenizer = &loaded.checkpoint.tokenizer;
    let model = Model::from_checkpoint(&loaded.checkpoint)
        .with_context(|| format!("cannot use the checkpoint `{}`", loaded.name))?;

    let end_of_text = tokenizer.end_of_text();
    let mut prompt = vec![end_of_text];
    prompt.extend(tokenizer.encode(args.prompt.as_bytes())?);
    print(&args.prompt)?;

    let started = Instant::now();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let logits = model.prefill(&prompt, &mut state, &mut work);
    let mut token = sampler.sample(logits.context("the prompt has no token")?);
    let (mut text, mut sampled) = (TextStream::default(), 0);
    while token != end_of_text && sampled < args.max_tokens {
        sampled += 1;
        print(text.push(tokenizer.token_bytes(token)))?;
        token = sampler.sample(model.step(token, &mut state, &mut work));
    }
    print(text.finish() + "\n")?;

    let seconds = started.elapsed().as_secs_f64();
    let why = if token == end_of_text {
        "end of text"
    } else {
        "--max-tokens reached"
    };
    note(format!(
        "{} tokens read, {sampled} sampled in {seconds:.3} s ({:.0} tokens/s), {why}",
        prompt.len(),
        (prompt.len() + sampled) as f64 / seconds
    ));
    Ok(ExitStatus::Done)
}

/// Joins pieces of UTF-8: a character that is cut between two tokens waits for its rest.
#[derive(Debug, Default)]
struct TextStream {
    waiting: Vec<u8>,
}

impl TextStream {
    /// The text that is complete with `bytes`; what can never become UTF-8 is replaced.
    fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let whole = self.waiting.len() - unfinished(&self.waiting);
        let whole: Vec<u8> = self.waiting.drain(..whole).collect();
        String::from_utf8_lossy(&whole).into_owned()
    }

    /// What still waits, when nothing more comes.
    fn finish(self) -> String {
        String::from_utf8_lossy(&self.waiting).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_cut_between_tokens_come_out_whole() {
        let bytes = "a€é\u{1f600}b".as_bytes();
        for size in 1..5 {
            let mut stream = TextStream::default();
            let text: String = bytes.chunks(size).map(|piece| stream.push(piece)).collect();
            assert_eq!(text + &stream.finish(), "a€é\u{1f600}b", "pieces of {size}");
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_at_once() {
        let mut stream = TextStream::default();
        assert_eq!(stream.push(b"a\xffb\xe2"), "a\u{fffd}b");
        assert_eq!(stream.push(b"x"), "\u{fffd}x");
        assert_eq!(stream.push(b"\xe2\x82"), "");
        assert_eq!(stream.finish(), "\u{fffd}");
    }
}
