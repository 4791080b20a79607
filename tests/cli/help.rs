//! `--help`: every flag that takes a value names its default.

use super::{run, secateur};

/// Flags without a default: those that must be given, and those that are off unless given.
const WITHOUT_DEFAULT: [&str; 9] = [
    "--output",
    "--calibration",
    "--sparsity",
    "--pattern",
    "--text",
    "--eval",
    "--against",
    "--dump-logits",
    "--max-binding",
];

fn help(command: &[&str]) -> String {
    run(secateur().args(command).arg("--help")).succeeds()
}

/// The flags in a help text, each with its description.
fn flags(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines() {
        if line.trim_start().starts_with('-') && line.contains("--") {
            let name = line[line.find("--").unwrap()..].split_whitespace().next().unwrap();
            flags.push((name.trim_end_matches(',').to_string(), line.to_string()));
        } else if let Some((_, text)) = flags.last_mut() {
            text.push_str(line);
        }
    }
    flags
}

#[test]
fn every_flag_names_its_default() {
    for command in [
        "prune",
        "plan",
        "calibrate",
        "compare",
        "inspect",
        "eval",
        "bench",
        "doctor",
        "demo",
    ] {
        let help = help(&[command]);
        let flags = flags(&help);
        assert!(flags.len() > 5, "{help}");
        for (name, text) in flags {
            let takes_value = text.contains('<');
            if takes_value && !WITHOUT_DEFAULT.contains(&name.as_str()) {
                assert!(text.contains("[default: "), "{command} {name}: {text}");
            }
        }
    }
}

#[test]
fn the_program_names_its_commands_and_exit_codes() {
    let text = help(&[]);
    for word in [
        "prune",
        "eval",
        "doctor",
        "demo",
        "Exit codes: 0 done",
        "130 interrupted",
    ] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    assert!(
        run(secateur().arg("--version"))
            .succeeds()
            .contains(env!("CARGO_PKG_VERSION"))
    );
}
