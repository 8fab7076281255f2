//! weir: a content-distribution caching proxy for branch offices.
//!
//! Modules in the order a request meets them; what each may import is kept true by `tests/it/layers.rs`.

pub mod app;
pub mod config;

pub mod admin;
pub mod listener;

pub mod cache;
pub mod catalog;
pub mod census;
pub mod classify;
pub mod proxy;

pub mod store;
pub mod upstream;

pub mod semantics;

pub mod demo;

pub mod metrics;
pub mod sys;
pub mod transmit;

pub mod digest;
pub mod key;
pub mod object;
pub mod piece;
pub mod rate;
pub mod wsus;
