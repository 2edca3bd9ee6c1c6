//! Records survive JSON to the last bit, and broken ones are refused in both directions.

use itera_record::{
    AdaptationProtocol, Baselines, Bootstrap, DataSource, Documents, Envelope, HostInfo,
    MixProtocol, ModelInfo, ProtocolKind, Record, RecordError, ScoringProtocol, StaticScore,
    ToolInfo, TrainingRecord, ValidationRecord, ValidationRow,
};

const DIGEST: &str = "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0";

fn model() -> ModelInfo {
    ModelInfo {
        name: "test".into(),
        file_sha256: DIGEST.into(),
        params: 1000,
        active_params: 900,
        precision: "fp32".into(),
        bytes: 4000,
        bits_per_weight: 32.0,
    }
}

fn envelope(schema: &str) -> Envelope {
    Envelope {
        schema: schema.into(),
        created_at: "2026-01-31T12:00:00Z".into(),
        tool: ToolInfo {
            name: "itera-validate".into(),
            version: "0.1.0".into(),
            commit: "unknown".into(),
        },
        host: HostInfo {
            cpu: "some".into(),
            cores: 2,
            os: "linux x86_64".into(),
            simd: vec!["avx2".into()],
        },
        model: Some(model()),
    }
}

fn protocol() -> ScoringProtocol {
    ScoringProtocol {
        name: ProtocolKind::Window,
        window_tokens: Some(8),
        stride_tokens: Some(4),
        context_start: "end_of_text".into(),
        separators_scored: false,
        max_tokens: None,
        limit_documents: Some(2),
        bootstrap: Bootstrap {
            draws: 1000,
            seed: 0,
        },
        adaptation: None,
        mix: None,
    }
}

/// A row whose numbers need every digit of a 64-bit float.
fn row() -> ValidationRow {
    let nll = [0.1 + 0.2, 100.0 / 3.0];
    let nll_nats: f64 = nll.iter().sum();
    let bits_per_byte = nll_nats / 30.0 / std::f64::consts::LN_2;
    ValidationRow {
        model: model(),
        dataset: "wikitext2".into(),
        split: "test".into(),
        dataset_sha256: DIGEST.into(),
        dataset_verdict: "official".into(),
        documents: 2,
        bytes: 30,
        chars: 28,
        words: 5,
        tokens: 20,
        unknown_tokens: 0,
        nll_nats,
        bits_per_byte,
        byte_perplexity: bits_per_byte.exp2(),
        char_perplexity: (nll_nats / 28.0).exp(),
        word_perplexity: Some((nll_nats / 5.0).exp()),
        token_perplexity: (nll_nats / 20.0).exp(),
        bits_per_byte_ci95: Some([bits_per_byte - 0.1, bits_per_byte + 0.1]),
        baselines: Baselines {
            uniform_bits_per_byte: 8.0,
            unigram_bits_per_byte: 4.0,
            zstd_bits_per_byte: Some(3.0),
            ppmd_bits_per_byte: None,
            ppmd_primed_bits_per_byte: None,
            primed_with: None,
            worse_than_uniform: false,
        },
        code_length: None,
        precision: "fp32".into(),
        engine: "native".into(),
        kernel: None,
        divergence: None,
        static_score: None,
        protocol: protocol(),
        seconds: 0.25,
        tokens_per_s: 80.0,
        bytes_scored_fraction: 0.75,
        dataset_bytes: 40,
        shard: None,
        parts: Vec::new(),
        per_document: Documents {
            document_indices: vec![0, 1],
            document_bytes: vec![10, 20],
            document_nll_nats: nll.to_vec(),
        },
    }
}

fn record() -> ValidationRecord {
    ValidationRecord {
        envelope: envelope(ValidationRecord::SCHEMA),
        protocol: protocol(),
        rows: vec![row()],
    }
}

/// Applies `spoil` to a good record and returns the message of the refusal.
fn refusal(spoil: impl FnOnce(&mut ValidationRow)) -> String {
    let mut record = record();
    spoil(&mut record.rows[0]);
    record.to_json().unwrap_err().to_string()
}

#[test]
fn floats_survive_json_to_the_last_bit() {
    let record = record();
    let json = record.to_json().unwrap();
    let again = ValidationRecord::from_json(json.as_bytes()).unwrap();
    assert_eq!(record, again);
    let bits = |r: &ValidationRecord| r.rows[0].nll_nats.to_bits();
    assert_eq!(bits(&record), bits(&again));
}

#[test]
fn any_float_survives_json() {
    let mut bits = 0x9E37_79B9_7F4A_7C15_u64;
    for _ in 0..20_000 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let value = f64::from_bits(bits);
        if value.is_finite() {
            let json = serde_json::to_string(&value).unwrap();
            let again: f64 = serde_json::from_str(&json).unwrap();
            assert_eq!(value.to_bits(), again.to_bits(), "{json}");
        }
    }
}

