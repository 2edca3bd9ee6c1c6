//! A graph that Burn's importer made Burn code when this program was built.

use anyhow::ensure;
pub(crate) use itera_learn::imported::IMPORTER;
use itera_learn::{
    Backend,
    imported::{GRAPH, Imported},
};

use super::{Session, State};
use crate::file::OnnxFile;

/// The imported graph, on the backend that is the faster one.
///
/// # Errors
/// The graph is not `file`.
pub(crate) fn open(file: &OnnxFile) -> anyhow::Result<Box<dyn Session>> {
    ensure!(
        GRAPH == file.bytes,
        "the graph that was imported is not what this program writes; run `UPDATE_FIXTURES=1 cargo \
         test -p itera-export` and build again"
    );
    Ok(Box::new(Imported::new(Backend::Flex)))
}

impl Session for Imported {
    fn run(&mut self, tokens: &[u32], batch: usize, state: &mut State) -> anyhow::Result<Vec<f32>> {
        let ([token], 1) = (tokens, batch) else {
            anyhow::bail!(
                "a step reads one token of one sequence, not {}",
                tokens.len()
            );
        };
        Ok(self.step(*token, &mut state.0))
    }
}
