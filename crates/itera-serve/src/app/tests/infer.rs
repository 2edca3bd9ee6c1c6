//! `POST /infer`.

use super::*;

#[tokio::test]
async fn an_answer_has_every_field_and_the_seed_repeats_it() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"input_text": "ab", "max_length": 20, "temperature": 1.0, "top_k": 50,
        "top_p": 0.95, "seed": 7, "stop": ["zzzz"], "model_variant": "fp32"});
    let first = ok(&app, "/infer", &body).await;
    assert_eq!(first["input_text"], "ab");
    assert_eq!(first["seed"], 7);
    assert_eq!(first["model_variant"], "fp32");
    assert_eq!(
        first["weights_version"],
        *app.models.first().base.weights.version
    );
    let tokens = first["tokens_generated"].as_u64().unwrap();
    assert!(tokens <= 20 && (tokens == 20) == (first["finish_reason"] == "length"));
    assert!(first["latency_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(first["feedback_id"].as_str().unwrap().len(), 32);
    let second = ok(&app, "/infer", &body).await;
    assert_eq!(first["output_text"], second["output_text"]);
    assert_ne!(first["feedback_id"], second["feedback_id"]);
}

#[tokio::test]
async fn a_drawn_seed_repeats_the_answer() {
    let Server { app, dir: _dir } = Server::new("").await;
    let first = ok(&app, "/infer", &json!({"input_text": "ab"})).await;
    let again = json!({"input_text": "ab", "seed": first["seed"]});
    let second = ok(&app, "/infer", &again).await;
    assert_eq!(first["output_text"], second["output_text"]);
}

#[tokio::test]
async fn precisions_differ_and_are_named_in_three_ways() {
    let Server { app, dir: _dir } = Server::new("").await;
    let mut texts = Vec::new();
    for (name, variant) in [
        ("small", "int8"),
        ("int4", "int4"),
        ("small.fp32", "fp32"),
        ("small-int8", "int8"),
    ] {
        let body = json!({"input_text": "ab", "seed": 1, "max_length": 100, "model_variant": name});
        let reply = ok(&app, "/infer", &body).await;
        assert_eq!(reply["model_variant"], variant, "{name}");
        texts.push(reply["output_text"].clone());
    }
    assert_eq!(texts[0], texts[3]);
    assert_ne!(texts[1], texts[2]);
}

#[tokio::test]
async fn bad_input_is_named() {
    let Server { app, dir: _dir } = Server::new("--max-prompt-bytes 100").await;
    let long = "x".repeat(101);
    let with = |name: &str, value: Value| {
        let mut body = json!({"input_text": "ab"});
        body[name] = value;
        body
    };
    for (body, word) in [
        (json!({}), "input_text"),
        (json!([]), "struct InferRequest"),
        (json!({"input_text": long}), "101 bytes"),
        (json!({"input_text": 5}), "input_text"),
        (with("max_length", json!(0)), "max_length"),
        (with("max_length", json!(513)), "1 to 512"),
        (with("max_length", json!(-1)), "max_length"),
        (with("max_length", json!(1.5)), "max_length"),
        (with("temperature", json!(0.05)), "0.1 to 2"),
        (with("temperature", json!(2.1)), "temperature"),
        (with("temperature", json!("hot")), "temperature"),
        (with("top_k", json!(0)), "top_k"),
        (with("top_p", json!(0)), "top_p"),
        (with("top_p", json!(1.01)), "top_p"),
        (with("seed", json!(-1)), "seed"),
        (with("stop", json!(["a", "b", "c", "d", "e"])), "stop"),
        (with("stop", json!("")), "stop"),
        (with("stop", json!(5)), "a text or a list of texts"),
        (with("max_lenght", json!(5)), "max_lenght"),
    ] {
        let reply = post(&app, "/infer", &body).await;
        assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(reply.code(), "invalid_value");
        assert!(reply.text().contains(word), "{body}: {}", reply.text());
    }
    let other = post(&app, "/infer", &with("model_variant", json!("int2"))).await;
    assert_eq!(other.code(), "model_not_found");
}

#[tokio::test]
async fn the_limit_of_a_body_is_that_of_the_settings() {
    let line = "--max-body-bytes 8000000 --max-prompt-bytes 4000000";
    let Server { app, dir: _dir } = Server::stuck(line).await;
    // Read whole, and refused for what stands in it.
    let large = json!({"input_text": "x".repeat(3_000_000), "max_length": 0});
    let reply = post(&app, "/infer", &large).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let Server { app, dir: _dir } = Server::new("--max-body-bytes 2048").await;
    for body in [
        &b""[..],
        b"{",
        b"\xff\xfe",
        b"{\"input_text\": \"\xff\"}",
        b"nul",
    ] {
        let reply = post_bytes(&app, "/infer", body.to_vec()).await;
        assert_eq!(reply.status, StatusCode::BAD_REQUEST, "{body:?}");
        assert_eq!(reply.code(), "malformed_json");
    }
    let plain = Request::post("/infer").body(Body::from("{\"input_text\": \"a\"}"));
    let reply = send(&app, plain.unwrap()).await;
    assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    assert_eq!(reply.code(), "not_json");
    let large = json!({"input_text": "x".repeat(3000)});
    let reply = post(&app, "/infer", &large).await;
    assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reply.code(), "body_too_large");
}

#[tokio::test]
async fn a_nul_and_other_odd_characters_are_text() {
    let Server { app, dir: _dir } = Server::new("").await;
    for text in ["a\0b", "\u{fffd}", "😀", "<|endoftext|>", "\r\n\t"] {
        let reply = ok(
            &app,
            "/infer",
            &json!({"input_text": text, "max_length": 3}),
        )
        .await;
        assert_eq!(reply["input_text"], text);
    }
}
