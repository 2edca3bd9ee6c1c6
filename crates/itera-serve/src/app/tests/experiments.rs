//! `/experiments`, and what an experiment does to requests.

use std::collections::BTreeMap;

use super::*;
use crate::store::{Answer, ArmOf, Feedback, ScoredText, Store, now_ms};

pub(super) fn store(app: &App) -> &Store {
    app.store.as_ref().unwrap()
}

/// A second server of the same database.
pub(super) async fn beside(server: &Server) -> Server {
    let database = server.dir.path().join("serve.db");
    Server::new(&format!("--rate-limit 0 --database {}", database.display())).await
}

async fn begin(app: &Arc<App>, body: &Value) -> Value {
    let reply = post(app, "/experiments", body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text());
    reply.json()
}

fn of_two(by: &str) -> Value {
    json!({"id": "one", "by": by, "arms": [{"name": "a"}, {"name": "b", "temperature": 0.3}]})
}

pub(super) async fn infer(app: &Arc<App>, user: &str) -> Value {
    let body = json!({"input_text": "ab", "max_length": 2, "user": user});
    ok(app, "/infer", &body).await
}

/// An answer of an arm, as if it had been written.
pub(super) fn answer(id: &str, experiment: &str, arm: &str) -> Answer {
    Answer {
        id: id.to_owned(),
        created_ms: now_ms(),
        prompt: "ab".to_owned(),
        output: "cd".to_owned(),
        ended: true,
        tokens: 3,
        variant: "int8".to_owned(),
        version: "v".to_owned(),
        parameters: "{}".to_owned(),
        latency_us: 3000,
        user: None,
        arm: Some(ArmOf {
            experiment: experiment.to_owned(),
            arm: arm.to_owned(),
            unit: id.to_owned(),
        }),
    }
}

/// `count` answers of an arm, of which the first `negative` are rated as bad and others, up to `rated`, as good.
pub(super) async fn answers(
    app: &App,
    experiment: &str,
    arm: &str,
    [count, rated, negative]: [usize; 3],
) {
    let store = store(app);
    for number in 0..count {
        while !store.log(answer(
            &format!("{experiment}{arm}{number}"),
            experiment,
            arm,
        )) {
            store.flush().await;
        }
    }
    let verdicts = (0..rated).map(|number| {
        store.rate(Feedback {
            id: format!("{experiment}{arm}{number}"),
            rating: Some(if number < negative { 1 } else { 5 }),
            correct: None,
            correction: None,
            comments: None,
            replaces: true,
            source: None,
        })
    });
    futures_util::future::try_join_all(verdicts).await.unwrap();
    store.flush().await;
}

#[tokio::test]
async fn servers_of_a_database_give_a_user_the_same_arm() {
    let first = Server::new("--rate-limit 0").await;
    let second = beside(&first).await;
    let (first, second) = (&first.app, &second.app);
    let begun = begin(first, &of_two("user")).await;
    assert_eq!(
        (&begun["running"], &begun["kind"]),
        (&json!(true), &json!("comparison"))
    );
    second.experiments.follow().await.unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for user in 0..40 {
        let user = format!("user {user}");
        let arm = infer(first, &user).await["arm"].clone();
        assert_eq!(infer(second, &user).await["arm"], arm);
        let body = json!({"prompt": "ab", "max_tokens": 1, "user": user});
        let written = ok(first, "/v1/completions", &body).await;
        assert_eq!(written["arm"], arm, "{written}");
        *counts.entry(arm.as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(counts["one/a"] >= 8 && counts["one/b"] >= 8, "{counts:?}");
    // Stopped by one, it is stopped for both.
    assert_eq!(
        ok(second, "/experiments/one/stop", &json!({})).await["running"],
        false
    );
    first.experiments.follow().await.unwrap();
    for app in [first, second] {
        assert_eq!(infer(app, "user 1").await["arm"], Value::Null);
    }
}

#[tokio::test]
async fn whoever_says_what_the_arms_differ_in_takes_no_part() {
    let Server { app, dir: _dir } = Server::new("").await;
    begin(&app, &of_two("request")).await;
    for (name, value, takes_part) in [
        ("model_variant", json!("int8"), false),
        ("temperature", json!(0.8), false),
        ("top_k", json!(4), true),
    ] {
        let mut body = json!({"input_text": "ab", "max_length": 1});
        body[name] = value;
        let arm = &ok(&app, "/infer", &body).await["arm"];
        assert_eq!(arm.is_string(), takes_part, "{name}");
    }
    // The arm's sampling is what such an answer is written with.
    let mut temperatures = BTreeMap::new();
    for _ in 0..30 {
        let reply = infer(&app, "x").await;
        let id = reply["feedback_id"].as_str().unwrap().to_owned();
        let body = json!({"feedback_id": id, "user_rating": 4});
        ok(&app, "/feedback", &body).await;
        let answer = store(&app).rated(&id).await.unwrap().unwrap().answer;
        let of = answer.arm.unwrap();
        assert_eq!(reply["arm"], format!("{}/{}", of.experiment, of.arm));
        let parameters: Value = serde_json::from_str(&answer.parameters).unwrap();
        temperatures.insert(of.arm, parameters["temperature"].as_f64().unwrap());
    }
    assert!((temperatures["a"] - 0.8).abs() < 1e-6, "{temperatures:?}");
    assert!((temperatures["b"] - 0.3).abs() < 1e-6, "{temperatures:?}");
}

#[tokio::test]
async fn a_session_stays_with_its_arm() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"id": "one", "arms": [{"name": "a", "precision": "fp32"}, {"name": "b", "precision": "int4"}]});
    begin(&app, &body).await;
    for _ in 0..8 {
        let session = post(&app, "/v1/sessions", &json!({"prompt": "ab"}))
            .await
            .json();
        let fork = format!("/v1/sessions/{}/fork", session["id"].as_str().unwrap());
        let fork = post(&app, &fork, &json!({})).await.json();
        let arm = if session["precision"] == "fp32" {
            "one/a"
        } else {
            "one/b"
        };
        for id in [&session["id"], &fork["id"]] {
            let body = json!({"session": id, "prompt": "c", "max_tokens": 1});
            assert_eq!(ok(&app, "/v1/completions", &body).await["arm"], arm);
        }
    }
}

