//! Runs hyper's tasks on the worker that they belong to.

use hyper::rt::Executor;
use tokio::task::spawn_local;

/// The worker of whoever asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local;

impl<F> Executor<F> for Local
where
    F: Future<Output: 'static> + 'static,
{
    fn execute(&self, task: F) {
        spawn_local(task);
    }
}
