//! What is known about particular services, as data: their hosts, how their URLs are keyed, which names change and which never do.
//!
//! Every entry says where the knowledge comes from. Being listed here is knowledge, not permission: [`FAMILIES`] are allowed only while
//! `[origins] builtin` is true, and administrators' rules are `classify::Config`.

use crate::{
    classify::{FreshnessRule, rules::Query::*, rules::Shape::*},
    digest::Digest,
};

/// Hosts of one service.
#[derive(Debug)]
pub(super) struct Family {
    /// The name under which all its hosts are keyed together; `None` keys each host by itself.
    pub(super) group: Option<&'static str>,
    pub(super) role: Role,
    /// As in `[origins] allow`; `*.` does not match the name itself.
    pub(super) hosts: &'static [&'static str],
    /// The first rule that fits a path counts.
    pub(super) rules: &'static [PathRule],
    /// Where this is documented or was observed.
    #[cfg_attr(not(test), expect(dead_code, reason = "sources are for readers and for the test that none is missing"))]
    pub(super) source: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Static files.
    Content,
    /// Calls about updates: relayed, never cached, no `cacheHostOrigin`.
    Service,
}

#[derive(Debug)]
pub(super) struct PathRule {
    pub(super) shape: Shape,
    pub(super) query: Query,
    pub(super) freshness: FreshnessRule,
}

/// Which paths a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Starts with this.
    Below(&'static str),
    /// The last segment is one of these.
    Named(&'static [&'static str]),
    /// Has this in it, and the last segment ends in `_<SHA-1>.<extension>`.
    Sha1Named(&'static str),
    /// Has this in it, directly followed by a segment of digits and dots.
    Versioned(&'static str),
}

/// What becomes of the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Query {
    /// Part of the key, byte for byte.
    Keep,
    /// Selects nothing: neither keyed nor sent.
    Drop,
    /// `P1`…`P4` are a time-limited signature: sent with a fill, not keyed. The rest is kept.
    Signature,
}

impl Shape {
    pub(super) fn fits(self, path: &str) -> bool {
        match self {
            Below(prefix) => path.starts_with(prefix),
            Named(names) => names.contains(&last_segment(path)),
            Sha1Named(within) => path.contains(within) && sha1_of_name(path).is_some(),
            Versioned(within) => {
                path.split_once(within).is_some_and(|(_, rest)| is_version(rest.split('/').next().unwrap_or(rest)))
            }
        }
    }

    /// The digest that a fitting path declares.
    pub(super) fn digest(self, path: &str) -> Option<Digest> {
        match self {
            Sha1Named(_) => sha1_of_name(path),
            Below(_) | Named(_) | Versioned(_) => None,
        }
    }
}

