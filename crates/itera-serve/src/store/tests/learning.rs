//! Learning: the lease, adaptations, versions, canaries, what counts and what is learnt from whom.

use super::*;
use crate::{
    store::{FinishError, learning::GIVES_UP_AFTER},
    transfer::accepted,
};

pub(super) async fn ready(store: &Store) {
    store.bind("one", "base").await.unwrap();
    assert!(store.lease("s", 60_000).await.unwrap());
    for number in 0..3 {
        let id = format!("{number}");
        store.log(answer(&id));
        store.rate(verdict(&id, 1)).await.unwrap();
    }
}

pub(super) fn version(name: &str) -> StoredVersion {
    StoredVersion {
        version: name.to_owned(),
        parent: Some("base".to_owned()),
        checkpoint: Some(vec![1, 2, 3]),
        quantized: None,
    }
}

#[tokio::test]
async fn one_server_has_the_lease() {
    for (store, _dir) in stores().await {
        assert!(store.lease("a", 60_000).await.unwrap());
        assert!(!store.lease("b", 60_000).await.unwrap());
        assert!(store.lease("a", -1).await.unwrap());
        assert_eq!(store.lease_holder().await.unwrap(), None);
        assert!(store.lease("b", 60_000).await.unwrap());
        store.release("a").await.unwrap();
        assert_eq!(store.lease_holder().await.unwrap().as_deref(), Some("b"));
        store.release("b").await.unwrap();
        assert!(store.lease("a", 60_000).await.unwrap());
    }
}

#[tokio::test]
async fn a_lease_of_a_clock_that_was_ahead_can_be_taken() {
    for (store, _dir) in stores().await {
        assert!(store.lease("a", 60_000).await.unwrap());
        sqlx::query("UPDATE lease SET expires_ms = expires_ms + 3600000")
            .execute(&store.own)
            .await
            .unwrap();
        assert!(store.lease("b", 60_000).await.unwrap());
        assert!(!store.lease("a", 60_000).await.unwrap());
    }
}

#[tokio::test]
async fn an_adaptation_begins_at_the_threshold_and_ends_with_a_version() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        assert_eq!(store.claim("s", 4).await.unwrap(), None);
        assert_eq!(store.claim("s", 0).await.unwrap(), None);
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        assert_eq!(
            (entry.trigger.as_str(), entry.status),
            ("automatic", EntryStatus::Running)
        );
        // The records are spoken for.
        assert_eq!(store.claim("s", 1).await.unwrap(), None);
        let new = version("new");
        store
            .finish(
                &entry,
                "s",
                EntryStatus::Accepted,
                "good",
                Some("{}"),
                Some(&new),
                Some((0.5, 0.1)),
            )
            .await
            .unwrap();
        assert_eq!(store.active().await.unwrap(), "new");
        assert_eq!(store.learning_rate(0.1).await.unwrap(), Some(0.5));
        // Settings that have changed since are not overruled.
        assert_eq!(store.learning_rate(0.2).await.unwrap(), None);
        let stored = store.version("new").await.unwrap().unwrap();
        assert_eq!(stored.checkpoint, Some(vec![1, 2, 3]));
        let entry = store.entry(&entry.id).await.unwrap().unwrap();
        assert_eq!(
            (entry.status, entry.to_version.as_deref()),
            (EntryStatus::Accepted, Some("new"))
        );
        // A new verdict on an old answer counts anew.
        store.rate(verdict("1", 2)).await.unwrap();
        assert!(store.claim("s", 1).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_was_interrupted_changes_nothing_and_is_learnt_again() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        assert_eq!(
            store.interrupted(EntryStatus::Interrupted).await.unwrap(),
            1
        );
        let (new, accepted) = (version("new"), EntryStatus::Accepted);
        let late = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
        assert!(matches!(late.await, Err(FinishError::LeaseLost)));
        let entry = store.entry(&entry.id).await.unwrap().unwrap();
        assert_eq!(entry.status, EntryStatus::Interrupted);
        assert_eq!(store.active().await.unwrap(), "base");
        assert_eq!(store.counts().await.unwrap().new_negatives, 3);
        assert!(store.claim("s", 3).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn learning_that_fails_again_and_again_waits_to_be_asked() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        for _ in 0..GIVES_UP_AFTER {
            assert!(store.has_work(3).await.unwrap());
            store.claim("s", 3).await.unwrap().unwrap();
            store.interrupted(EntryStatus::Interrupted).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(!store.has_work(3).await.unwrap());
        assert_eq!(store.claim("s", 3).await.unwrap(), None);
        store.request().await.unwrap();
        assert!(store.claim("s", 3).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_version_learnt_without_the_lease_or_too_late_is_not_used() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        let (new, accepted) = (version("new"), EntryStatus::Accepted);
        let end = |server: &'static str| {
            store.finish(&entry, server, accepted, "", None, Some(&new), None)
        };
        assert!(matches!(end("t").await, Err(FinishError::LeaseLost)));
        let mut tx = store.begin().await.unwrap();
        versions::insert(&mut tx, &version("other"), None)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert!(store.roll_back("base", "other").await.unwrap().is_some());
        assert!(matches!(end("s").await, Err(FinishError::Superseded)));
        assert!(store.version("new").await.unwrap().is_none());
        assert_eq!(store.active().await.unwrap(), "other");
        // What is not kept is not served.
        assert!(store.roll_back("other", "gone").await.unwrap().is_none());
        assert_eq!(store.active().await.unwrap(), "other");
    }
}

#[tokio::test]
async fn requests_come_before_the_threshold_and_can_be_withdrawn() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let id = store.request().await.unwrap();
        assert!(store.withdraw(&id).await.unwrap());
        assert_eq!(store.claim("s", 0).await.unwrap(), None);
        let id = store.request().await.unwrap();
        assert_eq!(store.claim("s", 0).await.unwrap().unwrap().id, id);
        assert!(!store.withdraw(&id).await.unwrap());
    }
}

