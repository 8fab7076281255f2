//! What is said about a bad text.

use super::bad;
use crate::config::Problem;

/// Each row: a text, then for each of its problems line:column and words that the line about it has.
#[rustfmt::skip]
const PROBLEMS: &[(&str, &[(&str, &str)])] = &[
    ("[store\n", &[("1:7", "not TOML")]),
    ("colour = 1\n", &[("1:1", "unknown key; known here: names")]),
    ("[stor]\n", &[("1:2", "stor: unknown key; did you mean store?")]),
    ("[store]\nsizes = '1 GiB'\nreserv = 1\n", &[("2:1", "did you mean size?"), ("3:1", "did you mean reserve?")]),
    ("[store]\nsize = 100\n", &[("2:8", "this is a number; write a number and a unit")]),
    ("[store]\nsize = '100 G'\n", &[("2:8", "unknown unit \"G\"")]),
    ("[store]\nsize = '1 GiB'\nobject_max = '2 GiB'\n", &[("3:14", "larger than the whole store")]),
    ("[store]\ndisk_threads = 0\n", &[("2:16", "write at least 1")]),
    ("[store]\ndisk_threads = -1\n", &[("2:16", "-1 is out of range")]),
    ("store = 3\n", &[("1:9", "a value stands where a table belongs; write it as [store]")]),
    ("[store.size]\nx = 1\n", &[("1:1", "a table stands where a value belongs")]),
    ("[timeouts]\ndrain = '30'\n", &[("2:9", "no unit")]),
    ("[timeouts]\ndrain = true\n", &[("2:9", "this is true or false; write a number and a unit: ms")]),
    ("[[listen]]\n", &[("1:1", "listen[0]: address is missing")]),
    ("listen = 1\n", &[("1:10", "[[listen]]")]),
    ("[[listen]]\naddress = '80'\ndoors = ['deliver', 'forward', 'x']\n",
     &[("2:11", "no address with a port"), ("3:10", "did you mean \"delivery\"?"), ("3:32", "\"x\" is no door; the doors are")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = []\n", &[("1:1", "no door is open")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = ['wsus']\n", &[("1:1", "the wsus door leads nowhere")]),
    ("[[listen]]\naddress = '[::]:80'\ndoors = ['delivery']\ntls = true\n", &[("1:1", "TLS without a certificate")]),
    ("[[listen]]\naddress = '[::]:80'\n[[listen]]\naddress = '10.0.0.1:80'\n", &[("4:11", "taken already by [::]:80")]),
    ("[[listen]]\naddress = '0.0.0.0:80'\n[[listen]]\naddress = '127.0.0.1:80'\n", &[("4:11", "taken already")]),
    ("[[listen]]\naddress = '[::]:8081'\n", &[("2:11", "taken already by 127.0.0.1:8081")]),
    ("[admin]\nlisten = '[::1]:8080'\n", &[("2:10", "taken already")]),
    ("[admin]\nlisten = '[::]:9000'\n", &[("2:10", "nobody may use")]),
    ("[admin]\nscrape = ['10.0.0.0/40']\n", &[("2:11", "no network")]),
    ("[[certificate]]\nchain = 'a'\n", &[("1:1", "key is missing")]),
    ("[[upstream]]\n", &[("1:1", "name is missing"), ("1:1", "url is missing")]),
    ("[[upstream]]\nname = 'a'\nurl = 'ftp://x'\nkind = 'cousin'\n", &[("3:7", "scheme ftp"), ("4:8", "the kinds are origin and parent")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'forward'\n", &[("4:8", "nothing stands behind the forward door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nkind = 'parent'\ndoor = 'reverse'\n", &[("5:8", "a parent stands behind no door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x/base'\npaths = ['y']\n",
     &[("3:7", "a path in the URL"), ("4:9", "does not begin with a slash"), ("4:9", "paths means something only behind a door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\n[[upstream]]\nname = 'a'\nurl = 'http://y'\n", &[("5:8", "a second upstream is called \"a\"")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'reverse'\n[[upstream]]\nname = 'b'\nurl = 'http://y'\ndoor = 'reverse'\n",
     &[("6:8", "a second reverse upstream takes everything")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://127.0.0.1:8080'\ndoor = 'reverse'\n", &[("3:7", "this is weir itself")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'reverse'\n[[listen]]\naddress = '[::]:80'\ndoors = ['forward']\n",
     &[("4:8", "the reverse door is open on no socket")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nrate = '8 MB'\n", &[("4:8", "no unit per second")]),
    ("[origins]\nallow = ['deb.debian.org', '*.com', 'http://x', 'x:99999']\n",
     &[("2:28", "a pattern is a name"), ("2:37", "more than a host"), ("2:49", "is no port")]),
    ("[origins]\nconnect_ports = [443, 0]\n[[upstream]]\nname = 'a'\nurl = 'http://x'\naddress = '127.0.0.1:0'\n",
     &[("2:17", "port 0"), ("6:11", "port 0")]),
    ("[origins.aliases]\nx = 'deb.debian.org'\n'10.0.0.1' = '*.debian.org'\n", &[("2:1", "no address"), ("3:1", "one name")]),
    ("[origins.groups]\na = 1\n", &[("2:5", "this is a number")]),
    ("[resolver]\nservers = ['ns.example']\n", &[("2:12", "is no address")]),
    ("[fill]\nsegment = '1 kB'\nfinish_percent = 101\n", &[("2:11", "at least one piece"), ("3:18", "at most 100")]),
    ("[log]\nformat = 'xml'\nlevel = 'weir=loud'\n", &[("2:10", "no format"), ("3:9", "write error, warn")]),
    ("[log]\nlevel = 'infoo'\n", &[("2:9", "\"infoo\" is no level")]),
    ("[limits]\nfields = 0\nhttp2_streams = 0\nranges = 0\nfills = 0\nfills_per_client = 0\nupstream_connections = 0\nupstream_pass_connections = 0\n",
     &[("2:10", "limits.fields: with 0 nothing would work; write at least 1"), ("3:17", "write at least 1"), ("4:10", "write at least 1"),
       ("5:9", "write at least 1"), ("6:20", "write at least 1"), ("7:24", "write at least 1"), ("8:29", "write at least 1")]),
    ("[limits]\nfields = 30000\nfills = 9223372036854775807\nconnections = 2000000\nredirects = 101\nhead = '2 MiB'\n",
     &[("2:10", "write at most 10000"), ("3:9", "write at most 1000000"), ("4:15", "write at most"), ("5:13", "write at most 100"), ("6:8", "write at most \"1 MiB\"")]),
    ("[limits]\nhead = '8 KiB'\ntarget = '9 KiB'\n", &[("3:10", "no larger than head")]),
    ("[fill]\nparallel = 0\nreader_timeout = '0 s'\n", &[("2:12", "write at least 1"), ("3:18", "write a time above zero")]),
    ("[timeouts]\nclient_head = '0 s'\nclient_handshake = '0 s'\nclient_idle = '0 s'\nclient_write = '0 s'\nclient_body = '0 s'\n",
     &[("2:15", "above zero"), ("3:20", "above zero"), ("4:15", "above zero"), ("5:16", "above zero"), ("6:15", "above zero")]),
    ("[timeouts]\nupstream_connect = '0 s'\nupstream_first_byte = '0 s'\nupstream_stall = '0 s'\ntunnel_idle = '0 s'\ndrain = '9999 d'\n",
     &[("2:20", "above zero"), ("3:23", "above zero"), ("4:18", "above zero"), ("5:15", "above zero"), ("6:9", "write at most \"365 d\"")]),
    ("[health]\nfailures = 0\nbackoff = '0 s'\n", &[("2:12", "write at least 1"), ("3:11", "above zero")]),
    ("[health]\nbackoff = '2 min'\nbackoff_max = '1 min'\n", &[("3:15", "no shorter than backoff")]),
    ("[store]\nobject_max = '0 B'\n", &[("2:14", "nothing could be stored")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nrate = '0 MB/s'\nconnections = 0\npass_connections = 0\n",
     &[("4:8", "nothing could be fetched; leave it out"), ("5:15", "write 1 to"), ("6:20", "write 1 to")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\nprobe = 'check.txt'\nhost = 'a b'\nserver_name = 'a/b'\nonly_parents = true\n",
     &[("4:9", "\"check.txt\" is no path; write a path"), ("5:8", "is no host"), ("6:15", "no name for a certificate"), ("7:16", "only of a parent")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\naddress = '127.0.0.1:8080'\n", &[("4:11", "this is weir itself, which listens on [::]:8080 for clients")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\naddress = '127.0.0.1:8081'\n", &[("4:11", "listens on 127.0.0.1:8081 for administration")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://[::ffff:127.0.0.1]:8080'\ndoor = 'reverse'\n", &[("3:7", "this is weir itself")]),
    ("[[listen]]\naddress = '192.0.2.1:80'\n[[upstream]]\nname = 'a'\nurl = 'http://192.0.2.1'\ndoor = 'reverse'\n", &[("5:7", "this is weir itself")]),
    ("[resolver]\nservers = ['192.0.2.53', '127.0.0.1:8080']\n", &[("2:11", "this is weir itself")]),
    ("[caching]\nheuristic_percent = 101\nheuristic_max = '9999 d'\nerrors = 'some'\nset_cookie = 'no'\nignore_parameters = ['a']\n",
     &[("2:21", "write at most 100"), ("3:17", "write at most \"365 d\""), ("4:10", "\"some\" is no choice; write \"heuristic\", \"explicit\""),
       ("5:14", "write true or false"), ("6:1", "unknown key")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\ndoor = 'reverse'\n[upstream.caching]\nignore_parameters = ['a=b', '', 'x*', 'y*z']\nstale_max_mutable = '1 d'\n",
     &[("6:22", "no name of a parameter"), ("6:29", "no name of a parameter"), ("6:39", "no name of a parameter"), ("7:1", "unknown key; known here: heuristic_percent")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x'\n[upstream.caching]\nset_cookie = false\n", &[("4:1", "only behind the reverse door; add door = \"reverse\"")]),
    ("[[upstream]]\nname = 'a'\nurl = 'http://x:8530'\ndoor = 'wsus'\nhosts = ['w']\nrewrite_to = 'http://weir/x'\n",
     &[("6:14", "it has a path"), ("6:14", "nobody vouches"), ("6:14", "none of the hosts of this server")]),
    ("[[upstream]]\nname = 'a'\nurl = 'https://x:8531'\nrewrite_to = 'weir'\n[[upstream]]\nname = 'b'\nurl = 'https://y'\nrewrite_to = 'http://weir'\n",
     &[("4:14", "has no scheme"), ("8:14", "only behind the wsus door")]),
    ("[[upstream]]\nname = 'a'\nurl = 'https://x:8531'\ndoor = 'wsus'\nrewrite_to = 'http://weir'\n[[upstream]]\nname = 'b'\nurl = 'http://y:8530/z'\ndoor = 'wsus'\nopen = ['inventory']\n",
     &[("7:8", "stands in for \"a\", whose open"), ("8:7", "has another path"), ("8:7", "asked over plain http")]),
    ("[admin]\nnames = ['weir.example.com:8081', 'http://x']\n", &[("2:10", "it has a port"), ("2:35", "is no host")]),
];

#[test]
fn every_problem_is_reported_at_its_place_with_a_remedy() {
    let mut wrong = Vec::new();
    for (text, wanted) in PROBLEMS {
        let said: Vec<String> = bad(text).iter().map(Problem::to_string).collect();
        let fits = |(line, (place, words)): (&String, &(&str, &str))| {
            line.starts_with(&format!("configuration:{place}: ")) && line.contains(words) && line.contains("; ")
        };
        if said.len() != wanted.len() || !said.iter().zip(*wanted).all(fits) {
            wrong.push(format!("{text}wanted {wanted:?}\ngot {said:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
