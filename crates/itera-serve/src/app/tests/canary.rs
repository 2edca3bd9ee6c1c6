//! What has been learnt, served to a part of the traffic: two servers of one database.

use super::{
    experiments::{answer, answers, beside, infer, store},
    *,
};
use crate::{
    fixture::random_checkpoint,
    store::{EntryStatus, Imported, ScoredText, StoredVersion},
    weights::weights_version,
};

/// A server that has learnt a version, which is its canary, and another server of the same database.
struct Trial {
    first: Server,
    second: Server,
    before: String,
    candidate: String,
}

impl Trial {
    /// Two servers, and a version that neither has yet.
    async fn before(arguments: &str) -> (Self, StoredVersion) {
        let first = Server::new(&format!("--rate-limit 0 {arguments}")).await;
        let second = beside(&first).await;
        let learnt = random_checkpoint(2).to_fp32();
        let base = &first.app.models.first().base.weights.version;
        let version = StoredVersion {
            version: weights_version(&learnt),
            parent: Some(base.to_string()),
            checkpoint: Some(learnt.to_bytes().unwrap()),
            quantized: None,
        };
        let trial = Self {
            before: base.to_string(),
            candidate: version.version.clone(),
            first,
            second,
        };
        (trial, version)
    }

    async fn new() -> Self {
        let (trial, _) = Self::learnt("", EntryStatus::Canary).await;
        trial.follow().await;
        trial
    }

    /// The first server has learnt the version, and its entry has this status.
    async fn learnt(arguments: &str, status: EntryStatus) -> (Self, String) {
        let (trial, version) = Self::before(arguments).await;
        let app = &trial.first.app;
        let body = json!({"feedback_id": answered(app).await, "user_rating": 1});
        ok(app, "/feedback", &body).await;
        let store = store(app);
        assert!(store.lease("s", 60_000).await.unwrap());
        store.request().await.unwrap();
        let entry = store.claim("s", 0).await.unwrap().unwrap();
        let ended = store.finish(&entry, "s", status, "good", None, Some(&version), None);
        ended.await.unwrap();
        (trial, entry.id)
    }

    fn apps(&self) -> [&Arc<App>; 2] {
        [&self.first.app, &self.second.app]
    }

    async fn follow(&self) {
        for app in self.apps() {
            app.adapter.follow().await.unwrap();
            app.experiments.follow().await.unwrap();
        }
    }

    /// The experiment that is the step now.
    fn step(&self) -> String {
        let ids = self
            .apps()
            .map(|app| app.experiments.running().unwrap().id.to_string());
        assert_eq!(ids[0], ids[1]);
        ids[0].clone()
    }

    /// As many answers as a step has at least, and texts that the candidate likes so much less than the other version.
    async fn evidence(&self, share: usize, nats: f64) {
        let (app, step) = (&self.first.app, self.step());
        let all = 110 * 100 / share;
        answers(app, &step, "candidate", [110, 0, 0]).await;
        answers(app, &step, "active", [all - 110, 0, 0]).await;
        for number in 0..60 {
            let noise = f64::from(number % 7) / 10.0;
            let text = ScoredText {
                answer: format!("{step}{number}"),
                unit: format!("{number}"),
                kind: "corrected",
                bytes: 20,
                nats: vec![
                    ("active".to_owned(), 40.0),
                    ("candidate".to_owned(), 40.0 + nats + noise),
                ],
            };
            store(app).add_scores(&step, &text).await.unwrap();
        }
    }

    /// Both look, one after the other.
    async fn look(&self) {
        for app in self.apps() {
            app.experiments.look().await.unwrap();
        }
        self.follow().await;
    }

    fn served(&self) -> [String; 2] {
        self.apps()
            .map(|app| app.models.first().weights().version.to_string())
    }

    /// Trigger and status of the journal, oldest first, without the order of what happened at once.
    async fn journal(&self) -> Vec<(String, &'static str)> {
        let journal = store(&self.first.app).journal(20).await.unwrap();
        let mut lines: Vec<_> = journal
            .into_iter()
            .map(|entry| (entry.requested_ms, entry.trigger, entry.status.name()))
            .collect();
        lines.sort();
        lines
            .into_iter()
            .map(|(_, trigger, status)| (trigger, status))
            .collect()
    }
}

