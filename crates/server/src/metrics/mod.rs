//! `--metrics ADDR`: Prometheus' text format at `/metrics`, made anew for each who asks.
//!
//! Names are those of Kafka's own beans as Prometheus' JMX exporter spells them (`kafka.server:type=ReplicaManager,
//! name=UnderReplicatedPartitions` is `kafka_server_replicamanager_underreplicatedpartitions`), so that dashboards for
//! Kafka show this broker as well. [`text`] writes them; the answer speaks just enough HTTP for a scraper.

mod text;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use broker::vitals::Watcher;
use bytes::Bytes;
use runtime::{Address, Connection, Listener};

pub use text::text;

/// Whoever has not asked by then is left alone.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of a question.
const QUESTION_MAX: usize = 8 * 1024;

/// Begins to answer at `address`.
pub async fn serve(watcher: Watcher, address: Address) -> io::Result<()> {
    let env = watcher.env().clone();
    let listener = env.listen(address).await?;
    tracing::info!(address = %listener.local(), "metrics at /metrics");
    env.spawn_detached("metrics", accept(watcher, listener));
    Ok(())
}

async fn accept(watcher: Watcher, mut listener: Listener) {
    let env = watcher.env().clone();
    loop {
        match listener.accept().await {
            Ok(connection) => {
                let watcher = watcher.clone();
                env.spawn_detached("scrape", async move {
                    let scrape = answer(&watcher, connection);
                    let _ = watcher.env().timeout(PATIENCE, scrape).await;
                });
            }
            // No descriptors left, say.
            Err(error) => {
                tracing::warn!(%error, "metrics: not accepted");
                env.sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// One question, one answer, and the connection ends.
async fn answer(watcher: &Watcher, mut connection: Connection) {
    let mut question = Vec::new();
    let mut pieces = VecDeque::new();
    while !question.windows(4).any(|end| end == b"\r\n\r\n") {
        match connection.reader.read(&mut pieces, QUESTION_MAX).await {
            Ok(read) if read > 0 && question.len() < QUESTION_MAX => {
                pieces.drain(..).for_each(|piece| question.extend_from_slice(&piece));
            }
            _ => return,
        }
    }
    let line = question.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (status, kind, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics" | b"/")) => {
            ("200 OK", "text/plain; version=0.0.4; charset=utf-8", text(&watcher.look().await))
        }
        (Some(b"GET"), _) => ("404 Not Found", "text/plain", "metrics are at /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "text/plain", "GET /metrics\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut list = VecDeque::from([Bytes::from(head), Bytes::from(body)]);
    if connection.writer.write(&mut list).await.is_ok() {
        connection.writer.shutdown();
    }
}
