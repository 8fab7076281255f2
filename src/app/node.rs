//! This weir's own name in `Via` and `CDN-Loop`: random, so that no two weirs share one, and kept, so that a restart does not open a loop.

use std::{fs, io::ErrorKind, path::Path, sync::Arc};

use super::Error;

/// The id kept in the data directory, made now if there is none.
pub(super) fn id(directory: &Path) -> Result<Arc<str>, Error> {
    let path = directory.join("node");
    let failed = |source| Error::Node { path: path.clone(), source };
    match fs::read_to_string(&path) {
        Ok(text) if is_id(text.trim()) => return Ok(text.trim().into()),
        Ok(_) => tracing::warn!(path = %path.display(), "no node id in there: made anew"),
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let id = format!("weir-{:016x}", rand::random::<u64>());
    fs::write(&path, format!("{id}\n")).map_err(failed)?;
    Ok(id.into())
}

fn is_id(text: &str) -> bool {
    text.strip_prefix("weir-").is_some_and(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
