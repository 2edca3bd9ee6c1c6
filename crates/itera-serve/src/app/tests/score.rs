//! `POST /v1/score`, `POST /tokenize`, `POST /detokenize` and `GET /tokenizer_info`.

use itera_core::{model::bits_per_byte, tokenizer::END_OF_TEXT};

use super::*;

#[tokio::test]
async fn texts_have_the_likelihood_that_the_model_gives_them() {
    let Server { app, dir: _dir } = Server::new("").await;
    let texts = ["Once upon a time", "", "x", "été\n\nend"];
    let body = json!({"input": texts, "model": "int8", "tokens": true});
    let reply = ok(&app, "/v1/score", &body).await;
    assert_eq!(
        (&reply["model"], &reply["precision"]),
        (&json!("small"), &json!("int8"))
    );
    assert_eq!(
        reply["weights_version"],
        *app.models.first().base.weights.version
    );
    let weights = app.models.first().weights();
    let variant = weights.variant("int8".parse().unwrap());
    let tokenizer = &weights.checkpoint.tokenizer;
    let mut scorer = variant.model.scorer(tokenizer.end_of_text());
    for (text, found) in texts.iter().zip(reply["data"].as_array().unwrap()) {
        let tokens = tokenizer.encode(text.as_bytes()).unwrap();
        let nats = scorer.documents(&[&tokens])[0];
        assert_eq!(
            found["nll_nats"].as_f64().unwrap().to_bits(),
            nats.to_bits()
        );
        assert_eq!(found["tokens"], tokens.len());
        let bits = (!text.is_empty()).then(|| bits_per_byte(nats, text.len() as f64));
        assert_eq!(found["bits_per_byte"], json!(bits));
        let told = found["token_scores"].as_array().unwrap();
        let joined: f64 = told
            .iter()
            .map(|token| token["nll_nats"].as_f64().unwrap())
            .sum();
        assert!((joined - nats).abs() < 1e-9);
        let last = told.last().map_or(0, |token| {
            token["offset"].as_u64().unwrap() + token["bytes"].as_u64().unwrap()
        });
        assert_eq!(last, text.len() as u64);
    }
    let one = ok(&app, "/v1/score", &json!({"input": "x"})).await;
    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    assert_eq!(one["data"][0].get("token_scores"), None);
    let metrics = get(&app, "/metrics").await.text();
    assert!(metrics.contains("itera_scored_tokens_total 2"), "{metrics}");
}

#[tokio::test]
async fn many_texts_are_scored_as_each_alone() {
    let Server { app, dir: _dir } = Server::new("").await;
    let texts: Vec<String> = (0..200)
        .map(|n| format!("story {n} {}", "la ".repeat(n % 40)))
        .collect();
    let together = ok(&app, "/v1/score", &json!({"input": texts})).await;
    for at in [0, 77, 199] {
        let alone = ok(&app, "/v1/score", &json!({"input": texts[at]})).await;
        assert_eq!(together["data"][at], alone["data"][0]);
    }
}

#[tokio::test]
async fn what_cannot_be_scored_is_named() {
    let Server { app, dir: _dir } = Server::new("").await;
    let other = post(&app, "/v1/score", &json!({"input": "x", "model": "other"})).await;
    assert_eq!(
        (other.status, &*other.code()),
        (StatusCode::NOT_FOUND, "model_not_found")
    );
    assert!(other.text().contains("there are small"), "{}", other.text());
    let large = "x".repeat(20_000);
    for (body, message) in [
        (json!({"input": []}), "1 to 256"),
        (json!({"input": vec!["x"; 257]}), "1 to 256"),
        (json!({"input": vec![&large; 4]}), "65536"),
        (json!({"input": large, "tokens": true}), "16384"),
        (json!({"input": 7}), "a text or a list of texts"),
        (json!({"input": "x", "stream": true}), "unknown field"),
    ] {
        let reply = post(&app, "/v1/score", &body).await;
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            reply.text()
        );
        assert!(
            ["invalid_value", "invalid_body"].contains(&&*reply.code()),
            "{}",
            reply.text()
        );
        assert!(
            reply.text().contains(message),
            "{message}: {}",
            reply.text()
        );
    }
}

#[tokio::test]
async fn tokens_come_and_go() {
    let Server { app, dir: _dir } = Server::new("").await;
    let found = ok(&app, "/tokenize", &json!({"prompt": "été"})).await;
    assert_eq!(found["count"], 5);
    let llama = json!({"content": "été", "add_special": true});
    let with_start = ok(&app, "/tokenize", &llama).await;
    let end = app
        .models
        .first()
        .base
        .weights
        .checkpoint
        .tokenizer
        .end_of_text();
    assert_eq!(with_start["tokens"][0], end);
    let text = ok(&app, "/detokenize", &json!({"tokens": found["tokens"]})).await;
    assert_eq!(
        (&text["prompt"], &text["content"]),
        (&json!("été"), &json!("été"))
    );
    let special = ok(&app, "/tokenize", &json!({"prompt": END_OF_TEXT})).await;
    assert_eq!(special["tokens"], json!([end]));
    let text = ok(&app, "/detokenize", &json!({"tokens": [97, end, 98]})).await;
    assert_eq!(text["prompt"], format!("a{END_OF_TEXT}b"));
    let reply = post(&app, "/detokenize", &json!({"tokens": [4000]})).await;
    assert_eq!(reply.code(), "invalid_value");
    let info = get(&app, "/tokenizer_info").await.json();
    assert_eq!(
        (&info["eos_token"], &info["tokenizer_class"]),
        (&json!(END_OF_TEXT), &json!("bytes"))
    );
}
