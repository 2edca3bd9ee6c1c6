//! What Python cannot do fast: tokens, likelihoods, text. `itera_lite/__init__.py` is the interface for people.
//!
//! Texts come as bytes, numbers go back as bytes of little-endian arrays or as tuples. Nothing here holds the
//! interpreter's lock while it computes.

use std::sync::Arc;

use itera_core::{
    checkpoint::Precision,
    model::{self, State, Workspace},
    models::{LoadedCheckpoint, load_at_precision, load_checkpoint},
    sampling::{Sampler, SamplingConfig},
    text::unfinished,
    tokenizer::Tokenizer,
};
use pyo3::{
    exceptions::{PyRuntimeError, PyValueError},
    prelude::*,
    types::PyBytes,
};
use rayon::prelude::*;

/// Documents that a thread scores together.
const GROUP: usize = model::Scorer::GROUP;

/// Tokens of one text that are scored at a time.
const SEGMENT: usize = 1024;

fn value_error(error: impl std::error::Error) -> PyErr {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    PyValueError::new_err(text)
}

struct Inner {
    loaded: LoadedCheckpoint,
    model: model::Model,
}

impl Inner {
    fn tokenizer(&self) -> &Tokenizer {
        &self.loaded.checkpoint.tokenizer
    }

    fn encode(&self, text: &[u8]) -> PyResult<Vec<u32>> {
        self.tokenizer().encode(text).map_err(value_error)
    }

    /// Likelihood and tokens of each text.
    fn score(&self, texts: &[Vec<u8>]) -> PyResult<Vec<(f64, u64)>> {
        let end_of_text = self.tokenizer().end_of_text();
        let scorer = || self.model.scorer(end_of_text);
        let score = |scorer: &mut model::Scorer, texts: &[Vec<u8>]| {
            let tokens = texts.iter().map(|text| self.encode(text));
            let tokens = tokens.collect::<PyResult<Vec<_>>>()?;
            let slices: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
            let nats = scorer.documents(&slices);
            let lens = tokens.iter().map(|tokens| tokens.len() as u64);
            Ok(nats.into_iter().zip(lens).collect::<Vec<_>>())
        };
        let groups = texts.par_chunks(GROUP).with_max_len(1);
        let scores: Vec<_> = groups.map_init(scorer, score).collect::<PyResult<_>>()?;
        Ok(scores.concat())
    }
}

/// A model with its tokenizer, shared by all threads.
#[pyclass(frozen, module = "itera_lite.native")]
struct NativeModel {
    inner: Arc<Inner>,
}

#[pymethods]
impl NativeModel {
    #[staticmethod]
    #[pyo3(signature = (name, precision=None))]
    fn load(py: Python<'_>, name: &str, precision: Option<&str>) -> PyResult<Self> {
        let precision = precision.map(str::parse::<Precision>);
        let precision = precision
            .transpose()
            .map_err(|error| PyValueError::new_err(error.to_string()))?;
        py.detach(|| {
            let loaded = match precision {
                None => load_checkpoint(name),
                Some(precision) => load_at_precision(name, precision),
            };
            let loaded = loaded.map_err(value_error)?;
            let model = model::Model::from_checkpoint(&loaded.checkpoint).map_err(value_error)?;
            let inner = Arc::new(Inner { loaded, model });
            Ok(Self { inner })
        })
    }

    #[getter]
    fn name(&self) -> &str {
        &self.inner.loaded.name
    }

    #[getter]
    fn precision(&self) -> String {
        self.inner.loaded.checkpoint.precision().to_string()
    }

    #[getter]
    fn sha256(&self) -> &str {
        &self.inner.loaded.file_sha256
    }

    #[getter]
    fn vocab_size(&self) -> usize {
        self.inner.tokenizer().vocab_size()
    }

    #[getter]
    fn end_of_text(&self) -> u32 {
        self.inner.tokenizer().end_of_text()
    }

    #[getter]
    fn kernel(&self) -> String {
        self.inner.model.kernel().to_string()
    }

