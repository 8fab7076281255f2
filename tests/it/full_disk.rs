//! A full disk: downloads go on, weir says so, and the cache comes back when there is room again.

use std::{
    fs, io,
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use weir::{
    app::App,
    config::{Config, Flags, Sources},
    store::disk::sim::SimDisk,
};

use crate::support::{Client, Content, MIB, Origin, Resource, Scratch, eventually, proxy};

/// A file system of its own, unmounted when this is dropped. `None` where mounting is not allowed.
struct SmallDisk(Scratch);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let scratch = Scratch::new();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "weir-it"]).arg(scratch.path());
        mount.output().is_ok_and(|output| output.status.success()).then_some(Self(scratch))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the weir on it may not be gone yet.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

#[tokio::test]
async fn on_a_full_disk_downloads_go_on_and_the_cache_recovers_when_there_is_room() {
    let Some(disk) = SmallDisk::mount("64m") else {
        eprintln!("skipped: mounting a small file system needs root; the scenario with a simulated disk claims the same");
        return;
    };
    let origin = Origin::start().await;
    // weir is allowed more than the disk has, and somebody else fills the rest.
    let config = "[store]\nsize = \"1 GiB\"\nreserve = \"0 B\"\n";
    let weir = proxy().upstream("cdn.test", &origin).config(config).data(disk.path().join("data")).start().await;
    let ballast = disk.path().join("ballast");
    fill(&ballast, 8 * MIB);

    let contents: Vec<_> = (0..6).map(|n| (format!("/{n}"), Content::new(&format!("full {n}"), 12 * MIB))).collect();
    for (path, content) in &contents {
        origin.serve(path, Resource::new(content));
        let got = weir.download("cdn.test", path, &[], content).await;
        assert!(got.is_all_of(content), "on a full disk: {path}: {got:?}");
    }
    assert!(
        weir.metric("weir_store_degraded", &[]).await + weir.metric("weir_store_errors_total", &[]).await >= 1.0,
        "a metric says so"
    );
    assert!(weir.said().to_lowercase().contains("full") || weir.said().contains("No space"), "the log says so: {}", weir.said());
    for (path, content) in &contents {
        let got = weir.download("cdn.test", path, &[], content).await;
        assert!(got.is_all_of(content), "again, on a full disk: {path}: {got:?}");
    }

    fs::remove_file(&ballast).unwrap();
    weir.command(&["purge", "--all"]);
    let (path, content) = &contents[0];
    eventually("something is stored again", || async {
        let got = weir.download("cdn.test", path, &[], content).await;
        assert!(got.is_all_of(content), "{got:?}");
        got.is_hit().then_some(())
    })
    .await;
    eventually("and weir says so", || async { (weir.metric("weir_store_degraded", &[]).await == 0.0).then_some(()) }).await;
}

/// Takes all room but `left` bytes.
fn fill(path: &Path, left: u64) {
    let stat = rustix::fs::statvfs(path.parent().unwrap()).unwrap();
    let free = stat.f_bavail * stat.f_frsize;
    fs::write(path, vec![1; usize::try_from(free - left).unwrap()]).unwrap();
}

/// What this process logged: the weir of the next scenario runs in it.
static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Said;

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        SAID.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A weir in this process whose store is on `disk`.
pub(crate) async fn weir_on(disk: &SimDisk, origin: &Origin, scratch: &Scratch) -> App {
    let flags = Flags {
        listen: vec!["127.0.0.1:0".to_owned()],
        admin: Some("127.0.0.1:0".to_owned()),
        data: Some(scratch.join("data")),
        size: Some("1 GiB".to_owned()),
        allow: vec![format!("cdn.test={}", origin.address())],
        ..Flags::default()
    };
    let sources = Sources { file: None, flags };
    let mut config = Config::load(&sources).unwrap();
    config.log.access = weir::proxy::log::Destination::Nowhere;
    config.store.reserve = 0;
    App::start_on(Arc::new(disk.clone()), config, sources).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_simulated_disk_that_fills_up_downloads_go_on_and_the_cache_recovers() {
    tracing_subscriber::fmt().with_ansi(false).with_writer(|| Said).init();
    let (origin, scratch, disk) = (Origin::start().await, Scratch::new(), SimDisk::new(10));
    let weir = weir_on(&disk, &origin, &scratch).await;
    let (doors, admin) = (weir.addresses()[0], weir.admin_addresses()[0]);
    let host = admin.to_string();
    let degraded = || async {
        let metrics = Client::connect(admin).await.get("/metrics", &[("Host", &host)]).await.text();
        metrics.lines().any(|line| line.starts_with("weir_store_degraded 1"))
    };
    let download = async |path: &str, content: &Content| {
        let got = Client::connect(doors).await.download(path, &[("Host", "cdn.test")], content).await;
        assert!(got.is_all_of(content), "{path}: {got:?}");
        got.is_hit()
    };

    let kept = Content::new("kept", MIB);
    origin.serve("/kept", Resource::new(&kept));
    download("/kept", &kept).await;
    eventually("it is stored", || async { download("/kept", &kept).await.then_some(()) }).await;
    disk.set_capacity(disk.used());
    let contents: Vec<_> = (0..4).map(|n| (format!("/{n}"), Content::new(&format!("full {n}"), 8 * MIB))).collect();
    for (path, content) in &contents {
        origin.serve(path, Resource::new(content));
        for _ in 0..2 {
            download(path, content).await;
        }
    }
    assert!(degraded().await, "a metric says so");
    let (path, content) = &contents[3];
    let asked = origin.requests(path);
    download(path, content).await;
    assert_eq!(origin.requests(path), asked + 1, "nothing is asked for that could only be thrown away");
    let said = || String::from_utf8_lossy(&SAID.lock().unwrap()).into_owned();
    assert!(said().contains("the store is full") || said().contains("the store cannot write"), "the log says so: {}", said());

    disk.set_capacity(u64::MAX);
    let (path, content) = &contents[0];
    eventually("something is stored again", || async { download(path, content).await.then_some(()) }).await;
    eventually("and the metric says so", || async { (!degraded().await).then_some(()) }).await;
    assert!(said().contains("takes new content again"), "the log says so: {}", said());
    weir.shutdown(tokio::time::sleep(std::time::Duration::from_secs(1))).await;
}
