//! The way between tasks: bounded, counted, and carrying the cause of each message.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use crate::cause::{self, Cause};

/// The inbox holds as many messages as it may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("inbox full")]
pub struct Full<T>(pub T);

/// The receiver is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("inbox closed")]
pub struct Closed;

/// Makes an inbox for at most `capacity` messages, and the way to post to it.
pub fn inbox<T>(capacity: usize) -> (Post<T>, Inbox<T>) {
    let shared = Arc::new(Mutex::new(Shared {
        queue: VecDeque::new(),
        receiver: None,
        senders_waiting: Vec::new(),
        posts: 1,
        open: true,
    }));
    (Post { shared: Arc::clone(&shared), capacity }, Inbox { shared })
}

struct Shared<T> {
    queue: VecDeque<(Cause, T)>,
    receiver: Option<Waker>,
    senders_waiting: Vec<Waker>,
    /// How many [`Post`]s there are; at zero the receiver learns of the end.
    posts: usize,
    open: bool,
}

type SharedInbox<T> = Arc<Mutex<Shared<T>>>;

fn with<T, R>(shared: &SharedInbox<T>, f: impl FnOnce(&mut Shared<T>) -> R) -> R {
    f(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Posts messages. Clones post to the same inbox.
pub struct Post<T> {
    shared: SharedInbox<T>,
    capacity: usize,
}

impl<T> Clone for Post<T> {
    fn clone(&self) -> Self {
        with(&self.shared, |shared| shared.posts += 1);
        Self { shared: Arc::clone(&self.shared), capacity: self.capacity }
    }
}

impl<T> Drop for Post<T> {
    fn drop(&mut self) {
        let waker = with(&self.shared, |shared| {
            shared.posts -= 1;
            if shared.posts == 0 { shared.receiver.take() } else { None }
        });
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl<T> std::fmt::Debug for Post<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Post")
    }
}

impl<T> Post<T> {
    /// Posts without a bound: for completions and answers, whose number their requests bound. Dropped if the receiver is
    /// gone.
    pub fn post(&self, message: T) {
        let cause = cause::current();
        let (waker, refused) = with(&self.shared, |shared| {
            if !shared.open {
                return (None, Some(message));
            }
            shared.queue.push_back((cause, message));
            (shared.receiver.take(), None)
        });
        drop(refused);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Posts if there is room.
    pub fn try_send(&self, message: T) -> Result<(), Full<T>> {
        if with(&self.shared, |shared| shared.open && shared.queue.len() >= self.capacity) {
            return Err(Full(message));
        }
        self.post(message);
        Ok(())
    }

    /// Posts, waiting for room.
    pub async fn send(&self, message: T) -> Result<(), Closed> {
        let mut message = Some(message);
        poll_fn(|cx| {
            let room = with(&self.shared, |shared| {
                if shared.open && shared.queue.len() >= self.capacity {
                    shared.senders_waiting.push(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(if shared.open { Ok(()) } else { Err(Closed) })
            });
            match room {
                Poll::Ready(Ok(())) => {
                    self.post(message.take().expect("polled after the end"));
                    Poll::Ready(Ok(()))
                }
                other => other,
            }
        })
        .await
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        with(&self.shared, |shared| shared.queue.len())
    }
}

/// Receives messages, in order.
pub struct Inbox<T> {
    shared: SharedInbox<T>,
}

impl<T> std::fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inbox")
    }
}

impl<T> Inbox<T> {
    /// The next message; the current cause becomes that of the message. `None` when every [`Post`] is gone.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`Inbox::recv`], for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Option<T>> {
        let (result, wakers) = with(&self.shared, |shared| match shared.queue.pop_front() {
            Some(next) => (Poll::Ready(Some(next)), std::mem::take(&mut shared.senders_waiting)),
            None if shared.posts == 0 => (Poll::Ready(None), Vec::new()),
            None => {
                shared.receiver = Some(cx.waker().clone());
                (Poll::Pending, Vec::new())
            }
        });
        wakers.into_iter().for_each(Waker::wake);
        result.map(|next| {
            next.map(|(cause, message)| {
                cause::set(cause);
                message
            })
        })
    }

    /// The next message if one waits; the current cause becomes that of the message.
    pub fn try_recv(&mut self) -> Option<T> {
        let (next, wakers) =
            with(&self.shared, |shared| (shared.queue.pop_front(), std::mem::take(&mut shared.senders_waiting)));
        wakers.into_iter().for_each(Waker::wake);
        next.map(|(cause, message)| {
            cause::set(cause);
            message
        })
    }

    /// How many messages wait.
    pub fn waiting(&self) -> usize {
        with(&self.shared, |shared| shared.queue.len())
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let (queue, wakers) = with(&self.shared, |shared| {
            shared.open = false;
            (std::mem::take(&mut shared.queue), std::mem::take(&mut shared.senders_waiting))
        });
        drop(queue);
        wakers.into_iter().for_each(Waker::wake);
    }
}
