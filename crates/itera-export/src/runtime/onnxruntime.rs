//! ONNX Runtime, loaded from a shared library when it is wanted.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use itera_core::config::ModelConfig;
use ort::{
    environment::Environment,
    session::{
        Session as OrtSession, SessionInputValue,
        builder::{GraphOptimizationLevel, SessionBuilder},
    },
    value::{Tensor, TensorRef},
};

use super::{Session, State, library, shapes};
use crate::{file::OnnxFile, graph::Kind};

/// The library, loaded.
pub(crate) struct OnnxRuntime {
    environment: Environment,
    pub(crate) version: String,
}

impl OnnxRuntime {
    /// Finds and loads the library.
    ///
    /// # Errors
    /// There is none, it cannot be loaded, or it is too old.
    pub(crate) fn load() -> anyhow::Result<Self> {
        let path = library::find()
            .ok_or_else(|| anyhow!("ONNX Runtime is not installed; {}", library::REMEDY))?;
        Self::load_from(&path)
    }

    fn load_from(path: &Path) -> anyhow::Result<Self> {
        let remedy = || {
            format!(
                "ONNX Runtime cannot be loaded from `{}`; {}",
                path.display(),
                library::REMEDY
            )
        };
        // A relative path would be one beside this program.
        let absolute = std::path::absolute(path).with_context(remedy)?;
        let builder = ort::init_from(&absolute).map_err(|error| anyhow!("{error}"));
        let environment = builder
            .with_context(remedy)?
            .with_name(crate::TOOL)
            .build()
            .with_context(remedy)?;
        Ok(Self {
            environment,
            version: version(ort::info(), path),
        })
    }

    /// Loads a graph, to run on so many threads.
    ///
    /// # Errors
    /// What the runtime says.
    pub(crate) fn session(&self, file: &OnnxFile, threads: usize) -> anyhow::Result<Loaded> {
        // Errors of a builder carry it along, and say the same without.
        let plain = |error: ort::Error<SessionBuilder>| anyhow!("{error}");
        let session = OrtSession::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)
            .map_err(plain)?
            .with_intra_threads(threads)
            .map_err(plain)?
            .with_inter_threads(1)
            .map_err(plain)?
            .with_log_level(ort::logging::LogLevel::Error)
            .map_err(plain)?
            .commit_from_memory(&file.bytes)?;
        let names = |values: &[ort::value::Outlet]| -> Vec<String> {
            values.iter().map(|value| value.name().to_owned()).collect()
        };
        Ok(Loaded {
            inputs: names(session.inputs()),
            outputs: names(session.outputs()),
            session,
            kind: file.kind,
            config: file.config.clone(),
        })
    }
}

/// The version in what the library says of its build (`.. git-branch=rel-1.19.0, ..`), or in the name
/// of its file (`libonnxruntime.so.1.32.0`).
fn version(info: &str, path: &Path) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let digits = |text: &str| -> String {
        let is_part = |c: &char| c.is_ascii_digit() || *c == '.';
        text.chars().take_while(is_part).collect()
    };
    let of_info = info.split("rel-").nth(1).map(digits);
    let of_file = file
        .find(|c: char| c.is_ascii_digit())
        .map(|at| digits(&file[at..]));
    let known = of_info
        .or(of_file)
        .map(|version| version.trim_matches('.').to_owned());
    known
        .filter(|version| !version.is_empty())
        .unwrap_or_else(|| "of unknown version".to_owned())
}

/// A graph in ONNX Runtime.
pub(crate) struct Loaded {
    session: OrtSession,
    kind: Kind,
    config: ModelConfig,
    inputs: Vec<String>,
    outputs: Vec<String>,
}

impl Session for Loaded {
    fn run(&mut self, tokens: &[u32], batch: usize, state: &mut State) -> anyhow::Result<Vec<f32>> {
        let ids: Vec<i64> = tokens.iter().map(|&token| i64::from(token)).collect();
        let shape = match self.kind {
            Kind::Step => vec![batch as i64],
            Kind::Sequence => vec![batch as i64, (tokens.len() / batch) as i64],
        };
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = Vec::new();
        inputs.push((&self.inputs[0], Tensor::from_array((shape, ids))?.into()));
        let names = self.inputs[1..].iter();
        for ((name, values), shape) in names.zip(&state.0).zip(shapes(&self.config, batch)) {
            let view = TensorRef::from_array_view((shape, values.as_slice()))?;
            inputs.push((name, view.into()));
        }
        let outputs = self.session.run(inputs)?;
        let floats = |name: &String| -> anyhow::Result<Vec<f32>> {
            let value = outputs.get(name).context("an output is missing")?;
            Ok(value.try_extract_tensor::<f32>()?.1.to_vec())
        };
        let logits = floats(&self.outputs[0])?;
        let new: anyhow::Result<Vec<_>> = self.outputs[1..].iter().map(floats).collect();
        *state = State(new?);
        Ok(logits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_words_about_the_build_or_in_the_name() {
        let info =
            "ORT Build Info: git-branch=rel-1.32.0, git-commit-id=26250ae, build type=Release";
        assert_eq!(version(info, Path::new("x.so")), "1.32.0");
        let file = Path::new("/lib/libonnxruntime.so.1.31.0");
        assert_eq!(version("git-branch=HEAD", file), "1.31.0");
        let file = Path::new("/1/libonnxruntime.1.30.0.dylib");
        assert_eq!(version("", file), "1.30.0");
        assert_eq!(version("nothing", Path::new("x.so")), "of unknown version");
    }
}