#[tokio::test]
async fn verdicts_and_texts_are_told_by_arm() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"id": "one", "by": "request",
        "arms": [{"name": "a", "precision": "fp32"}, {"name": "b", "precision": "int4"}]});
    begin(&app, &body).await;
    for _ in 0..6 {
        let id = answered(&app).await;
        // The correction takes the place of the text that was accepted.
        for verdict in [("user_rating", json!(5)), ("correction", json!("cd ef"))] {
            let body = json!({"feedback_id": id, verdict.0: verdict.1});
            ok(&app, "/feedback", &body).await;
        }
    }
    let report = loop {
        let report = get(&app, "/experiments/one").await.json();
        if report["results"][0]["corrected"]["texts"] == 6.0 {
            break report;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    };
    let [a, b] = [0, 1].map(|arm| &report["results"][arm]);
    let answers = [a, b].map(|arm| arm["answers"].as_f64().unwrap() as usize);
    assert_eq!(answers[0] + answers[1], 6);
    let bits = |arm: &Value| arm["corrected"]["bits_per_byte"].as_f64().unwrap();
    assert!(
        bits(a) > 0.0 && (bits(a) - bits(b)).abs() > 1e-6,
        "{report}"
    );
    for arm in [a, b] {
        if arm["answers"] != 0.0 {
            assert_eq!(
                (&arm["rated_share"], &arm["negative_share"]["estimate"]),
                (&json!(1.0), &json!(1.0))
            );
            assert!(arm["latency_ms"]["p99"].as_f64() > Some(0.0));
        }
    }
    assert_eq!(
        report["comparisons"][0]["negative_share"]["verdict"],
        "too_few"
    );
    let metrics = get(&app, "/metrics").await.text();
    let sum = |name: &str| {
        let lines = metrics.lines().filter(|line| line.starts_with(name));
        let values = lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
        values.sum::<f64>()
    };
    for (name, expected) in [
        ("itera_arm_seconds_count{experiment=\"one\",arm=", 6.0),
        ("itera_arm_feedback_total{experiment=\"one\",arm=", 6.0),
        (
            "itera_arm_online_bytes_total{experiment=\"one\",arm=\"b\",kind=\"corrected\"}",
            30.0,
        ),
        ("itera_arm_failures_total{experiment=\"one\",arm=", 0.0),
    ] {
        assert!((sum(name) - expected).abs() < 1e-9, "{name}: {metrics}");
    }
    assert!(sum("itera_arm_online_nats_total{experiment=\"one\",arm=\"a\"") > 0.0);
}

#[tokio::test]
async fn a_difference_is_found_and_withheld_if_the_division_is_not_as_said() {
    let Server { app, dir: _dir } = Server::new("--role follower").await;
    begin(&app, &of_two("user")).await;
    answers(&app, "one", "a", [300, 200, 20]).await;
    answers(&app, "one", "b", [310, 200, 80]).await;
    let report = get(&app, "/experiments/one").await.json();
    let (results, compared) = (&report["results"][1], &report["comparisons"][0]);
    assert_eq!(
        (&results["units"], &results["answers"]),
        (&json!(310.0), &json!(310.0))
    );
    assert_eq!(report["sample_ratio"]["holds"], true, "{report}");
    let share = &compared["negative_share"];
    assert_eq!(share["verdict"], "worse", "{report}");
    assert!((share["difference"]["estimate"].as_f64().unwrap() - 0.3).abs() < 1e-9);
    assert_eq!(compared["corrected_bits_per_byte"]["verdict"], "too_few");
    // Answers that are not rated are forgotten, and still counted.
    store(&app).prune(0).await.unwrap();
    assert_eq!(
        get(&app, "/experiments/one").await.json()["results"][1]["answers"],
        310.0
    );
    answers(&app, "one", "c", [0, 0, 0]).await;
    for number in 0..200 {
        store(&app).log(answer(&format!("late{number}"), "one", "b"));
    }
    store(&app).flush().await;
    let report = get(&app, "/experiments/one").await.json();
    assert!(report["sample_ratio"]["p"].as_f64().unwrap() < 0.001);
    assert_eq!(
        report["comparisons"][0]["negative_share"],
        json!({"verdict": "withheld", "difference": null})
    );
}

