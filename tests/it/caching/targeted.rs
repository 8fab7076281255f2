//! `CDN-Cache-Control` (RFC 9213): what is meant for caches like this one decides before `Cache-Control` and `Expires`.

use super::{Row, get, hits, passes, play, row, stores};

#[tokio::test]
async fn a_targeted_field_decides_alone_and_an_invalid_one_not_at_all() {
    play(rows()).await;
}

#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let again = || get("").origin(200, "Cache-Control: no-store", "two").gets("two");
    vec![
        row("it stores what Cache-Control forbids to store",
            [stores("CDN-Cache-Control: max-age=60 | Cache-Control: no-store"), hits().has("cdn-cache-control: max-age=60 | cache-control: no-store")]),
        row("it stores what Cache-Control calls private",
            [stores("CDN-Cache-Control: max-age=60 | Cache-Control: private"), hits()]),
        row("it forbids to store what Cache-Control allows",
            [passes("CDN-Cache-Control: no-store | Cache-Control: max-age=60").says("detail=no-store"), again()]),
        row("it may be private on its own",
            [passes("CDN-Cache-Control: private | Cache-Control: max-age=60"), again()]),
        row("its lifetime counts, not the shorter one",
            [stores("CDN-Cache-Control: max-age=60 | Cache-Control: max-age=5 | Age: 30"), hits()]),
        row("its lifetime counts, not the longer one",
            [stores("CDN-Cache-Control: max-age=5 | Cache-Control: max-age=60 | Age: 30"), again().says("fwd=stale")]),
        row("s-maxage of Cache-Control does not count beside it",
            [stores("CDN-Cache-Control: max-age=5 | Cache-Control: s-maxage=60 | Age: 30"), again().says("fwd=stale")]),
        row("Expires does not count beside it",
            [stores("CDN-Cache-Control: max-age=60 | Expires: @-100 | Age: 30"), hits()]),
        row("without a lifetime of its own there is none, whatever the others say",
            [stores("CDN-Cache-Control: public | Cache-Control: max-age=60 | Expires: @100 | ETag: \"a\""),
             get("").origin(304, "ETag: \"a\"", "").status(200).gets("one").says("fwd=stale; fwd-status=304")]),
        row("its no-cache demands validation",
            [stores("CDN-Cache-Control: no-cache, max-age=60 | Cache-Control: max-age=60 | ETag: \"a\""),
             get("").origin(304, "ETag: \"a\"", "").status(200).gets("one").sent("if-none-match: \"a\"")]),
        row("its must-revalidate forbids stale answers that Cache-Control would allow",
            [stores("CDN-Cache-Control: max-age=5, must-revalidate | Cache-Control: stale-if-error=600 | Age: 30"),
             get("").hangs_up().status(502)]),
        row("its stale-if-error allows stale answers that Cache-Control forbids",
            [stores("CDN-Cache-Control: max-age=5, stale-if-error=600 | Cache-Control: must-revalidate | Age: 30"),
             get("").hangs_up().gets("one").says("fwd=stale; !hit")]),
        row("parameters of its members are ignored",
            [stores("CDN-Cache-Control: max-age=60;hint=x | Cache-Control: no-store"), hits()]),
        row("several lines are one dictionary, in which the last of a key counts",
            [stores("CDN-Cache-Control: max-age=5 | CDN-Cache-Control: max-age=60 | Cache-Control: no-store | Age: 30"), hits()]),
        row("a directive that is switched off is not there",
            [stores("CDN-Cache-Control: no-store=?0, max-age=60"), hits()]),
        row("an invalid one is as if it were not there: Cache-Control stores",
            [stores("CDN-Cache-Control: no-store, &% | Cache-Control: max-age=60"), hits()]),
        row("an invalid one is as if it were not there: Cache-Control forbids",
            [passes("CDN-Cache-Control: max-age=60, | Cache-Control: no-store"), again()]),
        row("an empty one is as if it were not there",
            [passes("CDN-Cache-Control:  | Cache-Control: no-store"), again()]),
        row("a name in capitals is no key of a dictionary",
            [passes("CDN-Cache-Control: Max-Age=60 | Cache-Control: no-store"), again()]),
        row("a quoted number is no lifetime: stale at once",
            [stores("CDN-Cache-Control: max-age=\"60\" | Cache-Control: max-age=60 | ETag: \"a\""),
             get("").origin(304, "ETag: \"a\"", "").status(200).gets("one")]),
        row("a negative number is no lifetime: stale at once",
            [stores("CDN-Cache-Control: max-age=-60 | Cache-Control: max-age=60 | ETag: \"a\""),
             get("").origin(304, "ETag: \"a\"", "").status(200).gets("one")]),
        row("a field meant for others changes nothing",
            [stores("Surrogate-Control: no-store | Cloudflare-CDN-Cache-Control: no-store | Cache-Control: max-age=60"), hits()]),
        row("a validation can bring another one",
            [stores("CDN-Cache-Control: max-age=5 | ETag: \"a\" | Age: 30"),
             get("").origin(304, "CDN-Cache-Control: max-age=60 | ETag: \"a\"", "").status(200).gets("one"),
             hits().has("cdn-cache-control: max-age=60")]),
        row("requests have none: the client's directives count as always",
            [stores("CDN-Cache-Control: max-age=60 | ETag: \"a\""),
             get("CDN-Cache-Control: no-cache").gets("one").says("hit"),
             get("Cache-Control: no-cache").origin(304, "ETag: \"a\"", "").status(200).gets("one").says("fwd=request; fwd-status=304")]),
    ]
}
