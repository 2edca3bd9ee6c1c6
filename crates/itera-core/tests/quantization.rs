//! Quantised checkpoints: how tensors are stored, that files hold them, that calibration pays, and
//! that the files shipped beside the models keep their promises.

use std::{collections::BTreeMap, fs, path::PathBuf};

use half::f16;
use itera_core::{
    checkpoint::{Checkpoint, Precision, Tensor, TensorData},
    config::{ModelConfig, Preset, TensorRole},
    model::Model,
    models::{LoadedCheckpoint, Weights, load_at_precision, load_checkpoint, shipped_models},
    quant::{Method, Options, QuantError, Scales, TensorReport, quantize, source_sha256},
    tokenizer::{BytesTokenizer, Tokenizer},
};

/// Most bytes of an INT8 and of an INT4 file of the preset `micro`.
const MICRO_BARS: [(Precision, usize); 2] =
    [(Precision::Int8, 190_000), (Precision::Int4, 190_000)];

/// Numbers from a small generator, the same on every machine.
struct Numbers(u64);

impl Numbers {
    /// From -1 to 1.
    fn next(&mut self) -> f32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }
}

/// A byte-level model with made-up weights.
fn made_up(config: ModelConfig) -> Checkpoint {
    let mut numbers = Numbers(1);
    let tensors = config.tensors().into_iter().map(|spec| {
        let mut value = || match spec.role {
            TensorRole::Norm => 1.0 + 0.1 * numbers.next(),
            _ => 0.4 * numbers.next(),
        };
        let values = (0..spec.len()).map(|_| value()).collect();
        (spec.name, Tensor::f32(spec.shape, values))
    });
    Checkpoint {
        tensors: tensors.collect(),
        config,
        tokenizer: Tokenizer::Bytes(BytesTokenizer::new()),
        training: serde_json::json!({"seed": 1}),
    }
}

/// A model with rows of 32, 16 and others, and a shared expert.
fn small() -> Checkpoint {
    made_up(ModelConfig {
        d_model: 32,
        d_inner: 48,
        d_shared: 16,
        ..Preset::Test.config(257)
    })
}

fn documents() -> Vec<Vec<u32>> {
    let mut numbers = Numbers(2);
    let mut letter = || 97 + (numbers.next().abs() * 26.0) as u32;
    (0..4)
        .map(|_| (0..200).map(|_| letter()).collect())
        .collect()
}

fn with(precision: Precision, method: Method, calibration: Option<&[Vec<u32>]>) -> Options<'_> {
    Options {
        method,
        calibration,
        ..Options::data_free(precision)
    }
}

