//! The chapters, one for each door.

use super::{
    Chapter,
    Part::{Lines, Text, Warning},
    way::Way,
};

const DELIVERY_POLICY: &str = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\DeliveryOptimization";
const UPDATE_POLICY: &str = r"HKLM\SOFTWARE\Policies\Microsoft\Windows\WindowsUpdate";

/// Names that Windows fetches updates from, for the branch's name server. Their sources are in `classify::rules`; names under `update.microsoft.com`
/// and `do.dsp.mp.microsoft.com` are services that check certificates, and must not lead here.
const CONTENT_NAMES: &[&str] =
    &["download.windowsupdate.com", "dl.delivery.mp.microsoft.com", "officecdn.microsoft.com", "emdl.ws.microsoft.com"];

pub(super) fn delivery(way: &Way) -> Chapter {
    let host = &way.host;
    let mut parts = Vec::new();
    if way.is_local {
        parts.push(Warning("This door is open on loopback only: clients cannot reach it yet.".into()));
    }
    if way.port != 80 || way.tls {
        parts.push(Warning(format!(
            "Windows asks a cache host on port 80 only, and this door is open on port {}. Add a `[[listen]]` for port 80.",
            way.port
        )));
    }
    parts.extend([
        Text(format!(
            "Group Policy: Computer Configuration › Administrative Templates › Windows Components › Delivery Optimization › \
             “Cache Server Hostname”: `{host}`. Or in the registry:"
        )),
        Lines(format!("reg add {DELIVERY_POLICY} /v DOCacheHost /t REG_SZ /d {host} /f")),
        Text(format!(
            "Or by DHCP: option 235, text, `{host}`, and on the clients “Cache Server Hostname Source” = 1 (2: DHCP even \
             where a name is set):"
        )),
        Lines(format!(
            "reg add {DELIVERY_POLICY} /v DOCacheHostSource /t REG_DWORD /d 1 /f\n\
             netsh dhcp server add optiondef 235 \"DO cache host\" STRING 0\n\
             netsh dhcp server set optionvalue 235 STRING \"{host}\"\n\
             # dnsmasq: dhcp-option=235,\"{host}\"",
        )),
        Text(
            "Without more, a client turns to the Internet at the first failure. To give the cache a minute (downloads somebody waits \
             for) or ten (all others):"
                .into(),
        ),
        Lines(format!(
            "reg add {DELIVERY_POLICY} /v DODelayCacheServerFallbackForeground /t REG_DWORD /d 60 /f\n\
             reg add {DELIVERY_POLICY} /v DODelayCacheServerFallbackBackground /t REG_DWORD /d 600 /f"
        )),
    ]);
    Chapter { title: "Windows: Delivery Optimization cache host", parts }
}

pub(super) fn wsus(way: &Way) -> Chapter {
    let url = way.url();
    let mut parts = vec![
        Text(format!(
            "Group Policy: Windows Update › “Specify intranet Microsoft update service location”, both servers: `{url}`. \
             Or in the registry:"
        )),
        Lines(format!(
            "reg add {UPDATE_POLICY} /v WUServer /t REG_SZ /d {url} /f\n\
             reg add {UPDATE_POLICY} /v WUStatusServer /t REG_SZ /d {url} /f\n\
             reg add {UPDATE_POLICY}\\AU /v UseWUServer /t REG_DWORD /d 1 /f"
        )),
        Text(
            "To leave the update server itself where it is and send only the files through weir, set the alternate download server \
             instead, also for files whose metadata have no address:"
                .into(),
        ),
        Lines(format!(
            "reg add {UPDATE_POLICY} /v UpdateServiceUrlAlternate /t REG_SZ /d {url} /f\n\
             reg add {UPDATE_POLICY} /v FillEmptyContentUrls /t REG_DWORD /d 1 /f"
        )),
    ];
    if way.tls {
        parts.push(Text("The clients must trust weir's certificate, and its name must be the one in these settings.".into()));
    }
    Chapter { title: "Windows: in front of WSUS", parts }
}

pub(super) fn forward(way: &Way) -> Chapter {
    let (url, authority) = (way.url(), way.authority_with_port());
    let parts = vec![
        Text("Programs that read the environment:".into()),
        Lines(format!("export http_proxy={url}")),
        Text("Debian and Ubuntu, in `/etc/apt/apt.conf.d/01weir`:".into()),
        Lines(format!("Acquire::http::Proxy \"{url}\";")),
        Text("Windows services:".into()),
        Lines(format!("netsh winhttp set proxy {authority}")),
    ];
    Chapter { title: "As a proxy", parts }
}

pub(super) fn reverse(way: &Way) -> Chapter {
    let parts = vec![Text("Use this address in place of the upstream's:".into()), Lines(format!("{}/", way.url()))];
    Chapter { title: "As the server itself", parts }
}

pub(super) fn transparent(way: &Way) -> Chapter {
    let host = &way.host;
    let mut parts = Vec::new();
    if way.port != 80 {
        parts.push(Warning(format!("Clients will ask on port 80; this door is open on port {}.", way.port)));
    }
    let address = host.trim_matches(['[', ']']);
    let lines: Vec<String> = CONTENT_NAMES.iter().map(|name| format!("address=/{name}/{address}")).collect();
    parts.extend([
        Text(format!(
            "Let the branch's name server answer the origins' names with the address of `{host}`, and give weir another \
             resolver (`[resolver] servers`). For dnsmasq:"
        )),
        Lines(lines.join("\n")),
    ]);
    Chapter { title: "By DNS", parts }
}

/// The objects by which Microsoft's own tools find out whether a cache host works.
pub(super) fn proof(way: &Way) -> Chapter {
    let url = way.url();
    let parts = vec![
        Text("From a client; the answer is `200 969710`, and the second time `Cache-Status` says `hit`:".into()),
        Lines(format!(
            "curl -sS -o /dev/null -w \"%{{http_code}} %{{size_download}}\\n\" \
             \"{url}/mscomtest/wuidt.gif?cacheHostOrigin=au.download.windowsupdate.com\""
        )),
        Text("On a Windows client after an update, in PowerShell; more than 0 came from here:".into()),
        Lines("Get-DeliveryOptimizationStatus | Measure-Object -Property BytesFromCacheServer -Sum".into()),
    ];
    Chapter { title: "Does it work?", parts }
}