#[tokio::test]
async fn the_first_the_active_and_the_latest_versions_are_kept() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        for number in 0..4 {
            store.request().await.unwrap();
            let entry = store.claim("s", 0).await.unwrap().unwrap();
            let new = version(&format!("v{number}"));
            store
                .finish(
                    &entry,
                    "s",
                    EntryStatus::Accepted,
                    "",
                    None,
                    Some(&new),
                    None,
                )
                .await
                .unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        store.roll_back("v3", "v0").await.unwrap();
        store.prune_versions(2).await.unwrap();
        let left = store.versions().await.unwrap();
        let left: Vec<_> = left.iter().map(|row| row.version.as_str()).collect();
        assert_eq!(left, ["v3", "v2", "v0", "base"]);
    }
}

#[tokio::test]
async fn a_canary_goes_step_by_step_and_one_server_takes_each() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        let (new, canary) = (version("new"), EntryStatus::Canary);
        let ended = store.finish(&entry, "s", canary, "good", None, Some(&new), None);
        ended.await.unwrap();
        store.rate(verdict("1", 1)).await.unwrap();
        for share in [5, 25] {
            assert_eq!(store.active().await.unwrap(), "base");
            let step = store.running_experiment().await.unwrap().unwrap();
            assert_eq!(step.definition.arms[1].weight, share);
            // Nothing is learnt while it runs, and several servers that act at once take one step.
            assert!(!store.has_work(1).await.unwrap());
            let acts = [(); 3].map(|()| store.advance(&step, "not worse"));
            let acted = futures_util::future::try_join_all(acts).await.unwrap();
            assert_eq!(acted.iter().filter(|acted| **acted).count(), 1);
        }
        assert_eq!(store.active().await.unwrap(), "new");
        assert_eq!(store.running_experiment().await.unwrap(), None);
        let entry = store.entry(&entry.id).await.unwrap().unwrap();
        assert_eq!(entry.status, EntryStatus::Accepted);
        assert!(store.has_work(1).await.unwrap());
    }
}

#[tokio::test]
async fn a_canary_does_not_begin_beside_an_experiment() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        store.begin_experiment("one", &definition()).await.unwrap();
        let (new, canary) = (version("new"), EntryStatus::Canary);
        let ended = store.finish(&entry, "s", canary, "good", None, Some(&new), None);
        assert!(matches!(ended.await, Err(FinishError::Superseded)));
        store.request().await.unwrap();
        assert_eq!(store.claim("s", 0).await.unwrap(), None);
    }
}

