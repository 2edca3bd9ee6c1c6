//! Candidates: what was learnt waits for an operator.

use super::{
    learning::{ids, ready, version},
    *,
};

/// Learns a candidate from all that is there; gives its entry.
async fn candidate(store: &Store, name: &str) -> Entry {
    store.request().await.unwrap();
    let entry = store.claim("s", 0).await.unwrap().unwrap();
    let (new, status) = (version(name), EntryStatus::Candidate);
    let ended = store.finish(&entry, "s", status, "good", Some("{}"), Some(&new), None);
    ended.await.unwrap();
    store.entry(&entry.id).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_candidate_waits_for_an_operator() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = candidate(&store, "new").await;
        assert_eq!(
            (entry.status, entry.ended_ms, entry.to_version.as_deref()),
            (EntryStatus::Candidate, None, Some("new"))
        );
        assert_eq!(store.active().await.unwrap(), "base");
        assert_eq!(store.counts().await.unwrap().candidates, 1);
        // It outlives the server that made it, and house-keeping.
        assert_eq!(
            store.interrupted(EntryStatus::Interrupted).await.unwrap(),
            0
        );
        store.prune_versions(0).await.unwrap();
        // Meanwhile nothing is learnt by itself.
        for id in ["3", "4", "5"] {
            store.log(answer(id));
            store.rate(verdict(id, 1)).await.unwrap();
        }
        assert!(!store.has_work(3).await.unwrap());
        // Of two who decide at once, one does.
        let (first, second) = tokio::join!(
            store.approve(&entry.id, false),
            store.approve(&entry.id, false)
        );
        let served = [first.unwrap(), second.unwrap()];
        let served = served.iter().filter(|of| **of == Approval::Served);
        assert_eq!(served.count(), 1);
        assert_eq!(store.active().await.unwrap(), "new");
        assert_eq!(
            store.approve(&entry.id, false).await.unwrap(),
            Approval::None
        );
        assert_eq!(store.decline(&entry.id).await.unwrap(), None);
        let entry = store.entry(&entry.id).await.unwrap().unwrap();
        assert!(entry.status == EntryStatus::Accepted && entry.ended_ms.is_some());
        assert!(store.has_work(3).await.unwrap());
        assert_eq!(store.latest(9).await.unwrap().len(), 6);
    }
}

#[tokio::test]
async fn a_candidate_that_is_approved_may_begin_as_a_canary() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = candidate(&store, "new").await;
        store.begin_experiment("one", &definition()).await.unwrap();
        let running = Approval::Running("one".to_owned());
        assert_eq!(store.approve(&entry.id, true).await.unwrap(), running);
        let other = store.running_experiment().await.unwrap().unwrap();
        store.end_experiment(&other, "stopped").await.unwrap();
        // It has waited.
        let approved = store.approve(&entry.id, true).await.unwrap();
        assert_eq!(approved, Approval::Canary);
        assert_eq!(store.active().await.unwrap(), "base");
        for _ in [5, 25] {
            let status = store.entry(&entry.id).await.unwrap().unwrap().status;
            assert_eq!(status, EntryStatus::Canary);
            let step = store.running_experiment().await.unwrap().unwrap();
            assert!(store.advance(&step, "not worse").await.unwrap());
        }
        assert_eq!(store.active().await.unwrap(), "new");
        let status = store.entry(&entry.id).await.unwrap().unwrap().status;
        assert_eq!(status, EntryStatus::Accepted);
    }
}

#[tokio::test]
async fn what_a_declined_candidate_has_learnt_is_not_learnt_again() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let entry = candidate(&store, "new").await;
        let declined = store.decline(&entry.id).await.unwrap().unwrap();
        assert_eq!(declined.status, EntryStatus::Declined);
        assert_eq!(store.active().await.unwrap(), "base");
        assert!(store.version("new").await.unwrap().is_none());
        assert!(store.latest(9).await.unwrap().is_empty());
        store.rate(verdict("1", 2)).await.unwrap();
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["1"]);
    }
}

#[tokio::test]
async fn a_later_candidate_takes_the_place_of_the_one_that_waits() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let first = candidate(&store, "first").await;
        store.log(answer("3"));
        store.rate(verdict("3", 1)).await.unwrap();
        let second = candidate(&store, "second").await;
        let first = store.entry(&first.id).await.unwrap().unwrap();
        assert_eq!(first.status, EntryStatus::Withdrawn);
        assert!(store.version("first").await.unwrap().is_none());
        // It answers for what the first had learnt, too.
        store.decline(&second.id).await.unwrap().unwrap();
        assert!(store.latest(9).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn a_candidate_of_a_version_that_is_served_no_longer_is_withdrawn() {
    for (store, _dir) in stores().await {
        ready(&store).await;
        let one = candidate(&store, "one").await;
        store.approve(&one.id, false).await.unwrap();
        store.log(answer("3"));
        store.rate(verdict("3", 1)).await.unwrap();
        let two = candidate(&store, "two").await;
        store.roll_back("one", "base").await.unwrap().unwrap();
        assert_eq!(store.approve(&two.id, false).await.unwrap(), Approval::None);
        let two = store.entry(&two.id).await.unwrap().unwrap();
        assert_eq!(two.status, EntryStatus::Withdrawn);
        // What it had learnt is new again; what the version before it had is not wanted.
        assert_eq!(ids(&store.latest(9).await.unwrap()), ["3"]);
        assert_eq!(store.counts().await.unwrap().new_negatives, 1);
    }
}
