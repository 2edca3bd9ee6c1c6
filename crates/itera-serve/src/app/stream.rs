//! Answers as server-sent events: pieces of the same form, then `[DONE]`.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Instant};

use axum::response::{
    IntoResponse as _, Response,
    sse::{Event as SseEvent, KeepAlive, Sse},
};
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::{
    App,
    chat::Form,
    completions::{Choice, CompletionResponse, LogprobsBody, Usage, Work, answer_id, head},
    generate::{self, Written, log, store},
    online,
};
use crate::{
    client::Client,
    engine::{Completion, Event, MIN_EVENTS, Reply},
    limits::Charge,
    problem::{Code, Problem},
};

/// Pieces that wait for a client; what is written beyond them comes as one.
const PIECES: usize = 16 + MIN_EVENTS;

/// Longest stream, in terms of the longest other request.
const LONGEST: u32 = 10;

/// An event of a stream.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the OpenAPI document")]
pub(super) struct StreamEvent {
    /// A piece of the answer as JSON, and at last `[DONE]`.
    data: String,
}

/// Starts every choice and answers with the stream of their pieces. When the client goes, the stream
/// is dropped and the slots are free within one token.
pub(super) fn respond(
    app: Arc<App>,
    client: &Client,
    work: Work,
    charge: Charge,
) -> Result<Response, Problem> {
    let mut sources = SelectAll::new();
    for (index, input) in work.prompts.iter().enumerate() {
        let (sender, receiver) = mpsc::channel(PIECES);
        let plan = input.plan(&work.plan);
        online::watch(&app, &plan, &input.prompt());
        let request = plan.request(
            client,
            input.prompt(),
            Instant::now(),
            Reply::Stream(sender),
        );
        app.engine
            .submit(request)
            .map_err(|_full| Problem::busy())?;
        sources.push(events(index, receiver));
    }
    let mut told = Telling {
        head: head(&work.plan),
        so_far: (!work.plan.echo).then(Written::default),
        began: Instant::now(),
        open: work.prompts.len(),
        is_first: true,
        usage: Usage::default(),
        waiting: VecDeque::new(),
        sources,
        deadline: Instant::now() + app.settings.timeout() * LONGEST,
        app,
        work,
        _charge: charge,
    };
    if told.work.form == Form::Chat {
        for index in 0..told.open {
            told.choice(index, String::new(), None, None);
        }
    }
    told.is_first = false;
    let events = stream::unfold(told, |mut telling| async move {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    // Proxies that gather an answer before they pass it on are asked not to.
    let unbuffered = [("x-accel-buffering", "no")];
    let events = Sse::new(events).keep_alive(KeepAlive::default());
    Ok((unbuffered, events).into_response())
}

/// The events of one choice, with its index. A worker that fails ends them without an end.
fn events(
    index: usize,
    receiver: mpsc::Receiver<Event>,
) -> BoxStream<'static, (usize, Option<Event>)> {
    stream::unfold(Some((receiver, false)), move |state| async move {
        let (mut receiver, ended) = state?;
        match receiver.recv().await {
            Some(event) => {
                let ended = matches!(event, Event::End(_));
                Some(((index, Some(event)), Some((receiver, ended))))
            }
            None if ended => None,
            None => Some(((index, None), None)),
        }
    })
    .boxed()
}

/// What is told to a client, and how far.
struct Telling {
    app: Arc<App>,
    work: Work,
    head: CompletionResponse,
    /// What the first choice has said, as long as it has not ended.
    so_far: Option<Written>,
    began: Instant,
    sources: SelectAll<BoxStream<'static, (usize, Option<Event>)>>,
    /// Choices that have not ended.
    open: usize,
    /// Whether nothing is told yet.
    is_first: bool,
    usage: Usage,
    /// Events that are ready.
    waiting: VecDeque<SseEvent>,
    /// When the stream ends, whatever is missing.
    deadline: Instant,
    _charge: Charge,
}

impl Telling {
    async fn next(&mut self) -> Option<SseEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            // After the last choice the sources are empty, and the stream ends.
            let next = tokio::time::timeout_at(self.deadline.into(), self.sources.next());
            let Ok(next) = next.await else {
                self.give_up();
                continue;
            };
            let (index, event) = next?;
            match event {
                Some(Event::Delta {
                    text,
                    tokens,
                    logprobs,
                }) => {
                    if let Some(so_far) = self.so_far.as_mut().filter(|_| index == 0) {
                        so_far.output += &text;
                        so_far.tokens = tokens;
                    }
                    let logprobs = logprobs.map(LogprobsBody::from);
                    self.choice(index, text, logprobs, None);
                }
                Some(Event::End(Ok(mut completion))) => {
                    self.end(index, &mut completion);
                }
                Some(Event::End(Err(error))) => self.fail(&generate::problem(&error)),
                None => {
                    self.count_failure();
                    self.fail(&Problem::internal("the generating thread failed"));
                }
            }
        }
    }

    fn choice(
        &mut self,
        index: usize,
        text: String,
        logprobs: Option<LogprobsBody>,
        end: Option<(&'static str, Option<String>)>,
    ) {
        let (finish_reason, feedback_id) =
            end.map_or((None, None), |(reason, id)| (Some(reason), id));
        let mut chunk = self.head.clone();
        chunk.choices.push(Choice {
            index,
            text,
            logprobs,
            finish_reason,
            feedback_id,
            seed: self.work.prompts[index].seed,
        });
        self.tell(chunk);
    }

    /// The last chunk of a choice, and after the last choice what ends the stream.
    fn end(&mut self, index: usize, completion: &mut Completion) {
        let watts = self.app.settings.args.engine.watts_per_core;
        self.usage.add(completion, watts);
        self.work.keep(completion);
        let input = &self.work.prompts[index];
        let plan = input.plan(&self.work.plan);
        let id = answer_id(&self.head, index);
        if index == 0 {
            self.so_far = None;
        }
        let feedback_id = log(&self.app, id, &plan, input.text.clone(), completion);
        let reason = completion.finish.name();
        self.choice(index, String::new(), None, Some((reason, feedback_id)));
        self.close();
    }

    fn fail(&mut self, problem: &Problem) {
        self.waiting
            .push_back(SseEvent::default().data(problem.to_json()));
        self.close();
    }

    /// Counts a failure of the arm that writes this.
    fn count_failure(&self) {
        if let Some(assigned) = &self.work.plan.arm {
            assigned.arm().tally.count_failure();
        }
    }

    /// Ends all choices: their slots are then free.
    fn give_up(&mut self) {
        self.count_failure();
        self.sources.clear();
        let late = Problem::new(
            Code::Timeout,
            "the stream took too long; ask for fewer tokens, or try again",
        );
        self.open = 1;
        self.fail(&late);
    }

    fn close(&mut self) {
        self.open -= 1;
        if self.open > 0 {
            return;
        }
        if self.work.include_usage {
            let mut last = self.head.clone();
            last.usage = Some(self.usage);
            self.tell(last);
        }
        self.waiting.push_back(SseEvent::default().data("[DONE]"));
    }

    /// Stores what a client has got that stopped the first choice and knows its id, so that it can be rated.
    fn keep_so_far(&mut self) {
        let Some(mut so_far) = self.so_far.take() else {
            return;
        };
        so_far.total = self.began.elapsed();
        if so_far.tokens > 0 {
            let input = &self.work.prompts[0];
            let id = answer_id(&self.head, 0);
            let plan = input.plan(&self.work.plan);
            store(&self.app, id, &plan, input.text.clone(), so_far);
        }
    }

    fn tell(&mut self, chunk: CompletionResponse) {
        // Plain data without maps of other keys than text: serialising cannot fail.
        if let Ok(json) = self.work.form.piece(chunk, self.is_first) {
            self.waiting.push_back(SseEvent::default().data(json));
        }
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        self.keep_so_far();
    }
}