/// Mean of the squared difference of the logits from those of the original.
fn logit_error(original: &Checkpoint, quantised: &Checkpoint) -> f64 {
    let documents = documents();
    let logits = |checkpoint: &Checkpoint| -> Vec<f32> {
        let model = Model::from_checkpoint(&checkpoint.to_fp32()).unwrap();
        let (mut state, mut work) = (model.new_state(), model.new_workspace());
        let mut all = Vec::new();
        for &token in &documents[0] {
            all.extend_from_slice(model.step(token, &mut state, &mut work));
        }
        all
    };
    let pairs = logits(original).into_iter().zip(logits(quantised));
    pairs.map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

#[test]
fn files_hold_what_was_rounded() {
    let (original, documents) = (small(), documents());
    for precision in [Precision::Int8, Precision::Int4] {
        for method in Method::ALL {
            let options = with(precision, method, Some(&documents));
            let (quantised, report) = quantize(&original, &options).unwrap();
            assert_eq!(quantised.precision(), precision);
            let bytes = quantised.to_bytes().unwrap();
            let back = Checkpoint::from_bytes(&bytes).unwrap();
            assert_eq!(back.tensors, quantised.tensors, "{precision} {method}");
            assert_eq!(back.tokenizer, original.tokenizer);
            let stored: usize = report.iter().map(|row| row.bytes).sum();
            assert_eq!(stored, quantised.weight_bytes());
            assert_eq!(report.len(), original.tensors.len());
        }
    }
}

/// The method `nearest` is the plain rounding, which loses nothing the second time.
#[test]
fn nearest_is_what_tensors_round_to_by_themselves() {
    let original = small();
    let options = with(Precision::Int4, Method::Nearest, None);
    let (quantised, report) = quantize(&original, &options).unwrap();
    for row in report.iter().filter(|row| row.group.is_some()) {
        let tensor = &original.tensors[&row.name];
        let alone = Tensor::quantized(tensor.shape.clone(), tensor.to_f32(), Precision::Int4);
        assert_eq!(quantised.tensors[&row.name], alone, "{}", row.name);
    }
    let (again, _) = quantize(&quantised.to_fp32(), &options).unwrap();
    assert_eq!(
        again.tensors, quantised.tensors,
        "what is rounded stays as it is"
    );
}

#[test]
fn the_same_input_gives_the_same_weights() {
    let (original, documents) = (small(), documents());
    let options = with(Precision::Int4, Method::Gptq, Some(&documents));
    let weights = || quantize(&original, &options).unwrap().0.tensors;
    assert_eq!(weights(), weights());
}

#[test]
fn each_method_is_closer_to_the_original_than_the_one_before() {
    let (original, documents) = (small(), documents());
    let error = |method| {
        let options = with(Precision::Int4, method, Some(&documents));
        logit_error(&original, &quantize(&original, &options).unwrap().0)
    };
    let [nearest, search, gptq] = Method::ALL.map(error);
    assert!(
        search < nearest && gptq < 0.8 * nearest,
        "{nearest} {search} {gptq}"
    );
}

#[test]
fn the_report_tells_what_was_lost() {
    let original = small();
    let (quantised, report) = quantize(&original, &Options::data_free(Precision::Int4)).unwrap();
    let row = |name: &str| -> &TensorReport { report.iter().find(|row| row.name == name).unwrap() };
    let embedding = row("embedding.weight");
    assert_eq!(
        embedding.group,
        Some(32),
        "small groups are for embeddings that are a small part of the model"
    );
    // Packed, it takes no more than integers and scales do.
    assert!(
        (4.4..4.5).contains(&embedding.bits_per_weight),
        "{embedding:?}"
    );
    let differences = original.tensors["embedding.weight"].to_f32().into_iter();
    let differences = differences.zip(quantised.tensors["embedding.weight"].to_f32());
    let squares: f64 = differences
        .map(|(a, b)| (f64::from(b) - f64::from(a)).powi(2))
        .sum();
    assert!((embedding.mean_square_error * embedding.len as f64 - squares).abs() < 1e-9);
    assert!(
        (1e-4..0.05).contains(&embedding.relative_error),
        "{embedding:?}"
    );
    let a_log = row("layers.0.mixer.a_log");
    assert_eq!(
        (a_log.precision, a_log.mean_square_error),
        (Precision::Fp32, 0.0)
    );
    assert_eq!(row("layers.0.moe.router.weight").precision, Precision::Fp16);
}

#[test]
fn given_steps_are_the_scales_of_rows() {
    let checkpoint = small();
    let rows = checkpoint.tensors["embedding.weight"].shape[0];
    let step = |row: usize| f16::from_f32([0.25, 0.5][row % 2]);
    let steps = BTreeMap::from([
        ("embedding.weight".to_owned(), (0..rows).map(step).collect()),
        ("layers.0.moe.w_in".to_owned(), vec![step(0)]),
    ]);
    for method in [Method::Search, Method::Gptq] {
        let documents = documents();
        let options = Options {
            steps: steps.clone(),
            ..with(Precision::Int8, method, Some(&documents))
        };
        let (quantised, _) = quantize(&checkpoint, &options).unwrap();
        let scales = |name: &str| match &quantised.tensors[name].data {
            TensorData::Int8 { scales, group, .. } => (scales.clone(), *group),
            _ => panic!("{name} has no integers of 8 bits"),
        };
        let (embedding, group) = scales("embedding.weight");
        let groups = checkpoint.config.d_model / group;
        for (at, scale) in embedding.iter().enumerate() {
            assert_eq!(*scale, step(at / groups), "{method}");
        }
        let (experts, _) = scales("layers.0.moe.w_in");
        assert!(experts.iter().all(|scale| *scale == step(0)), "{method}");
    }
}

#[test]
fn stored_scales_are_those_of_the_integers() {
    let original = small();
    let values = |checkpoint: &Checkpoint| -> BTreeMap<String, Vec<f32>> {
        let tensors = checkpoint.tensors.iter();
        tensors
            .map(|(name, tensor)| (name.clone(), tensor.to_f32()))
            .collect()
    };
    for (precision, other) in [
        (Precision::Int8, Precision::Int4),
        (Precision::Int4, Precision::Int8),
    ] {
        let options = with(precision, Method::Search, None);
        let (quantised, _) = quantize(&original, &options).unwrap();
        let mut weights = values(&original);
        let scales = Scales::stored(&quantised, &precision.into()).unwrap();
        scales.round(&mut weights);
        for (name, scales) in scales.values() {
            assert!(!scales.is_empty());
            assert_eq!(weights[&name], values(&quantised)[&name], "{name}");
        }
        assert!(Scales::stored(&quantised, &other.into()).is_none());
        assert!(Scales::stored(&original, &precision.into()).is_none());
    }
}

#[test]
fn overrides_choose_for_one_tensor() {
    let original = small();
    let mut options = Options::data_free(Precision::Int4);
    for (name, precision) in [
        ("embedding.weight", Precision::Int8),
        ("layers.0.moe.w_in", Precision::Fp32),
        ("final_norm.weight", Precision::Fp32),
    ] {
        options
            .precisions
            .overrides
            .insert(name.to_owned(), precision);
    }
    let (quantised, _) = quantize(&original, &options).unwrap();
    for (name, precision) in &options.precisions.overrides {
        assert_eq!(quantised.tensors[name].precision(), *precision, "{name}");
    }
    for (name, precision) in [
        ("nobody", Precision::Int8),
        ("layers.0.mixer.a_log", Precision::Fp16),
        ("layers.0.moe.router.weight", Precision::Int8),
    ] {
        let mut options = Options::data_free(Precision::Int4);
        options
            .precisions
            .overrides
            .insert(name.to_owned(), precision);
        let error = quantize(&original, &options).unwrap_err();
        assert!(
            matches!(&error, QuantError::Override { tensor, .. } if tensor == name),
            "{error}"
        );
    }
}

#[test]
fn what_cannot_be_quantised_is_refused() {
    let original = small();
    let refused = |checkpoint: &Checkpoint, options: &Options<'_>| {
        quantize(checkpoint, options).unwrap_err().to_string()
    };
    let free = Options::data_free(Precision::Int4);
    let (quantised, _) = quantize(&original, &free).unwrap();
    assert!(refused(&quantised, &free).contains("expected fp32"));
    assert!(refused(&original, &Options::data_free(Precision::Fp32)).contains("int8 or int4"));
    let gptq = with(Precision::Int4, Method::Gptq, None);
    assert!(refused(&original, &gptq).contains("needs calibration text"));
    let empty = [Vec::new()];
    assert!(
        refused(
            &original,
            &with(Precision::Int4, Method::Gptq, Some(&empty))
        )
        .contains("no token")
    );
    let foreign = [vec![3, 257]];
    let message = refused(
        &original,
        &with(Precision::Int4, Method::Search, Some(&foreign)),
    );
    assert!(
        message.contains("token 257, expected below 257"),
        "{message}"
    );
}

