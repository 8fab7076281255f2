//! How many files and sockets this process may hold open.

use std::io;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What "no hard limit" is taken for: the kernel's own default ceiling (`fs.nr_open`).
const UNLIMITED: u64 = 1 << 20;

/// Raises the soft limit of open files to the hard one and returns it.
///
/// An error leaves the limit as it was, which [`limit`] tells.
pub fn raise_limit() -> io::Result<u64> {
    let hard = getrlimit(Resource::Nofile).maximum;
    let wanted = hard.unwrap_or(UNLIMITED);
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: hard })?;
    Ok(wanted)
}

/// The soft limit of open files now.
pub fn limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_rises_to_the_hard_limit() {
        let raised = raise_limit().unwrap();
        assert_eq!(limit(), raised);
        assert_eq!(getrlimit(Resource::Nofile).maximum.unwrap_or(UNLIMITED), raised);
    }
}
