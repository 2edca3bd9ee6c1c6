//! `POST /v1/chat/completions`.

use super::*;

/// The data of server-sent events but the last, which is `[DONE]`.
fn events(reply: &Reply) -> Vec<Value> {
    let text = reply.text();
    let mut data: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .collect();
    assert_eq!(data.pop(), Some("[DONE]"));
    data.into_iter()
        .map(|json| serde_json::from_str(json).unwrap())
        .collect()
}

#[tokio::test]
async fn a_conversation_is_continued_as_the_text_of_its_messages() {
    let Server { app, dir: _dir } = Server::new("").await;
    let parts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let body = json!({"model": "small.int8", "seed": 5, "max_completion_tokens": 20, "max_tokens": 3, "n": 2,
        "messages": [{"role": "system", "content": "Write."}, {"role": "user", "content": parts}]});
    let chat = ok(&app, "/v1/chat/completions", &body).await;
    assert_eq!(chat["object"], "chat.completion");
    let plain =
        json!({"model": "small.int8", "seed": 5, "max_tokens": 20, "n": 2, "prompt": "Write.\nab"});
    let plain = ok(&app, "/v1/completions", &plain).await;
    for index in 0..2 {
        let (said, text) = (&chat["choices"][index], &plain["choices"][index]);
        assert_eq!(
            said["message"],
            json!({"role": "assistant", "content": text["text"]})
        );
        assert_eq!(said["finish_reason"], text["finish_reason"]);
    }
    assert_eq!(tokens_of(&chat["usage"]), tokens_of(&plain["usage"]));
    // The id of the response is good for feedback.
    let rating = json!({"feedback_id": chat["id"], "user_rating": 5});
    ok(&app, "/feedback", &rating).await;
}

#[tokio::test]
async fn a_stream_begins_with_the_role_and_brings_the_same_text() {
    let Server { app, dir: _dir } = Server::new("").await;
    let mut body =
        json!({"seed": 5, "max_tokens": 20, "messages": [{"role": "user", "content": "ab"}]});
    let whole = ok(&app, "/v1/chat/completions", &body).await;
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let events = events(&post(&app, "/v1/chat/completions", &body).await);
    assert_eq!(
        events[0]["choices"][0]["delta"],
        json!({"role": "assistant", "content": ""})
    );
    assert_eq!(events[0]["object"], "chat.completion.chunk");
    let pieces = events[1..].iter().filter_map(|event| {
        let delta = &event["choices"][0]["delta"];
        assert!(delta.get("role").is_none(), "{event}");
        delta["content"].as_str()
    });
    assert_eq!(
        pieces.collect::<String>(),
        whole["choices"][0]["message"]["content"]
    );
    let usage = &events.last().unwrap()["usage"];
    assert_eq!(tokens_of(usage), tokens_of(&whole["usage"]));
}

#[tokio::test]
async fn what_is_no_conversation_is_named() {
    let Server { app, dir: _dir } = Server::new("").await;
    let message = json!([{"role": "user", "content": "a"}]);
    for (body, word) in [
        (json!({"messages": []}), "at least one"),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            "a text or a list of parts",
        ),
        (json!({"messages": message, "logprobs": true}), "/v1/score"),
        (
            json!({"messages": message, "temperature": "hot"}),
            "temperature",
        ),
        (json!({"messages": message, "temperature": 3}), "0 to 2"),
    ] {
        let reply = post(&app, "/v1/chat/completions", &body).await;
        assert_eq!(
            reply.status,
            StatusCode::UNPROCESSABLE_ENTITY,
            "{}",
            reply.text()
        );
        assert_eq!(reply.code(), "invalid_value");
        assert!(reply.text().contains(word), "{word}: {}", reply.text());
    }
}
