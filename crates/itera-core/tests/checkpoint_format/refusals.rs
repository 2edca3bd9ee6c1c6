//! One test for each thing that a checkpoint may get wrong: the error names it.

use std::error::Error;

use half::f16;
use itera_core::{
    checkpoint::{Checkpoint, CheckpointError, FORMAT_VERSION, Precision, Tensor, TensorData},
    config::ModelConfig,
    container::{ContainerError, MAX_HEADER_BYTES},
    tokenizer::{BpeTokenizer, Tokenizer},
};
use serde_json::{Value, json};

use crate::support::{self, data_start, edit_json, edited, small};

const PROJECTION: &str = "layers.0.mixer.in_proj.weight";

/// The file of the format's first version, which stored every integer by itself and the scales beside them.
fn first_version(checkpoint: &Checkpoint) -> Vec<u8> {
    let floats = checkpoint.to_fp32().to_bytes().unwrap();
    edited(&floats, |header, data| {
        data.clear();
        let mut put = |name: &str, dtype: &str, shape: &[usize], values: Vec<u8>| {
            let begin = data.len();
            data.extend(values);
            header[name] =
                json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]});
        };
        for (name, Tensor { shape, data }) in &checkpoint.tensors {
            let last = |size: &dyn Fn(usize) -> usize| {
                let (row, outer) = shape.split_last().unwrap();
                [outer, &[size(*row)]].concat()
            };
            let (scales, group) = match data {
                TensorData::F32(values) => {
                    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                    put(name, "F32", shape, bytes);
                    continue;
                }
                TensorData::F16(values) => {
                    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                    put(name, "F16", shape, bytes);
                    continue;
                }
                TensorData::Int8 {
                    values,
                    scales,
                    group,
                } => {
                    let bytes = values.iter().map(|q| q.cast_unsigned()).collect();
                    put(name, "I8", shape, bytes);
                    (scales, group)
                }
                TensorData::Int4 {
                    packed,
                    scales,
                    group,
                } => {
                    put(name, "U8", &last(&|row| row / 2), packed.clone());
                    (scales, group)
                }
            };
            let bytes = scales.iter().flat_map(|x| x.to_le_bytes()).collect();
            let name = format!("{name}.scales");
            put(&name, "F16", &last(&|row| row / group), bytes);
        }
    })
}

/// Of the first version, whose entries lie open.
fn file(precision: Precision) -> Vec<u8> {
    first_version(&support::checkpoint(small(), precision))
}