fn lines(expected: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
    let lines = expected.iter();
    lines
        .map(|(trigger, status)| ((*trigger).to_owned(), *status))
        .collect()
}

/// Which of 400 users get the candidate, by the version of their answers.
async fn users(app: &Arc<App>, candidate: &str) -> Vec<usize> {
    let mut users = Vec::new();
    for user in 0..400 {
        if infer(app, &format!("user {user}")).await["weights_version"] == *candidate {
            users.push(user);
        }
    }
    users
}

#[tokio::test]
async fn a_candidate_that_is_not_worse_gets_5_then_25_then_all_of_the_traffic_of_both_servers() {
    let trial = Trial::new().await;
    let [first, second] = trial.apps();
    assert!(trial.step().ends_with("-5"));
    let few = users(first, &trial.candidate).await;
    assert!((6..=40).contains(&few.len()), "{few:?}");
    assert_eq!(users(second, &trial.candidate).await, few);
    // All requests of the first model take part, at the precision that they name.
    let body = json!({"input_text": "ab", "max_length": 1, "model_variant": "int4"});
    let reply = ok(first, "/infer", &body).await;
    assert_eq!(reply["model_variant"], "int4");
    assert!(reply["arm"].is_string(), "{reply}");
    // Without evidence nothing happens.
    trial.look().await;
    assert!(trial.step().ends_with("-5"));

    trial.evidence(5, -5.0).await;
    trial.look().await;
    assert!(trial.step().ends_with("-25"), "{}", trial.step());
    let more = users(second, &trial.candidate).await;
    assert!((70..=130).contains(&more.len()), "{}", more.len());
    assert!(few.iter().all(|user| more.contains(user)));
    // What was evidence for the first step is none for the next.
    trial.look().await;
    assert!(trial.step().ends_with("-25"));
    assert_eq!(trial.served(), [trial.before.clone(), trial.before.clone()]);

    trial.evidence(25, -5.0).await;
    trial.look().await;
    assert_eq!(
        trial.served(),
        [trial.candidate.clone(), trial.candidate.clone()]
    );
    assert!(first.experiments.running().is_none() && second.experiments.running().is_none());
    assert_eq!(infer(second, "x").await["arm"], Value::Null);
    let expected = [
        ("manual", "accepted"),
        ("canary", "canary"),
        ("canary", "canary"),
        ("canary", "accepted"),
    ];
    assert_eq!(trial.journal().await, lines(&expected));
    let reasons = get(first, "/adapt/status").await.json()["journal"].clone();
    let last = reasons[0]["message"].as_str().unwrap();
    assert!(
        last.starts_with("100 % of the traffic: corrections are as likely"),
        "{last}"
    );
}