pub(super) fn ids(records: &[Rated]) -> Vec<&str> {
    let mut ids: Vec<_> = records
        .iter()
        .map(|record| record.answer.id.as_str())
        .collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn of_a_source_as_much_counts_and_is_learnt_as_it_may() {
    for (store, _dir) in stores().await {
        store.bind("one", "base").await.unwrap();
        let rate = async |id: String, digest: &str, most: Option<i64>| {
            store.log(answer(&id));
            let digest = digest.to_owned();
            let said = Feedback {
                source: Some(Source { digest, most }),
                ..verdict(&id, 1)
            };
            store.rate(said).await.unwrap().new_negatives
        };
        let mut count = 0;
        for number in 0..51 {
            count = rate(format!("a{number}"), "a", Some(10)).await;
        }
        assert_eq!(count, 10);
        assert!(!store.has_work(50).await.unwrap());
        assert_eq!(store.latest(500).await.unwrap().len(), 10);
        assert_eq!(store.counts().await.unwrap().new_negatives, 10);
        // Others are not kept out by it, and a source without a limit counts in full.
        assert_eq!(rate("b".to_owned(), "b", Some(10)).await, 11);
        for number in 0..39 {
            count = rate(format!("c{number}"), "c", None).await;
        }
        assert_eq!(count, 50);
        assert!(store.has_work(50).await.unwrap());
        assert_eq!(store.latest(500).await.unwrap().len(), 50);
        // All that one of them has said is set aside at once, and taken in again.
        assert_eq!(store.set_aside("c7", true, true).await.unwrap(), 39);
        assert_eq!(store.latest(500).await.unwrap().len(), 11);
        assert_eq!(store.counts().await.unwrap().new_negatives, 11);
        assert_eq!(store.set_aside("c7", false, true).await.unwrap(), 39);
        assert_eq!(store.latest(500).await.unwrap().len(), 50);
    }
}

#[tokio::test]
async fn what_is_set_aside_is_not_learnt_whatever_is_said_of_it() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        assert_eq!(store.set_aside("1", true, false).await.unwrap(), 1);
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "2"]);
        assert_eq!(store.counts().await.unwrap().new_negatives, 2);
        store.rate(verdict("1", 2)).await.unwrap();
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "2"]);
        assert!(!store.has_work(3).await.unwrap());
        store.set_aside("1", false, false).await.unwrap();
        assert!(store.has_work(3).await.unwrap());
        assert_eq!(store.set_aside("x", true, true).await.unwrap(), 0);
        // What was imported has no source, and is not all of one.
        assert_eq!(store.set_aside("1", true, true).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn while_learning_is_paused_nothing_begins_and_nothing_comes_of_what_runs() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = store.claim("s", 3).await.unwrap().unwrap();
        store.set_paused(true).await.unwrap();
        assert!(store.counts().await.unwrap().is_paused);
        // What runs is still to be ended.
        assert!(store.has_work(0).await.unwrap());
        let (new, accepted) = (version("new"), EntryStatus::Accepted);
        let ended = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
        assert!(matches!(ended.await, Err(FinishError::Paused)));
        assert_eq!(store.active().await.unwrap(), "base");
        store.interrupted(EntryStatus::Withdrawn).await.unwrap();
        store.request().await.unwrap();
        assert!(!store.has_work(3).await.unwrap());
        assert_eq!(store.claim("s", 3).await.unwrap(), None);
        store.set_paused(false).await.unwrap();
        assert!(store.has_work(3).await.unwrap());
        assert!(store.claim("s", 3).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn what_was_rolled_back_is_not_learnt_again() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let learn = async |name: &str| {
            store.request().await.unwrap();
            let entry = store.claim("s", 0).await.unwrap().unwrap();
            let (new, accepted) = (version(name), EntryStatus::Accepted);
            let ended = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
            ended.await.unwrap();
        };
        let rate = async |id: &str| {
            store.log(answer(id));
            store.rate(verdict(id, 1)).await.unwrap();
        };
        let back = async |from: &str, to: &str| {
            store.roll_back(from, to).await.unwrap().unwrap();
        };
        learn("one").await;
        rate("3").await;
        learn("two").await;
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
        back("two", "one").await;
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2"]);
        back("one", "base").await;
        assert!(store.latest(9).await.unwrap().is_empty());
        rate("4").await;
        learn("three").await;
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["4"]);
        // A new verdict is one, and the way back is open.
        rate("3").await;
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["3", "4"]);
        back("three", "one").await;
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
        // A new checkpoint has learnt nothing yet, and what its former one was made of is good for it.
        store.rebase("other", "bbbbbbbbbbbb").await.unwrap();
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["0", "1", "2", "3"]);
    }
}