/// The error and its causes in one line, as a user sees them.
fn complaint(bytes: &[u8]) -> String {
    let error = Checkpoint::from_bytes(bytes)
        .map(drop)
        .expect_err("a broken file was accepted");
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Asserts that the file after `edit` is refused with all of `words`.
fn refused(precision: Precision, words: &[&str], edit: impl FnOnce(&mut Value, &mut Vec<u8>)) {
    let text = complaint(&edited(&file(precision), edit));
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn header_refused(words: &[&str], edit: impl FnOnce(&mut Value)) {
    refused(Precision::Fp32, words, |header, _| edit(header));
}

#[test]
fn files_of_the_first_version_are_read() {
    for precision in Precision::ALL {
        let written = support::checkpoint(small(), precision);
        let read = Checkpoint::from_bytes(&edited(&file(precision), |_, _| ())).unwrap();
        assert_eq!(read.tensors, written.tensors);
    }
}

#[test]
fn packed_values() {
    let checkpoint = support::checkpoint(small(), Precision::Int4);
    let packed = checkpoint.to_bytes().unwrap();
    let words = format!("packed values of tensor `{PROJECTION}` cannot be read");
    let damaged = |edit: &dyn Fn(&mut Value, &mut Vec<u8>)| {
        let text = complaint(&edited(&packed, edit));
        assert!(text.contains(&words), "{text}");
    };
    // Another number of bits, and a stream that is longer than the entry.
    for (at, value) in [(0, 5), (6, 0xff)] {
        damaged(&|header, data| {
            let begin = header[PROJECTION]["data_offsets"][0].as_u64().unwrap() as usize;
            data[begin + at] = value;
        });
    }
}

#[test]
fn merges() {
    let tokenizer =
        BpeTokenizer::train(std::iter::once(&b"the cat, the hat, the mat"[..]), 264).unwrap();
    let mut checkpoint = support::checkpoint(
        ModelConfig {
            vocab_size: tokenizer.vocab_size(),
            ..small()
        },
        Precision::Int4,
    );
    checkpoint.tokenizer = Tokenizer::Bpe(tokenizer);
    let file = checkpoint.to_bytes().unwrap();
    let read = Checkpoint::from_bytes(&file).unwrap();
    assert_eq!(read.tokenizer, checkpoint.tokenizer);
    let Tokenizer::Bpe(tokenizer) = &read.tokenizer else {
        panic!("merges are expected");
    };
    let merges = tokenizer.merges().len();
    let (left, right) = tokenizer.merges()[0];
    // End-of-text, an id to come, and a pair that there is already.
    for [left, right] in [[256, 104], [104, 300], [left as u16, right as u16]] {
        let text = complaint(&edited(&file, |header, data| {
            let begin = header["tokenizer.merges"]["data_offsets"][0]
                .as_u64()
                .unwrap() as usize;
            // So few are not worth a table: after their number, each stream is its length and the bytes.
            let pair = [left.to_le_bytes(), right.to_le_bytes()].concat();
            for (stream, byte) in pair.into_iter().enumerate() {
                data[begin + 2 + stream * (4 + merges) + 4 + 2] = byte;
            }
        }));
        let words = format!("merge 2 joins the tokens {left} and {right}");
        assert!(text.contains(&words), "{text}");
    }
    let text = complaint(&edited(&file, |header, _| {
        let bytes = header["tokenizer.merges"]["shape"][0].clone();
        header["tokenizer.merges"]["shape"] = json!([1, bytes]);
    }));
    assert!(text.contains("`tokenizer.merges`"), "{text}");
}

#[test]
fn other_versions() {
    header_refused(
        &["is \"3\"", "a version up to 2", "update itera"],
        |header| {
            header["__metadata__"]["itera.format"] = (FORMAT_VERSION + 1).to_string().into();
        },
    );
    // A newer version is named even when it stores what this build has never heard of.
    header_refused(&["is \"9\"", "update itera"], |header| {
        header["__metadata__"]["itera.format"] = "9".into();
        header[PROJECTION]["dtype"] = "F4_NEW".into();
    });
    header_refused(&["is \"one\"", "a version up to"], |header| {
        header["__metadata__"]["itera.format"] = "one".into();
    });
}

#[test]
fn metadata() {
    for key in [
        "itera.format",
        "itera.config",
        "itera.tokenizer",
        "itera.training",
    ] {
        header_refused(&["has no entry", key], |header| {
            header["__metadata__"].as_object_mut().unwrap().remove(key);
        });
    }
    header_refused(&["itera.format"], |header| {
        header.as_object_mut().unwrap().remove("__metadata__");
    });
    header_refused(
        &["`itera.config` cannot be read", "missing field `d_model`"],
        |header| {
            edit_json(header, "itera.config", |config| {
                config.as_object_mut().unwrap().remove("d_model");
            });
        },
    );
    header_refused(&["describes no model", "`top_k` is 9"], |header| {
        edit_json(header, "itera.config", |config| config["top_k"] = 9.into());
    });
    header_refused(&["tokenizer"], |header| {
        header["__metadata__"]["itera.tokenizer"] = "{}".into();
    });
    header_refused(&["the length of the header", "at most 1048576"], |header| {
        header["__metadata__"]["itera.training"] = format!("[{}0]", "0,".repeat(600_000)).into();
    });
    header_refused(
        &["`itera.training` cannot be read", "recursion"],
        |header| {
            header["__metadata__"]["itera.training"] = "[".repeat(100_000).into();
        },
    );
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let mut checkpoint = support::checkpoint(small(), Precision::Fp32);
    checkpoint.training = "x".repeat(MAX_HEADER_BYTES - 20_000).into();
    Checkpoint::from_bytes(&checkpoint.to_bytes().unwrap()).unwrap();
    checkpoint.training = "x".repeat(MAX_HEADER_BYTES).into();
    let refused = checkpoint.to_bytes().unwrap_err().to_string();
    assert!(refused.contains("expected at most 1048576"), "{refused}");

    // Each merge doubles the longest token.
    let periodic = "a".repeat(1 << 18);
    let bpe = BpeTokenizer::train([periodic.as_bytes()].into_iter(), 274).unwrap();
    let config = ModelConfig {
        vocab_size: bpe.vocab_size(),
        ..small()
    };
    let mut checkpoint = support::checkpoint(config, Precision::Fp32);
    checkpoint.tokenizer = Tokenizer::Bpe(bpe);
    let CheckpointError::Tokenizer(refused) = checkpoint.to_bytes().unwrap_err() else {
        panic!("a tokenizer that is not read was written")
    };
    assert!(refused.to_string().contains("at most 524288"), "{refused}");
}

#[test]
fn another_vocabulary() {
    let vocab = small().vocab_size;
    header_refused(
        &["tokenizer", &vocab.to_string(), &(vocab + 1).to_string()],
        |header| {
            edit_json(header, "itera.config", |config| {
                config["vocab_size"] = (vocab + 1).into();
            });
        },
    );
}

#[test]
fn changes_without_a_new_digest() {
    let mut bytes = file(Precision::Int4);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    assert!(complaint(&bytes).contains("the tensor data has SHA-256"));

    let text = String::from_utf8(file(Precision::Fp32)[8..2000].to_vec()).unwrap();
    let at = 8 + text.find("top_k").unwrap() + r#"top_k\":"#.len();
    let mut bytes = file(Precision::Fp32);
    bytes[at] ^= 1;
    assert!(complaint(&bytes).contains("the metadata has SHA-256"));
}

#[test]
fn sets_of_tensors() {
    header_refused(&["`n_layers` is 65536", "1 to 256"], |header| {
        edit_json(header, "itera.config", |config| {
            config["n_layers"] = 65_536.into();
        });
    });
    header_refused(&["layers.2", "is missing"], |header| {
        edit_json(header, "itera.config", |config| {
            config["n_layers"] = 256.into();
        });
    });
    header_refused(&["\"extra\"", "is unexpected"], |header| {
        header["extra"] = json!({"dtype": "F32", "shape": [0], "data_offsets": [0, 0]});
    });
    header_refused(&["tensor `final_norm.weight` is missing"], |header| {
        let object = header.as_object_mut().unwrap();
        let tensor = object.remove("final_norm.weight").unwrap();
        object.insert("final_norm.gain".into(), tensor);
    });
    refused(
        Precision::Int4,
        &["in_proj.weight.scales` is missing"],
        |header, _| {
            let object = header.as_object_mut().unwrap();
            let scales = object.remove(&format!("{PROJECTION}.scales")).unwrap();
            object.insert("stray".into(), scales);
        },
    );
}

#[test]
fn duplicate_keys() {
    let bytes = file(Precision::Fp32);
    let (text, data) = bytes[8..].split_at(data_start(&bytes) - 8);
    let text = str::from_utf8(text).unwrap().trim_end();
    let second = r#","final_norm.weight":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}"#;
    let twice = format!("{}{second}", text.strip_suffix('}').unwrap());
    assert!(complaint(&support::assemble(&twice, data)).contains("appears twice"));
    let twice = text.replace(
        r#""itera.format":"1""#,
        r#""itera.format":"1","itera.format":"1""#,
    );
    assert!(complaint(&support::assemble(&twice, data)).contains("appears twice"));
}

#[test]
fn shapes_and_offsets() {
    let shaped = |shape: Value| move |header: &mut Value| header[PROJECTION]["shape"] = shape;
    let width = small().d_model;
    let rows = small().d_in_proj();
    header_refused(
        &["the shape of", PROJECTION, "expected"],
        shaped(json!([width, rows])),
    );
    header_refused(
        &[PROJECTION, "an impossible number"],
        shaped(json!([u64::MAX, 2])),
    );
    header_refused(
        &[PROJECTION, "by its shape"],
        shaped(json!([1_u64 << 40, 1])),
    );
    header_refused(
        &["number of axes", PROJECTION, "is 9"],
        shaped(json!(vec![1; 9])),
    );
    header_refused(&["not the JSON"], shaped(json!([-1, 4])));
    header_refused(
        &["the start of", "neither overlap nor leave holes"],
        |header| {
            header[PROJECTION]["data_offsets"] = json!([u64::MAX - 8, u64::MAX]);
        },
    );
    header_refused(&["neither overlap nor leave holes"], |header| {
        header[PROJECTION]["data_offsets"] = header["final_norm.weight"]["data_offsets"].clone();
    });
    header_refused(
        &["final_norm.weight", "the end of", "by its shape"],
        |header| {
            header["final_norm.weight"]["data_offsets"][1] = 0.into();
        },
    );
    refused(Precision::Fp32, &["has bytes added"], |_, data| {
        data.push(0);
    });
}

#[test]
fn dtypes() {
    for dtype in ["I32", "BF16", "Q4"] {
        header_refused(&[PROJECTION, dtype, "expected F32"], |header| {
            header[PROJECTION]["dtype"] = dtype.into();
        });
    }
    // Half floats need no scales, and half as many of them fill the same bytes.
    refused(
        Precision::Int8,
        &[PROJECTION, "the shape of"],
        |header, _| {
            header[PROJECTION]["dtype"] = "F16".into();
            header[PROJECTION]["shape"] = json!([small().d_in_proj(), small().d_model / 2]);
        },
    );
    refused(
        Precision::Int8,
        &[PROJECTION, "the shape of"],
        |header, _| {
            header[PROJECTION]["dtype"] = "U8".into();
        },
    );
}

#[test]
fn values() {
    refused(
        Precision::Fp32,
        &["value", "NaN", "finite"],
        |header, data| {
            let begin = header[PROJECTION]["data_offsets"][0].as_u64().unwrap() as usize;
            data[begin..begin + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        },
    );
    for bad in [f16::NAN, f16::INFINITY] {
        refused(Precision::Int8, &["scale 0", PROJECTION], |header, data| {
            let offsets = &header[format!("{PROJECTION}.scales")]["data_offsets"];
            let begin = offsets[0].as_u64().unwrap() as usize;
            data[begin..begin + 2].copy_from_slice(&bad.to_le_bytes());
        });
    }
    refused(
        Precision::Int8,
        &["value 1", "is -128", "-127 to 127"],
        |header, data| {
            let begin = header[PROJECTION]["data_offsets"][0].as_u64().unwrap() as usize;
            data[begin + 1] = 0x80;
        },
    );
}

#[test]
fn broken_checkpoints_are_not_written() {
    let sound = support::checkpoint(small(), Precision::Int8);
    let broken = |edit: fn(&mut Checkpoint)| {
        let mut checkpoint = sound.clone();
        edit(&mut checkpoint);
        checkpoint.to_bytes().unwrap_err()
    };
    let error = broken(|c| c.tensors.get_mut("final_norm.weight").unwrap().shape[0] += 1);
    assert!(
        matches!(
            error,
            CheckpointError::Container(ContainerError::Mismatch { .. })
        ),
        "{error}"
    );
    let error = broken(|c| drop(c.tensors.remove("layers.1.mixer.a_log")));
    assert!(
        matches!(
            error,
            CheckpointError::Container(ContainerError::MissingTensor(_))
        ),
        "{error}"
    );
    let error = broken(|c| {
        let TensorData::Int8 { group, .. } = &mut c.tensors.get_mut(PROJECTION).unwrap().data
        else {
            unreachable!("the projections are int8")
        };
        *group = 0;
    });
    assert!(matches!(error, CheckpointError::Group { .. }), "{error}");
    let error = broken(|c| {
        let matrix = c.tensors[PROJECTION].data.clone();
        c.tensors
            .get_mut("layers.0.moe.router.weight")
            .unwrap()
            .data = matrix;
    });
    assert!(
        matches!(error, CheckpointError::NotQuantizable { .. }),
        "{error}"
    );
    let error = broken(|c| {
        let dynamics = c.tensors.get_mut("layers.0.mixer.a_log").unwrap();
        *dynamics = Tensor::f16(dynamics.shape.clone(), &dynamics.to_f32());
    });
    assert!(
        matches!(error, CheckpointError::NotQuantizable { .. }),
        "{error}"
    );
    let error = broken(|c| {
        c.tensors.get_mut("final_norm.weight").unwrap().data = TensorData::F32(vec![1.0]);
    });
    assert!(matches!(error, CheckpointError::Length { .. }), "{error}");
}
