//! Every metric, declared once.

/// Handles for `store`.
#[derive(Clone, Default)]
pub struct Store;

/// Handles for `upstream`.
#[derive(Clone, Default)]
pub struct Upstream;
