//! Ctrl-C: the run stops soon, says so, and exits with 130. Before the first decoder layer is done it leaves nothing;
//! after it, what `--resume` goes on from (see `resume`).

use std::fs;
use std::path::Path;
use std::process::Command;

use super::fixture::{Model, text};
use super::held::Held;
use super::{Case, Run, listing, secateur};

/// A checkpoint of many layers and a long text: some ten seconds of work.
fn long() -> Case {
    let case = Case::of(&Model::of_layers(24));
    fs::write(case.text(), text(60_000)).unwrap();
    case
}

/// Starts `command` and interrupts it where stderr says `mark`.
pub(super) fn interrupted(command: &mut Command, mark: &str) -> Run {
    Held::at(command, mark).interrupt()
}

fn prune(case: &Case, output: &Path) -> Command {
    let mut command = secateur();
    command
        .arg("prune")
        .arg(case.model())
        .arg("--output")
        .arg(output)
        .arg("--calibration")
        .arg(case.text());
    command.args([
        "--samples",
        "400",
        "--length",
        "128",
        "--pattern",
        "2:4",
        "--adapter",
        "cpu",
    ]);
    command
}

#[test]
fn leaves_nothing() {
    let case = long();
    let output = case.path("new/output");
    let run = interrupted(&mut prune(&case, &output), "tokenise and embed");
    run.fails(130, &["interrupted", "nothing was written", output.to_str().unwrap()]);
    assert!(!run.stderr.contains("layer 23 done"), "{}", run.stderr);
    assert!(
        !case.path("new").exists(),
        "{:?} was left behind",
        listing(&case.path("new"))
    );
}

#[test]
fn keeps_what_is_done() {
    let case = long();
    let run = interrupted(&mut prune(&case, &case.output()), "layer 0 done");
    run.fails(130, &["interrupted", "of 24 decoder layers", "--resume"]);
    let left = listing(&case.output());
    let has = |name: &str| left.iter().any(|file| file == name);
    assert!(has("state.json") && has("model.safetensors.tmp"), "{left:?}");
    assert!(!has("model.safetensors"), "{left:?}");
    // Without --resume nobody's work is touched.
    let again = super::run(&mut prune(&case, &case.output()));
    again.fails(1, &["unfinished", "--resume"]);
}

/// Nothing before the first layer; after it the layers, to be gone on with.
#[test]
fn leaves_no_statistics_but_whole_layers() {
    let case = long();
    let command = |more: &[&str]| {
        let mut command = secateur();
        command.arg("calibrate").arg(case.model());
        command.arg("--output").arg(case.statistics());
        command.arg("--calibration").arg(case.text());
        command.args(["--samples", "400", "--length", "128", "--adapter", "cpu"]);
        command.args(more);
        command
    };
    let run = interrupted(&mut command(&[]), "tokenise and embed");
    run.fails(130, &["interrupted", "nothing was written", "statistics"]);
    assert!(
        !case.statistics().exists(),
        "{:?} was left behind",
        listing(&case.statistics())
    );
    let run = interrupted(&mut command(&[]), "layer 0 done");
    run.fails(130, &["interrupted", "of 24 decoder layers", "--resume"]);
    super::run(&mut command(&[])).fails(1, &["unfinished", "--resume"]);
    super::run(&mut command(&["--resume"])).succeeds();
    assert!(case.statistics().join("statistics.json").is_file());
    super::run(&mut command(&["--resume"])).fails(1, &["complete", "nothing to resume"]);
}

#[test]
fn leaves_a_folder_that_was_there_empty() {
    let case = long();
    fs::create_dir(case.output()).unwrap();
    interrupted(&mut prune(&case, &case.output()), "tokenise and embed").fails(130, &["interrupted", "output"]);
    assert!(case.output().is_dir() && listing(&case.output()).is_empty());
}

/// An evaluation has nothing to put in order: it ends at once.
#[test]
fn ends_an_evaluation() {
    let case = long();
    let mut command = secateur();
    command
        .arg("eval")
        .arg(case.model())
        .arg("--text")
        .arg(case.text())
        .args(["--context", "128", "--adapter", "cpu"]);
    let run = interrupted(&mut command, "running on");
    assert_eq!((run.code, run.stdout.as_str()), (Some(130), ""), "{}", run.stderr);
}
