//! Every command of README.md and of `docs/` is run, with its placeholders filled in, and every link leads somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::demo_model;
use crate::common::program;

/// What the pages must show: commands that are not ours, and ours by their first word.
const SHOWN: [&str; 13] = [
    "cargo run --release -- demo",
    "cargo install --path .",
    "scripts/test",
    "scripts/gpu-suite",
    "inspect",
    "plan",
    "prune",
    "calibrate",
    "compare",
    "eval",
    "bench",
    "doctor",
    "hf download HuggingFaceTB/SmolLM2-135M-Instruct --local-dir MODEL",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Names relative to the package, and texts: README.md, then the pages of `docs/` by name.
fn pages() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("docs")).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".md"))
        .map(|name| format!("docs/{name}"))
        .collect();
    names.sort();
    names.insert(0, "README.md".to_string());
    let page = |name: String| {
        let text = std::fs::read_to_string(root().join(&name)).unwrap();
        (name, text)
    };
    names.into_iter().map(page).collect()
}

/// A command of a page.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Call {
    /// `NAME=value` before the program.
    variables: Vec<String>,
    /// The program and its arguments.
    words: Vec<String>,
    /// Where its output goes, if it is redirected.
    into: Option<String>,
}

/// Commands of a page's shell blocks, without their comments. A line that ends with a backslash goes on in the next.
fn commands(text: &str) -> Vec<Call> {
    let (mut inside, mut begun) = (false, String::new());
    let mut out = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            inside = !inside && language == "sh";
            continue;
        }
        if !inside {
            continue;
        }
        let line = format!(" {line}");
        let part = line.split(" #").next().unwrap().trim_end();
        match part.strip_suffix('\\') {
            Some(part) => begun.push_str(part),
            None => {
                let command = std::mem::take(&mut begun) + part;
                let words: Vec<String> = command.split_whitespace().map(str::to_string).collect();
                out.extend((!words.is_empty()).then(|| Call::of(words)));
            }
        }
    }
    out
}

impl Call {
    fn of(mut words: Vec<String>) -> Self {
        let redirected = words.iter().position(|word| word == ">");
        let into = redirected.map(|at| words.split_off(at)[1].clone());
        let program = words.iter().position(|word| !word.contains('=')).unwrap();
        let variables = words.drain(..program).collect();
        Call { variables, words, into }
    }

    /// Place of the value of a flag.
    fn value_of(&self, flag: &str) -> Option<usize> {
        self.words.iter().position(|word| word == flag).map(|at| at + 1)
    }

    fn has(&self, word: &str) -> bool {
        self.words.iter().any(|other| other == word)
    }

    /// Sets a flag, whether it is given or not.
    fn set(&mut self, flag: &str, value: &str) {
        match self.value_of(flag) {
            Some(at) => self.words[at] = value.to_string(),
            None => self.words.extend([flag.to_string(), value.to_string()]),
        }
    }

    /// Lowers the number of a flag, if it is given.
    fn at_most(&mut self, flag: &str, most: usize) {
        if let Some(at) = self.value_of(flag) {
            let given: usize = self.words[at].parse().unwrap();
            self.words[at] = given.min(most).to_string();
        }
    }

    /// Keeps the first entries of the list of a flag, if it is given.
    fn first_of(&mut self, flag: &str, most: usize) {
        if let Some(at) = self.value_of(flag) {
            let entries: Vec<&str> = self.words[at].split(',').take(most).collect();
            self.words[at] = entries.join(",");
        }
    }

    /// The same with less to do. The built-in model has 512 positions and short texts.
    fn shortened(mut self) -> Self {
        if self.words[0] != "secateur" {
            return self;
        }
        let command = self.words[1].clone();
        if self.has("--calibration") {
            self.set("--calibration", "TEXT");
            self.set("--samples", "8");
            self.set("--length", "128");
        }
        let by_gradients = self.has("surgeon") || self.has("kfac-fista") || self.has("--structure");
        if by_gradients && !self.has("--score") && !self.has("--shots") {
            self.set("--shots", "2");
        }
        self.at_most("--shots", 2);
        self.at_most("--lora-steps", 2);
        if command == "eval" || command == "compare" {
            self.set("--context", "128");
            self.set("--windows", "2");
        }
        self.first_of("--methods", 2);
        self.first_of("--targets", 2);
        self.first_of("--seeds", 1);
        if command == "bench" && !["--check", "compare", "board"].iter().any(|word| self.has(word)) {
            self.set("--shapes", "24x32");
            self.set("--tokens", "32");
            self.set("--repetitions", "1");
        }
        self
    }
}

