//! A new version gets a part of the traffic before it gets all. Each step is an experiment of its own, so that
//! its evidence is new, with the salt of the first, so that whoever has the candidate keeps it.

use super::{
    ArmSpec, By, Definition, EntryStatus, Experiment, ExperimentKind, Sampling, Store, StoreError,
    Tx,
    experiments::{self, insert},
    journal::add,
    random_id,
    versions::{ACTIVE, MODEL, activate, lock_active, setting},
};

/// Percent of the traffic that a candidate gets at each step, before it gets all.
pub(crate) const SHARES: [u32; 2] = [5, 25];

/// Names of the arms.
const ACTIVE_ARM: &str = "active";
const CANDIDATE_ARM: &str = "candidate";

/// What the journal calls these steps.
const TRIGGER: &str = "canary";

/// A step of a canary: what is served, and what is tried.
#[derive(Clone, Debug)]
struct Step {
    active: String,
    candidate: String,
    share: u32,
    salt: String,
}

impl Step {
    /// The step that an experiment is.
    fn of(experiment: &Experiment) -> Option<Self> {
        let [active, candidate] = experiment.definition.arms.as_slice() else {
            return None;
        };
        Some(Self {
            active: active.version.clone(),
            candidate: candidate.version.clone(),
            share: candidate.weight,
            salt: experiment.definition.salt.clone(),
        })
    }

    async fn begin(&self, tx: &mut Tx, message: &str) -> Result<(), StoreError> {
        let model = setting(tx, MODEL).await?.unwrap_or_default();
        let arm = |name: &str, weight: u32, version: &str| ArmSpec {
            name: name.to_owned(),
            weight,
            model: model.clone(),
            version: version.to_owned(),
            precision: None,
            sampling: Sampling::default(),
        };
        let definition = Definition {
            by: By::User,
            salt: self.salt.clone(),
            arms: vec![
                arm(ACTIVE_ARM, 100 - self.share, &self.active),
                arm(CANDIDATE_ARM, self.share, &self.candidate),
            ],
        };
        let id = format!("{TRIGGER}-{}-{}", &self.salt[..8], self.share);
        insert(tx, &id, ExperimentKind::Canary, &definition).await?;
        let message = format!("{} % of the traffic: {message}", self.share);
        let versions = Some((&*self.active, &*self.candidate));
        add(tx, TRIGGER, EntryStatus::Canary, versions, Some(&message)).await?;
        Ok(())
    }

    /// Writes into the journal what has become of the adaptation or the import that made the candidate.
    async fn settle(&self, tx: &mut Tx, status: EntryStatus) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE adaptations SET status = $1 WHERE status = $2 AND to_version = $3 AND trigger_kind <> $4",
        )
        .bind(status.name())
        .bind(EntryStatus::Canary.name())
        .bind(self.candidate.clone())
        .bind(TRIGGER)
        .execute(&mut **tx)
        .await?;
        Ok(())
    }

    async fn drop(&self, tx: &mut Tx, message: &str) -> Result<(), StoreError> {
        let versions = Some((&*self.candidate, &*self.active));
        add(
            tx,
            TRIGGER,
            EntryStatus::RolledBack,
            versions,
            Some(message),
        )
        .await?;
        self.settle(tx, EntryStatus::Rejected).await
    }
}

/// Gives a candidate its first share of the traffic, if `active` is served and no experiment runs.
pub(super) async fn begin(
    tx: &mut Tx,
    active: &str,
    candidate: &str,
    message: &str,
) -> Result<bool, StoreError> {
    lock_active(tx).await?;
    let is_active = setting(tx, ACTIVE).await?.as_deref() == Some(active);
    if !is_active || experiments::running(tx).await?.is_some() {
        return Ok(false);
    }
    let first = Step {
        active: active.to_owned(),
        candidate: candidate.to_owned(),
        share: SHARES[0],
        salt: random_id(),
    };
    first.begin(tx, message).await?;
    Ok(true)
}

/// Ends the canary that runs, if one does, since another version becomes active.
pub(super) async fn supersede(tx: &mut Tx) -> Result<(), StoreError> {
    let Some(running) = experiments::running_one(tx).await? else {
        return Ok(());
    };
    if let Some(step) = Step::of(&running).filter(|_| running.kind == ExperimentKind::Canary) {
        let message = "another version was made active";
        experiments::end(tx, &running.id, message).await?;
        step.settle(tx, EntryStatus::Rejected).await?;
    }
    Ok(())
}

impl Store {
    /// Gives the candidate of a canary more of the traffic, and after the last step all of it. False if another server
    /// or an operator was faster.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn advance(
        &self,
        canary: &Experiment,
        message: &str,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        let step = Step::of(canary).filter(|_| canary.kind == ExperimentKind::Canary);
        let (Some(mut step), true) = (step, experiments::end(&mut tx, &canary.id, message).await?)
        else {
            tx.cancel().await?;
            return Ok(false);
        };
        let next = SHARES.iter().find(|share| **share > step.share);
        if let Some(share) = next {
            step.share = *share;
            step.begin(&mut tx, message).await?;
        } else {
            activate(&mut tx, &step.candidate).await?;
            let message = format!("100 % of the traffic: {message}");
            let versions = Some((&*step.active, &*step.candidate));
            add(
                &mut tx,
                TRIGGER,
                EntryStatus::Accepted,
                versions,
                Some(&message),
            )
            .await?;
            step.settle(&mut tx, EntryStatus::Accepted).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// Ends an experiment; of a canary, the version before the candidate is served to all again. False if it does not
    /// run.
    ///
    /// # Errors
    /// The database's.
    pub(crate) async fn end_experiment(
        &self,
        experiment: &Experiment,
        message: &str,
    ) -> Result<bool, StoreError> {
        let mut tx = self.begin().await?;
        lock_active(&mut tx).await?;
        if !experiments::end(&mut tx, &experiment.id, message).await? {
            tx.cancel().await?;
            return Ok(false);
        }
        if experiment.kind == ExperimentKind::Canary
            && let Some(step) = Step::of(experiment)
        {
            step.drop(&mut tx, message).await?;
        }
        tx.commit().await?;
        Ok(true)
    }
}
