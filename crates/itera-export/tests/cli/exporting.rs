//! Files of every form compute what the native engine computes.

use std::{fs, path::Path};

use itera_core::{
    checkpoint::Checkpoint,
    config::{ModelConfig, Preset, Routing},
};
use itera_record::ExportVerdict;
use itera_testing::{bytes, random_checkpoint, skip};
use tract_onnx::pb::GraphProto;

use crate::fixture::{CliTest, onnxruntime_is_there};

/// Exports a model in every precision and checks it in the runtimes that are there.
fn check(test: &CliTest, model: &str, options: &str) {
    test.succeed(&format!(
        "onnx --checkpoint {model} --output files {options}"
    ));
    test.succeed(
        "verify --dataset stories.txt --output result.json --max-tokens 200 --runtime all \
         files/small.step.fp32.onnx",
    );
    let files = fs::read_dir(test.path("files")).unwrap();
    let mut names: Vec<String> = files
        .map(|file| format!("files/{}", file.unwrap().file_name().to_string_lossy()))
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|part| part == "onnx")
        })
        .collect();
    names.sort();
    test.succeed(&format!(
        "verify --dataset stories.txt --output result.json --max-tokens 200 {}",
        names.join(" ")
    ));
    let record = test.record("result.json");
    assert_eq!(record.files.len(), names.len());
    for check in &record.checks {
        let runs = match check.runtime.as_str() {
            "tract" => !check.file.contains("int4"),
            _ => onnxruntime_is_there(),
        };
        let expected = if runs {
            ExportVerdict::Passed
        } else {
            ExportVerdict::Unavailable
        };
        assert_eq!(check.verdict, expected, "{model} {options}: {check:?}");
        if let Some(figures) = &check.figures {
            assert_eq!(figures.tokens, 200);
            assert!(figures.max_relative_difference < 1e-4, "{check:?}");
            assert_eq!(figures.state_errors.len(), 2, "after 1 and 64 tokens");
        }
    }
    if !onnxruntime_is_there() {
        skip("ONNX Runtime is not installed; run scripts/setup-onnxruntime.sh");
    }
}

fn config() -> ModelConfig {
    // Widths that int4 has groups for, and more than one head and chunk.
    ModelConfig {
        d_model: 32,
        d_inner: 32,
        d_expert: 16,
        ..Preset::Test.config(257)
    }
}

#[test]
fn every_precision_and_graph() {
    let test = CliTest::new();
    test.add_model("small", &random_checkpoint(config(), bytes(), 2));
    check(&test, "small", "");
}

#[test]
fn every_layout() {
    for layers in ["unrolled", "stacked"] {
        let test = CliTest::new();
        test.add_model("small", &random_checkpoint(config(), bytes(), 3));
        check(&test, "small", &format!("--layers {layers}"));
    }
}

#[test]
fn other_opsets() {
    for opset in [18, 23] {
        let test = CliTest::new();
        check(&test, "small", &format!("--opset {opset} --precision fp32"));
    }
}

#[test]
fn rows_that_no_group_divides_become_int8() {
    // d_model 16, d_inner 24, d_expert 8: groups of 16, whole rows, whole rows.
    let test = CliTest::new();
    check(&test, "small", "");
}

#[test]
fn models_without_a_router_with_either_routing_and_with_a_shared_expert() {
    for (experts, top_k, routing, shared) in [
        (1, 1, Routing::All, 0),
        (3, 3, Routing::All, 16),
        (4, 1, Routing::All, 16),
        (4, 2, Routing::Chosen, 0),
    ] {
        let config = ModelConfig {
            n_experts: experts,
            top_k,
            routing,
            d_shared: shared,
            ..config()
        };
        let test = CliTest::new();
        test.add_model("small", &random_checkpoint(config, bytes(), 4));
        check(&test, "small", "");
    }
}

#[test]
fn ties_of_the_router_go_to_the_lower_index() {
    let mut checkpoint = random_checkpoint(config(), bytes(), 5);
    let routers = checkpoint
        .tensors
        .iter_mut()
        .filter(|(name, _)| name.contains("router"));
    for (_, router) in routers {
        // Experts 1 and 2 are alike, and so are 0 and 3: of each pair one is chosen.
        let mut values = router.to_f32();
        let width = values.len() / 4;
        values.copy_within(width..2 * width, 2 * width);
        values.copy_within(0..width, 3 * width);
        *router = itera_core::checkpoint::Tensor::f32(router.shape.clone(), values);
    }
    checkpoint.config.top_k = 3;
    let test = CliTest::new();
    test.add_model("small", &checkpoint);
    check(&test, "small", "");
}

fn count(graph: &GraphProto) -> usize {
    let bodies = graph.node.iter().flat_map(|node| &node.attribute);
    graph.node.len()
        + bodies
            .filter_map(|a| a.g.as_ref())
            .map(count)
            .sum::<usize>()
}

#[test]
fn the_shipped_models_keep_their_bounds() {
    let test = CliTest::new();
    let models = crate::fixture::checkout().join("data/models");
    let mut command = test.command("onnx --output files --checkpoint micro-tinystories");
    let run = command.env("ITERA_MODELS_DIR", &models).output().unwrap();
    assert!(
        run.status.success(),
        "{}",
        crate::fixture::text(&run.stderr)
    );
    let size = |name: &str| fs::metadata(test.path(name)).unwrap().len() as f64;
    let checkpoint = fs::read(models.join("micro-tinystories.safetensors")).unwrap();
    let checkpoint = Checkpoint::from_bytes(&checkpoint).unwrap();
    // Scales, graph, names and tokenizer are the rest.
    for (precision, bits, most) in [("fp32", 32, 1.06), ("int8", 8, 1.16), ("int4", 4, 1.32)] {
        let weights = (checkpoint.config.parameters() * bits / 8) as f64;
        for graph in ["step", "sequence"] {
            let name = format!("files/micro-tinystories.{graph}.{precision}.onnx");
            assert!(
                size(&name) <= most * weights,
                "{name} has {} bytes",
                size(&name)
            );
            let nodes = count(test.proto(&name).graph.as_ref().unwrap());
            assert!(nodes <= 400, "{name} has {nodes} nodes");
        }
    }
}

#[test]
fn files_say_what_they_are() {
    let test = CliTest::new();
    test.succeed("onnx --checkpoint small --output files --precision int8");
    let proto = test.proto("files/small.sequence.int8.onnx");
    assert_eq!((proto.ir_version, proto.opset_import[0].version), (10, 21));
    let keys: Vec<&str> = proto
        .metadata_props
        .iter()
        .map(|entry| entry.key.as_str())
        .collect();
    assert_eq!(
        keys,
        [
            "itera.onnx",
            "itera.graph",
            "itera.precision",
            "itera.name",
            "itera.source_sha256",
            "itera.config",
            "itera.tokenizer",
            "itera.digest"
        ]
    );
    let graph = proto.graph.unwrap();
    let names = |values: &[tract_onnx::pb::ValueInfoProto]| -> Vec<String> {
        values.iter().map(|value| value.name.clone()).collect()
    };
    assert_eq!(
        names(&graph.input),
        [
            "tokens",
            "past_conv.0",
            "past_ssm.0",
            "past_conv.1",
            "past_ssm.1"
        ]
    );
    assert_eq!(
        names(&graph.output),
        [
            "logits",
            "present_conv.0",
            "present_ssm.0",
            "present_conv.1",
            "present_ssm.1"
        ]
    );
    assert!(graph.doc_string.contains("Start a text with token 256"));
}