/// Where the commands work: a model, its texts, and what earlier commands left.
struct Desk {
    folder: TempDir,
    /// Folders named so far.
    named: usize,
    /// What the present command writes.
    written: Option<PathBuf>,
    /// What the last prune wrote, and the last calibration.
    pruned: Option<PathBuf>,
    statistics: Option<PathBuf>,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        demo_model(&folder.path().join("model"));
        std::fs::create_dir(folder.path().join("results")).unwrap();
        Desk {
            folder,
            named: 0,
            written: None,
            pruned: None,
            statistics: None,
        }
    }

    /// What a placeholder stands for; anything else is left alone. `output` says that the command writes there.
    fn place(&mut self, word: &str, output: bool) -> PathBuf {
        let folder = self.folder.path();
        let text = |name: &str| root().join("models/demo").join(name);
        match word {
            "MODEL" => folder.join("model"),
            "TEXT" | "C4" | "C4-VALIDATION" | "WIKITEXT-VALIDATION" => text("calibration.txt"),
            "WIKITEXT" => text("evaluation.txt"),
            "PRUNED" | "STATISTICS" | "RESULTS" if output => {
                let place = folder.join(format!("{}-{}", word.to_lowercase(), self.named));
                self.named += 1;
                self.written = Some(place.clone());
                place
            }
            "PRUNED" => self.pruned.clone().expect("a prune stands before what reads PRUNED"),
            "STATISTICS" => self
                .statistics
                .clone()
                .expect("a calibration stands before what reads it"),
            "RESULTS" => folder.join("results"),
            _ => match word.strip_prefix("RESULTS/") {
                Some(file) => folder.join("results").join(file),
                None if word.starts_with("models/") => root().join(word),
                None => PathBuf::from(word),
            },
        }
    }

    /// A word with its placeholders filled in, of which a list has several.
    fn filled(&mut self, word: &str, output: bool) -> String {
        let mut parts = Vec::new();
        for part in word.split(',') {
            parts.push(self.place(part, output).display().to_string());
        }
        parts.join(",")
    }

    /// Runs a command of ours and fails with its stderr.
    fn run(&mut self, page: &str, call: &Call) {
        let mut words = Vec::new();
        for (i, word) in call.words.iter().enumerate() {
            let output = i > 0 && call.words[i - 1] == "--output";
            words.push(self.filled(word, output));
        }
        let mut command = program();
        for variable in &call.variables {
            let (name, value) = variable.split_once('=').unwrap();
            command.env(name, value);
        }
        let output = command.args(&words[1..]).output().unwrap();
        assert!(
            output.status.success(),
            "{page}: {}: {}\n{}",
            words.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if let Some(into) = &call.into {
            let file = self.filled(into, false);
            std::fs::write(file, &output.stdout).unwrap();
        }
        match (words[1].as_str(), self.written.take()) {
            ("prune", Some(written)) => self.pruned = Some(written),
            ("calibrate", Some(written)) => self.statistics = Some(written),
            _ => {}
        }
    }
}

fn is_file(name: &str) -> bool {
    root().join(name).is_file()
}

/// Whether the shell of a script reads it without an error.
fn is_read(script: &str) -> bool {
    let path = root().join(script);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{script}: {e}"));
    let shell = match text.lines().next() {
        Some(first) if first.ends_with("bash") => "bash",
        _ => "sh",
    };
    Command::new(shell).arg("-n").arg(path).status().unwrap().success()
}

/// Of a command that no test can run, because it builds, fetches, takes long or would run this test again: whether what it
/// names is there. `None` if it is no such command.
fn stands(words: &[&str]) -> Option<bool> {
    Some(match words {
        // `product/demo` runs the demo, the cargo before it is how this test was built.
        ["cargo", "run", "--release", "--", "demo"] => {
            let output = program().args(["demo", "--help"]).output().unwrap();
            output.status.success()
        }
        ["cargo", "install", "--path", "."] => is_file("src/main.rs"),
        ["cargo", "test", "--release", "--test", name, ..] => is_file(&format!("tests/{name}.rs")),
        ["cargo", "bench", "--", _] => is_file("benches/kernels.rs"),
        ["cargo", "fmt"] => is_file("rustfmt.toml"),
        ["cargo", "clippy", "--all-targets"] => is_file("clippy.toml"),
        ["hf", "download", model, "--local-dir", "MODEL"] => model.split('/').count() == 2,
        ["python3", script, ..] => is_file(script),
        // `bench/suite` runs scripts/gpu-suite, and scripts/test runs this.
        [script] if script.starts_with("scripts/") => is_read(script),
        _ => return None,
    })
}

