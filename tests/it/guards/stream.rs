//! The stream: what it counts, and what it forgives.

use super::{Ground, entry, queue};
use crate::harness::eventually;
use std::collections::HashSet;
use std::time::Duration;
use taskrunnerx::stream::{Entry, Gates, Opening, StreamState};
use taskrunnerx::task::{TaskId, WorkerId};
use tokio_util::sync::CancellationToken;

impl Ground {
    async fn entries(&self, count: usize) -> Vec<Entry> {
        let mut entries = Vec::new();
        for id in self.dispatched(count).await {
            entries.push(entry(&self.task(id).await));
        }
        entries
    }

    fn key(&self) -> String {
        format!("{}:{{default}}", self.world.prefix)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_state_counts_what_is_unread_what_is_pending_and_what_was_read() {
    let ground = Ground::new().await;
    let (stream, entries) = (ground.stream(), ground.entries(5).await);
    let state = async || stream.state(&queue()).await.unwrap();
    assert_eq!(state().await, StreamState { anew: true, ..StreamState::default() }, "made by looking");
    stream.append(entries.clone()).await.unwrap();
    let at = |i: usize| Some(entries[i].dispatched_at);
    assert_eq!(
        state().await,
        StreamState { unread: 5, pending: 0, oldest_unread: at(0), entries_read: 0, anew: false, spent: None }
    );
    let read = stream.reader(WorkerId::fresh()).read(&[queue()], 3, None).await.unwrap();
    assert_eq!(read.iter().map(|d| d.entry.clone().unwrap()).collect::<Vec<_>>(), entries[..3]);
    assert_eq!(
        state().await,
        StreamState { unread: 2, pending: 3, oldest_unread: at(3), entries_read: 3, anew: false, spent: None }
    );
    stream.acknowledge("default", read.into_iter().map(|d| d.entry_id).collect()).await.unwrap();
    assert_eq!(
        state().await,
        StreamState { unread: 2, pending: 0, oldest_unread: at(3), entries_read: 3, anew: false, spent: None }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_acknowledged_and_not_deleted_do_not_fill_the_window_and_go() {
    let ground = Ground::new().await;
    let stream = ground.stream();
    stream.append(ground.entries(2).await).await.unwrap();
    stream.ensure_group("default").await.unwrap();
    let read = stream.reader(WorkerId::fresh()).read(&[queue()], 10, None).await.unwrap();
    assert_eq!(read.len(), 2, "also those that came before the group");
    let mut redis = ground.world.redis().await;
    for delivered in read {
        let mut ack = redis::cmd("XACK");
        ack.arg(ground.key()).arg("workers").arg(delivered.entry_id);
        let _: u64 = ack.query_async(&mut redis).await.unwrap();
    }
    let length: u64 = redis::cmd("XLEN").arg(ground.key()).query_async(&mut redis).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    assert_eq!((length, state.unread, state.pending, state.oldest_unread), (2, 0, 0, None));
    let length: u64 = redis::cmd("XLEN").arg(ground.key()).query_async(&mut redis).await.unwrap();
    assert_eq!(length, 0);
    // And nothing else does.
    stream.append(ground.entries(1).await).await.unwrap();
    assert_eq!((stream.state(&queue()).await.unwrap().unread, stream.state(&queue()).await.unwrap().unread), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_consumer_leaves_nothing_pending() {
    let ground = Ground::new().await;
    let (stream, dead, live) = (ground.stream(), WorkerId::fresh(), WorkerId::fresh());
    // More than are cleared in one call.
    let one = ground.entries(1).await.remove(0);
    stream.append(vec![one; 503]).await.unwrap();
    stream.ensure_group("default").await.unwrap();
    stream.reader(live).read(&[queue()], 1, None).await.unwrap();
    stream.reader(dead).read(&[queue()], 501, None).await.unwrap();
    stream.clear_consumer("default", dead).await.unwrap();
    let state = stream.state(&queue()).await.unwrap();
    assert_eq!((state.pending, state.unread), (1, 1), "the living one's, and what nobody has read");
    let mut redis = ground.world.redis().await;
    let mut info = redis::cmd("XINFO");
    info.arg("CONSUMERS").arg(ground.key()).arg("workers");
    let consumers: Vec<redis::Value> = info.query_async(&mut redis).await.unwrap();
    assert_eq!(consumers.len(), 1);
    // Again, and where there never was one.
    stream.clear_consumer("default", dead).await.unwrap();
    stream.clear_consumer("nowhere", dead).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_gone_is_made_anew_by_who_reads_and_by_who_looks() {
    let ground = Ground::new().await;
    let (stream, mut redis) = (ground.stream(), ground.world.redis().await);
    let mut reader = stream.reader(WorkerId::fresh());
    let entries = ground.entries(2).await;
    for entry in &entries {
        let _: u64 = redis::cmd("DEL").arg(ground.key()).query_async(&mut redis).await.unwrap();
        assert_eq!(reader.read(&[queue()], 10, None).await.unwrap(), []);
        stream.append(vec![entry.clone()]).await.unwrap();
        let read = reader.read(&[queue()], 10, Some(Duration::from_secs(1))).await.unwrap();
        let entries: Vec<Entry> = read.into_iter().map(|d| d.entry.unwrap()).collect();
        assert_eq!(entries.as_slice(), std::slice::from_ref(entry));
    }
    let mut destroy = redis::cmd("XGROUP");
    destroy.arg("DESTROY").arg(ground.key()).arg("workers");
    let _: u64 = destroy.query_async(&mut redis).await.unwrap();
    stream.state(&queue()).await.unwrap();
    let ids: HashSet<TaskId> =
        reader.read(&[queue()], 10, None).await.unwrap().into_iter().map(|d| d.entry.unwrap().id).collect();
    assert_eq!(ids, HashSet::from([entries[1].id]), "from the beginning: what was read before comes twice, and loses");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_budget_opens_every_apis_gate_and_its_end_closes_them() {
    let ground = Ground::new().await;
    let (stream, stop) = (ground.stream(), CancellationToken::new());
    let gates = [Gates::default(), Gates::default()];
    for gates in &gates {
        assert!(!gates.pass(&queue()));
        let (stream, gates, stop) = (stream.clone(), gates.clone(), stop.clone());
        tokio::spawn(async move { stream.watch_gates(gates, stop).await });
    }
    let opening = |serial, budget| stream.publish_gate("default", Opening { serial, budget }, 0.0);
    opening(1, 3).await.unwrap();
    for gates in &gates {
        eventually("open", async || gates.pass(&queue()).then_some(())).await;
        assert!(gates.pass(&queue()) && gates.pass(&queue()) && !gates.pass(&queue()), "three each");
    }
    opening(2, 1_000_000).await.unwrap();
    for gates in &gates {
        eventually("open", async || gates.pass(&queue()).then_some(())).await;
    }
    opening(3, 0).await.unwrap();
    for gates in &gates {
        eventually("closed", async || (!gates.pass(&queue())).then_some(())).await;
    }
    // One that nobody renews ends by itself.
    opening(4, 1_000_000).await.unwrap();
    for gates in &gates {
        eventually("open", async || gates.pass(&queue()).then_some(())).await;
    }
    for gates in &gates {
        eventually("closed", async || (!gates.pass(&queue())).then_some(())).await;
    }
    stop.cancel();
}
