//! A disk that is full, or turns read-only, on SQLite, under a service that goes on.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    inject::{Trap, can_inject},
    parameters::say,
    scene::Scene,
    server::Site,
};

/// Calls before, while and after.
const CALLS: u64 = 30;

/// A small file system in memory, mounted for one test.
struct Disk(TempDir);

impl Disk {
    /// `None` where this process may not mount, after saying so.
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"])
            .arg(directory.path())
            .stderr(Stdio::null())
            .status();
        if mounted.is_ok_and(|status| status.success()) {
            Some(Self(directory))
        } else {
            say("skipped: a disk that is full takes the right to mount one");
            None
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Nothing fits any more.
    fn fill(&self) {
        let mut file = File::create(self.ballast()).unwrap();
        let mut piece = vec![1_u8; 64 * 1024];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
    }

    fn clear(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    fn remount(&self, how: &str) {
        let done = Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(self.path()).status().unwrap();
        assert!(done.success(), "remount,{how}");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}

/// Nothing can be written: changes are refused with a clear reason, readiness is gone, reads go on.
async fn goes_on_without_writing(scene: &mut Scene, first: u64) {
    scene.changes_fail().await;
    assert!(scene.turns_unready().await, "{}: ready, and nothing can be written\n{}", scene.name, scene.server.log());
    scene.changes_fail().await;
    scene.reads_go_on().await;
    say(format_args!("{}: {:?}", scene.name, scene.outcomes(first)));
}

/// All that was unknown is known again, and work goes on, in the same process.
async fn comes_back(scene: &mut Scene) {
    scene.server.wait_until_ready().await;
    scene.settle().await;
    scene.calls(CALLS).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_lived_through() {
    let Some(disk) = Disk::mount() else { return };
    let mut scene = Scene::new("disk full", Site::on_sqlite_in(disk.path()), None).await;
    scene.calls(CALLS).await;
    let first = scene.log.begun();
    disk.fill();
    scene.work_in_vain().await;
    goes_on_without_writing(&mut scene, first).await;
    disk.clear();
    comes_back(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_turns_read_only_is_lived_through() {
    if !can_inject() {
        return;
    }
    let mut scene = Scene::new("disk read-only", Site::on_sqlite(), None).await;
    scene.calls(CALLS).await;
    let first = scene.log.begun();
    let trap = Trap::always(&scene.server, "pwrite64,ftruncate,fsync", "EROFS");
    scene.work_in_vain().await;
    goes_on_without_writing(&mut scene, first).await;
    drop(trap);
    comes_back(&mut scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_directory_is_told_at_the_start() {
    let Some(disk) = Disk::mount() else { return };
    let site = Site::on_sqlite_in(disk.path());
    let (status, log) = site.serve().await.stop();
    assert!(status.success(), "{log}");
    disk.remount("ro");
    let said = site.start(&[]).err().unwrap_or_else(|| panic!("it started on a read-only directory"));
    assert!(said.contains("exit status: 5") && said.contains("rekey: "), "{said}");
    disk.remount("rw");
    let (status, log) = site.serve().await.stop();
    assert!(status.success(), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_always_ready_is_caught() {
    let Some(disk) = Disk::mount() else { return };
    let mut scene = Scene::new("always_ready", Site::on_sqlite_in(disk.path()), Some("always_ready")).await;
    scene.calls(CALLS).await;
    disk.fill();
    scene.work_in_vain().await;
    assert!(!scene.turns_unready().await, "the planted bug was not caught");
}
