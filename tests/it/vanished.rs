//! The data directory is removed under a running weir.

use std::fs;

use crate::support::{Content, MIB, Origin, Resource, eventually, proxy};

#[tokio::test]
async fn without_its_data_directory_weir_serves_on_says_so_and_makes_a_new_one_at_the_next_start() {
    let origin = Origin::start().await;
    let weir = proxy().upstream("cdn.test", &origin).start().await;
    let contents: Vec<_> = (0..3).map(|n| (format!("/{n}"), Content::new(&format!("vanished {n}"), MIB))).collect();
    for (path, content) in &contents {
        origin.serve(path, Resource::new(content));
    }
    let (path, content) = &contents[0];
    assert!(weir.download("cdn.test", path, &[], content).await.is_all_of(content));
    weir.settled().await;
    let data = weir.data();
    fs::remove_dir_all(&data).unwrap();

    for (path, content) in contents.iter().chain(&contents) {
        let got = weir.download("cdn.test", path, &[], content).await;
        assert!(got.is_all_of(content), "{path}: {got:?}");
    }
    eventually("a metric says so", || async { (weir.metric("weir_store_degraded", &[]).await == 1.0).then_some(()) }).await;
    assert!(weir.said().contains("the data directory is gone"), "{}", weir.said());
    assert!(!data.join("blobs").exists(), "half of it was made again");

    let (_, again) = weir.stop().await;
    let weir = again.start().await;
    let (path, content) = &contents[0];
    assert!(weir.download("cdn.test", path, &[], content).await.is_all_of(content));
    weir.settled().await;
    assert!(weir.download("cdn.test", path, &[], content).await.is_hit());
}