#[tokio::test]
async fn a_candidate_that_is_worse_is_rolled_back_and_its_records_are_not_learnt_again() {
    let trial = Trial::new().await;
    let app = &trial.first.app;
    trial.evidence(5, 4.0).await;
    trial.look().await;
    assert_eq!(trial.served(), [trial.before.clone(), trial.before.clone()]);
    assert!(users(&trial.second.app, &trial.candidate).await.is_empty());
    let expected = [
        ("manual", "rejected"),
        ("canary", "canary"),
        ("canary", "rolled_back"),
    ];
    assert_eq!(trial.journal().await, lines(&expected));
    assert!(store(app).latest(9).await.unwrap().is_empty());
    // By hand it can be served all the same, and then what it was made of is part of it.
    let body = json!({"version": trial.candidate});
    ok(app, "/adapt/rollback", &body).await;
    assert_eq!(store(app).latest(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_candidate_that_fails_on_one_server_is_rolled_back_on_both() {
    let trial = Trial::new().await;
    let running = trial.second.app.experiments.running().unwrap();
    for _ in 0..5 {
        running.arms[1].tally.count_failure();
    }
    trial.look().await;
    assert!(
        trial
            .apps()
            .iter()
            .all(|app| app.experiments.running().is_none())
    );
    let journal = get(&trial.first.app, "/adapt/status").await.json()["journal"].clone();
    assert!(
        journal[0]["message"]
            .as_str()
            .unwrap()
            .contains("answers failed"),
        "{journal}"
    );
}

#[tokio::test]
async fn a_candidate_that_is_slow_is_rolled_back() {
    let trial = Trial::new().await;
    let (app, step) = (&trial.first.app, trial.step());
    answers(app, &step, "active", [3800, 0, 0]).await;
    for number in 0..200 {
        let mut slow = answer(&format!("slow{number}"), &step, "candidate");
        slow.latency_us *= 2;
        while !store(app).log(slow.clone()) {
            store(app).flush().await;
        }
    }
    store(app).flush().await;
    trial.look().await;
    assert!(app.experiments.running().is_none());
}

#[tokio::test]
async fn an_operator_stops_a_canary_or_serves_another_version() {
    let trial = Trial::new().await;
    let app = &trial.second.app;
    let refused = post(app, "/adapt", &json!({})).await;
    assert_eq!(refused.code(), "experiment_running");
    ok(
        app,
        &format!("/experiments/{}/stop", trial.step()),
        &json!({}),
    )
    .await;
    trial.follow().await;
    let expected = [
        ("manual", "rejected"),
        ("canary", "canary"),
        ("canary", "rolled_back"),
    ];
    assert_eq!(trial.journal().await, lines(&expected));

    let trial = Trial::new().await;
    let step = trial.step();
    ok(
        &trial.first.app,
        "/adapt/rollback",
        &json!({"version": trial.candidate}),
    )
    .await;
    trial.follow().await;
    assert_eq!(
        trial.served(),
        [trial.candidate.clone(), trial.candidate.clone()]
    );
    let ended = get(&trial.second.app, &format!("/experiments/{step}"))
        .await
        .json();
    assert_eq!(ended["message"], "another version was made active");
}

#[tokio::test]
async fn an_imported_version_is_served_step_by_step_by_servers_that_know_nothing_of_it() {
    let (trial, version) = Trial::before("").await;
    let store = store(&trial.first.app);
    let imported = store.import_version(version, Some("{}"), true).await;
    assert_eq!(imported.unwrap(), Imported::Canary);
    trial.follow().await;
    assert!(trial.step().ends_with("-5"));
    let few = users(&trial.first.app, &trial.candidate).await;
    assert!((6..=40).contains(&few.len()), "{few:?}");
    for share in [5, 25] {
        assert_eq!(trial.served(), [trial.before.clone(), trial.before.clone()]);
        trial.evidence(share, -5.0).await;
        trial.look().await;
    }
    assert_eq!(
        trial.served(),
        [trial.candidate.clone(), trial.candidate.clone()]
    );
    let expected = [
        ("canary", "canary"),
        ("import", "accepted"),
        ("canary", "canary"),
        ("canary", "accepted"),
    ];
    let mut journal = trial.journal().await;
    // These two are of one moment.
    journal[..2].sort();
    assert_eq!(journal, lines(&expected));
}

#[tokio::test]
async fn an_approved_candidate_begins_as_a_canary_where_both_are_wanted() {
    let arguments = "--adapt-approve --canary";
    let (trial, id) = Trial::learnt(arguments, EntryStatus::Candidate).await;
    let entry = ok(
        &trial.first.app,
        &format!("/adapt/{id}/approve"),
        &json!({}),
    )
    .await;
    assert_eq!(
        (&entry["status"], &entry["accepted"]),
        (&json!("canary"), &json!(false)),
        "{entry}"
    );
    trial.follow().await;
    assert!(trial.step().ends_with("-5"));
    assert_eq!(trial.served(), [trial.before.clone(), trial.before.clone()]);
}

#[tokio::test]
async fn the_versions_of_a_canary_are_kept() {
    let trial = Trial::new().await;
    let store = store(&trial.first.app);
    store.prune_versions(0).await.unwrap();
    assert!(store.version(&trial.candidate).await.unwrap().is_some());
    let running = store.running_experiment().await.unwrap().unwrap();
    store.end_experiment(&running, "stopped").await.unwrap();
    store.prune_versions(0).await.unwrap();
    assert!(store.version(&trial.candidate).await.unwrap().is_none());
}
