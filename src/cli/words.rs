//! Phrases of the plans, and settings as the command line calls them.

use std::collections::HashSet;
use std::sync::OnceLock;

use clap::CommandFactory;

use super::args::Args;

/// A text of the rooms below, which name a setting as `` `damping` ``: here as `--damping`.
pub(super) fn with_flags(text: &str) -> String {
    static FLAGS: OnceLock<HashSet<String>> = OnceLock::new();
    let flags = FLAGS.get_or_init(|| {
        let command = Args::command();
        let all = std::iter::once(&command).chain(command.get_subcommands());
        all.flat_map(|c| c.get_arguments().filter_map(|a| a.get_long().map(str::to_owned)))
            .collect()
    });
    let mut out = String::new();
    let mut rest = text;
    // Only whole words between backticks are settings; what else stands there is quoted.
    while let Some((before, after)) = rest.split_once('`') {
        out.push_str(before);
        match after.split_once('`') {
            Some((word, after)) if flags.contains(word) => {
                out.push_str("--");
                out.push_str(word);
                rest = after;
            }
            Some((quoted, after)) => {
                out.extend(["`", quoted, "`"]);
                rest = after;
            }
            None => {
                out.push('`');
                rest = after;
            }
        }
    }
    out + rest
}

/// Why a method, if `auto` chose it.
pub(super) fn because(chosen: &Option<String>) -> String {
    chosen.as_ref().map_or(String::new(), |why| format!(" (auto, {why})"))
}

/// Where activations are kept.
pub(super) fn in_memory(activation_ram: Option<u64>) -> String {
    match activation_ram {
        None => "in memory".to_string(),
        Some(ram) => format!("{:.0} MiB of them in memory, the rest in a file", mib(ram)),
    }
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