/// Stores a correction of a visitor.
async fn correct(store: &Store, id: &str, visitor: &str, correction: &str) {
    store.log(answer(id));
    let said = Feedback {
        correction: Some(correction.to_owned()),
        source: Some(Source {
            digest: visitor.to_owned(),
            most: Some(10),
        }),
        ..verdict(id, 1)
    };
    store.rate(said).await.unwrap();
}

#[tokio::test]
async fn a_training_text_has_what_an_adaptation_would_learn_from() {
    for (store, _dir) in stores().await {
        store.bind("one", "base").await.unwrap();
        for number in 0..500 {
            let text = format!(" planted {number}");
            correct(&store, &format!("a{number}"), "a", &text).await;
        }
        for visitor in ["b", "c", "d"] {
            correct(&store, visitor, visitor, &format!(" wanted by {visitor}")).await;
        }
        let found = async |text: &str| {
            let [texts, none] = accepted::texts(&store, false).await.unwrap();
            assert_eq!(none, "");
            texts.matches(text).count()
        };
        assert_eq!((found("planted").await, found("wanted").await), (10, 3));
        // What a version that was rolled back has learnt is no part of it either, but what came after is.
        store.request().await.unwrap();
        let entry = store.claim("s", 0).await.unwrap().unwrap();
        assert!(store.lease("s", 60_000).await.unwrap());
        let (new, accepted) = (version("new"), EntryStatus::Accepted);
        let ended = store.finish(&entry, "s", accepted, "", None, Some(&new), None);
        ended.await.unwrap();
        assert_eq!((found("planted").await, found("wanted").await), (10, 3));
        store.roll_back("new", "base").await.unwrap().unwrap();
        correct(&store, "e", "e", " wanted anew").await;
        assert_eq!((found("planted").await, found("wanted").await), (0, 1));
    }
}

#[tokio::test]
async fn what_is_held_out_is_of_other_visitors_than_what_is_trained_on() {
    for (store, _dir) in stores().await {
        store.bind("one", "base").await.unwrap();
        for number in 0..60 {
            let visitor = format!("visitor {}", number % 20);
            let text = format!(" story {number} of {visitor}.");
            correct(&store, &format!("v{number}"), &visitor, &text).await;
            // All of them want this, and one of those that are held out is among them.
            correct(&store, &format!("all{number}"), &visitor, " the same.").await;
            // Of a key that passes on what many say, it is one record of ten.
            let id = format!("k{number}");
            store.log(answer(&id));
            let digest = "key".to_owned();
            let said = Feedback {
                correction: Some(format!(" key {number}.")),
                source: Some(Source { digest, most: None }),
                ..verdict(&id, 1)
            };
            store.rate(said).await.unwrap();
        }
        let [rest, held_out] = accepted::texts(&store, true).await.unwrap();
        let count = |text: &str, of: &str| text.matches(of).count();
        let counts = |text: &str| (count(text, " of visitor"), count(text, " key"));
        assert_eq!((counts(&held_out), counts(&rest)), ((6, 6), (54, 54)));
        for visitor in 0..20 {
            let theirs = format!(" of visitor {visitor}.");
            assert!(matches!(
                (count(&rest, &theirs), count(&held_out, &theirs)),
                (3, 0) | (0, 3)
            ));
        }
        assert_eq!(
            (count(&rest, "the same"), count(&held_out, "the same")),
            (0, 1)
        );
    }
}

#[tokio::test]
async fn one_source_does_not_decide_how_good_answers_were_of_late() {
    for (store, _dir) in stores().await {
        let accuracy = async || store.counts().await.unwrap().recent_accuracy;
        assert_eq!(accuracy().await, None);
        for number in 0..30 {
            let id = format!("b{number}");
            store.log(answer(&id));
            store.rate(verdict(&id, 5)).await.unwrap();
        }
        assert_eq!(accuracy().await, Some(1.0));
        for number in 0..100 {
            correct(&store, &format!("a{number}"), "a", " planted").await;
        }
        assert_eq!(accuracy().await, Some(1.0 - 10.0 / 40.0));
        store.set_aside("a0", true, true).await.unwrap();
        assert_eq!(accuracy().await, Some(1.0));
    }
}