#[tokio::test]
async fn scores_of_one_text_are_compared_by_pair() {
    let Server { app, dir: _dir } = Server::new("--role follower").await;
    begin(&app, &of_two("user")).await;
    for number in 0..60 {
        let text = ScoredText {
            answer: format!("{number}"),
            unit: format!("{number}"),
            kind: "corrected",
            bytes: 10,
            nats: vec![
                ("a".to_owned(), 20.0 + f64::from(number)),
                ("b".to_owned(), 18.0 + f64::from(number)),
            ],
        };
        store(&app).add_scores("one", &text).await.unwrap();
    }
    let report = get(&app, "/experiments/one").await.json();
    let bits = &report["comparisons"][0]["corrected_bits_per_byte"];
    // What texts differ in is the same for both arms, and so says nothing.
    assert_eq!(bits["verdict"], "better");
    let expected = -0.2 / std::f64::consts::LN_2;
    assert!(
        (bits["difference"]["high"].as_f64().unwrap() - expected).abs() < 1e-6,
        "{bits}"
    );
}

#[tokio::test]
async fn one_experiment_runs_at_a_time_and_nothing_is_learnt_meanwhile() {
    let Server { app, dir: _dir } = Server::new("").await;
    let body = json!({"feedback_id": answered(&app).await, "user_rating": 1});
    ok(&app, "/feedback", &body).await;
    begin(&app, &of_two("user")).await;
    let mut other = of_two("user");
    assert_eq!(
        post(&app, "/experiments", &other).await.code(),
        "experiment_exists"
    );
    other["id"] = json!("two");
    assert_eq!(
        post(&app, "/experiments", &other).await.code(),
        "experiment_running"
    );
    let refused = post(&app, "/adapt", &json!({})).await.code();
    let learns = cfg!(feature = "adapt");
    assert_eq!(
        refused,
        if learns {
            "experiment_running"
        } else {
            "does_not_learn"
        }
    );
    ok(&app, "/experiments/one/stop", &json!({})).await;
    let again = post(&app, "/experiments/one/stop", &json!({})).await;
    assert_eq!(again.code(), "experiment_ended");
    assert_eq!(
        post(&app, "/experiments", &of_two("user")).await.code(),
        "experiment_exists"
    );
    begin(&app, &other).await;
    let listed = get(&app, "/experiments").await.json()["experiments"].clone();
    let running: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["running"])
        .collect();
    assert_eq!(running, [true, false]);
    for path in ["/experiments/three", "/experiments/%00"] {
        assert_eq!(get(&app, path).await.code(), "unknown_experiment");
    }
}

#[tokio::test]
async fn what_cannot_be_divided_is_named() {
    let Server { app, dir: _dir } = Server::new("").await;
    let arm = |name: &str, value: Value| {
        let mut body = of_two("user");
        body["arms"][1][name] = value;
        body
    };
    for (body, word) in [
        (json!({"id": "one", "arms": [{"name": "a"}]}), "2 to 8"),
        (json!({"id": "a b", "arms": of_two("user")["arms"]}), "id"),
        (
            json!({"id": "one", "by": "day", "arms": of_two("user")["arms"]}),
            "by",
        ),
        (arm("name", json!("a")), "two arms"),
        (arm("weight", json!(0)), "weight"),
        (arm("model", json!("other")), "no model"),
        (arm("precision", json!("int3")), "int3"),
        (arm("temperature", json!(3)), "temperature"),
        (arm("top_p", json!(0)), "top_p"),
        (arm("colour", json!(0)), "colour"),
    ] {
        let reply = post(&app, "/experiments", &body).await;
        assert_eq!(reply.code(), "invalid_value");
        assert!(reply.text().contains(word), "{word}: {}", reply.text());
    }
    let unknown = post(&app, "/experiments", &arm("version", json!("0123456789"))).await;
    assert_eq!(unknown.code(), "unknown_version");
    let Server { app, dir: _dir } = Server::new("--database none").await;
    assert_eq!(
        post(&app, "/experiments", &of_two("user")).await.code(),
        "no_database"
    );
}
