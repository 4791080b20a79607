//! The table of methods: one row for each way to choose zeros.
//!
//! The command line and its help, `compare`, reports, `auto` and the refusals of flags read this table; nothing compares
//! a method by its name. To add a method: a file in this room with a [`Method`] and its row, and the row's name in
//! [`METHODS`]. Options that only this method has belong to the row: they become flags, settings and lines of the report.

use std::collections::BTreeMap;

use serde::Serialize;

use super::score::Score;
use super::{Allocation, DampingRule, Method, Propagate, PruneError, Scope, Within};

/// What a method must see of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Evidence {
    /// Its weights.
    Weights,
    /// Also the inputs of its linear layers: forward passes of calibration samples.
    Inputs,
    /// Also gradients: backward passes.
    Gradients,
}

/// What a method removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removes {
    /// A share of the weights.
    Weights,
    /// All but N of every M weights.
    Groups,
    /// Rows and columns of single linear layers, which become zero.
    Lines,
    /// Neurons, attention heads or decoder layers: the model becomes smaller.
    Units,
}

/// Who carries a method out.
#[derive(Clone, Copy)]
pub enum Solver {
    /// The walk over the decoder layers: each linear layer is a [`super::LayerProblem`].
    Layers(fn(&MethodOptions) -> Box<dyn Method>),
    /// LLM Surgeon's shots over the whole model.
    Shots {
        /// Whether a search improves what each shot found.
        search: bool,
    },
    /// Shots that remove whole units by a score.
    Units(Score),
}

/// What a published method sets where the user does not.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Defaults {
    /// What the damping is a fraction of.
    pub damping: DampingRule,
    /// Inputs of decoder layers.
    pub propagate: Propagate,
    /// Inputs of the linear layers inside them.
    pub within: Within,
    /// Share of the error of earlier linear layers of a decoder layer that is corrected, where its inputs have one.
    pub correction: f64,
    /// Where a sparsity holds.
    pub scope: Scope,
    /// Conjugate-gradient steps of the refit.
    pub refit: usize,
    /// Whether inputs are permuted to suit an N:M pattern.
    pub permutes: bool,
    /// How a high sparsity is spread over the linear layers.
    pub allocation: Allocation,
}

impl Defaults {
    /// Those of most layer-wise methods: inputs of the pruned layers before, and all linear layers of a decoder layer side by
    /// side.
    pub const PUBLISHED: Defaults = Defaults {
        damping: DampingRule::Own,
        propagate: Propagate::Pruned,
        within: Within::Layer,
        correction: 1.0,
        scope: Scope::Matrix,
        refit: 0,
        permutes: false,
        allocation: Allocation::Uniform,
    };
}

/// What an option of a single method may be.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these, each with its help.
    Choice(&'static [(&'static str, &'static str)]),
    /// A whole number from the first to the second.
    Count(usize, usize),
    /// A number from the first to the second.
    Number(f64, f64),
}

impl Values {
    /// Fails unless this is one of them; what is wrong with it.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Values::Choice(choices) if choices.iter().any(|(name, _)| *name == text) => Ok(()),
            Values::Choice(choices) => {
                let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
                Err(format!("choose one of {}", names.join(", ")))
            }
            Values::Count(least, most) => match text.parse::<usize>() {
                Ok(count) if (least..=most).contains(&count) => Ok(()),
                _ => Err(format!("write a whole number from {least} to {most}")),
            },
            Values::Number(least, most) => match text.parse::<f64>() {
                Ok(number) if (least..=most).contains(&number) => Ok(()),
                _ => Err(format!("write a number from {least} to {most}")),
            },
        }
    }
}

/// An option that only some methods have.
#[derive(Debug)]
pub struct MethodOption {
    /// Its flag without the dashes, and its name in settings and reports.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// What it may be.
    pub values: Values,
    /// What it is unless asked otherwise.
    pub default: &'static str,
}

