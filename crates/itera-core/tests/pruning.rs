//! Pruning: what does nothing goes without a trace, the sizes are those asked for, and the parts that
//! do least go first.

use std::f32::consts::TAU;

use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor},
    config::{ModelConfig, Preset, TensorRole},
    model::Model,
    prune::{PruneError, Targets, prune},
    tokenizer::{BytesTokenizer, Tokenizer},
};

/// A model of four heads with weights from a formula.
fn made_up() -> Checkpoint {
    let config = ModelConfig {
        d_inner: 32,
        // What is added to a mean square is not multiplied with it when a head goes.
        norm_eps: 1e-12,
        ..Preset::Test.config(257)
    };
    let mut index = 0.0_f32;
    let mut next = || {
        index += 1.0;
        (index * 0.618_034).fract() * TAU
    };
    let tensors = config.tensors().into_iter().map(|spec| {
        let values = (0..spec.len()).map(|_| match spec.role {
            TensorRole::Norm => 1.0 + 0.1 * next().sin(),
            _ => 0.4 * next().sin(),
        });
        (spec.name, Tensor::f32(spec.shape, values.collect()))
    });
    Checkpoint {
        tensors: tensors.collect(),
        config,
        tokenizer: Tokenizer::Bytes(BytesTokenizer::new()),
        training: serde_json::Value::Null,
    }
}

fn text() -> Vec<Vec<u32>> {
    vec![
        b"The small boat went out on the lake."
            .iter()
            .map(|b| u32::from(*b))
            .collect(),
        (0..90).map(|i| i * 31 % 256).collect(),
    ]
}

/// Sets rows of a matrix to zero, in every layer.
fn silence(checkpoint: &mut Checkpoint, part: &str, rows: &[usize], width: usize) {
    for layer in 0..checkpoint.config.n_layers {
        let tensor = checkpoint
            .tensors
            .get_mut(&format!("layers.{layer}.{part}"))
            .unwrap();
        let mut values = tensor.to_f32();
        for row in rows {
            values[row * width..][..width].fill(0.0);
        }
        *tensor = Tensor::f32(tensor.shape.clone(), values);
    }
}

/// Negative log-likelihoods of the text.
fn scores(checkpoint: &Checkpoint) -> Vec<f64> {
    let model = Model::from_checkpoint(checkpoint).unwrap();
    let (mut state, mut work) = (model.new_state(), model.new_workspace());
    let mut all = Vec::new();
    for tokens in text() {
        state.reset();
        all.extend(model.score(&mut state, &mut work, 256, &tokens));
    }
    all
}

