//! Waiting for a time on tokio's timers, whose grain is a millisecond.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A timer of the operating system; for ever if the time never comes.
pub struct Sleep(pub(super) Option<Pin<Box<tokio::time::Sleep>>>);

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
