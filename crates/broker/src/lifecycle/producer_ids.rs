//! Producer ids for clients that ask for one (KIP-98): blocks from the controller, the next one asked for before the last is
//! used up, so that nobody ever waits here.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use protocol::messages::AllocateProducerIdsRequest;
use protocol::{ErrorCode, NodeId};
use runtime::{Env, Inbox, Post};

use super::Shared;
use super::channel::ControllerChannel;

/// After how long an asker gives up; the next client that wants an id makes it ask again.
const GIVE_UP: Duration = Duration::from_secs(60);

/// The ids at hand. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct ProducerIds {
    known: Arc<Mutex<Blocks>>,
    asker: Post<()>,
}

#[derive(Debug, Default)]
struct Blocks {
    /// Ids not given yet. Invariant: none was ever given, here or elsewhere.
    current: Range<i64>,
    /// When fewer than these are left, the next block is asked for.
    few: i64,
    next: Option<Range<i64>>,
    /// A block is being asked for.
    asked: bool,
}

impl ProducerIds {
    pub(super) fn new(asker: Post<()>) -> Self {
        Self { known: Arc::default(), asker }
    }

    /// An id that nobody has; `None`: none is at hand, and a block was asked for.
    pub(super) fn take(&self) -> Option<i64> {
        let mut blocks = self.blocks();
        if blocks.current.is_empty()
            && let Some(next) = blocks.next.take()
        {
            // The tenth that is left when 90 % are used.
            blocks.few = (next.end - next.start) / 10;
            blocks.current = next;
        }
        let id = blocks.current.next();
        let left = blocks.current.end - blocks.current.start;
        if left <= blocks.few && blocks.next.is_none() && !blocks.asked {
            blocks.asked = true;
            self.asker.post(());
        }
        id
    }

    fn blocks(&self) -> std::sync::MutexGuard<'_, Blocks> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answered(&self, block: Option<Range<i64>>) {
        let mut blocks = self.blocks();
        blocks.asked = false;
        if block.is_some() {
            blocks.next = block;
        }
    }
}

/// Asks for blocks, as long as anybody may want one.
pub(super) async fn run(
    env: Env,
    node: NodeId,
    shared: Shared,
    mut channel: ControllerChannel,
    ids: ProducerIds,
    mut inbox: Inbox<()>,
) {
    while inbox.recv().await.is_some() {
        let request = AllocateProducerIdsRequest {
            broker_id: node.0,
            broker_epoch: shared.status().epoch.0,
            ..Default::default()
        };
        let give_up = env.now().mono + GIVE_UP;
        let not_controller = ErrorCode::NotController.code();
        let block = match channel.ask(&request, give_up, |it| it.error_code == not_controller).await {
            Ok(response) if response.error_code == 0 => {
                let (first, len) = (response.producer_id_start, i64::from(response.producer_id_len));
                Some(first..first.saturating_add(len)).filter(|block| !block.is_empty())
            }
            Ok(response) => {
                let code = ErrorCode::from_code(response.error_code);
                tracing::warn!(%code, "the controller gives no producer ids");
                None
            }
            Err(error) => {
                tracing::warn!(%error, "no producer ids");
                None
            }
        };
        ids.answered(block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_block_is_asked_for_once_before_the_last_id_is_given() {
        let (post, mut asked) = runtime::inbox(10);
        let ids = ProducerIds::new(post);
        assert_eq!((ids.take(), ids.take()), (None, None), "the first one after a start gets none");
        assert_eq!((asked.try_recv(), asked.try_recv()), (Some(()), None));
        ids.answered(Some(5000..5020));
        let first: Vec<_> = (0..18).filter_map(|_| ids.take()).collect();
        assert_eq!(first, (5000..5018).collect::<Vec<_>>());
        assert_eq!((asked.try_recv(), asked.try_recv()), (Some(()), None));
        ids.answered(None);
        assert_eq!(ids.take(), Some(5018));
        assert_eq!(asked.try_recv(), Some(()), "what failed is asked for again");
        ids.answered(Some(7000..7020));
        assert_eq!([ids.take(), ids.take(), ids.take()], [Some(5019), Some(7000), Some(7001)]);
    }
}
