//! The operating system's side of the seam.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use protocol::{Monotonic, Now};
use rand_chacha::ChaCha8Rng;

use crate::disk::RawDisk;
use crate::net::{Address, Connection, RawListener};
use crate::task::TaskHandle;

/// This process.
pub struct Process;

impl Process {
    pub(crate) fn now(&self) -> Now {
        unreachable!("to come")
    }
    pub(crate) fn sleep_until(&self, _at: Monotonic) -> Sleep {
        unreachable!("to come")
    }
    pub(crate) fn spawn(&self, _name: &'static str, _future: impl Future<Output = ()> + Send + 'static) -> TaskHandle {
        unreachable!("to come")
    }
    pub(crate) async fn connect(&self, _to: Address) -> io::Result<Connection> {
        unreachable!("to come")
    }
    pub(crate) async fn listen(&self, _at: Address) -> io::Result<Box<dyn RawListener>> {
        unreachable!("to come")
    }
    pub(crate) fn disk(&self, _dir: &str) -> Arc<dyn RawDisk> {
        unreachable!("to come")
    }
    pub(crate) fn rng(&self, _purpose: &str) -> ChaCha8Rng {
        unreachable!("to come")
    }
}

/// A timer of the operating system.
pub struct Sleep;

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        unreachable!("to come")
    }
}
