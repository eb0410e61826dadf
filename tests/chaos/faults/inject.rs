//! How each fault is done, and undone.

use super::{Fault, Kind};
use crate::load::QUEUES;
use crate::processes::{Process, signal};
use crate::proxy::{Flow, Proxy};
use crate::rig::Rig;
use mysql_async::prelude::Queryable;
use std::io::Write;
use std::time::Duration;
use taskrunnerx::cli::dev::servers::Servers;
use tokio::time::sleep;

/// Of a slow wire, for each packet.
const SLOW: Duration = Duration::from_millis(80);

pub(super) async fn process(fault: Fault, process: &mut Process) {
    match fault.kind {
        Kind::WorkerPaused | Kind::SchedulerPaused => {
            process.pause();
            sleep(fault.lasts).await;
            process.resume();
        }
        Kind::WorkerDrained | Kind::ApiDrained => {
            process.stop().await;
            process.again().await;
        }
        Kind::WorkerKilled | Kind::ApiKilled | Kind::SchedulerKilled => {
            process.kill().await;
            sleep(fault.lasts).await;
            process.again().await;
        }
        other => unreachable!("{other:?} strikes no process"),
    }
}

pub(super) async fn wire(fault: Fault, rig: &Rig) {
    let proxy: &Proxy = match fault.kind {
        Kind::RedisCut | Kind::RedisSlow | Kind::RedisSwallowed | Kind::RedisAmbiguous => &rig.redis,
        _ => &rig.database,
    };
    let flow = match fault.kind {
        Kind::RedisSlow | Kind::DatabaseSlow => Flow::Slow(SLOW),
        Kind::RedisSwallowed | Kind::DatabaseSwallowed => Flow::Hole,
        Kind::RedisAmbiguous | Kind::DatabaseAmbiguous => Flow::Ambiguous,
        _ => Flow::Open,
    };
    proxy.set(flow);
    sleep(fault.lasts).await;
    proxy.set(Flow::Open);
    // What has lost bytes, or is to be cut.
    if matches!(flow, Flow::Hole | Flow::Open) {
        proxy.cut();
    }
}

pub(super) async fn servers(fault: Fault, rig: &Rig, servers: &mut Servers) {
    let queue = QUEUES[fault.which % QUEUES.len()];
    match fault.kind {
        Kind::Flushall => command(rig, &["FLUSHALL"]).await,
        Kind::StreamTrimmed => command(rig, &["XTRIM", &Rig::stream(queue), "MAXLEN", "0"]).await,
        Kind::StreamHalved => {
            let mut redis = rig.redis().await;
            let length: u64 = redis::cmd("XLEN").arg(Rig::stream(queue)).query_async(&mut redis).await.unwrap();
            command(rig, &["XTRIM", &Rig::stream(queue), "MAXLEN", &(length / 2).to_string()]).await;
        }
        Kind::StreamDeleted => command(rig, &["DEL", &Rig::stream(queue)]).await,
        Kind::GroupDestroyed => command(rig, &["XGROUP", "DESTROY", &Rig::stream(queue), "workers"]).await,
        Kind::RedisRestarted => {
            servers.redis.stop().await;
            sleep(fault.lasts).await;
            servers.redis.start().await.unwrap();
        }
        Kind::RedisWiped => {
            servers.redis.stop().await;
            wipe_redis(rig);
            sleep(fault.lasts).await;
            servers.redis.start().await.unwrap();
        }
        Kind::RedisKilled => {
            servers.redis.kill().await;
            sleep(fault.lasts).await;
            servers.redis.start().await.unwrap();
        }
        Kind::RedisFrozen => freeze(servers.redis.pid().unwrap(), fault.lasts).await,
        Kind::DatabaseKilled => {
            servers.database.kill().await;
            sleep(fault.lasts).await;
            servers.database.start().await.unwrap();
        }
        Kind::DatabaseFrozen => freeze(servers.database.pid().unwrap(), fault.lasts).await,
        Kind::ConnectionsKilled => kill_connections(rig).await,
        Kind::DiskFull => fill_disk(rig, fault.lasts).await,
        other => unreachable!("{other:?} strikes no server"),
    }
}

/// What Redis refuses (there is no such stream now) has been tried.
async fn command(rig: &Rig, words: &[&str]) {
    let mut redis = rig.redis().await;
    let mut command = redis::cmd(words[0]);
    for word in &words[1..] {
        command.arg(word);
    }
    let _: redis::RedisResult<redis::Value> = command.query_async(&mut redis).await;
}

/// Removes what a stopped Redis would come back with.
pub(crate) fn wipe_redis(rig: &Rig) {
    let data = rig.data_directory.join("redis/data");
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::create_dir(&data).unwrap();
}

async fn freeze(pid: u32, time: Duration) {
    signal(pid, "STOP");
    sleep(time).await;
    signal(pid, "CONT");
}

async fn kill_connections(rig: &Rig) {
    let mut sql = rig.sql().await;
    let query = "SELECT id FROM information_schema.processlist WHERE command <> 'Daemon' AND id <> CONNECTION_ID()";
    let ids: Vec<u64> = sql.query(query).await.unwrap();
    for id in ids {
        // It may have gone by itself.
        let _ = sql.query_drop(format!("KILL {id}")).await;
    }
}

/// Takes what room the data's disk has left.
async fn fill_disk(rig: &Rig, time: Duration) {
    let path = rig.data_directory.join("filler");
    let mut filler = std::fs::File::create(&path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        let block = vec![1; size];
        while filler.write_all(&block).is_ok() {}
    }
    sleep(time).await;
    std::fs::remove_file(&path).unwrap();
}
