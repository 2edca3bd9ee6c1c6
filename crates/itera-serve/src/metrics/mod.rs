//! What the server measures of itself, without locks on the way of a request.

mod histogram;
mod process;
pub(crate) mod prometheus;

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::http::StatusCode;

pub(crate) use self::histogram::Histogram;
use crate::{problem::Code, store::HourSums};

/// Length of the window that rates are over, in seconds.
const WINDOW_S: usize = 60;

/// Counters and histograms of one server.
#[derive(Debug)]
pub(crate) struct Metrics {
    started: Instant,
    /// Answers by endpoint and by first digit of the status, 2 to 5.
    answers: [[AtomicU64; 4]; Endpoint::ALL.len()],
    generated_tokens: AtomicU64,
    prompt_tokens: AtomicU64,
    scored_tokens: AtomicU64,
    feedback_records: AtomicU64,
    negative_feedback: AtomicU64,
    /// Faults of generating threads and of handlers.
    panics: AtomicU64,
    /// Generations whose client has gone.
    cancelled: AtomicU64,
    /// Answers that are problems, by their code.
    problems: [AtomicU64; Code::ALL.len()],
    /// Duration of answered generations.
    pub(crate) latency: Histogram,
    /// From a request's arrival to its first token.
    pub(crate) first_token: Histogram,
    /// From a request's arrival to its slot.
    pub(crate) queue: Histogram,
    /// From a token to the next, the mean of an answer.
    pub(crate) token: Histogram,
    online: Mutex<[Online; 2]>,
    samples: Mutex<VecDeque<Sample>>,
}

/// Texts that people want, scored before they were learnt from.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Online {
    pub(crate) bytes: u64,
    /// Negative log-likelihood in nats by the weights that were served.
    pub(crate) served_nats: f64,
    /// The same by the weights of the start.
    pub(crate) base_nats: f64,
}

/// How it is known that a text is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// An answer was found good. The weights that were served have written it, so that they like it best.
    Accepted,
    /// It was given in place of an answer.
    Corrected,
}

impl Wanted {
    pub(crate) const ALL: [Self; 2] = [Self::Accepted, Self::Corrected];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Corrected => "corrected",
        }
    }
}

/// Endpoints that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Infer,
    Completions,
    Score,
    Feedback,
    Adapt,
    Other,
}

impl Endpoint {
    pub(crate) const ALL: [Self; 6] = [
        Self::Infer,
        Self::Completions,
        Self::Score,
        Self::Feedback,
        Self::Adapt,
        Self::Other,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Infer => "infer",
            Self::Completions => "completions",
            Self::Score => "score",
            Self::Feedback => "feedback",
            Self::Adapt => "adapt",
            Self::Other => "other",
        }
    }

    /// The endpoint of a path.
    pub(crate) fn of(path: &str) -> Self {
        match path {
            "/infer" => Self::Infer,
            "/v1/completions" | "/v1/chat/completions" => Self::Completions,
            "/v1/score" => Self::Score,
            "/feedback" => Self::Feedback,
            _ if path.starts_with("/feedback/") => Self::Feedback,
            _ if path.starts_with("/adapt") => Self::Adapt,
            _ => Self::Other,
        }
    }
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    generations: u64,
    tokens: u64,
    cpu_s: f64,
}