fn last_segment(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The digest in `<name>_<40 hex digits>.<extension>`.
fn sha1_of_name(path: &str) -> Option<Digest> {
    let (stem, extension) = last_segment(path).rsplit_once('.')?;
    let (_, hex) = stem.rsplit_once('_')?;
    (hex.len() == 40 && !extension.is_empty()).then(|| Digest::from_hex(hex))?
}

/// Digits with at least one dot between them.
fn is_version(text: &str) -> bool {
    text.contains('.') && text.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a path ends in an extension under which large static files are distributed: such content is asked for in bounded ranges.
pub(super) fn is_large_by_name(path: &str) -> bool {
    let Some((_, extension)) = last_segment(path).rsplit_once('.') else { return false };
    LARGE.iter().any(|large| large.eq_ignore_ascii_case(extension))
}

/// Packages, images and archives. Not `html`, `json` and the like: a range on a small answer is a wasted round trip when it is refused.
const LARGE: &[&str] = &[
    "cab",
    "esd",
    "exe",
    "msi",
    "msp",
    "msu",
    "msix",
    "msixbundle",
    "appx",
    "appxbundle",
    "psf",
    "wim",
    "swm",
    "iso",
    "img",
    "vhd",
    "vhdx",
    "qcow2",
    "vmdk",
    "ova",
    "deb",
    "udeb",
    "rpm",
    "drpm",
    "apk",
    "jar",
    "war",
    "whl",
    "crate",
    "gem",
    "nupkg",
    "pkg",
    "dmg",
    "zip",
    "tar",
    "gz",
    "tgz",
    "xz",
    "txz",
    "zst",
    "bz2",
    "lz4",
    "7z",
    "rar",
    "bin",
    "dat",
    "intunewin",
    "xvc",
];

/// Under these certificate trust lists are published and replaced in place.
/// Source: lancachenet/monolithic, `22_wsus_cabs.conf`, which excludes exactly these from its cache.
const TRUST_LISTS: &[&str] = &["authrootstl.cab", "disallowedcertstl.cab", "pinrulesstl.cab"];

/// P1 (expiry), P2, P3, P4 (signature) on content URLs. Source: lancachenet/lancache-dns#65; microsoft/do-client test data.
const SIGNED: &[PathRule] = &[
    PathRule { shape: Below("/filestreamingservice/files/"), query: Signature, freshness: FreshnessRule::Immutable },
    PathRule { shape: Below("/"), query: Signature, freshness: FreshnessRule::Http },
];

const WINDOWS_UPDATE: &[PathRule] = &[
    PathRule { shape: Named(TRUST_LISTS), query: Drop, freshness: FreshnessRule::Mutable },
    // Agents before Windows 10 append the date: `muv4wuredir.cab?<date>`, `wuident.cab?<date>` (seen in Zeek's documentation).
    PathRule { shape: Below("/v9/windowsupdate/redir/"), query: Drop, freshness: FreshnessRule::Mutable },
    PathRule { shape: Below("/SelfUpdate/"), query: Drop, freshness: FreshnessRule::Mutable },
    PathRule { shape: Sha1Named("/msdownload/update/"), query: Drop, freshness: FreshnessRule::Immutable },
    PathRule { shape: Below("/"), query: Signature, freshness: FreshnessRule::Http },
];

/// `v64.cab` and `v32.cab` point to the current version; below `Office/Data/<version>/` nothing changes.
const OFFICE: &[PathRule] = &[
    PathRule { shape: Named(&["v64.cab", "v32.cab"]), query: Keep, freshness: FreshnessRule::Mutable },
    PathRule { shape: Versioned("/Office/Data/"), query: Keep, freshness: FreshnessRule::Immutable },
];

/// The delivery optimization endpoints page, which lists what Microsoft Connected Cache itself caches.
const ENDPOINTS: &str = "learn.microsoft.com/windows/deployment/do/delivery-optimization-endpoints";
const WORKFLOW: &str = "learn.microsoft.com/windows/deployment/do/delivery-optimization-workflow";
const WSUS_PLAN: &str = "learn.microsoft.com/windows-server/administration/windows-server-update-services, 2.1.1 firewall";
const CACHE_DOMAINS: &str = "github.com/uklans/cache-domains, windowsupdates.txt and xboxlive.txt";

pub(super) const FAMILIES: &[Family] = &[
    Family {
        group: Some("dl.delivery.mp.microsoft.com"),
        role: Role::Content,
        // tlu., b.tlu., msedge.b.tlu., 2.tlu. and the like are CDN labels of one service.
        hosts: &["dl.delivery.mp.microsoft.com", "*.dl.delivery.mp.microsoft.com"],
        rules: SIGNED,
        source: ENDPOINTS,
    },
    Family {
        group: Some("download.windowsupdate.com"),
        role: Role::Content,
        // au., b1., au.b1. and the like.
        hosts: &["download.windowsupdate.com", "*.download.windowsupdate.com"],
        rules: WINDOWS_UPDATE,
        source: ENDPOINTS,
    },
    Family {
        group: Some("ctldl.windowsupdate.com"),
        role: Role::Content,
        hosts: &["ctldl.windowsupdate.com", "*.ctldl.windowsupdate.com"],
        rules: WINDOWS_UPDATE,
        source: ENDPOINTS,
    },
    Family { group: None, role: Role::Content, hosts: &["*.windowsupdate.com"], rules: WINDOWS_UPDATE, source: WSUS_PLAN },
    Family {
        group: None,
        role: Role::Content,
        hosts: &["emdl.ws.microsoft.com", "*.emdl.ws.microsoft.com"],
        rules: SIGNED,
        source: ENDPOINTS,
    },
    Family { group: None, role: Role::Content, hosts: &["*.delivery.mp.microsoft.com"], rules: SIGNED, source: ENDPOINTS },
    Family {
        group: Some("officecdn.microsoft.com"),
        role: Role::Content,
        hosts: &[
            "officecdn.microsoft.com",
            "*.officecdn.microsoft.com",
            "officecdn.microsoft.com.edgesuite.net",
            "*.officecdn.microsoft.com.edgesuite.net",
        ],
        rules: OFFICE,
        source: ENDPOINTS,
    },
    // Microsoft 365 apps, Teams (statics.teams.) and Outlook (res.): each host is a service of its own.
    Family { group: None, role: Role::Content, hosts: &["*.cdn.office.net"], rules: &[], source: ENDPOINTS },
    // Intune Win32 apps. Whether swda01 and swda01-mscdn hold the same under the same path is not established, so they are not grouped.
    Family { group: None, role: Role::Content, hosts: INTUNE, rules: &[], source: ENDPOINTS },
    Family { group: None, role: Role::Content, hosts: XBOX, rules: &[], source: ENDPOINTS },
    Family {
        group: None,
        role: Role::Content,
        hosts: &["*.tlu.dl.adu.microsoft.com", "*.nlu.dl.adu.microsoft.com", "*.dcsfe.prod.adu.microsoft.com"],
        rules: SIGNED,
        source: ENDPOINTS,
    },
    Family {
        group: None,
        role: Role::Content,
        hosts: &["download.microsoft.com", "*.download.microsoft.com", "definitionupdates.microsoft.com"],
        rules: &[],
        source: "learn.microsoft.com/defender-endpoint, alternate download locations; WSUS plan 2.1.1",
    },
    Family {
        group: None,
        role: Role::Content,
        hosts: &[
            "amupdatedl2.microsoft.com",
            "amupdatedl3.microsoft.com",
            "amupdatedl4.microsoft.com",
            "amupdatedl5.microsoft.com",
        ],
        rules: &[],
        source: CACHE_DOMAINS,
    },
    // Service hosts: never content. Under DNS override they reach us all the same, and are relayed or tunnelled.
    Family {
        group: None,
        role: Role::Service,
        hosts: &[
            "*.do.dsp.mp.microsoft.com",
            "tsfe.trafficshaping.dsp.mp.microsoft.com",
            "fe3.delivery.mp.microsoft.com",
            "fe3cr.delivery.mp.microsoft.com",
            "adl.windows.com",
        ],
        rules: &[],
        source: WORKFLOW,
    },
    Family {
        group: None,
        role: Role::Service,
        hosts: &[
            "update.microsoft.com",
            "*.update.microsoft.com",
            "windowsupdate.microsoft.com",
            "*.windowsupdate.microsoft.com",
            "wustat.windows.com",
            "ntservicepack.microsoft.com",
            "go.microsoft.com",
        ],
        rules: &[],
        source: WSUS_PLAN,
    },
];

const INTUNE: &[&str] = &[
    "swda01.manage.microsoft.com",
    "swda02.manage.microsoft.com",
    "swdb01.manage.microsoft.com",
    "swdb02.manage.microsoft.com",
    "swdc01.manage.microsoft.com",
    "swdc02.manage.microsoft.com",
    "swdd01.manage.microsoft.com",
    "swdd02.manage.microsoft.com",
    "swda01-mscdn.manage.microsoft.com",
    "swda02-mscdn.manage.microsoft.com",
    "swdb01-mscdn.manage.microsoft.com",
    "swdb02-mscdn.manage.microsoft.com",
    "swdc01-mscdn.manage.microsoft.com",
    "swdc02-mscdn.manage.microsoft.com",
    "swdd01-mscdn.manage.microsoft.com",
    "swdd02-mscdn.manage.microsoft.com",
];

const XBOX: &[&str] = &[
    "assets1.xboxlive.com",
    "assets2.xboxlive.com",
    "dlassets.xboxlive.com",
    "dlassets2.xboxlive.com",
    "d1.xboxlive.com",
    "d2.xboxlive.com",
    "xbl-dlassets-origin.xboxlive.com",
    "assets-origin.xboxlive.com",
    "xvcb1.xboxlive.com",
    "xvcb2.xboxlive.com",
    "xvcf1.xboxlive.com",
    "xvcf2.xboxlive.com",
    "assets.xbox.com",
    "*.assets.xbox.com",
];
