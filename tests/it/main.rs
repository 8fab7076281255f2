//! The one test binary: each module is a group of scenarios.

#![allow(clippy::unwrap_used, reason = "a scenario fails by panicking")]

mod accounts;
mod bad_clients;
mod bad_origins;
mod balancer;
mod caching;
mod chaos;
mod command_line;
mod damage;
mod delivery_optimization;
mod digests;
mod doors;
mod flights;
mod full_disk;
mod fuzzed;
mod harness;
mod herd;
mod http2;
mod http2_origin;
mod interim;
mod intermediary;
mod kill;
mod layers;
mod lifecycle;
mod parents;
mod pass;
mod ranges;
mod recognised;
mod relayed;
mod room;
mod sending;
mod signatures;
mod site_policy;
mod strict;
mod support;
mod tls;
mod vanished;
mod wsus;
