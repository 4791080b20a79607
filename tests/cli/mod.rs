//! The program itself, run as a user runs it: what it prints, what it exits with, and what it leaves on disk.
//!
//! Everything runs on the host executor and on checkpoints of a few thousand weights built by [`fixture`]. Every
//! failure goes through [`Run::fails`], which holds it to the rules for errors: a documented exit code, one line that
//! begins with `error:` and names the culprit, no panic, nothing left in the output folder.

mod adapters;
mod allocation;
mod bad_checkpoint;
mod bad_output;
mod bad_settings;
mod bad_text;
mod bad_weights;
mod budget;
mod calibrate;
mod compare;
mod counted;
mod eval;
mod families;
mod fixture;
#[cfg(unix)]
mod held;
mod help;
#[cfg(unix)]
mod interrupt;
mod kfac_fista;
mod layouts;
mod lines;
mod low_rank;
#[cfg(target_os = "linux")]
mod memory;
mod patterns;
mod permute;
mod printing;
mod propagation;
#[cfg(unix)]
mod resume;
mod starved_expert;
mod structure;
mod structure_layers;
mod surgeon;
mod surgeon_damage;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use safetensors::SafeTensors;
use tempfile::TempDir;

use crate::common::program as secateur;
use fixture::{Model, text};

/// Few short samples, on the host.
const FLAGS: [&str; 6] = ["--samples", "8", "--length", "32", "--adapter", "cpu"];

/// A folder with a checkpoint, a text, and a place for the output.
struct Case {
    temp: TempDir,
}

impl Case {
    /// A sound one.
    fn new() -> Self {
        Self::of(&Model::small())
    }

    fn of(model: &Model) -> Self {
        let case = Case {
            temp: TempDir::new().unwrap(),
        };
        model.write(&case.model());
        fs::write(case.text(), text(2000)).unwrap();
        case
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn model(&self) -> PathBuf {
        self.path("model")
    }

    fn text(&self) -> PathBuf {
        self.path("text.txt")
    }

    fn output(&self) -> PathBuf {
        self.path("output")
    }

    /// `secateur prune` of the checkpoint with few short samples; `more` follows and may contain any flag but these.
    fn prune(&self, more: &[&str]) -> Run {
        self.prune_to(&self.output(), &FLAGS, more)
    }

    /// `secateur prune` to any folder, with nothing set but paths.
    fn prune_to(&self, output: &Path, flags: &[&str], more: &[&str]) -> Run {
        let mut command = secateur();
        command
            .arg("prune")
            .arg(self.model())
            .arg("--output")
            .arg(output)
            .arg("--calibration")
            .arg(self.text());
        run(command.args(flags).args(more))
    }

    /// `secateur plan` of a run with nothing set but paths.
    fn plan(&self, flags: &[&str], more: &[&str]) -> Run {
        let mut command = secateur();
        command.arg("plan").arg(self.model()).arg("--output").arg(self.output());
        command.arg("--calibration").arg(self.text());
        run(command.args(flags).args(more))
    }

    /// `secateur eval` of the checkpoint on short windows.
    fn eval(&self, more: &[&str]) -> Run {
        let mut command = secateur();
        command
            .arg("eval")
            .arg(self.model())
            .arg("--text")
            .arg(self.text())
            .args(["--adapter", "cpu"]);
        run(command.args(more))
    }

    /// Expects `secateur prune` to refuse flags that make no sense, and to leave no output.
    fn refuses(&self, flags: &str, culprits: &[&str]) {
        self.prune(&flags.split(' ').collect::<Vec<_>>()).fails(2, culprits);
        assert!(!self.output().exists(), "{:?} was left behind", listing(&self.output()));
    }

    /// Expects `secateur prune` at 2:4 to fail and to leave no output.
    fn refused(&self, code: i32, culprits: &[&str]) {
        self.prune(&["--pattern", "2:4"]).fails(code, culprits);
        assert!(!self.output().exists(), "{:?} was left behind", listing(&self.output()));
    }
}

/// A finished run.
struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn run(command: &mut Command) -> Run {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run {
        code: status.code(),
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

impl Run {
    /// Expects success; returns what was printed.
    fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        assert!(!self.stderr.contains("error:"), "{}", self.stderr);
        self.stdout
    }

    /// Expects success with `--json`.
    fn json(self) -> serde_json::Value {
        let text = self.succeeds();
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// Expects exit code `code`, nothing on stdout, and on stderr at last one paragraph that names each culprit.
    fn fails(&self, code: i32, culprits: &[&str]) {
        let message = self.message(code, culprits);
        assert_eq!(message.lines().count(), 1, "more than one paragraph: {message}");
    }

    /// As [`Run::fails`] for what the parser of arguments refuses, which adds a usage line and a hint.
    fn refused_by_the_parser(&self, culprits: &[&str]) {
        self.message(2, culprits);
    }

    fn message(&self, code: i32, culprits: &[&str]) -> &str {
        let stderr = &self.stderr;
        assert_eq!(self.code, Some(code), "{stderr}");
        assert_eq!(self.stdout, "");
        for word in ["panicked", "backtrace", "unwrap", "Error {"] {
            assert!(!stderr.contains(word), "{stderr}");
        }
        let (notes, message) = stderr.split_at(stderr.find("error: ").unwrap_or_default());
        assert!(
            message.starts_with("error: ") && (notes.is_empty() || notes.ends_with('\n')),
            "{stderr}"
        );
        for culprit in culprits {
            assert!(message.contains(culprit), "{culprit:?} is not named in {message:?}");
        }
        message
    }
}

/// Everything under a folder but folders, sorted; empty if it does not exist.
fn listing(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(listing(&path));
        } else {
            names.push(path.strip_prefix(folder).unwrap().display().to_string());
        }
    }
    names.sort();
    names
}

/// All weights of a checkpoint as (name, type, shape, bytes), sorted by name.
fn weights(folder: &Path) -> Vec<fixture::Stored> {
    let shards = listing(folder)
        .into_iter()
        .filter(|name| name.ends_with(".safetensors"));
    let mut all: Vec<_> = shards
        .flat_map(|name| {
            let bytes = fs::read(folder.join(name)).unwrap();
            let tensors = SafeTensors::deserialize(&bytes).unwrap();
            tensors
                .iter()
                .map(|(name, view)| fixture::Stored::from_view(name, &view))
                .collect::<Vec<_>>()
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}
