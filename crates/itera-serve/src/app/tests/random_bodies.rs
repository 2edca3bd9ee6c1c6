//! Every endpoint with random bodies: an answer of JSON each time, and never a fault of the server.

use proptest::{prelude::*, test_runner::Config};
use tokio::runtime::Builder;

use super::*;

const PATHS: [&str; 5] = [
    "/infer",
    "/v1/completions",
    "/feedback",
    "/adapt/rollback",
    "/experiments",
];

/// Names of fields, so that random objects get past the first check.
const NAMES: [&str; 21] = [
    "input_text",
    "max_length",
    "temperature",
    "top_k",
    "top_p",
    "seed",
    "stop",
    "model_variant",
    "prompt",
    "max_tokens",
    "n",
    "stream",
    "logprobs",
    "echo",
    "feedback_id",
    "user_rating",
    "correction",
    "version",
    "id",
    "by",
    "arms",
];

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-3_i64..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0.0..2.5).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-z \0é😀]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(2, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,8}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::collection::btree_map(prop::sample::select(&NAMES[..]), value(), 0..6);
    let object = fields.prop_map(|map| {
        let pairs = map
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value));
        Value::Object(pairs.collect()).to_string().into_bytes()
    });
    prop_oneof![
        6 => object,
        2 => value().prop_map(|value| value.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..200),
    ]
}

#[test]
fn no_body_is_too_odd() {
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::new("--rate-limit 0"));
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    proptest!(config, |(path in prop::sample::select(&PATHS[..]), body in body())| {
        let reply = runtime.block_on(post_bytes(&server.app, path, body));
        prop_assert!(reply.status.as_u16() < 500, "{}: {}", reply.status, reply.text());
        if reply.status.is_client_error() {
            reply.code();
        } else {
            prop_assert_eq!(reply.status, StatusCode::OK);
        }
    });
    // And it still works.
    let body = json!({"input_text": "ab"});
    runtime.block_on(ok(&server.app, "/infer", &body));
}
