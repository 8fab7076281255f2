//! `[origins]`: who may be contacted, and who is the same as whom.

use crate::{
    classify::{Config, Group, HostPattern, Policies},
    config::{Draft, problem::At, read::Section},
};

/// The doors' rules without a file.
pub(super) fn built_in() -> Config {
    Config {
        own_names: Vec::new(),
        own_ports: Vec::new(),
        builtin: true,
        allow: Vec::new(),
        aliases: Vec::new(),
        groups: Vec::new(),
        sites: Vec::new(),
        // TLS; anything else (SSH, mail) has no business in a cache for updates.
        connect_ports: vec![443],
        // What other proxies and servers accept; the longest content URLs seen have about 1 KiB.
        target_max: 8192,
        policies: Policies::default(),
    }
}

pub(super) fn read(section: Section<'_>, draft: &mut Draft) {
    let policy = &mut draft.config.policy;
    section.set("builtin", &mut policy.builtin);
    section.set("allow", &mut policy.allow);
    if let Some(At { value, place }) = section.get::<Vec<u16>>("connect_ports") {
        if value.contains(&0) {
            section.complain(&place, "nobody listens on port 0", "leave it out");
        }
        policy.connect_ports = value;
    }
    read_aliases(section.section("aliases"), policy);
    for (name, hosts) in section.section("groups").entries::<Vec<HostPattern>>() {
        policy.groups.push(Group { name: name.value.into(), hosts });
    }
    for ca in section.files("ca_files") {
        draft.authorities.push(ca.clone());
        draft.config.upstream.ca_files.push(ca.value);
    }
    section.finish();
}

/// `"203.0.113.5" = "dl.delivery.mp.microsoft.com"`
fn read_aliases(section: Section<'_>, policy: &mut Config) {
    for (address, name) in section.entries::<HostPattern>() {
        let Ok(ip) = address.value.parse() else {
            section.complain(&address.place, format!("{:?} is no address", address.value), "write \"address\" = \"name\"");
            continue;
        };
        match name {
            HostPattern::Exact(name) => policy.aliases.push((ip, name)),
            HostPattern::Below(_) => {
                section.complain(&address.place, "an address stands for one name", "write a name without *.");
            }
        }
    }
}
