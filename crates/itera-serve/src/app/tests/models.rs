//! Several models: `GET /v1/models`, `POST /models/load`, `POST /models/unload`, and reading checkpoints again.

use itera_core::config::Preset;
use itera_testing::{bytes, random_checkpoint};

use super::*;
use crate::fixture;

/// Writes a model of other sizes than that of the server; gives its path.
fn larger(server: &Server, name: &str, seed: u64) -> String {
    let mut config = Preset::Test.config(bytes().vocab_size());
    config.n_layers += 1;
    let path = server.dir.path().join(format!("{name}.safetensors"));
    let checkpoint = random_checkpoint(config, bytes(), seed);
    std::fs::write(&path, checkpoint.to_bytes().unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

fn ids(models: &Value) -> Vec<&str> {
    let data = models["data"].as_array().unwrap().iter();
    data.map(|model| model["id"].as_str().unwrap()).collect()
}

fn greedy(model: &str) -> Value {
    json!({"model": model, "prompt": "ab", "max_tokens": 8, "temperature": 0, "logprobs": 0})
}

fn logprobs(reply: &Value) -> &Value {
    &reply["choices"][0]["logprobs"]["token_logprobs"]
}

#[tokio::test]
async fn models_are_loaded_named_and_unloaded() {
    let server = Server::new("").await;
    let app = &server.app;
    let checkpoint = larger(&server, "larger", 5);
    let loaded = ok(app, "/models/load", &json!({"checkpoint": checkpoint})).await;
    let names = ["larger", "larger.fp32", "larger.int8", "larger.int4"];
    assert_eq!(ids(&loaded), names);
    let listed = get(app, "/v1/models").await.json();
    assert_eq!(ids(&listed)[0], "small");
    assert_eq!(ids(&listed)[4..], names);
    // Both are asked at once: each answers with its own weights.
    let bodies = ["small.fp32", "larger.fp32", "larger-int4", "fp32"].map(greedy);
    let [small, other, coarse, first] = &bodies;
    let (small, other, coarse, first) = tokio::join!(
        ok(app, "/v1/completions", small),
        ok(app, "/v1/completions", other),
        ok(app, "/v1/completions", coarse),
        ok(app, "/v1/completions", first),
    );
    assert_eq!(logprobs(&small), logprobs(&first));
    assert_ne!(logprobs(&small), logprobs(&other));
    assert_ne!(logprobs(&other), logprobs(&coarse));
    let named = |reply: &Value| (reply["model"].clone(), reply["precision"].clone());
    assert_eq!(named(&coarse), (json!("larger"), json!("int4")));
    assert_ne!(other["system_fingerprint"], small["system_fingerprint"]);
    // Only what the first has written can be rated: it is the one that learns.
    assert!(small["choices"][0]["feedback_id"].is_string());
    assert!(other["choices"][0]["feedback_id"].is_null());
    // A session keeps its model when that is unloaded.
    let begun = post(
        app,
        "/v1/sessions",
        &json!({"prompt": "ab", "model": "larger"}),
    )
    .await;
    assert_eq!(begun.json()["model"], "larger");
    let score = json!({"input": "ab", "model": "larger"});
    assert_eq!(ok(app, "/v1/score", &score).await["model"], "larger");
    let left = ok(app, "/models/unload", &json!({"model": "larger"})).await;
    assert_eq!(ids(&left).len(), 4);
    assert_eq!(
        post(app, "/v1/score", &score).await.code(),
        "model_not_found"
    );
    let body = json!({"session": begun.json()["id"], "prompt": "c", "max_tokens": 2});
    assert_eq!(ok(app, "/v1/completions", &body).await["model"], "larger");
    let metrics = get(app, "/metrics").await.text();
    assert!(
        metrics.contains("itera_weights_info{model=\"small\""),
        "{metrics}"
    );
    assert!(!metrics.contains("larger"), "{metrics}");
}

#[tokio::test]
async fn what_cannot_be_loaded_or_unloaded_is_named() {
    let server = Server::new("").await;
    let app = &server.app;
    let broken = server.dir.path().join("broken.safetensors");
    std::fs::write(&broken, b"no checkpoint").unwrap();
    for (path, body, status, code) in [
        (
            "load",
            json!({"checkpoint": "nothing"}),
            422,
            "invalid_value",
        ),
        ("load", json!({"checkpoint": broken}), 422, "invalid_value"),
        (
            "load",
            json!({"checkpoint": "small", "precision": "int3"}),
            422,
            "invalid_value",
        ),
        ("load", json!({}), 422, "invalid_value"),
        ("unload", json!({"model": "larger"}), 404, "model_not_found"),
        ("unload", json!({"model": "small"}), 409, "model_stays"),
        // The database has the weights of the first.
        (
            "load",
            json!({"checkpoint": server.dir.path().join("small.safetensors")}),
            409,
            "model_stays",
        ),
    ] {
        let reply = post(app, &format!("/models/{path}"), &body).await;
        assert_eq!(
            (reply.status.as_u16(), &*reply.code()),
            (status, code),
            "{body}"
        );
    }
    for number in 0..15 {
        let checkpoint = larger(&server, &format!("number-{number}"), number);
        ok(app, "/models/load", &json!({"checkpoint": checkpoint})).await;
    }
    let checkpoint = larger(&server, "too-many", 99);
    let reply = post(app, "/models/load", &json!({"checkpoint": checkpoint})).await;
    assert_eq!(reply.code(), "model_stays");
}

#[tokio::test]
async fn checkpoints_that_have_changed_are_served_after_reading_again() {
    let server = Server::new("--database none").await;
    let app = &server.app;
    let checkpoint = larger(&server, "larger", 5);
    ok(app, "/models/load", &json!({"checkpoint": checkpoint})).await;
    let versions = || {
        let models = app.models.all().into_iter();
        models
            .map(|model| model.weights().version.to_string())
            .collect::<Vec<_>>()
    };
    let before = versions();
    app.models.reload();
    assert_eq!(versions(), before);
    larger(&server, "larger", 6);
    app.models.reload();
    let after = versions();
    assert_eq!(after[0], before[0]);
    assert_ne!(after[1], before[1]);
    // A file that is broken changes nothing; without a database the first one is read again too.
    std::fs::write(&checkpoint, b"no checkpoint").unwrap();
    let small = server.dir.path().join("small.safetensors");
    std::fs::write(&small, fixture::random_checkpoint(2).to_bytes().unwrap()).unwrap();
    app.models.reload();
    let last = versions();
    assert_eq!(last[1], after[1]);
    assert_ne!(last[0], after[0]);
    assert_eq!(get(app, "/health").await.json()["weights_version"], last[0]);
}

#[tokio::test]
async fn servers_start_with_several_models_of_different_names() {
    let other = Server::new("").await;
    let checkpoint = larger(&other, "larger", 5);
    let server = Server::new(&format!("--checkpoint {checkpoint}")).await;
    let models = get(&server.app, "/v1/models").await.json();
    assert_eq!((ids(&models)[0], ids(&models)[4]), ("small", "larger"));
    let small = other.dir.path().join("small.safetensors");
    let twice = [
        small.to_str().unwrap().to_owned(),
        checkpoint.clone(),
        checkpoint,
    ];
    let refused = crate::models::Models::load(&twice, None, false).unwrap_err();
    assert!(
        refused.to_string().contains("the name `larger`"),
        "{refused}"
    );
}
