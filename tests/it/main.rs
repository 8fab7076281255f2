//! The one test binary: each module is a group of scenarios.

mod layers;
