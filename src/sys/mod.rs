//! What the operating system is asked for directly, behind safe types. The only place where unsafe code may stand.

#![allow(unsafe_code)]

pub mod addresses;
pub mod allocator;
pub mod awake;
pub mod huge_pages;
pub mod listening;
pub mod map;
pub mod notify;
pub mod open_files;
pub mod pacing;
pub mod placeholder;
pub mod residency;
pub mod send;
pub mod threads;
pub mod write_back;
