//! Pause: what a queue's row says, and what its dispatcher makes of it.

use super::{Ground, MINUTE, queue};
use mysql_async::prelude::Queryable;
use std::time::Duration;
use taskrunnerx::store::queues::{NewPause, Pause};

fn until(resume_in: Option<Duration>) -> NewPause {
    NewPause { reason: Some("why".to_owned()), by: "me".to_owned(), resume_in }
}

impl Ground {
    async fn paused(&self) -> bool {
        let row = self.store.queue_row(queue()).await.unwrap().unwrap();
        let listed = self.store.queue_rows().await.unwrap();
        assert_eq!(listed.iter().find(|listed| listed.name == row.name), Some(&row));
        let outlook = self.store.outlook(queue(), false).await.unwrap();
        assert_eq!(outlook.paused, row.pause.is_some(), "the dispatcher sees what everybody sees");
        outlook.paused
    }

    async fn pause(&self, resume_in: Option<Duration>) -> Pause {
        self.store.pause_queue(queue(), until(resume_in)).await.unwrap().pause.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_until_its_time_is_over_or_it_is_ended() {
    let mut ground = Ground::new().await;
    assert!(!ground.paused().await);

    // Without an end.
    let before = ground.store.now().await.unwrap();
    let pause = ground.pause(None).await;
    assert!(pause.since >= before && ground.store.now().await.unwrap() >= pause.since);
    assert_eq!((pause.reason.as_deref(), pause.by.as_deref(), pause.resume_at), (Some("why"), Some("me"), None));
    assert!(ground.paused().await);
    // It says nothing of other queues.
    ground.store.ensure_queues(vec!["another".into()]).await.unwrap();
    assert!(!ground.store.outlook("another".into(), false).await.unwrap().paused);
    assert_eq!(ground.store.queue_row("another".into()).await.unwrap().unwrap().pause, None);

    // Paused again: the new pause, not the old one.
    let again = ground.pause(Some(MINUTE)).await;
    assert!(again.since > pause.since);
    assert_eq!(again.resume_at, Some(again.since + MINUTE));
    assert!(ground.paused().await);

    // Its time is over, and nobody has done anything.
    ground
        .sql
        .query_drop("UPDATE queues SET resume_at = NOW(6) - INTERVAL 1 MICROSECOND WHERE name = 'default'")
        .await
        .unwrap();
    assert!(!ground.paused().await);
    // A new one does not end at the old one's time.
    assert_eq!(ground.pause(None).await.resume_at, None);
    assert!(ground.paused().await);

    // Ended, and ended again.
    for _ in 0..2 {
        let row = ground.store.resume_queue(queue()).await.unwrap().unwrap();
        assert_eq!(row.pause, None);
        assert!(!ground.paused().await);
    }
    let left = "SELECT COUNT(*) FROM queues WHERE COALESCE(paused_at, pause_reason, paused_by, resume_at) IS NOT NULL";
    assert_eq!(ground.number(left).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_that_is_not_there_is_made_by_a_pause_and_not_by_a_resume() {
    let mut ground = Ground::new().await;
    assert_eq!(ground.store.resume_queue("new".into()).await.unwrap(), None);
    assert_eq!(ground.store.queue_row("new".into()).await.unwrap(), None);
    let row = ground.store.pause_queue("new".into(), until(None)).await.unwrap();
    assert_eq!(row.created_at, row.pause.unwrap().since);
    // A pause leaves the rest of a row as it is.
    ground.sql.query_drop("UPDATE queues SET dispatcher_id = UNHEX('01'), dispatcher_until = NOW(6) + INTERVAL 1 DAY WHERE name = 'default'").await.unwrap();
    let before = ground.store.queue_row(queue()).await.unwrap().unwrap();
    ground.pause(None).await;
    assert_eq!(ground.store.resume_queue(queue()).await.unwrap().unwrap(), before);
    assert!(before.dispatcher.is_some());
}
