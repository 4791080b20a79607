//! Flags that only some methods have, as the table of methods has them.

use clap::builder::{PossibleValue, PossibleValuesParser, ValueParser};
use clap::{Arg, ArgMatches, Command};

use super::exit::CliError;
use crate::prune::{METHODS, MethodOption, MethodOptions, MethodRow, Values};
use crate::run::RunError;

/// What was given of them: name and value.
#[derive(Clone, Debug, Default)]
pub(super) struct MethodArgs(Vec<(&'static str, String)>);

/// Every option once.
fn all() -> Vec<&'static MethodOption> {
    let mut found: Vec<&MethodOption> = Vec::new();
    for option in METHODS.iter().flat_map(|row| row.options) {
        if found.iter().all(|other| other.name != option.name) {
            found.push(option);
        }
    }
    found
}

/// Names of the methods that have an option.
fn owners(name: &str) -> String {
    let rows = METHODS.iter().filter(|row| row.option(name).is_some());
    rows.map(|row| row.name).collect::<Vec<_>>().join(", ")
}

fn flag(option: &'static MethodOption) -> Arg {
    let parser: ValueParser = match option.values {
        Values::Choice(choices) => {
            let values = choices.iter().map(|(name, help)| PossibleValue::new(*name).help(*help));
            PossibleValuesParser::new(values).into()
        }
        values => ValueParser::from(move |text: &str| values.check(text).map(|()| text.to_string())),
    };
    Arg::new(option.name)
        .long(option.name)
        .value_name("VALUE")
        .value_parser(parser)
        .allow_negative_numbers(true)
        .help(format!(
            "{} (method {}) [default: {}]",
            option.help,
            owners(option.name),
            option.default
        ))
        .help_heading("Options of single methods")
}

impl clap::FromArgMatches for MethodArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |option: &MethodOption| Some((option.name, matches.get_one::<String>(option.name)?.clone()));
        Ok(MethodArgs(all().into_iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for MethodArgs {
    fn augment_args(command: Command) -> Command {
        all()
            .into_iter()
            .fold(command, |command, option| command.arg(flag(option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl MethodArgs {
    /// The options of a method, those given among them.
    pub(super) fn of(&self, method: &MethodRow) -> Result<MethodOptions, CliError> {
        let mut options = MethodOptions::of(method);
        for (name, value) in &self.0 {
            if method.option(name).is_some() {
                options.set(method, name, value).map_err(RunError::from)?;
            }
        }
        Ok(options)
    }

    /// Fails if one is given that none of these methods has.
    pub(super) fn refuse(&self, methods: &[&MethodRow]) -> Result<(), CliError> {
        for (name, _) in &self.0 {
            if methods.iter().all(|row| row.option(name).is_none()) {
                let asked: Vec<&str> = methods.iter().map(|row| row.name).collect();
                return Err(CliError::setting(format!(
                    "--{name} is for --method {}; --method {} has no use for it: drop it",
                    owners(name),
                    asked.join(",")
                )));
            }
        }
        Ok(())
    }
}
