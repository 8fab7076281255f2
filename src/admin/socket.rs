//! The Unix socket: made so that nobody can connect before its mode is right, and never taken from a weir that lives.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt, MetadataExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

use crate::admin::Error;

/// The file of a bound socket; removed when dropped, unless another process has put its own there since.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

/// The owner and the group may use it.
const MODE: u32 = 0o660;

/// Binds `path`. A socket left behind by a dead process is replaced; anything else that is there is left alone.
pub(super) fn bind(path: &Path) -> Result<(UnixListener, SocketFile), Error> {
    let error = |source| Error::Socket { path: path.into(), source };
    match UnixStream::connect(path) {
        Ok(_) => return Err(Error::SocketInUse { path: path.into() }),
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => must_be_socket(path).map_err(error)?,
        Err(absent) if absent.kind() == io::ErrorKind::NotFound => {}
        Err(other) => return Err(error(other)),
    }
    // Bound under another name first: at its own name it must never be seen with the mode that the umask gives.
    let mut unready = path.as_os_str().to_owned();
    unready.push(format!(".{}", std::process::id()));
    let unready = PathBuf::from(unready);
    _ = fs::remove_file(&unready);
    let bound = bind_at(&unready, path);
    if bound.is_err() {
        _ = fs::remove_file(&unready);
    }
    bound.map_err(error)
}

fn bind_at(unready: &Path, path: &Path) -> io::Result<(UnixListener, SocketFile)> {
    let listener = UnixListener::bind(unready)?;
    fs::set_permissions(unready, fs::Permissions::from_mode(MODE))?;
    let inode = inode(unready)?;
    fs::rename(unready, path)?;
    Ok((listener, SocketFile { path: path.into(), inode }))
}

/// Linux refuses connections to anything that is no socket too.
fn must_be_socket(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name that is no socket"))
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("weir-socket-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory.join("admin.sock")
    }

    #[test]
    fn owner_and_group_may_use_it_and_it_goes_with_its_owner() {
        let path = place("mode");
        let (_listener, file) = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(UnixStream::connect(&path).is_ok());
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing else is left there");
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn one_left_behind_is_replaced() {
        let path = place("stale");
        let (listener, file) = bind(&path).unwrap();
        std::mem::forget(file); // as a kill does
        drop(listener);
        assert!(path.exists());
        let (_listener, _file) = bind(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn one_where_somebody_listens_is_left_alone() {
        let path = place("live");
        let (_listener, _file) = bind(&path).unwrap();
        assert!(matches!(bind(&path), Err(Error::SocketInUse { .. })));
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = place("file");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(Error::Socket { .. })));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_successor_keeps_its_socket_when_the_predecessor_ends() {
        let path = place("successor");
        let (listener, first) = bind(&path).unwrap();
        drop(listener); // stopped listening, but not gone yet
        let (_listener, _second) = bind(&path).unwrap();
        drop(first);
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[test]
    fn a_directory_that_does_not_exist_is_an_error() {
        assert!(matches!(bind(Path::new("/nonexistent/weir.sock")), Err(Error::Socket { .. })));
    }
}
