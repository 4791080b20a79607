//! No test says anything of what others move at the same time: counters of a shared device, clocks, the environment,
//! folders that have a name. A test that needs one of them stands in [`ALLOWED`] with what makes it safe.

use std::fs;
use std::path::Path;

/// What a device counts. A test that reads one has a device of its own.
const COUNTERS: [&str; 5] = [
    ".flops()",
    ".peak_bytes()",
    ".reset_peak()",
    ".timings()",
    ".device_seconds()",
];

/// Ways to a device that all tests have.
const SHARED: [&str; 3] = ["devices()", "subgroups(", "cooperative("];

/// What is shared by all tests of a process, by all processes of a user, or moves with the load of the machine.
const WORDS: [&str; 22] = [
    // Devices as the user's cache folder would have them.
    "Gpu::open(",
    "TuneMode::Load",
    "TuneMode::Full",
    // Programs as the user's environment would have them, and files that are run while another test starts a program.
    "CARGO_BIN_EXE",
    "set_permissions",
    // Clocks.
    "Instant",
    "SystemTime",
    "thread::sleep",
    "recv_timeout",
    "\"seconds\"",
    "\"phases\"",
    "solve_s",
    // The process and the system.
    "set_var",
    "remove_var",
    "set_current_dir",
    "temp_dir()",
    "\"/tmp",
    "/proc",
    "peak_resident",
    "host_peak",
    "TcpListener",
    "process::id",
];

/// File, word, and why it is safe there.
const ALLOWED: &str = "
    tests/common/mod.rs | Gpu::open( | the one way to open a device
    tests/common/mod.rs | CARGO_BIN_EXE | the one way to the program
    tests/device/mod.rs | Gpu::open( | adapters that do not exist
    tests/device/tune.rs | TuneMode::Load | with a file of its own
    tests/device/tune.rs | TuneMode::Full | with a file of its own
    tests/device/tune.rs | thread::sleep | at least so long, which no load shortens
    tests/checkpoint/reading.rs | /proc | the pages of a mapping of its own
    tests/checkpoint/side_files.rs | set_permissions | of a file that nobody runs
    tests/cli/bad_output.rs | /proc | where nothing can be made
    tests/cli/held.rs | /proc | of a process of its own
    tests/cli/held.rs | thread::sleep | until something is seen, however long that takes
    tests/cli/budget.rs | host_peak | of a process of its own
    tests/cli/memory.rs | host_peak | of a process of its own
    tests/cli/memory.rs | /proc | of a process of its own
    tests/cli/memory.rs | thread::sleep | between looks at a high-water mark, which misses nothing
    tests/cli/resume.rs | Instant | chooses moments to kill at; what holds, holds at any
    tests/cli/resume.rs | thread::sleep | chooses moments to kill at; what holds, holds at any
    tests/cli/printing.rs | \"seconds\" | only more than none
    tests/cli/patterns.rs | \"seconds\" | taken out before reports are compared
    tests/cli/surgeon.rs | \"seconds\" | taken out before reports are compared
    tests/cli/compare.rs | \"seconds\" | taken out before reports are compared
    tests/cli/compare.rs | \"phases\" | taken out before reports are compared
    tests/cli/compare.rs | solve_s | only more than none
    src/run/curvature/factors_tests.rs | Gpu::open( | the host, which has no kernels to choose from
";

/// Files and words of [`ALLOWED`].
fn allowed() -> Vec<[&'static str; 2]> {
    let rows = ALLOWED.lines().filter(|line| !line.is_empty());
    rows.map(|row| {
        let cells: Vec<&str> = row.split(" | ").map(str::trim).collect();
        assert_eq!(cells.len(), 3, "{row}");
        [cells[0], cells[1]]
    })
    .collect()
}

/// The tests of a file: all of it under `tests`, what is compiled for tests under `src`.
fn tests_of<'t>(name: &str, text: &'t str) -> &'t str {
    if name.starts_with("tests/") || name.ends_with("tests.rs") {
        return text;
    }
    text.find("#[cfg(test)]").map_or("", |start| &text[start..])
}

/// What is wrong with the tests of a file.
fn faults(name: &str, text: &str) -> Vec<String> {
    let tests = tests_of(name, text);
    let mut faults = Vec::new();
    for word in WORDS {
        if tests.contains(word) && !allowed().contains(&[name, word]) {
            faults.push(format!("{name}: `{word}` is shared or moves with the load"));
        }
    }
    for test in tests.split("#[test]") {
        let counter = COUNTERS.iter().find(|counter| test.contains(**counter));
        let shared = SHARED
            .iter()
            .find(|way| test.replace("own_devices", "").contains(**way));
        if let (Some(counter), Some(way)) = (counter, shared) {
            let first = test.lines().find(|line| line.starts_with("fn ")).unwrap_or_default();
            faults.push(format!(
                "{name}: {first} `{counter}` where devices are those of `{way}`"
            ));
        }
    }
    faults
}

/// Names relative to the package, and texts, of the Rust files under a folder.
fn sources(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join(folder)).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.extend(sources(&name));
        } else if name.ends_with(".rs") && name != "tests/common/alone.rs" {
            found.push((name, fs::read_to_string(entry.path()).unwrap()));
        }
    }
    found
}

#[test]
fn tests_share_nothing_that_they_measure() {
    let all = [sources("tests"), sources("src")].concat();
    let mut found: Vec<String> = all.iter().flat_map(|(name, text)| faults(name, text)).collect();
    for [file, word] in allowed() {
        if !all
            .iter()
            .any(|(name, text)| name == file && tests_of(name, text).contains(word))
        {
            found.push(format!("{file}: `{word}` is allowed and no longer there"));
        }
    }
    assert!(found.is_empty(), "{} faults\n{}", found.len(), found.join("\n"));
}

#[test]
fn what_is_shared_is_found() {
    for text in [
        "let clock = Instant::now();",
        "#[test]\nfn counts() {\n    for gpu in devices() {\n        assert_eq!(gpu.flops(), 0.0);",
        "#[test]\nfn counts() {\n    for (gpu, _) in subgroups(name, &GEMM) {\n        gpu.peak_bytes();",
    ] {
        assert_eq!(faults("tests/planted.rs", text).len(), 1, "{text}");
    }
    for (name, text) in [
        (
            "tests/planted.rs",
            "for gpu in own_devices(options) {\n    gpu.flops();",
        ),
        (
            "tests/planted.rs",
            "#[test]\nfn a() { devices() }\n#[test]\nfn b() { own_devices().flops() }",
        ),
        (
            "src/planted.rs",
            "let clock = Instant::now();\n#[cfg(test)]\nmod tests {}",
        ),
    ] {
        assert_eq!(faults(name, text), Vec::<String>::new(), "{text}");
    }
}
