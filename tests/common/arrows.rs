//! The map in `src/lib.rs` is true: no file uses a room that its own may not, and no two files of a room lead to each other.
//!
//! An arrow is a `use`, or a path that begins with `crate::`. What a `mod.rs` hands on (`pub use`) is its face, no arrow: names
//! are followed to the file that has them. Tests inside a file may use anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Circles that stay, each a list of files, with the reason.
const CIRCLES: [(&[&str], &str); 0] = [];

type Module = Vec<String>;
type Arrows = BTreeMap<Module, BTreeSet<Module>>;

/// Source files by the path of their module.
struct Source {
    files: BTreeMap<Module, String>,
    /// What a name in a module stands for, where it is handed on.
    faces: BTreeMap<(Module, String), Module>,
}

fn sources(root: &Path) -> BTreeMap<Module, String> {
    let mut found = BTreeMap::new();
    let mut folders: Vec<PathBuf> = vec![root.into()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let relative = path.strip_prefix(root).unwrap().with_extension("");
                let mut module: Module = relative.iter().map(|p| p.to_string_lossy().into_owned()).collect();
                if module.last().is_some_and(|name| name == "mod" || name == "lib") {
                    module.pop();
                }
                found.insert(module, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

/// Code without comments and without the tests at the end of a file.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap());
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn spread(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((front, inner)) = tree.strip_suffix('}').and_then(|tree| tree.split_once('{')) else {
        return vec![tree.to_string()];
    };
    let (mut parts, mut depth) = (vec![String::new()], 0);
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match letter {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().unwrap().push(letter),
        }
    }
    let parts = parts.iter().filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| spread(part))
        .map(|part| format!("{}{part}", front.trim()))
        .collect()
}

/// `use` statements: whether they hand on, and the paths.
fn uses(code: &str) -> Vec<(bool, String)> {
    let mut found = Vec::new();
    for statement in code.split(';') {
        // What stands before the statement, a whole function perhaps, ends with a line or a brace.
        let Some(at) = statement.rfind("use ").filter(|at| {
            let line = statement[..*at].rsplit('\n').next().unwrap().trim();
            line.is_empty() || (line.starts_with("pub") && !line.contains(' ')) || line.starts_with("pub(in")
        }) else {
            continue;
        };
        let line = statement[..at].rsplit('\n').next().unwrap().trim();
        let paths = spread(&statement[at + 4..]);
        found.extend(paths.into_iter().map(|path| (line.starts_with("pub"), path)));
    }
    found
}

impl Source {
    fn of(files: BTreeMap<Module, String>) -> Self {
        let mut source = Source {
            files,
            faces: BTreeMap::new(),
        };
        for (module, text) in &source.files {
            for (handed_on, path) in uses(&code(text)) {
                let (path, name) = path
                    .split_once(" as ")
                    .unwrap_or((&path, path.rsplit("::").next().unwrap()));
                if let (true, Some(target)) = (handed_on, source.absolute(module, path)) {
                    source.faces.insert((module.clone(), name.trim().to_string()), target);
                }
            }
        }
        source
    }

    /// A path from the crate's root; none if it leads out of the crate.
    fn absolute(&self, module: &[String], path: &str) -> Option<Module> {
        let mut parts: Vec<&str> = path.split("::").map(str::trim).collect();
        let mut from = module.to_vec();
        match parts[0] {
            "crate" => from.clear(),
            "self" => {}
            "super" => {
                while parts.first() == Some(&"super") {
                    from.pop();
                    parts.remove(0);
                }
                parts.insert(0, "super");
            }
            first => {
                let child = [module, &[first.to_string()]].concat();
                if !self.files.contains_key(&child) {
                    return None;
                }
                parts.insert(0, "");
            }
        }
        let rest = parts.iter().skip(1).filter(|part| **part != "self");
        from.extend(rest.map(|part| part.to_string()));
        Some(from)
    }

    /// The file that has what a path names.
    fn home(&self, mut path: Module) -> Module {
        let mut seen = BTreeSet::new();
        loop {
            let length = (0..=path.len()).rev().find(|n| self.files.contains_key(&path[..*n]));
            let file = path[..length.unwrap_or(0)].to_vec();
            let Some(name) = path.get(file.len()) else { return file };
            let key = (file.clone(), name.clone());
            match self.faces.get(&key).filter(|_| seen.insert(key.clone())) {
                Some(target) => path = [target, &path[file.len() + 1..]].concat(),
                None => return file,
            }
        }
    }

    fn arrows(&self) -> Arrows {
        let mut found = Arrows::new();
        for (module, text) in &self.files {
            let code = code(text);
            let used = uses(&code)
                .into_iter()
                .filter(|(handed_on, _)| !handed_on)
                .map(|(_, path)| path);
            let named = code.match_indices("crate::").filter_map(|(at, _)| {
                let end = code[at..].find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
                let path = &code[at..end.map_or(code.len(), |end| at + end)];
                // Groups are spread above; what may see something is no use of it.
                let visibility = code[..at].ends_with("(in ");
                (!path.ends_with(':') && !visibility).then(|| path.to_string())
            });
            for path in used.chain(named) {
                let path = path.split(" as ").next().unwrap();
                let Some(target) = self.absolute(module, path) else {
                    continue;
                };
                let target = self.home(target);
                if !target.is_empty() && target != *module {
                    found.entry(module.clone()).or_default().insert(target);
                }
            }
        }
        found
    }
}

/// The room of a file: its first folder, in `run` the second.
fn room(module: &[String]) -> String {
    let depth = if module[0] == "run" { 2 } else { 1 };
    module[..depth.min(module.len())].join("/")
}

/// `room -> rooms` of every line of the map that has an arrow.
fn map(lib: &str) -> BTreeMap<String, BTreeSet<String>> {
    let block = lib.split("```text").nth(1).expect("a map").split("```").next().unwrap();
    let lines = block
        .lines()
        .filter_map(|line| line.trim_start_matches("//!").split_once("->"));
    let words = |text: &str| text.split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let rows = lines.flat_map(|(from, to)| {
        words(from)
            .into_iter()
            .map(move |from| (from, words(to).into_iter().collect()))
    });
    rows.collect()
}

/// Arrows between rooms that the map does not have.
fn astray(arrows: &Arrows, map: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let has = |from: &str, to: &str| map.get(from).is_some_and(|known| known.contains(to));
    let mut found = Vec::new();
    for (from, targets) in arrows.iter().filter(|(from, _)| !from.is_empty()) {
        for to in targets {
            let rooms = [room(from), room(to)];
            // From outside, and to the outside, `run` is one room.
            let known = match from[0] == to[0] {
                true => rooms[0] == rooms[1] || from.len() == 1 || has(&rooms[0], &rooms[1]),
                false => has(&from[0], &to[0]),
            };
            if !known {
                found.push(format!("{} -> {}", from.join("::"), to.join("::")));
            }
        }
    }
    found
}

/// Files that lead to each other.
fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let reach = |from: &Module| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            for to in arrows.get(at).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> = arrows.keys().map(|from| (from, reach(from))).collect();
    let mut found = BTreeSet::new();
    for (from, to) in &reached {
        if to.contains(*from) {
            let back = |other: &&Module| reached.get(*other).is_some_and(|back| back.contains(*from));
            let circle: Vec<String> = to.iter().filter(back).map(|file| file.join("::")).collect();
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

fn house() -> (Arrows, BTreeMap<String, BTreeSet<String>>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let source = Source::of(sources(&root));
    (source.arrows(), map(&source.files[&Module::new()]))
}

#[test]
fn arrows_between_rooms_are_those_of_the_map() {
    let (arrows, map) = house();
    assert!(
        arrows.len() > 200 && map.len() > 15,
        "{} files, {} rooms",
        arrows.len(),
        map.len()
    );
    let astray = astray(&arrows, &map);
    assert!(
        astray.is_empty(),
        "not in the map of src/lib.rs:\n{}",
        astray.join("\n")
    );
}

#[test]
fn no_files_lead_to_each_other() {
    let (arrows, _) = house();
    let allowed = |circle: &&Vec<String>| CIRCLES.iter().any(|(files, _)| files == circle);
    let found: Vec<String> = circles(&arrows)
        .iter()
        .filter(|c| !allowed(c))
        .map(|c| c.join(", "))
        .collect();
    assert!(found.is_empty(), "circles:\n{}", found.join("\n"));
}

#[test]
fn rooms_of_run_are_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/run");
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        let entries: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert!(
            entries.len() <= 15,
            "{} has {} entries",
            folder.display(),
            entries.len()
        );
        folders.extend(entries.into_iter().filter(|path| path.is_dir()));
    }
}

fn planted(files: &[(&str, &str)]) -> Arrows {
    let module = |name: &str| {
        name.split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_string)
            .collect()
    };
    let files = files.iter().map(|(name, text)| (module(name), text.to_string()));
    Source::of(files.collect()).arrows()
}

