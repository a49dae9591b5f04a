//! Tasks of a process.

use std::fmt;

use tokio::sync::oneshot;

/// A running task. Dropping the handle lets it run on.
pub struct TaskHandle {
    /// Ends the task at its next suspension point; its destructors run.
    pub abort: Box<dyn Fn() + Send + Sync>,
}

impl fmt::Debug for TaskHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TaskHandle")
    }
}

impl TaskHandle {
    /// Ends the task at its next suspension point; its destructors run.
    pub fn abort(&self) {
        (self.abort)();
    }
}

/// A running task and its result. Dropping it lets the task run on.
pub struct Task<T> {
    pub(crate) handle: TaskHandle,
    pub(crate) result: oneshot::Receiver<T>,
}

impl<T> Task<T> {
    /// Ends the task at its next suspension point; its destructors run.
    pub fn abort(&self) {
        self.handle.abort();
    }

    /// Waits for the result; `None` if the task was aborted or panicked.
    pub async fn join(self) -> Option<T> {
        self.result.await.ok()
    }
}
