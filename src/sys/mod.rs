//! What the operating system is asked for directly, behind safe types. The only place where unsafe code may stand.

pub mod addresses;
pub mod notify;
pub mod open_files;