#[test]
fn a_planted_upward_arrow_is_found() {
    let map = map("```text\ncli -> run gpu\nrun -> gpu\nrun/walk -> run/plan\n```");
    for (text, wanted) in [
        ("use crate::cli::Settings;", "gpu::device -> cli::settings"),
        (
            "fn f() {\n    crate::cli::settings::read();\n}",
            "gpu::device -> cli::settings",
        ),
        (
            "use {std::fs, crate::cli::{Settings as S}};",
            "gpu::device -> cli::settings",
        ),
    ] {
        let arrows = planted(&[
            ("", ""),
            ("cli", "mod settings;\npub use settings::Settings;\n"),
            ("cli::settings", "pub struct Settings;\n// use crate::gpu::device;\n"),
            ("gpu", "mod device;\n"),
            ("gpu::device", text),
        ]);
        assert_eq!(astray(&arrows, &map), [wanted], "{text}");
    }
    let arrows = planted(&[
        ("", ""),
        ("run", ""),
        ("run::plan", "use super::walk::Walk;"),
        (
            "run::walk",
            "use super::plan::Plan;\n#[cfg(test)]\nmod tests {\n    use crate::cli;\n}",
        ),
    ]);
    assert_eq!(astray(&arrows, &map), ["run::plan -> run::walk"]);
}

#[test]
fn a_planted_circle_is_found() {
    let arrows = planted(&[
        ("", ""),
        ("gpu", "pub use b::B;\nmod a;\nmod b;\nmod c;\n"),
        ("gpu::a", "use super::B;\n"),
        ("gpu::b", "use super::c::{self, C};\n"),
        (
            "gpu::c",
            "fn f() -> usize { 1 }\npub(super) use std::fs;\nuse super::a;\n",
        ),
    ]);
    assert_eq!(circles(&arrows), [["gpu::a", "gpu::b", "gpu::c"]]);
}
