//! How a client asks through each door: the spelling of the request, and the same as a `curl` line for a person.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::{
    classify::Door,
    demo::{
        client::{Ask, Connection},
        shelf::{DOORS, File, PACKAGES_HOST, Shelf, UPDATE_HOST, WINDOWS_UPDATE_HOST},
    },
};

/// One request, spelled for one door.
#[derive(Debug)]
pub(super) struct Way {
    uri: String,
    host: String,
    /// What to type.
    pub(super) curl: String,
}

impl Way {
    /// How to ask the weir at `weir` for `file` through `door`.
    pub(super) fn through(door: Door, weir: SocketAddr, file: &File) -> Self {
        let path = &file.path;
        let own = weir.to_string();
        match door {
            Door::Delivery => {
                let uri = format!("{path}?P1=1795000000&P2=402&P3=2&P4=c2FtcGxl&cacheHostOrigin={UPDATE_HOST}");
                Self { curl: format!("{CURL} 'http://{weir}{uri}'"), uri, host: own }
            }
            Door::Transparent => Self {
                uri: path.clone(),
                host: WINDOWS_UPDATE_HOST.to_owned(),
                curl: format!("{CURL} -H 'Host: {WINDOWS_UPDATE_HOST}' http://{weir}{path}"),
            },
            Door::Reverse | Door::Wsus => Self { uri: path.clone(), host: own, curl: format!("{CURL} http://{weir}{path}") },
            Door::Forward => {
                let uri = format!("http://{PACKAGES_HOST}{path}");
                Self { curl: format!("{CURL} -x http://{weir} {uri}"), uri, host: PACKAGES_HOST.to_owned() }
            }
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask { uri: &self.uri, host: &self.host, range: None }
    }
}

/// Fetches a trial file through every door twice: right both times, and the second time from the store.
pub(super) async fn try_all(weir: SocketAddr, shelf: &Shelf) -> Result<()> {
    for (door, file) in DOORS.into_iter().zip(&shelf.trials) {
        try_one(door, weir, file).await.with_context(|| format!("{} door", door.as_str()))?;
    }
    Ok(())
}

async fn try_one(door: Door, weir: SocketAddr, file: &File) -> Result<()> {
    let way = Way::through(door, weir, file);
    let first = Connection::open(weir).await?.ask(&way.ask(), |_| ()).await?;
    ensure!(first.sha256 == file.sha256, "wrong bytes: {}", first.sha256);
    ensure!(!first.is_hit(), "nobody asked before, but Cache-Status: {}", first.cache_status());
    expect_hit(&way, weir, file).await
}

/// Fetches the whole update once more, as a computer does that was switched off till now. The error says what was not as promised.
pub(super) async fn try_latecomer(weir: SocketAddr, update: &File) -> Result<()> {
    let before = update.sent_bytes();
    expect_hit(&Way::through(Door::Delivery, weir, update), weir, update).await?;
    let again = update.sent_bytes() - before;
    ensure!(again == 0, "{again} bytes crossed the WAN again");
    Ok(())
}

/// Right bytes, and a hit. The answers before may have been complete while their last bytes were on the way to the disk: that is waited for.
async fn expect_hit(way: &Way, weir: SocketAddr, file: &File) -> Result<()> {
    let mut connection = Connection::open(weir).await?;
    for attempt in 1.. {
        let answer = connection.ask(&way.ask(), |_| ()).await?;
        ensure!(answer.sha256 == file.sha256, "wrong bytes: {}", answer.sha256);
        if answer.is_hit() {
            break;
        }
        ensure!(attempt < HIT_ATTEMPTS, "no hit, but Cache-Status: {}", answer.cache_status());
        tokio::time::sleep(HIT_DELAY).await;
    }
    Ok(())
}

/// Together two seconds, in which a disk writes what a demonstration fetches.
const HIT_ATTEMPTS: u32 = 20;
const HIT_DELAY: Duration = Duration::from_millis(100);

/// Shows the fields; the bytes go on.
const CURL: &str = "curl -sS -D /dev/stderr";