#[test]
fn tensors_of_zeros_stay_zero() {
    let mut original = small();
    for name in ["layers.0.moe.w_in", "layers.1.mixer.in_proj.weight"] {
        let tensor = original.tensors.get_mut(name).unwrap();
        *tensor = Tensor::f32(tensor.shape.clone(), vec![0.0; tensor.len()]);
    }
    let documents = documents();
    for method in Method::ALL {
        let options = with(Precision::Int4, method, Some(&documents));
        let (quantised, _) = quantize(&original, &options).unwrap();
        let values = quantised.tensors["layers.0.moe.w_in"].to_f32();
        assert!(values.iter().all(|value| *value == 0.0), "{method}");
    }
}

/// Every shipped model with its companion at a precision, as files.
fn companions(precision: Precision) -> Vec<(LoadedCheckpoint, LoadedCheckpoint)> {
    let models = shipped_models().unwrap().into_iter();
    let models = models.filter(|name| name.starts_with("micro-"));
    models
        .map(|name| {
            let companion = load_checkpoint(&format!("{name}.{precision}"));
            (load_checkpoint(&name).unwrap(), companion.unwrap())
        })
        .collect()
}

#[test]
fn shipped_companions_are_small_and_made_from_the_models_beside_them() {
    for (precision, bar) in MICRO_BARS {
        let companions = companions(precision);
        assert!(companions.len() >= 3, "{}", companions.len());
        for (model, companion) in companions {
            let name = &companion.name;
            assert!(
                companion.file_bytes <= bar,
                "{name}: {} bytes",
                companion.file_bytes
            );
            let source = source_sha256(&companion.checkpoint);
            assert_eq!(
                source,
                Some(&*model.file_sha256),
                "{name}: run scripts/quantize-all.sh"
            );
            assert_eq!(companion.checkpoint.config, model.checkpoint.config);
            assert_eq!(companion.checkpoint.tokenizer, model.checkpoint.tokenizer);
        }
    }
}

