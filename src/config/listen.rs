//! `[[listen]]`: sockets, the doors that stand open on them, and certificates.

use std::{net::SocketAddr, path::PathBuf};

use ipnet::IpNet;

use crate::{
    classify::{Door, HostPattern},
    config::{
        problem::{At, Place},
        read::Section,
    },
    listener::{Certificate, Socket},
};

/// One `[[listen]]`.
#[derive(Debug)]
pub(super) struct Listen {
    pub(super) address: At<SocketAddr>,
    /// `None`: the standard doors and those of all sites.
    asked_doors: Option<Vec<Door>>,
    pub(super) doors: Vec<Door>,
    pub(super) tls: bool,
    proxy_protocol_from: Vec<IpNet>,
    /// The entry itself.
    pub(super) place: Place,
}

impl Listen {
    /// A socket in the clear.
    pub(super) fn standard(address: SocketAddr, place: Place) -> Self {
        Self {
            address: At { value: address, place: place.clone() },
            asked_doors: None,
            doors: Vec::new(),
            tls: false,
            proxy_protocol_from: Vec::new(),
            place,
        }
    }

    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let place = section.here();
        let address = section.need("address");
        let asked_doors = section.value("doors");
        let tls = section.value("tls").unwrap_or(false);
        let proxy_protocol_from = section.value("proxy_protocol_from").unwrap_or_default();
        section.finish();
        Some(Self { address: address?, asked_doors, doors: Vec::new(), tls, proxy_protocol_from, place })
    }

    /// Settles which doors are open, given the doors of the sites that are configured.
    pub(super) fn open_doors(&mut self, sites: &[Door]) {
        let standard = || Door::ALL.into_iter().filter(|door| Door::STANDARD.contains(door) || sites.contains(door)).collect();
        self.doors = self.asked_doors.clone().unwrap_or_else(standard);
    }

    pub(super) fn socket(self) -> Socket {
        Socket {
            address: self.address.value,
            doors: self.doors.into(),
            tls: self.tls,
            proxy_protocol_from: self.proxy_protocol_from,
        }
    }
}

/// One `[[certificate]]`: for all sockets with `tls`.
#[derive(Debug)]
pub(super) struct Pair {
    pub(super) chain: At<PathBuf>,
    pub(super) key: At<PathBuf>,
    names: Vec<HostPattern>,
}

impl Pair {
    pub(super) fn read(section: Section<'_>) -> Option<Self> {
        let (chain, key) = (section.need_file("chain"), section.need_file("key"));
        let names = section.value("names").unwrap_or_default();
        section.finish();
        Some(Self { chain: chain?, key: key?, names })
    }

    pub(super) fn certificate(&self) -> Certificate {
        let names = self.names.iter().map(HostPattern::to_string).collect();
        Certificate { chain: self.chain.value.clone(), key: self.key.value.clone(), names }
    }
}
