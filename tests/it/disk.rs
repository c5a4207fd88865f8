//! Real file systems, ext4 and XFS on loop devices, with faults that are none of ours: power cuts, full disks, and
//! disks that fail below the file system.
//!
//! Each test runs again as a child with mounts of its own, so that nothing stays mounted behind it, however it ends.
//! That takes root, loop devices, and the tools that make the file systems; where one of them is not there the test
//! says which, and passes; with `CI=true` it fails.
#![cfg(all(target_os = "linux", feature = "cli"))]

mod cuts;
mod failing;
mod full;
mod image;

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::refusals::machine::child_within;
use crate::refusals::site::home;
use crate::support::{say, skip};
use image::Kind;

/// Runs an ignored test of this crate as a child that may mount such file systems.
fn on_a_disk(test: &str, kind: Kind, patience: Duration) {
    for tool in [kind.mkfs(), "xfs_io", "fallocate", "losetup"] {
        let asked =
            Command::new(tool).arg("-V").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !asked.is_ok_and(|status| status.success()) {
            return skip(test, &format!("{tool} is not there (packages e2fsprogs, xfsprogs and util-linux)"));
        }
    }
    let home = home();
    let script =
        "cd \"$0\" && truncate -s 1M probe && mkfs.ext4 -q -F probe && mkdir there && mount -o loop probe there";
    let probe =
        Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(home.path()).stdin(Stdio::null()).output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            return skip(test, &format!("mounting a loop device takes root, and a system that has them: {told}"));
        }
        Err(error) => return skip(test, &format!("unshare does not start: {error}")),
    }
    let exe = std::env::current_exe().expect("its own path");
    let ran = child_within(test, &["unshare", "--mount"], &exe, home.path(), patience);
    ran.err.lines().for_each(say);
}
