//! The one test binary: each module is a group of scenarios.

mod harness;
mod layers;
mod support;
