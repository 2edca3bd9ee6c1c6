//! `POST /v1/completions` and `GET /v1/models`.

use super::*;

#[tokio::test]
async fn the_form_is_openais() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"model": "small", "prompt": "ab", "max_tokens": 8, "seed": 3, "user": "x"});
    let reply = ok(&app, "/v1/completions", &body).await;
    let id = reply["id"].as_str().unwrap();
    let choice = &reply["choices"][0];
    assert_eq!(
        id,
        format!("cmpl-{}", choice["feedback_id"].as_str().unwrap())
    );
    assert_eq!(reply["object"], "text_completion");
    assert_eq!(reply["model"], "small");
    assert!(reply["created"].as_i64().unwrap() > 1_700_000_000);
    assert_eq!(choice["index"], 0);
    assert_eq!(choice["logprobs"], Value::Null);
    let usage = &reply["usage"];
    let (prompt, written) = (&usage["prompt_tokens"], &usage["completion_tokens"]);
    assert_eq!(prompt, 2);
    let total = prompt.as_u64().unwrap() + written.as_u64().unwrap();
    assert_eq!(usage["total_tokens"], total);
    // The id of the completion is good for feedback.
    let feedback = json!({"feedback_id": id, "user_rating": 5, "correctness": true});
    assert_eq!(ok(&app, "/feedback", &feedback).await["status"], "recorded");
}

#[tokio::test]
async fn prompts_of_every_kind_and_several_answers() {
    let Server { app, dir: _dir } = Server::new("").await;
    let texts = |reply: &Value| -> Vec<Value> {
        let choices = reply["choices"].as_array().unwrap().iter();
        choices.map(|choice| choice["text"].clone()).collect()
    };
    let ask = |prompt: Value, n: u64| {
        let app = Arc::clone(&app);
        async move {
            let body = json!({"prompt": prompt, "n": n, "seed": 9, "max_tokens": 12});
            ok(&app, "/v1/completions", &body).await
        }
    };
    let one = texts(&ask(json!("ab"), 1).await);
    assert_eq!(texts(&ask(json!([97, 98]), 1).await), one);
    let several = ask(json!(["ab", "cd"]), 2).await;
    let found = texts(&several);
    assert_eq!((found.len(), &found[0]), (4, &one[0]));
    assert_eq!(several["choices"][3]["seed"], 12);
    assert_eq!(several["choices"][3]["index"], 3);
    assert_eq!(texts(&ask(json!([[97, 98]]), 1).await), one);
    let echoed = json!({"prompt": "ab", "seed": 9, "max_tokens": 12, "echo": true, "logprobs": 2});
    let echoed = ok(&app, "/v1/completions", &echoed).await;
    let text = echoed["choices"][0]["text"].as_str().unwrap();
    assert_eq!(text, format!("ab{}", one[0].as_str().unwrap()));
    let logprobs = &echoed["choices"][0]["logprobs"];
    for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
        let len = logprobs[list].as_array().unwrap().len() as u64;
        assert_eq!(
            len,
            2 + echoed["usage"]["completion_tokens"].as_u64().unwrap()
        );
    }
}

#[tokio::test]
async fn the_end_of_text_is_told_with_its_probability() {
    let Server { app, dir: _dir } = Server::new("--rate-limit 0").await;
    let mut ends = 0;
    for seed in 0..32 {
        let body = json!({"prompt": "ab", "max_tokens": 512, "seed": seed, "logprobs": 1});
        let reply = ok(&app, "/v1/completions", &body).await;
        let choice = &reply["choices"][0];
        let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
        let written = reply["usage"]["completion_tokens"].as_u64().unwrap() as usize;
        let ended = choice["finish_reason"] == "stop";
        assert_eq!(tokens.len(), written + usize::from(ended));
        if ended {
            assert_eq!(tokens[written], "<|endoftext|>");
            assert!(choice["logprobs"]["token_logprobs"][written].as_f64() < Some(0.0));
            ends += 1;
        }
    }
    assert!(ends > 0, "no text ended");
}

