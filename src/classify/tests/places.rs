//! What becomes of the URLs that an update server answers with.

use super::*;

/// The branch, whose clients know weir by another port than the server's.
fn rewriting(to: Origin) -> Policy {
    let mut config = branch();
    config.sites[0].rewrite_to = Some(to);
    Policy::new(&config, NODE)
}

fn place(url: &str) -> Option<String> {
    let policy = rewriting(Origin::new(Scheme::Http, "weir.branch", 80));
    policy.place("wsus", Some("updates.branch:8530"), &expand(url))
}

#[test]
fn what_weir_serves_is_moved_there_and_only_its_authority_changes() {
    for (url, moved) in [
        // The server's own content, by whatever name it calls itself.
        ("http://wsus.corp:8530/Content/09/$SHA1.cab", "http://weir.branch/Content/09/$SHA1.cab"),
        ("http://updates.branch:8530/Content/09/$SHA1.cab", "http://weir.branch/Content/09/$SHA1.cab"),
        ("HTTPS://WSUS.corp:8531/content/9/$sha1.CAB?x=%41", "http://weir.branch/content/9/$sha1.CAB?x=%41"),
        // Content of origins that a cache host may be asked for.
        (
            "http://download.windowsupdate.com/d/x_$sha1.cab",
            "http://weir.branch/d/x_$sha1.cab?cacheHostOrigin=download.windowsupdate.com",
        ),
        (
            "http://tlu.dl.delivery.mp.microsoft.com:80$guid?P1=1&P4=a%2bb",
            "http://weir.branch$guid?P1=1&P4=a%2bb&cacheHostOrigin=tlu.dl.delivery.mp.microsoft.com",
        ),
        ("http://deb.debian.org/x", "http://weir.branch/x?cacheHostOrigin=deb.debian.org"),
    ] {
        assert_eq!(place(url), Some(expand(moved)), "{url}");
    }
}

#[test]
fn what_weir_would_not_serve_stays_where_it_is() {
    for url in [
        "http://wsus.corp:8530/Other/09/$SHA1.cab",
        "http://wsus.corp:8530/Content/AB/$SHA1.cab",
        "http://wsus.corp:8530/Content/../ApiRemoting30/x",
        "http://wsus.corp:8530",
        "http://user@wsus.corp:8530/Content/09/$SHA1.cab",
        "http://wsus.corp:8530/Content/09/$SHA1.cab#x",
        "http://evil.example/Content/09/$SHA1.cab",
        "http://evil.example/x?cacheHostOrigin=download.windowsupdate.com",
        "http://download.windowsupdate.com/x?cacheHostOrigin=evil.example",
        "http://download.windowsupdate.com:8080/x",
        "https://download.windowsupdate.com/x",
        "http://fe3cr.delivery.mp.microsoft.com/x",
        "http://203.0.113.5/x",
        "http://169.254.169.254/x",
        "http:///x",
        "http:/x",
        "//download.windowsupdate.com/x",
        "ftp://download.windowsupdate.com/x",
        "file:///c:/x",
        "",
    ] {
        assert_eq!(place(url), None, "{url}");
    }
    assert_eq!(Policy::new(&branch(), NODE).place("wsus", None, "http://deb.debian.org/x"), None, "nobody wanted it");
}

#[test]
fn whatever_is_moved_is_served_at_its_new_place_behind_the_wsus_door_alone() {
    let policy = rewriting(Origin::new(Scheme::Http, "weir.branch", 80));
    for url in ["http://download.windowsupdate.com/d/x_$sha1.cab", "http://tlu.dl.delivery.mp.microsoft.com$guid?P1=1&P4=a"] {
        let moved = place(url).unwrap();
        let target = moved.strip_prefix("http://weir.branch").unwrap();
        let url = expand(url);
        let (host, path) = url["http://".len()..].split_once('/').unwrap();
        let direct = show(&class(&policy, &[Door::Transparent], &format!("GET /{path}; {host}")));
        for query in ["", "&cacheHostOrigin=weir.branch"] {
            let here = show(&class(&policy, &[Door::Wsus], &format!("GET {target}{query}; weir.branch")));
            assert_eq!(here, direct.replacen("transparent", "delivery", 1), "{moved}{query}");
        }
    }
    let refused = class(&policy, &[Door::Wsus], "GET /x?cacheHostOrigin=evil.example; weir.branch");
    assert_eq!(show(&refused), "403 origin");
}

#[test]
fn a_client_that_calls_the_server_by_our_name_at_a_cache_host_means_the_server() {
    let policy = Policy::new(&branch(), NODE);
    let asked = "GET /Content/09/$SHA1.cab?cacheHostOrigin=weir.branch; weir.branch";
    let shown = show(&class(&policy, &[Door::Delivery, Door::Wsus], asked));
    assert_eq!(shown, expand("content delivery http://wsus.corp:8530/Content/09/$SHA1.cab by wsus +immutable +declared +ranged"));
}
