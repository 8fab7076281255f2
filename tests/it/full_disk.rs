//! A full disk: downloads go on, weir says so, and the cache comes back when there is room again.

use std::{fs, path::Path, process::Command};

use crate::support::{Content, MIB, Origin, Resource, Scratch, eventually, proxy};

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
        eprintln!("skipped: mounting a small file system needs root; the store's own tests fill a simulated disk");
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