#[tokio::test]
async fn a_start_that_is_written_is_read_once() {
    let Server { app, dir: _dir } = Server::new("").await;
    let ask = async |prompt: Value| {
        let body = json!({"prompt": prompt, "max_tokens": 1, "echo": true, "logprobs": 1,
            "temperature": 0});
        ok(&app, "/v1/completions", &body).await["choices"][0].clone()
    };
    let plain = ask(json!("ab")).await;
    let written = ask(json!("<|endoftext|>ab")).await;
    assert_eq!(
        ask(json!([256, 97, 98])).await["logprobs"],
        written["logprobs"]
    );
    assert_eq!(written["text"], plain["text"]);
    for (list, first) in [
        ("tokens", json!("<|endoftext|>")),
        ("token_logprobs", Value::Null),
        ("top_logprobs", Value::Null),
        ("text_offset", json!(0)),
    ] {
        let mut expected = vec![first];
        expected.extend(plain["logprobs"][list].as_array().unwrap().iter().cloned());
        assert_eq!(written["logprobs"][list], json!(expected), "{list}");
    }
    // Nothing but the start is an empty prompt.
    let alone = ask(json!("<|endoftext|>")).await;
    assert_eq!(alone["logprobs"]["tokens"][0], "<|endoftext|>");
    assert_eq!(alone["text"], ask(json!("")).await["text"]);
}

#[tokio::test]
async fn a_request_may_have_a_batch_of_prompts() {
    let Server { app, dir: _dir } = Server::new("").await;
    let ask = |count: usize| json!({"prompt": vec!["ab"; count], "max_tokens": 1});
    let reply = ok(&app, "/v1/completions", &ask(64)).await;
    assert_eq!(reply["choices"].as_array().unwrap().len(), 64);
    let reply = post(&app, "/v1/completions", &ask(65)).await;
    assert_eq!(reply.code(), "invalid_value");
}