#[test]
fn every_command_works() {
    let mut desk = Desk::new();
    let (mut done, mut shown) = (BTreeSet::new(), BTreeSet::new());
    for (page, text) in pages() {
        for call in commands(&text) {
            let call = call.shortened();
            if !done.insert(call.clone()) {
                continue;
            }
            if call.words[0] == "secateur" {
                desk.run(&page, &call);
                shown.insert(call.words[1].clone());
                continue;
            }
            let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
            let line = words.join(" ");
            let stands = stands(&words).unwrap_or_else(|| panic!("{page}: `{line}` is not covered by this test"));
            assert!(stands, "{page}: what `{line}` needs is not there");
            shown.insert(line);
        }
    }
    for wanted in SHOWN {
        assert!(shown.contains(wanted), "no page shows {wanted} any more: {shown:?}");
    }
}

#[test]
fn the_readme_is_short_and_begins_with_two_commands() {
    let (_, text) = pages().swap_remove(0);
    let lines = text.lines().count();
    assert!(lines <= 120, "README.md has {lines} lines, at most 120 are read");
    let first: Vec<String> = commands(&text)
        .iter()
        .take(2)
        .map(|call| call.words.join(" "))
        .collect();
    assert_eq!(first, ["cargo run --release -- demo", "scripts/test"]);
}

/// Lines of a page outside its code blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
        } else if !inside {
            out.push(line);
        }
    }
    out
}

/// Targets of a page's links and pictures that lie in this package.
fn links(text: &str) -> Vec<&str> {
    let parts = prose(text).into_iter().flat_map(|line| line.split("](").skip(1));
    parts
        .filter_map(|part| part.split(')').next())
        .filter(|target| !target.contains("://"))
        .collect()
}

/// A page's headings, as links name them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).into_iter().filter(|line| line.starts_with('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase();
            let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Whether a link of a page leads to a file, and to a heading in it if it names one.
fn leads_somewhere(page: &Path, link: &str) -> bool {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let target = match file {
        "" => page.to_path_buf(),
        _ => page.parent().unwrap().join(file),
    };
    if heading.is_empty() {
        return target.exists();
    }
    let text = std::fs::read_to_string(target).unwrap_or_default();
    anchors(&text).iter().any(|anchor| anchor == heading)
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for (page, text) in pages() {
        for link in links(&text) {
            count += 1;
            if !leads_somewhere(&root().join(&page), link) {
                broken.push(format!("{page}: {link}"));
            }
        }
    }
    assert!(count > 20, "{count} links are few");
    assert!(
        broken.is_empty(),
        "{} broken links\n{}",
        broken.len(),
        broken.join("\n")
    );
}

#[test]
fn pages_are_read_as_they_are_meant() {
    let page = "# A `b`: c\n\
                ```sh\n\
                X=1 secateur eval A \\\n    --text B > C   # why\n\
                # a comment\n\
                scripts/test\n\
                ```\n\
                ```text\nnothing](nowhere)\n```\n\
                [one](#a-b-c) and ![two](three.svg), [four](https://five)\n";
    let found = commands(page);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].variables, ["X=1"]);
    assert_eq!(found[0].words, ["secateur", "eval", "A", "--text", "B"]);
    assert_eq!(found[0].into.as_deref(), Some("C"));
    assert_eq!(found[1].words, ["scripts/test"]);
    assert_eq!(links(page), ["#a-b-c", "three.svg"]);
    assert_eq!(anchors(page), ["a-b-c"]);
    assert!(stands(&["scripts/test"]).is_some() && stands(&["make", "all"]).is_none());
    let readme = root().join("README.md");
    assert!(leads_somewhere(&readme, "docs/glossary.md#the-model"));
    assert!(!leads_somewhere(&readme, "docs/glossary.md#no-such-heading"));
    assert!(!leads_somewhere(&readme, "docs/no-such-page.md"));
}