    fn score(&self, py: Python<'_>, texts: Vec<Vec<u8>>) -> PyResult<Vec<(f64, u64)>> {
        py.detach(|| self.inner.score(&texts))
    }

    /// Arrays of float64 and uint64 in the bytes of this machine.
    fn score_arrays<'py>(
        &self,
        py: Python<'py>,
        texts: Vec<Vec<u8>>,
    ) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let scores = py.detach(|| self.inner.score(&texts))?;
        let nats: Vec<u8> = scores
            .iter()
            .flat_map(|(nats, _)| nats.to_ne_bytes())
            .collect();
        let tokens: Vec<u8> = scores
            .iter()
            .flat_map(|(_, tokens)| tokens.to_ne_bytes())
            .collect();
        Ok((PyBytes::new(py, &nats), PyBytes::new(py, &tokens)))
    }

    /// `(token, nats, rank)` of each token of a text behind `context`, end-of-text unless given.
    #[pyo3(signature = (text, context=None))]
    fn token_scores(
        &self,
        py: Python<'_>,
        text: Vec<u8>,
        context: Option<Vec<u32>>,
    ) -> PyResult<Vec<(u32, f64, usize)>> {
        py.detach(|| {
            let tokens = self.inner.encode(&text)?;
            self.score_tokens(&tokens, context.as_deref())
        })
    }

    /// The same of tokens.
    #[pyo3(signature = (tokens, context=None))]
    fn scores_of_tokens(
        &self,
        py: Python<'_>,
        tokens: Vec<u32>,
        context: Option<Vec<u32>>,
    ) -> PyResult<Vec<(u32, f64, usize)>> {
        py.detach(|| self.score_tokens(&tokens, context.as_deref()))
    }

    fn tokenize(&self, text: Vec<u8>) -> PyResult<Vec<u32>> {
        self.inner.encode(&text)
    }

    fn detokenize<'py>(&self, py: Python<'py>, tokens: Vec<u32>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.inner.tokenizer().decode(&tokens))
    }

    fn token_bytes<'py>(&self, py: Python<'py>, token: u32) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.inner.tokenizer().token_bytes(token))
    }

    /// A session that has read end-of-text and `text`.
    fn session(&self, py: Python<'_>, text: Vec<u8>) -> PyResult<Session> {
        py.detach(|| {
            let mut session = self.fresh();
            session.read_tokens(&[self.inner.tokenizer().end_of_text()])?;
            session.read_tokens(&self.inner.encode(&text)?)?;
            Ok(session)
        })
    }

    /// The session that `Session.save` has written.
    fn restore(&self, bytes: &[u8]) -> PyResult<Session> {
        let mut session = self.fresh();
        let foreign = || {
            PyValueError::new_err(
                "these bytes are no state of this model; give those that `State.save` of the same model has written",
            )
        };
        let rest = bytes
            .strip_prefix(self.state_head().as_bytes())
            .ok_or_else(foreign)?;
        let (floats, []) = rest.as_chunks::<4>() else {
            return Err(foreign());
        };
        let values: Vec<f32> = floats
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect();
        let of_state = session.state.bytes() / size_of::<f32>();
        if values.len() != of_state + self.inner.tokenizer().vocab_size() {
            return Err(foreign());
        }
        session.state.set_values(&values[..of_state]);
        session.logits = values[of_state..].to_vec();
        Ok(session)
    }
}

impl NativeModel {
    fn fresh(&self) -> Session {
        Session {
            state: self.inner.model.new_state(),
            work: self.inner.model.new_workspace(),
            logits: Vec::new(),
            pending: Vec::new(),
            sampler: None,
            inner: Arc::clone(&self.inner),
        }
    }

    /// What a saved state begins with.
    fn state_head(&self) -> String {
        format!("itera-state/1 {}\n", self.inner.loaded.file_sha256)
    }