#[test]
fn contradictions_are_refused_with_the_field() {
    assert_eq!(
        refusal(|row| row.bits_per_byte = f64::NAN),
        "field `bits_per_byte` is NaN, expected a finite number"
    );
    assert_eq!(
        refusal(|row| row.per_document.document_nll_nats[1] = f64::INFINITY),
        "field `document_nll_nats[1]` is inf, expected a finite number"
    );
    assert!(refusal(|row| row.byte_perplexity += 0.001).contains("`byte_perplexity`"));
    assert!(refusal(|row| row.nll_nats = row.nll_nats.next_up()).contains("the exact sum"));
    assert!(refusal(|row| row.documents = 3).contains("one value for each of 3 documents"));
    assert!(refusal(|row| row.per_document.document_indices = vec![1, 1]).contains("out of order"));
    assert!(refusal(|row| row.bytes_scored_fraction = 1.0).contains("`bytes_scored_fraction`"));
    assert!(refusal(|row| row.dataset_sha256 = "abc".into()).contains("64 lower-case"));
    assert!(refusal(|row| row.baselines.worse_than_uniform = true).contains("worse_than_uniform"));
    assert!(refusal(|row| row.protocol.max_tokens = Some(1)).contains("the record's protocol"));
}

#[test]
fn scores_of_moving_weights_say_so_and_how_the_others_did() {
    let mut record = record();
    record.protocol.adaptation = Some(AdaptationProtocol {
        method: "dynamic_evaluation".into(),
        per_document: false,
        segment_tokens: 64,
        learning_rate: 1e-4,
        pull: 0.0,
    });
    record.rows[0].protocol = record.protocol.clone();
    let absent = record.to_json().unwrap_err().to_string();
    assert!(absent.contains("`static_score` is absent"), "{absent}");
    let row = &record.rows[0];
    let nats: Vec<f64> = row
        .per_document
        .document_nll_nats
        .iter()
        .map(|n| 2.0 * n)
        .collect();
    let score = StaticScore {
        updates: 3,
        static_bits_per_byte: 2.0 * row.bits_per_byte,
        gain: 0.5,
        static_document_nll_nats: nats,
    };
    record.rows[0].static_score = Some(score.clone());
    let again = ValidationRecord::from_json(record.to_json().unwrap().as_bytes()).unwrap();
    assert_eq!(again, record);
    assert!(record.protocol.to_string().contains("WEIGHTS MOVE"));
    record.rows[0].static_score = Some(StaticScore { gain: 0.4, ..score });
    assert!(record.to_json().unwrap_err().to_string().contains("`gain`"));
    // Files of weights that stay are as they were.
    assert!(!self::record().to_json().unwrap().contains("static_score"));
}

#[test]
fn mixed_scores_say_so_too() {
    let mut record = record();
    let mix = MixProtocol {
        method: "adaptive_mix".into(),
        order: 4,
        discount: 0.6,
        first_weight: 0.15,
        rate: 0.005,
        most_tokens: 1000,
    };
    let row = &record.rows[0];
    let score = StaticScore {
        updates: 0,
        static_bits_per_byte: row.bits_per_byte,
        gain: 0.0,
        static_document_nll_nats: row.per_document.document_nll_nats.clone(),
    };
    record.rows[0].static_score = Some(score);
    let mut set = |mix: MixProtocol| {
        record.protocol.mix = Some(mix);
        record.rows[0].protocol = record.protocol.clone();
        record.clone()
    };
    let record = set(mix.clone());
    assert!(record.to_json().is_ok());
    let beyond = MixProtocol {
        discount: 1.5,
        ..mix
    };
    let error = set(beyond).to_json().unwrap_err().to_string();
    assert!(error.contains("`discount` is 1.5"), "{error}");
    let text = record.protocol.to_string();
    assert!(text.contains("N-GRAMS MIXED IN"), "{text}");
}

#[test]
fn readers_refuse_other_files() {
    let read = |json: &str| ValidationRecord::from_json(json.as_bytes()).unwrap_err();
    assert!(matches!(read("{"), RecordError::Json(_)));
    assert!(matches!(read("[]"), RecordError::Json(_)));
    assert_eq!(
        read("{}").to_string(),
        "field `schema` is ``, expected `itera.validation/1`"
    );
    assert_eq!(
        read(r#"{"schema": "itera.validation/2"}"#).to_string(),
        "field `schema` is `itera.validation/2`, expected `itera.validation/1`"
    );
    let json = record().to_json().unwrap();
    assert!(ValidationRecord::from_json(&json.as_bytes()[..json.len() / 2]).is_err());
    let null = json.replace(
        "\"bits_per_byte\": ",
        "\"bits_per_byte\": null, \"other\": ",
    );
    assert!(matches!(read(&null), RecordError::Json(_)));
}

#[test]
fn training_records_round_trip() {
    let mut record = TrainingRecord {
        envelope: envelope(TrainingRecord::SCHEMA),
        command: vec!["itera-train".into(), "fit".into()],
        seed: 7,
        preset: "micro".into(),
        config: serde_json::json!({"d_model": 64}),
        tokenizer: "bpe 512".into(),
        protocol: serde_json::json!({"batch": 8}),
        data: vec![DataSource {
            dataset: "tinystories".into(),
            split: "train".into(),
            sha256: DIGEST.into(),
            verdict: "unknown".into(),
            bytes: 100,
        }],
        steps: 10,
        tokens: 1000,
        seconds: 0.1,
        tokens_per_s: 10_000.0,
        train_nats_per_token: 1.0 / 3.0,
        valid_bits_per_byte: None,
        curve: Some("curve.csv".into()),
    };
    let json = record.to_json().unwrap();
    assert_eq!(TrainingRecord::from_json(json.as_bytes()).unwrap(), record);
    record.train_nats_per_token = f64::NAN;
    assert!(record.to_json().is_err());
}
