//! Output folders that cannot be written, must not be, or fill up on the way.

use std::fs;
use std::path::Path;

use super::{Case, FLAGS, listing};
#[cfg(unix)]
use crate::common::{PROGRAM, plain};

#[test]
fn not_empty() {
    let case = Case::new();
    fs::create_dir(case.output()).unwrap();
    fs::write(case.output().join("thesis.tex"), "all of it").unwrap();
    case.prune(&["--pattern", "2:4"])
        .fails(1, &[case.output().to_str().unwrap(), "not empty", "thesis.tex"]);
    assert_eq!(listing(&case.output()), ["thesis.tex"]);
    assert_eq!(
        fs::read_to_string(case.output().join("thesis.tex")).unwrap(),
        "all of it"
    );
}

#[test]
fn a_file() {
    let case = Case::new();
    fs::write(case.output(), "mine").unwrap();
    case.prune(&["--pattern", "2:4"])
        .fails(1, &[case.output().to_str().unwrap(), "this is a file"]);
    assert_eq!(fs::read_to_string(case.output()).unwrap(), "mine");
    let below = case.output().join("below");
    case.prune_to(&below, &FLAGS, &["--pattern", "2:4"])
        .fails(1, &[below.to_str().unwrap()]);
}

#[test]
fn the_model_itself() {
    let case = Case::new();
    let before = listing(&case.model());
    for same in [case.model(), case.model().join("."), case.path("elsewhere/../model")] {
        fs::create_dir_all(case.path("elsewhere")).unwrap();
        case.prune_to(&same, &FLAGS, &["--pattern", "2:4"])
            .fails(1, &["model", "checkpoint being read"]);
    }
    assert_eq!(listing(&case.model()), before);
}

/// An empty folder that was there before stays, and stays empty.
#[test]
fn an_empty_folder_survives_a_failure() {
    let case = Case::new();
    fs::create_dir(case.output()).unwrap();
    fs::write(case.text(), "w1 w2").unwrap();
    case.prune(&["--pattern", "2:4"]).fails(1, &["text.txt"]);
    assert!(case.output().is_dir() && listing(&case.output()).is_empty());
}

/// Not even root creates folders there.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_parent() {
    let case = Case::new();
    for parent in ["/proc", "/sys", "/proc/nobody/in/here"] {
        let output = Path::new(parent).join("secateur-out");
        case.prune_to(&output, &FLAGS, &["--pattern", "2:4"])
            .fails(1, &[output.to_str().unwrap()]);
        assert!(!output.exists());
    }
}

/// The demo keeps its folder only if all went well, and takes none that holds something.
#[test]
fn of_a_demo_that_fails() {
    let case = Case::new();
    let demo = |output: &Path, flags: &[&str]| {
        super::run(super::secateur().args(["demo", "--output"]).arg(output).args(flags))
    };
    let before = listing(&case.model());
    demo(&case.model(), &["--adapter", "cpu"]).fails(2, &["model", "not empty"]);
    assert_eq!(listing(&case.model()), before);
    demo(&case.output(), &["--adapter", "no such thing"]).fails(2, &["no such thing"]);
    assert!(!case.output().exists());
    let too_many = ["--adapter", "cpu", "--windows", "1", "--samples", "100000"];
    demo(&case.output(), &too_many).fails(1, &["calibration.txt", "100000"]);
    assert!(!case.output().exists());
    fs::create_dir(case.output()).unwrap();
    demo(&case.output(), &too_many).fails(1, &["calibration.txt", "100000"]);
    assert!(case.output().is_dir() && listing(&case.output()).is_empty());
    demo(&case.text(), &["--adapter", "cpu"]).fails(1, &["text.txt", "list"]);
}

/// `program` run by a shell that first forbids files longer than `blocks` (of 512 or 1024 bytes, as the shell has it)
/// and ignores the signal that comes with it, so that writing fails as on a file system that is full.
#[cfg(unix)]
fn limited(case: &Case, blocks: usize) -> super::Run {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, "sh", PROGRAM, "prune"]).arg(case.model());
    command
        .arg("--output")
        .arg(case.path("new/output"))
        .arg("--calibration")
        .arg(case.text());
    plain(&mut command);
    super::run(command.args(FLAGS).args(["--pattern", "2:4"]))
}

#[cfg(unix)]
#[test]
fn files_that_cannot_grow() {
    let case = Case::new();
    // The weights do not fit: refused before the work.
    limited(&case, 8).fails(1, &["model.safetensors.tmp", "cannot write"]);
    assert!(!case.path("new").exists());
    // The weights fit and a side file does not: fails when all work is done.
    let card = case.model().join("card.md");
    fs::write(&card, vec![b'-'; 4 << 20]).unwrap();
    limited(&case, 2048).fails(1, &["new/output/card.md", "cannot write", "2 of 2", "--resume"]);
    // The work is not lost: with room for the file the same command goes on from there.
    let resumed = case.prune_to(&case.path("new/output"), &FLAGS, &["--pattern", "2:4", "--resume"]);
    resumed.succeeds();
    assert!(!case.path("new/output/.secateur").exists());
}

/// A real file system that fills up, where the kernel lets users mount one; the library's own test of a full disk
/// (`checkpoint/writing.rs`) needs no mount.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk() {
    let case = Case::new();
    let disk = case.path("disk");
    fs::create_dir(&disk).unwrap();
    let inside = |script: &str| {
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.args([&disk, &case.model(), &case.text()]).arg(PROGRAM);
        plain(&mut command);
        command
    };
    let mount = "mount -t tmpfs -o size=40k secateur-test \"$1\"";
    if !inside(mount).output().is_ok_and(|done| done.status.success()) {
        eprintln!("not tested: this kernel does not let users mount a tmpfs");
        return;
    }
    let script = format!(
        "{mount} && \"$4\" prune \"$2\" --calibration \"$3\" --output \"$1/out\" {} --pattern 2:4; \
         code=$?; ls -A \"$1\" >&2; exit $code",
        FLAGS.join(" ")
    );
    super::run(&mut inside(&script)).fails(1, &["out/", "disk full", "bytes"]);
}
