//! With the feature `import`: makes Burn code of the graph in `fixtures/`, by Burn's importer.

fn main() {
    #[cfg(feature = "import")]
    import();
    watch("build.rs");
}

/// `OUT_DIR/test_step.rs` and its weights, `test_step.bpk`.
#[cfg(feature = "import")]
fn import() {
    use burn_onnx::{LoadStrategy, ModelGen};

    /// Without dots, which the names of what is generated would be cut at.
    const GRAPH: &str = "fixtures/test_step.onnx";

    watch(GRAPH);
    ModelGen::new()
        .input(GRAPH)
        .out_dir("")
        .load_strategy(LoadStrategy::Embedded)
        .run_from_script();
}

/// Tells cargo to build again when a file changes.
fn watch(path: &str) {
    println!("cargo::rerun-if-changed={path}");
}
