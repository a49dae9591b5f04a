//! Waiting for a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use protocol::Monotonic;

use crate::host::Host;
use crate::os;

/// A registration with a host's timers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimerId(pub u64, pub u64);

/// The time was up first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("time-out")]
pub struct Elapsed;

/// Ends at its instant, exactly in the world. Dropping it leaves nothing behind.
pub struct Sleep(pub(crate) Inner);

pub(crate) enum Inner {
    Os(os::Sleep),
    Sim { host: Arc<dyn Host>, at: Monotonic, slot: Option<TimerId> },
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Inner::Os(sleep) => Pin::new(sleep).poll(cx),
            Inner::Sim { host, at, slot } => {
                if host.now().mono >= *at {
                    if let Some(id) = slot.take() {
                        host.cancel_timer(id);
                    }
                    return Poll::Ready(());
                }
                host.timer(*at, cx.waker(), slot);
                Poll::Pending
            }
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Inner::Sim { host, slot, .. } = &mut self.0
            && let Some(id) = slot.take()
        {
            host.cancel_timer(id);
        }
    }
}
