//! Batches through threads: one reads, others work, and the caller gets what they made in the order of the input.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
};

use super::batches::Work;

/// What a thread made of a batch, or of a part of a long document.
pub(crate) struct Made<T> {
    /// The number of the batch.
    pub(crate) batch: u64,
    pub(crate) what: T,
    /// Whether nothing more comes of this batch.
    pub(crate) is_last: bool,
}

/// Takes what a thread has made; false if nobody wants it any more.
pub(crate) type Give<'g, T> = &'g mut dyn FnMut(Made<T>) -> bool;

/// Calls `then` with what each batch from number `first` on became. `read` sends the batches; a `worker`, one for
/// each thread, makes something of one and gives it away.
///
/// Memory does not depend on the input: a few batches for each thread are on their way.
///
/// # Errors
/// The first of any part; the others then end.
pub(crate) fn run<T: Send, W>(
    threads: usize,
    first: u64,
    read: impl FnOnce(&SyncSender<Work>) -> anyhow::Result<()> + Send,
    worker: impl Fn() -> anyhow::Result<W> + Sync,
    mut then: impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()>
where
    W: FnMut(Work, Give<T>) -> anyhow::Result<()>,
{
    let (work, to_do) = sync_channel::<Work>(threads);
    // Dropped with the last thread that works, so that the reader ends where all others have.
    let to_do = Arc::new(Mutex::new(to_do));
    let (done, results) = sync_channel(2 * threads);
    thread::scope(|scope| {
        let (to_do, worker) = (to_do, &worker);
        let failed = done.clone();
        scope.spawn(move || {
            if let Err(error) = read(&work) {
                let _ = failed.send(Err(error));
            }
        });
        for _ in 0..threads {
            let (to_do, done) = (Arc::clone(&to_do), done.clone());
            scope.spawn(move || {
                if let Err(error) = worker().and_then(|worker| work_off(&to_do, &done, worker)) {
                    let _ = done.send(Err(error));
                }
            });
        }
        drop((done, to_do));
        in_order(results, first, &mut then)
    })
}

/// Works off one batch after the other until there is none, or nobody takes what it becomes.
fn work_off<T>(
    to_do: &Mutex<Receiver<Work>>,
    done: &SyncSender<anyhow::Result<Made<T>>>,
    mut worker: impl FnMut(Work, Give<T>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut is_wanted = true;
    while is_wanted {
        let Ok(receiver) = to_do.lock() else { break };
        let Ok(work) = receiver.recv() else { break };
        drop(receiver);
        worker(work, &mut |made| {
            is_wanted = done.send(Ok(made)).is_ok();
            is_wanted
        })?;
    }
    Ok(())
}

fn in_order<T>(
    results: Receiver<anyhow::Result<Made<T>>>,
    first: u64,
    then: &mut impl FnMut(T) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut early = BTreeMap::<u64, VecDeque<Made<T>>>::new();
    let mut next = first;
    for result in results {
        let made = result?;
        early.entry(made.batch).or_default().push_back(made);
        while let Some(made) = early.get_mut(&next).and_then(VecDeque::pop_front) {
            if made.is_last {
                early.remove(&next);
                next += 1;
            }
            then(made.what)?;
        }
    }
    Ok(())
}