    fn score_tokens(
        &self,
        tokens: &[u32],
        context: Option<&[u32]>,
    ) -> PyResult<Vec<(u32, f64, usize)>> {
        let vocab = self.inner.tokenizer().vocab_size() as u32;
        let context = context.unwrap_or_default();
        if let Some(token) = tokens.iter().chain(context).find(|token| **token >= vocab) {
            return Err(PyValueError::new_err(format!(
                "the token {token} is outside the vocabulary of {vocab}"
            )));
        }
        let (mut state, mut work) = (
            self.inner.model.new_state(),
            self.inner.model.new_workspace(),
        );
        let mut previous = self.inner.tokenizer().end_of_text();
        for part in context.chunks(SEGMENT) {
            self.inner
                .model
                .score(&mut state, &mut work, previous, part);
            previous = part[part.len() - 1];
        }
        let mut scores = Vec::with_capacity(tokens.len());
        for part in tokens.chunks(SEGMENT) {
            let ranked = self
                .inner
                .model
                .score_ranked(&mut state, &mut work, previous, part);
            let rows = part.iter().zip(ranked);
            scores.extend(rows.map(|(token, (nats, rank))| (*token, nats, rank)));
            previous = part[part.len() - 1];
        }
        Ok(scores)
    }
}

/// What has been read, and what may come next.
#[pyclass(module = "itera_lite.native")]
struct Session {
    inner: Arc<Inner>,
    state: State,
    work: Workspace,
    logits: Vec<f32>,
    /// Bytes of a character that is not complete.
    pending: Vec<u8>,
    sampler: Option<Sampler>,
}

#[pymethods]
impl Session {
    fn copy(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            state: self.state.clone(),
            work: self.work.clone(),
            logits: self.logits.clone(),
            pending: self.pending.clone(),
            sampler: self.sampler.clone(),
        }
    }

    fn read(&mut self, py: Python<'_>, text: Vec<u8>) -> PyResult<()> {
        py.detach(|| {
            let tokens = self.inner.encode(&text)?;
            self.read_tokens(&tokens)
        })
    }

    fn save<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let head = format!("itera-state/1 {}\n", self.inner.loaded.file_sha256);
        let values = self.state.values().chain(self.logits.iter().copied());
        let bytes = head
            .into_bytes()
            .into_iter()
            .chain(values.flat_map(f32::to_le_bytes));
        PyBytes::new(py, &bytes.collect::<Vec<_>>())
    }

    /// Chooses how tokens are drawn from here on.
    #[pyo3(signature = (temperature, top_k, top_p, seed))]
    fn sample_by(
        &mut self,
        temperature: f32,
        top_k: Option<usize>,
        top_p: Option<f32>,
        seed: u64,
    ) -> PyResult<()> {
        let config = SamplingConfig {
            temperature,
            top_k,
            top_p,
            seed,
        };
        self.sampler = Some(Sampler::new(config).map_err(value_error)?);
        Ok(())
    }

    /// Draws a token and reads it; none at the end of the text. The text may be empty: a part of a character.
    fn next(&mut self, py: Python<'_>) -> PyResult<Option<String>> {
        py.detach(|| {
            let Some(sampler) = &mut self.sampler else {
                return Err(PyRuntimeError::new_err("nothing says how tokens are drawn"));
            };
            let token = sampler.sample(&self.logits);
            let inner = Arc::clone(&self.inner);
            if token == inner.tokenizer().end_of_text() {
                return Ok(None);
            }
            self.read_tokens(&[token])?;
            self.pending
                .extend_from_slice(inner.tokenizer().token_bytes(token));
            let whole = self.pending.len() - unfinished(&self.pending);
            let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
            self.pending.drain(..whole);
            Ok(Some(text))
        })
    }
}

impl Session {
    fn read_tokens(&mut self, tokens: &[u32]) -> PyResult<()> {
        if let Some(logits) = self
            .inner
            .model
            .prefill(tokens, &mut self.state, &mut self.work)
        {
            self.logits.clear();
            self.logits.extend_from_slice(logits);
        }
        Ok(())
    }
}

#[pymodule]
mod native {
    #[pymodule_export]
    use super::{NativeModel, Session};
}