/// A row of the table.
pub struct MethodRow {
    /// Name on the command line and in reports.
    pub name: &'static str,
    /// Name in papers.
    pub title: &'static str,
    /// What it does, in a line.
    pub help: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What it must see.
    pub evidence: Evidence,
    /// What it can remove.
    pub removes: &'static [Removes],
    /// What it sets where the user does not.
    pub defaults: Defaults,
    /// What only it can be asked for.
    pub options: &'static [MethodOption],
    /// Who carries it out.
    pub solver: Solver,
}

impl PartialEq for MethodRow {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl std::fmt::Debug for MethodRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl std::fmt::Display for MethodRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for MethodRow {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl MethodRow {
    /// Whether all layers are weighed against each other.
    pub fn is_global(&self) -> bool {
        !matches!(self.solver, Solver::Layers(_))
    }

    /// Its own option of that name.
    pub fn option(&self, name: &str) -> Option<&MethodOption> {
        self.options.iter().find(|option| option.name == name)
    }

    /// Whether a search improves what each shot found.
    pub fn searches(&self) -> bool {
        matches!(self.solver, Solver::Shots { search: true })
    }

    /// The solver of its layer problems; none if it is carried out in shots.
    pub fn layerwise(&self, options: &MethodOptions) -> Option<Box<dyn Method>> {
        match self.solver {
            Solver::Layers(build) => Some(build(options)),
            _ => None,
        }
    }
}

/// Values of the options of a method, all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct MethodOptions(BTreeMap<&'static str, String>);

impl MethodOptions {
    /// The defaults of a method.
    pub fn of(method: &MethodRow) -> Self {
        let defaults = method
            .options
            .iter()
            .map(|option| (option.name, option.default.to_string()));
        MethodOptions(defaults.collect())
    }

    /// Sets an option by name. Fails if the method has none of that name, or it cannot be that.
    pub fn set(&mut self, method: &MethodRow, name: &str, value: &str) -> Result<(), PruneError> {
        let wrong = |why: String| PruneError::MethodOption {
            method: method.name,
            name: name.to_string(),
            why,
        };
        let option = method
            .option(name)
            .ok_or_else(|| wrong("it has no such option".into()))?;
        option.values.check(value).map_err(wrong)?;
        self.0.insert(option.name, value.to_string());
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> &BTreeMap<&'static str, String> {
        &self.0
    }

    /// The value of an option, its default if nothing was set.
    pub fn text<'o>(&'o self, option: &'o MethodOption) -> &'o str {
        self.0.get(option.name).map_or(option.default, String::as_str)
    }

    /// The same as a number.
    pub fn number(&self, option: &MethodOption) -> f64 {
        self.text(option).parse().expect("options are checked as they are set")
    }

    /// The same as a count.
    pub fn count(&self, option: &MethodOption) -> usize {
        self.text(option).parse().expect("options are checked as they are set")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{METHODS, SCORES};
    use super::*;

    #[test]
    fn names_are_unique_and_defaults_are_allowed() {
        for table in [METHODS, SCORES] {
            for (number, row) in table.iter().enumerate() {
                assert!(table[..number].iter().all(|other| other != row), "{}", row.name);
                assert!(
                    !row.help.is_empty() && !row.title.is_empty() && !row.removes.is_empty(),
                    "{}",
                    row.name
                );
                for option in row.options {
                    option.values.check(option.default).unwrap();
                }
            }
        }
    }

    #[test]
    fn an_option_of_one_name_is_the_same_in_all_methods() {
        let all = || METHODS.iter().flat_map(|row| row.options);
        for option in all() {
            let alike = |other: &MethodOption| other.name != option.name || std::ptr::eq(other, option);
            assert!(all().all(alike), "{}", option.name);
        }
    }

    #[test]
    fn values_are_checked() {
        let choice = Values::Choice(&[("a", ""), ("b", "")]);
        assert!(choice.check("b").is_ok() && choice.check("c").unwrap_err().contains("a, b"));
        assert!(Values::Count(1, 9).check("9").is_ok() && Values::Count(1, 9).check("0").is_err());
        assert!(Values::Number(0.0, 1.0).check("0.5").is_ok() && Values::Number(0.0, 1.0).check("nan").is_err());
    }
}