/// What happens per second, over the last minute or as long as there was one.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    pub(crate) generations_per_s: f64,
    pub(crate) tokens_per_s: f64,
    /// 100 is one core.
    pub(crate) cpu_percent: f64,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            answers: Default::default(),
            generated_tokens: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            scored_tokens: AtomicU64::new(0),
            feedback_records: AtomicU64::new(0),
            negative_feedback: AtomicU64::new(0),
            panics: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            problems: [const { AtomicU64::new(0) }; _],
            latency: Histogram::new(),
            first_token: Histogram::new(),
            queue: Histogram::new(),
            token: Histogram::new(),
            online: Mutex::default(),
            samples: Mutex::default(),
        }
    }

    pub(crate) fn count_answer(&self, endpoint: Endpoint, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.answers[endpoint as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_tokens(&self, tokens: usize) {
        self.generated_tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_scored(&self, tokens: usize) {
        self.scored_tokens
            .fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn scored_tokens(&self) -> u64 {
        self.scored_tokens.load(Ordering::Relaxed)
    }

    pub(crate) fn count_feedback(&self, is_negative: bool) {
        self.feedback_records.fetch_add(1, Ordering::Relaxed);
        self.negative_feedback
            .fetch_add(u64::from(is_negative), Ordering::Relaxed);
    }

    pub(crate) fn count_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn count_problem(&self, code: Code) {
        self.problems[code as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn problems(&self, code: Code) -> u64 {
        self.problems[code as usize].load(Ordering::Relaxed)
    }

    /// A text of so many bytes is wanted.
    pub(crate) fn count_online(&self, kind: Wanted, bytes: usize, served: f64, base: f64) {
        let mut online = self.online.lock().unwrap_or_else(PoisonError::into_inner);
        let online = &mut online[kind as usize];
        online.bytes += bytes as u64;
        online.served_nats += served;
        online.base_nats += base;
    }

    pub(crate) fn online(&self, kind: Wanted) -> Online {
        self.online.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize]
    }

    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// A generation of so many tokens has been answered.
    pub(crate) fn generated(
        &self,
        prompt_tokens: usize,
        tokens: usize,
        first_token: Duration,
        total: Duration,
    ) {
        self.prompt_tokens
            .fetch_add(prompt_tokens as u64, Ordering::Relaxed);
        self.first_token.add(first_token);
        self.latency.add(total);
        if let Some(others @ 1..) = u32::try_from(tokens)
            .ok()
            .and_then(|all| all.checked_sub(1))
        {
            self.token.add(total.saturating_sub(first_token) / others);
        }
    }

    /// Answers of an endpoint with a status that begins with `class`, 2 to 5.
    pub(crate) fn answers(&self, endpoint: Endpoint, class: usize) -> u64 {
        self.answers[endpoint as usize][class - 2].load(Ordering::Relaxed)
    }

    /// Answers of all endpoints, and those of 400 and above.
    pub(crate) fn totals(&self) -> (u64, u64) {
        let of = |classes: std::ops::RangeInclusive<usize>| {
            let pairs = Endpoint::ALL
                .into_iter()
                .flat_map(|endpoint| classes.clone().map(move |class| (endpoint, class)));
            pairs
                .map(|(endpoint, class)| self.answers(endpoint, class))
                .sum()
        };
        (of(2..=5), of(4..=5))
    }

    pub(crate) fn tokens(&self) -> u64 {
        self.generated_tokens.load(Ordering::Relaxed)
    }

    pub(crate) fn prompt_tokens(&self) -> u64 {
        self.prompt_tokens.load(Ordering::Relaxed)
    }

    pub(crate) fn feedback_records(&self) -> u64 {
        self.feedback_records.load(Ordering::Relaxed)
    }

    pub(crate) fn negative_feedback(&self) -> u64 {
        self.negative_feedback.load(Ordering::Relaxed)
    }

    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Resident memory in bytes, where the system tells.
    pub(crate) fn resident_bytes() -> Option<u64> {
        process::resident_bytes()
    }

    /// CPU time of this process in seconds, where the system tells.
    pub(crate) fn cpu_seconds() -> Option<f64> {
        process::cpu_seconds()
    }

    /// What the sums of the hours are made of, since the start.
    pub(crate) fn sums(&self) -> HourSums {
        let work = [Endpoint::Infer, Endpoint::Completions, Endpoint::Score];
        let of = |class| -> u64 { work.iter().map(|each| self.answers(*each, class)).sum() };
        let corrected = self.online(Wanted::Corrected);
        HourSums {
            requests: (2..=5).map(of).sum::<u64>() as f64,
            errors: of(5) as f64,
            answers: self.latency.count() as f64,
            tokens: self.tokens() as f64,
            answer_seconds: self.latency.sum_s(),
            feedback: self.feedback_records() as f64,
            negative: self.negative_feedback() as f64,
            corrected_bytes: corrected.bytes as f64,
            corrected_nats_served: corrected.served_nats,
            corrected_nats_base: corrected.base_nats,
            // Counted by the watch over prompts.
            drift_alarms: 0.0,
        }
    }

    /// Takes the sample of a second; called once a second.
    pub(crate) fn tick(&self) {
        let sample = self.sample();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.len() >= WINDOW_S {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// Rates from the oldest sample of the window until now.
    pub(crate) fn rates(&self) -> Rates {
        let oldest = {
            let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
            samples.front().copied()
        };
        let (Some(then), now) = (oldest, self.sample()) else {
            return Rates::default();
        };
        let seconds = (now.at - then.at).as_secs_f64().max(1e-3);
        Rates {
            generations_per_s: (now.generations - then.generations) as f64 / seconds,
            tokens_per_s: (now.tokens - then.tokens) as f64 / seconds,
            cpu_percent: 100.0 * (now.cpu_s - then.cpu_s) / seconds,
        }
    }

    fn sample(&self) -> Sample {
        Sample {
            at: Instant::now(),
            generations: self.latency.count(),
            tokens: self.tokens(),
            cpu_s: Self::cpu_seconds().unwrap_or(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_endpoint_and_class() {
        let metrics = Metrics::new();
        metrics.count_answer(Endpoint::of("/infer"), StatusCode::OK);
        metrics.count_answer(Endpoint::of("/infer"), StatusCode::UNPROCESSABLE_ENTITY);
        metrics.count_answer(Endpoint::of("/adapt/status"), StatusCode::OK);
        metrics.count_answer(Endpoint::of("/nothing"), StatusCode::NOT_FOUND);
        assert_eq!(metrics.answers(Endpoint::Infer, 2), 1);
        assert_eq!(metrics.answers(Endpoint::Infer, 4), 1);
        assert_eq!(metrics.answers(Endpoint::Adapt, 2), 1);
        assert_eq!(metrics.totals(), (4, 2));
    }

    #[test]
    fn rates_are_since_the_oldest_sample() {
        let metrics = Metrics::new();
        assert!(metrics.rates().tokens_per_s.abs() < 1e-9);
        metrics.tick();
        metrics.count_tokens(1000);
        std::thread::sleep(Duration::from_millis(20));
        let rate = metrics.rates().tokens_per_s;
        assert!((1.0..=50_000.0).contains(&rate), "{rate}");
    }
}
