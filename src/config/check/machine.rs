//! Files and directories that a configuration names, as they are on this machine now: what is looked at here would keep weir from serving.
//!
//! Opens and reads; makes and changes nothing.

use std::{error::Error, fs, io, path::Path};

use rustix::fs::{Access, access, statvfs};

use crate::{
    admin,
    config::{
        Draft,
        problem::{At, Complaints},
    },
    listener::{CertificateError, Certificates},
    proxy::log::Destination,
    upstream,
};

pub(super) fn run(draft: &Draft, complaints: &Complaints<'_>) {
    certificates(draft, complaints);
    for At { value, place } in &draft.authorities {
        if let Err(error) = upstream::check_ca_file(value) {
            complaints.add(place, said(&error), "name a PEM file of certificate authorities that weir may read");
        }
    }
    if let Some(At { value, place }) = &draft.token_file
        && let Err(error) = admin::check_token_file(value)
    {
        complaints.add(place, said(&error), "name a file that weir may read, with one token of 16 to 512 bytes in it");
    }
    store(draft, complaints);
    logs(draft, complaints);
    socket(draft, complaints);
}

fn certificates(draft: &Draft, complaints: &Complaints<'_>) {
    for pair in &draft.certificates {
        for error in Certificates::inspect(&pair.certificate()).err().into_iter().flatten() {
            let is_key = error.path() == Some(&*pair.key.value);
            let place = if is_key { &pair.key.place } else { &pair.chain.place };
            let remedy = match &error {
                CertificateError::Pem { .. } => "name a PEM file that weir may read",
                CertificateError::Empty { .. } | CertificateError::Leaf { .. } => {
                    "put the server's own certificate first, then those of the authorities between"
                }
                CertificateError::Key { .. } => "name the private key that the first certificate of the chain was made for",
                CertificateError::Tls(_) => "this build of weir cannot do TLS",
            };
            complaints.add(place, said(&error), remedy);
        }
    }
}

fn store(draft: &Draft, complaints: &Complaints<'_>) {
    let directory = &*draft.config.store.directory;
    if let Err(error) = is_usable(directory) {
        let remedy = "name a directory that weir may write to, or let one be made for it";
        complaints.add(&draft.directory, error, remedy);
    }
    let Some(At { value: reserve, place }) = &draft.reserve else { return };
    if let Some(total) = file_system_len(directory).filter(|total| reserve >= total) {
        let what = format!("nothing could ever be stored: the file system of {} has {total} bytes in all", directory.display());
        complaints.add(place, what, "reserve less than that");
    }
}

/// Log files are made at the start, their directories are not.
fn logs(draft: &Draft, complaints: &Complaints<'_>) {
    let log = &draft.config.log;
    let access_log = match &log.access {
        Destination::File(file) => Some(&**file),
        Destination::Stdout | Destination::Nowhere => None,
    };
    for (key, file) in [("log.access", access_log), ("log.file", log.file.as_deref())] {
        // The access log is opened after the data directory was made.
        let is_made = file.is_some_and(|file| key == "log.access" && file.parent() == Some(&draft.config.store.directory));
        if let Some(error) = file.filter(|_| !is_made).and_then(|file| can_append(file).err()) {
            complaints.add(&complaints.place_of(key), error, "name a file that weir may write to, in a directory that exists");
        }
    }
}

fn socket(draft: &Draft, complaints: &Complaints<'_>) {
    let Some(At { value: Some(socket), place }) = &draft.admin_socket else { return };
    let directory = parent(socket);
    if directory == draft.config.store.directory {
        return;
    }
    if let Err(error) = may_write(directory) {
        complaints.add(place, error, "name a socket in a directory that exists and that weir may write to, or \"off\"");
    }
}

/// Whether a directory is there to write to, or could be made.
fn is_usable(directory: &Path) -> Result<(), String> {
    let existing = existing(directory);
    match fs::metadata(existing) {
        Ok(found) if !found.is_dir() => Err(format!("{} is no directory", existing.display())),
        _ => may_write(existing),
    }
}

/// The path itself, or what there is of the directories above it.
fn existing(path: &Path) -> &Path {
    let is_absent = |path: &Path| fs::metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound);
    let mut path = path;
    while is_absent(path) && path != parent(path) {
        path = parent(path);
    }
    path
}

fn can_append(file: &Path) -> Result<(), String> {
    match fs::metadata(file) {
        Ok(found) if found.is_dir() => Err(format!("{} is a directory", file.display())),
        Ok(_) => may_write(file),
        Err(_) => may_write(parent(file)),
    }
}

/// By the rules for this process's user: a check by another one may say something else.
fn may_write(path: &Path) -> Result<(), String> {
    let wanted = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
    access(path, wanted).map_err(|error| format!("{}: {error}", path.display()))
}

/// A relative path starts where weir is started.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Bytes of the file system on which `path` is or would be; `None` when it does not say.
fn file_system_len(path: &Path) -> Option<u64> {
    let found = statvfs(existing(path)).ok()?;
    found.f_blocks.checked_mul(found.f_frsize).filter(|bytes| *bytes > 0)
}

/// An error with what lies behind it.
fn said(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", said(cause)),
        None => error.to_string(),
    }
}