/// The events of a stream without the last, which must be `[DONE]`.
fn events(reply: &Reply) -> Vec<Value> {
    assert_eq!(reply.headers[header::CONTENT_TYPE], "text/event-stream");
    let text = reply.text();
    let mut data: Vec<&str> = text
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.into_iter()
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_brings_the_same_in_pieces() {
    let Server { app, dir: _dir } = Server::new("").await;
    let mut body = json!({"prompt": ["ab", "cd"], "max_tokens": 20, "seed": 4, "logprobs": 1});
    let whole = ok(&app, "/v1/completions", &body).await;
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let reply = post(&app, "/v1/completions", &body).await;
    let mut events = events(&reply);
    let last = events.pop().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(tokens_of(&last["usage"]), tokens_of(&whole["usage"]));
    let (mut texts, mut ends, mut tokens) = ([String::new(), String::new()], [0, 0], 0);
    for event in &events {
        assert_eq!(event["usage"], Value::Null);
        assert_eq!(event["id"], events[0]["id"]);
        let choice = &event["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        assert_eq!(ends[index], 0, "a piece after the end");
        texts[index] += choice["text"].as_str().unwrap();
        tokens += choice["logprobs"]["tokens"].as_array().map_or(0, Vec::len);
        if choice["finish_reason"] != Value::Null {
            ends[index] += 1;
            assert_eq!(
                choice["finish_reason"],
                whole["choices"][index]["finish_reason"]
            );
            let id = choice["feedback_id"].as_str().unwrap();
            assert_eq!(id.len(), 32);
            // The id of the stream is good for feedback on its first answer.
            assert_eq!(event["id"] == format!("cmpl-{id}"), index == 0);
        }
    }
    assert_eq!(ends, [1, 1]);
    assert_eq!(
        tokens as u64,
        whole["usage"]["completion_tokens"].as_u64().unwrap()
    );
    for (text, choice) in texts.iter().zip(whole["choices"].as_array().unwrap()) {
        assert_eq!(choice["text"], *text);
    }
}

#[tokio::test]
async fn a_stop_text_ends_a_stream_too() {
    let Server { app, dir: _dir } = Server::new("").await;
    let mut body = json!({"prompt": "ab", "max_tokens": 200, "seed": 4});
    let whole = ok(&app, "/v1/completions", &body).await;
    let text = whole["choices"][0]["text"].as_str().unwrap();
    // Some character of the answer that UTF-8 has one byte for, so that it is surely a stop text.
    let stop = text
        .chars()
        .skip(10)
        .find(char::is_ascii)
        .unwrap()
        .to_string();
    body["stop"] = json!(stop);
    body["stream"] = json!(true);
    let reply = post(&app, "/v1/completions", &body).await;
    let events = events(&reply);
    let pieces = events
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap());
    assert_eq!(
        pieces.collect::<String>(),
        text.split(&stop).next().unwrap()
    );
    assert_eq!(
        events.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
}

#[tokio::test]
async fn what_is_not_supported_is_said_and_not_ignored() {
    let Server { app, dir: _dir } = Server::new("").await;
    for (name, value, status, code) in [
        ("best_of", json!(3), 400, "unsupported_parameter"),
        ("presence_penalty", json!(2.5), 422, "invalid_value"),
        ("repetition_penalty", json!(0), 422, "invalid_value"),
        ("logit_bias", json!({"x": 1}), 422, "invalid_value"),
        ("logit_bias", json!({"999": 1}), 422, "invalid_value"),
        ("logit_bias", json!({"5": 101}), 422, "invalid_value"),
        ("min_p", json!(1.5), 422, "invalid_value"),
        ("min_tokens", json!(3), 422, "invalid_value"),
        ("suffix", json!("x"), 400, "unsupported_parameter"),
        ("model", json!("gpt-4"), 404, "model_not_found"),
        ("max_tokens", json!(0), 422, "invalid_value"),
        ("max_tokens", json!(513), 422, "invalid_value"),
        ("logprobs", json!(6), 422, "invalid_value"),
        ("n", json!(17), 422, "invalid_value"),
        ("prompt", json!([]), 422, "invalid_value"),
        ("prompt", json!([999]), 422, "invalid_value"),
        ("prompt", json!({"a": 1}), 422, "invalid_value"),
        ("temperature", json!(2.5), 422, "invalid_value"),
    ] {
        for stream in [false, true] {
            let mut body = json!({"prompt": "ab", "max_tokens": 2, "stream": stream});
            body[name] = value.clone();
            let reply = post(&app, "/v1/completions", &body).await;
            assert_eq!(reply.status.as_u16(), status, "{body}: {}", reply.text());
            assert_eq!(reply.code(), code);
        }
    }
    for (name, value) in [
        ("presence_penalty", json!(0)),
        ("best_of", json!(1)),
        ("logit_bias", json!({})),
        ("suffix", Value::Null),
        ("temperature", json!(0)),
        ("prompt", json!("")),
        ("prompt", json!(["a", ""])),
    ] {
        let mut body = json!({"prompt": "ab", "max_tokens": 2});
        body[name] = value;
        ok(&app, "/v1/completions", &body).await;
    }
}

#[tokio::test]
async fn what_is_done_to_logits_changes_what_is_written() {
    let Server { app, dir: _dir } = Server::new("--max-tokens 2000").await;
    let written = async |changes: Value| {
        let mut body = json!({"prompt": "ab", "max_tokens": 40, "temperature": 0, "logprobs": 0});
        for (name, value) in changes.as_object().unwrap() {
            body[name] = value.clone();
        }
        let reply = ok(&app, "/v1/completions", &body).await;
        let choice = &reply["choices"][0];
        let finish = choice["finish_reason"].as_str().unwrap().to_owned();
        (
            choice["logprobs"]["tokens"].as_array().unwrap().clone(),
            finish,
        )
    };
    let all_alike = |tokens: &[Value]| tokens.iter().all(|token| *token == tokens[0]);
    let (always, _) = written(json!({"logit_bias": {"97": 100}})).await;
    assert_eq!((always.len(), all_alike(&always)), (40, true));
    let penalised =
        json!({"logit_bias": {"97": 100}, "frequency_penalty": 2, "presence_penalty": 2});
    assert!(all_alike(&written(penalised).await.0));
    let never = json!({"logit_bias": {"97": -100}, "repetition_penalty": 1.3});
    assert!(!written(never).await.0.contains(&always[0]));
    let model = app.models.first().at_default();
    let end = model.tokenizer.end_of_text().to_string();
    let ends = json!({"logit_bias": {&end: 100}});
    assert_eq!(written(ends).await.1, "stop");
    let late = json!({"logit_bias": {&end: 100}, "min_tokens": 7});
    let (tokens, finish) = written(late).await;
    // The end is among the probabilities.
    assert_eq!((tokens.len(), &*finish), (8, "stop"));
    let endless = json!({"logit_bias": {&end: 100}, "ignore_eos": true, "max_tokens": 1500});
    let (tokens, finish) = written(endless).await;
    assert_eq!((tokens.len(), &*finish), (1500, "length"));
    // Only the likeliest token has all of its own probability.
    let greedy = written(json!({})).await;
    assert_eq!(
        written(json!({"temperature": 1, "min_p": 1.0})).await,
        greedy
    );
}

#[tokio::test]
async fn what_was_written_until_a_client_goes_can_be_rated() {
    use futures_util::StreamExt as _;

    let Server { app, dir: _dir } = Server::new("--max-tokens 16384").await;
    let body = json!({"prompt": "ab", "max_tokens": 16_384, "ignore_eos": true, "stream": true});
    let request = Request::post("/v1/completions").header(header::CONTENT_TYPE, "application/json");
    let request = request.body(Body::from(body.to_string())).unwrap();
    let response = router(Arc::clone(&app)).oneshot(request).await.unwrap();
    let mut pieces = response.into_body().into_data_stream();
    let mut shown = String::new();
    while shown.len() < 2000 {
        shown += std::str::from_utf8(&pieces.next().await.unwrap().unwrap()).unwrap();
    }
    drop(pieces);
    let events = shown
        .split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "));
    let events: Vec<Value> = events
        .filter_map(|event| serde_json::from_str(event).ok())
        .collect();
    let told: String = events
        .iter()
        .map(|event| event["choices"][0]["text"].as_str().unwrap())
        .collect();
    let verdict = json!({"feedback_id": events[0]["id"], "user_rating": 1});
    ok(&app, "/feedback", &verdict).await;
    let rated = app.store.as_ref().unwrap().latest(1).await.unwrap();
    assert!(
        rated[0].answer.output.starts_with(&told),
        "{told} {:?}",
        rated[0]
    );
}

#[tokio::test]
async fn usage_tells_times_and_energy() {
    let body = json!({"prompt": "ab", "max_tokens": 8, "n": 2, "ignore_eos": true});
    let Server { app, dir: _dir } = Server::new("").await;
    let usage = ok(&app, "/v1/completions", &body).await["usage"].clone();
    assert_eq!(usage["energy_j"], Value::Null);
    let Server { app, dir: _dir } = Server::new("--watts-per-core 2.5").await;
    let usage = ok(&app, "/v1/completions", &body).await["usage"].clone();
    let of = |name: &str| usage[name].as_f64().unwrap();
    assert!(of("prompt_ms") > 0.0 && of("decode_ms") > 0.0, "{usage}");
    let cpu = of("cpu_ms");
    assert!(
        cpu > 0.0 && cpu <= 2.0 * (of("prompt_ms") + of("decode_ms")),
        "{usage}"
    );
    assert!((of("energy_j") - 2.5 * cpu / 1e3).abs() < 1e-12, "{usage}");
}
