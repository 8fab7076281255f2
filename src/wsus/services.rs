//! The services of a WSUS: where they are, what may be called there, and which of it no client of a branch needs.

use std::{fmt, str::FromStr};

use crate::wsus::xml::Namespace;

/// What stays closed unless a site opens it: no client of a branch needs it, and unauthenticated code execution came this way (CVE-2025-59287,
/// CVE-2026-20856).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// `ApiRemoting30`: all of the administration.
    Administration,
    /// `ServerSyncWebService`: the whole catalogue, and approvals, for whoever asks.
    ServerSync,
    /// `DssAuthWebService`: a downstream server makes itself known.
    DssAuth,
    /// What a downstream server says of its computers.
    RollUp,
    /// The inventory of old agents.
    Inventory,
    /// `?wsdl` and the pages of services.
    Descriptions,
    /// Whatever else the server has.
    Other,
}

impl Closed {
    pub const ALL: [Self; 7] =
        [Self::Administration, Self::ServerSync, Self::DssAuth, Self::RollUp, Self::Inventory, Self::Descriptions, Self::Other];

    /// The word for it in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administration => "administration",
            Self::ServerSync => "server-sync",
            Self::DssAuth => "dss-auth",
            Self::RollUp => "roll-up",
            Self::Inventory => "inventory",
            Self::Descriptions => "descriptions",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Closed {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|closed| closed.as_str() == text).ok_or(())
    }
}

/// What a site has opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened(u8);

impl Opened {
    pub fn has(self, what: Closed) -> bool {
        self.0 & 1 << what as u8 != 0
    }
}

impl FromIterator<Closed> for Opened {
    fn from_iter<I: IntoIterator<Item = Closed>>(all: I) -> Self {
        Self(all.into_iter().fold(0, |opened, one| opened | 1 << one as u8))
    }
}

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    /// In lower case.
    pub(super) path: &'static str,
    /// What its actions begin with.
    pub(super) action: &'static str,
    pub(super) namespace: Namespace,
    pub(super) operations: &'static [Operation],
}

/// What may be called.
#[derive(Debug, PartialEq, Eq)]
pub struct Operation {
    pub name: &'static str,
    /// Plain bytes that a request for it may have.
    pub len_max: usize,
    pub(super) closed: Option<Closed>,
}

/// Names of operations: MS-WUSP 2.2.2 and MS-WSUSSS 2.2.3. Lengths: several times what was seen (a driver pass has 50 KiB, lists of known
/// updates grow with the catalogue).
pub(super) const SERVICES: &[Service] = &[
    Service {
        path: "/clientwebservice/client.asmx",
        action: "http://www.microsoft.com/SoftwareDistribution/Server/ClientWebService/",
        namespace: Namespace::Client,
        operations: &[
            call("GetConfig", 8 * KIB),
            call("GetConfig2", 8 * KIB),
            call("GetCookie", 16 * KIB),
            call("RegisterComputer", 64 * KIB),
            call("StartCategoryScan", 64 * KIB),
            call("SyncUpdates", 2 * MIB),
            call("SyncPrinterCatalog", 2 * MIB),
            call("RefreshCache", MIB),
            call("GetExtendedUpdateInfo", 256 * KIB),
            call("GetExtendedUpdateInfo2", 256 * KIB),
            call("GetFileLocations", MIB),
            call("GetTimestamps", 64 * KIB),
        ],
    },
    Service {
        path: "/simpleauthwebservice/simpleauth.asmx",
        action: "http://www.microsoft.com/SoftwareDistribution/Server/SimpleAuthWebService/",
        namespace: Namespace::SimpleAuth,
        operations: &[call("GetAuthorizationCookie", 16 * KIB)],
    },
    // Agents use the first path; the service's own description names the second.
    Service { path: "/reportingwebservice/reportingwebservice.asmx", ..REPORTING },
    Service { path: "/reportingwebservice/webservice.asmx", ..REPORTING },
    Service {
        path: "/serversyncwebservice/serversyncwebservice.asmx",
        action: "http://www.microsoft.com/SoftwareDistribution/",
        namespace: Namespace::Distribution,
        operations: &[
            downstream("GetAuthConfig", Closed::ServerSync),
            downstream("GetCookie", Closed::ServerSync),
            downstream("GetConfigData", Closed::ServerSync),
            downstream("GetRevisionIdList", Closed::ServerSync),
            downstream("GetUpdateData", Closed::ServerSync),
            downstream("GetUpdateDecryptionData", Closed::ServerSync),
            downstream("GetDriverIdList", Closed::ServerSync),
            downstream("GetDriverSetData", Closed::ServerSync),
            downstream("DownloadFiles", Closed::ServerSync),
            downstream("GetDeployments", Closed::ServerSync),
            downstream("GetRelatedRevisionsForUpdates", Closed::ServerSync),
        ],
    },
    Service {
        path: "/dssauthwebservice/dssauthwebservice.asmx",
        action: "http://www.microsoft.com/SoftwareDistribution/Server/DssAuthWebService/",
        namespace: Namespace::DssAuth,
        operations: &[downstream("GetAuthorizationCookie", Closed::DssAuth)],
    },
];

const REPORTING: Service = Service {
    path: "",
    action: "http://www.microsoft.com/SoftwareDistribution/",
    namespace: Namespace::Distribution,
    operations: &[
        call("ReportEventBatch", 2 * MIB),
        call("ReportEventBatch2", 2 * MIB),
        call("GetRequiredInventoryType", 64 * KIB),
        call("ReportInventory", 2 * MIB),
        downstream("GetRollupConfiguration", Closed::RollUp),
        downstream("RollupDownstreamServers", Closed::RollUp),
        downstream("RollupComputers", Closed::RollUp),
        downstream("GetOutOfSyncComputers", Closed::RollUp),
        downstream("RollupComputerStatus", Closed::RollUp),
    ],
};

const fn call(name: &'static str, len_max: usize) -> Operation {
    Operation { name, len_max, closed: None }
}

/// Batches of 20,000 computers, as roll-ups have them.
const fn downstream(name: &'static str, closed: Closed) -> Operation {
    Operation { name, len_max: 16 * MIB, closed: Some(closed) }
}

/// The service at a path, compared as IIS does.
pub(super) fn at(folded_path: &str) -> Option<&'static Service> {
    // A downstream server doubles the first slash.
    let path = folded_path.strip_prefix('/').filter(|rest| rest.starts_with('/')).unwrap_or(folded_path);
    SERVICES.iter().find(|service| service.path == path)
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;