fn assert_same_scores(a: &Checkpoint, b: &Checkpoint) {
    for (a, b) in scores(a).into_iter().zip(scores(b)) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

#[test]
fn a_silent_head_goes_without_a_trace() {
    let mut checkpoint = made_up();
    let config = checkpoint.config.clone();
    // Channels 8 to 15 of x: their rows in the projection come after z.
    let x: Vec<usize> = (8..16).map(|i| config.d_inner + i).collect();
    silence(&mut checkpoint, "mixer.in_proj.weight", &x, config.d_model);
    let channels: Vec<usize> = (8..16).collect();
    silence(&mut checkpoint, "mixer.conv.bias", &channels, 1);
    let targets = Targets {
        n_heads: Some(3),
        ..Targets::default()
    };
    let (pruned, kept) = prune(&checkpoint, targets, &text()).unwrap();
    assert_eq!(pruned.config.d_inner, 24);
    assert!(kept.iter().all(|layer| layer.heads == [0, 2, 3]));
    assert_same_scores(&checkpoint, &pruned);
}

#[test]
fn silent_columns_and_channels_go_without_a_trace() {
    let mut checkpoint = made_up();
    let config = checkpoint.config.clone();
    let (n, d_inner) = (2, config.d_inner);
    // What reads column n: row C_n.
    let c = d_inner + config.d_state + n;
    silence(
        &mut checkpoint,
        "mixer.in_proj.weight",
        &[d_inner + c],
        config.d_model,
    );
    silence(&mut checkpoint, "mixer.conv.bias", &[c], 1);
    // The up row of channel 1 of each expert.
    let width = config.d_expert;
    let ups: Vec<usize> = (0..config.n_experts)
        .map(|e| 2 * width * e + width + 1)
        .collect();
    silence(&mut checkpoint, "moe.w_in", &ups, config.d_model);
    let targets = Targets {
        d_state: Some(config.d_state - 1),
        d_expert: Some(width - 1),
        ..Targets::default()
    };
    let (pruned, kept) = prune(&checkpoint, targets, &text()).unwrap();
    for layer in &kept {
        assert!(!layer.states.contains(&n) && layer.states.len() == config.d_state - 1);
        assert!(layer.channels.iter().all(|c| !c.contains(&1)), "{layer:?}");
    }
    assert_same_scores(&checkpoint, &pruned);
}

#[test]
fn the_expert_that_adds_least_goes() {
    let mut checkpoint = made_up();
    let config = checkpoint.config.clone();
    let rows = config.d_model;
    let of_expert_2: Vec<usize> = (2 * rows..3 * rows).collect();
    silence(&mut checkpoint, "moe.w_out", &of_expert_2, config.d_expert);
    let targets = Targets {
        n_experts: Some(3),
        ..Targets::default()
    };
    let (pruned, kept) = prune(&checkpoint, targets, &text()).unwrap();
    assert!(kept.iter().all(|layer| layer.experts == [0, 1, 3]));
    assert_eq!((pruned.config.n_experts, pruned.config.top_k), (3, 2));
}

#[test]
fn a_pruned_checkpoint_is_a_checkpoint() {
    let checkpoint = made_up();
    let targets = Targets {
        n_heads: Some(2),
        d_state: Some(4),
        n_experts: Some(1),
        d_expert: Some(5),
    };
    let (pruned, _) = prune(&checkpoint, targets, &text()).unwrap();
    let read = Checkpoint::from_bytes(&pruned.to_bytes().unwrap()).unwrap();
    assert_eq!(read.config, pruned.config);
    assert!(read.config.parameters() < checkpoint.config.parameters());
    assert!(scores(&read).iter().all(|nats| nats.is_finite()));
}

#[test]
fn targets_that_fit_no_model_are_refused() {
    let checkpoint = made_up();
    let refused = |targets| prune(&checkpoint, targets, &text()).unwrap_err();
    for heads in [0, 5] {
        let error = refused(Targets {
            n_heads: Some(heads),
            ..Targets::default()
        });
        assert!(
            matches!(error, PruneError::Target { has: 4, .. }),
            "{error}"
        );
    }
    assert!(matches!(refused(Targets::default()), PruneError::Nothing));
    let some = Targets {
        d_state: Some(3),
        ..Targets::default()
    };
    let error = prune(&checkpoint, some, &[vec![]]).unwrap_err();
    assert!(matches!(error, PruneError::EmptyCalibration), "{error}");
    let mut integers = checkpoint;
    for spec in integers.config.tensors() {
        if spec.role == TensorRole::Projection {
            let values = integers.tensors[&spec.name].to_f32();
            let tensor = Tensor::quantized(spec.shape, values, Precision::Int8);
            integers.tensors.insert(spec.name, tensor);
        }
    }
    let error = prune(&integers, some, &text()).unwrap_err();
    assert!(
        matches!(error, PruneError::NotFp32(Precision::Int8)),
        "{error}"
    );
}

#[test]
fn weights_that_overflow_are_refused() {
    let mut broken = made_up();
    // x = 100, and D x is infinite.
    for (part, value) in [("conv.bias", 100.0), ("d", f32::MAX)] {
        let name = format!("layers.0.mixer.{part}");
        let tensor = broken.tensors.get_mut(&name).unwrap();
        *tensor = Tensor::f32(tensor.shape.clone(), vec![value; tensor.len()]);
    }
    let targets = Targets {
        n_heads: Some(2),
        ..Targets::default()
    };
    let error = prune(&broken, targets, &text()).unwrap_err();
    assert!(matches!(error, PruneError::NotFinite(_)), "{error}");
}
