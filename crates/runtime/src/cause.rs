//! Which event of the world led to what is happening now.
//!
//! The world sets the current cause while it polls a task; an [`Inbox`](crate::Inbox) carries the sender's cause to the
//! receiver. On the operating system the cause is always [`Cause::NONE`] and costs one thread-local read.

use std::cell::Cell;

/// The id of an event of the world.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cause(pub u64);

impl Cause {
    /// Nothing is known to have caused this.
    pub const NONE: Self = Self(0);
}

thread_local! {
    static CURRENT: Cell<Cause> = const { Cell::new(Cause::NONE) };
}

/// What caused the code that runs now.
pub fn current() -> Cause {
    CURRENT.get()
}

/// Says that what follows on this thread was caused by `cause`; returns what was current before.
pub fn set(cause: Cause) -> Cause {
    CURRENT.replace(cause)
}