#[test]
fn a_model_is_found_at_each_precision() {
    for precision in Precision::ALL {
        let loaded = load_at_precision("micro-tinystories", precision).unwrap();
        assert_eq!(loaded.name, "micro-tinystories");
        assert_eq!(
            (loaded.weights, loaded.checkpoint.precision()),
            (Weights::Stored, precision)
        );
    }
    let plain = load_at_precision("micro-tinystories.int4", Precision::Fp32).unwrap();
    assert_eq!(plain.weights, Weights::Unpacked);
    assert_eq!(plain.checkpoint.precision(), Precision::Fp32);
    assert!(load_at_precision("micro-tinystories.int4", Precision::Int8).is_err());
}

#[test]
fn a_companion_of_another_file_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| -> PathBuf { directory.path().join(name) };
    let model = small();
    fs::write(file("x.safetensors"), model.to_bytes().unwrap()).unwrap();
    let (mut other, _) = quantize(&model, &Options::data_free(Precision::Int4)).unwrap();
    let path = file("x.safetensors");
    let load = |precision| load_at_precision(path.to_str().unwrap(), precision).unwrap();
    assert_eq!(load(Precision::Int4).weights, Weights::RoundedInMemory);
    // Without a word about its source, and then with the right one.
    fs::write(file("x.int4.safetensors"), other.to_bytes().unwrap()).unwrap();
    assert_eq!(load(Precision::Int4).weights, Weights::RoundedInMemory);
    let sha256 = load(Precision::Fp32).file_sha256;
    other.training = serde_json::json!({"quantization": {"source_sha256": sha256}});
    fs::write(file("x.int4.safetensors"), other.to_bytes().unwrap()).unwrap();
    let loaded = load(Precision::Int4);
    assert_eq!(
        (loaded.weights, loaded.name.as_str()),
        (Weights::Stored, "x")
    );
    assert_eq!(loaded.path, Some(file("x.int4.safetensors")));
}

/// A file is called after its precision, so that none may be called int4 without a tensor that is.
#[test]
fn a_precision_that_no_tensor_can_have_is_refused() {
    let odd = made_up(ModelConfig {
        d_model: 7,
        d_inner: 24,
        ..Preset::Test.config(257)
    });
    let result = quantize(&odd, &Options::data_free(Precision::Int4));
    assert!(
        matches!(result, Err(QuantError::Unreached(Precision::Int4))),
        "{result:?}"
    );
    assert!(quantize(&odd, &Options::data_free(Precision::Int8)).is_ok());
}

#[test]
fn weights_that_overflow_are_refused() {
    let mut broken = small();
    // x = 100, and D x is infinite.
    for (part, value) in [("conv.bias", 100.0), ("d", f32::MAX)] {
        let name = format!("layers.0.mixer.{part}");
        let tensor = broken.tensors.get_mut(&name).unwrap();
        *tensor = Tensor::f32(tensor.shape.clone(), vec![value; tensor.len()]);
    }
    let documents = documents();
    for method in [Method::Search, Method::Gptq] {
        let options = with(Precision::Int8, method, Some(&documents));
        let result = quantize(&broken, &options);
        assert!(matches!(result, Err(QuantError::NotFinite(_))), "{method}");
    }
}
