//! Which file system a database is on.

use std::path::Path;

/// Types of file systems whose locks do not reach across machines reliably
/// (<https://www.sqlite.org/faq.html#q5>), as Linux names them.
const NETWORK: [&str; 10] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "ceph",
    "fuse.sshfs",
    "fuse.glusterfs",
    "fuse.s3fs",
];

/// Warns when `path` is on a network file system. Says nothing where that cannot be found out.
#[expect(clippy::disallowed_methods, reason = "a fixed path")]
pub(super) fn warn_if_network(path: &Path) {
    if let Ok(mounts) = std::fs::read_to_string("/proc/mounts")
        && let Some(kind) = network_file_system(&mounts, path)
    {
        tracing::warn!(
            path = %path.display(),
            file_system = kind,
            "the database is on a network file system, where locks are unreliable and the file \
             can be damaged: keep it on a local disk"
        );
    }
}

/// The type of the network file system that `path` is on, by a table in the format of
/// `/proc/mounts` (`man 5 proc_pid_mounts`).
fn network_file_system<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let on = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind) = (unescaped(fields.next()?), fields.next()?);
        path.starts_with(&point).then_some((point.len(), kind))
    });
    // A later line with the same mount point covers the earlier one, and `max_by_key` takes the last.
    on.max_by_key(|(length, _)| *length).map(|(_, kind)| kind).filter(|kind| NETWORK.contains(kind))
}

fn unescaped(point: &str) -> String {
    point.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_mount_point_decides() {
        let mounts = "/dev/sda1 / ext4 rw 0 0\n\
                      nas:/x /mnt/my\\040nas nfs4 rw 0 0\n\
                      tmpfs /mnt/my\\040nas/tmp tmpfs rw 0 0\n";
        for (path, want) in [
            ("/var/lib/x.db", None),
            ("/mnt/my nas/data/x.db", Some("nfs4")),
            ("/mnt/my nas/tmp/x.db", None),
            ("/mnt/my nasty/x.db", None),
        ] {
            assert_eq!(network_file_system(mounts, Path::new(path)), want, "{path}");
        }
    }
}
