//! `--method auto`: the method a regime gets, and why. The table is all there is to edit: plan, report and help read it.

use super::RunError;
use crate::prune::{ADMM, Evidence, METHODS, MethodRow, Pattern, SURGEON, method};

/// Name on the command line.
pub const AUTO: &str = "auto";

/// What is asked for, as far as it decides on a method.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// How much, in which shape.
    pub pattern: Pattern,
    /// Whether whole units go.
    pub structure: bool,
    /// Whether all else that is asked for leaves room for a method that needs a backward pass.
    pub gradients: bool,
}

/// A row of the table.
pub struct Regime {
    /// In words.
    pub name: &'static str,
    holds: fn(&Asked) -> bool,
    /// What it gets.
    pub method: &'static MethodRow,
    /// Why.
    pub reason: &'static str,
}

/// The first that holds counts; one whose method needs gradients only where there may be some.
pub const REGIMES: &[Regime] = &[
    Regime {
        name: "structured pruning",
        holds: |asked| asked.structure,
        method: &SURGEON,
        reason: "the only method that removes whole units",
    },
    Regime {
        name: "N:M patterns",
        holds: |asked| matches!(asked.pattern, Pattern::NM { .. }),
        method: &ADMM,
        reason: "lowest measured perplexity, with permuted inputs",
    },
    Regime {
        name: "unstructured sparsity",
        holds: |_| true,
        method: &ADMM,
        reason: "lowest measured perplexity, with sparsity spread by curvature",
    },
];

/// The regime of what is asked for.
pub fn choose(asked: &Asked) -> &'static Regime {
    let possible =
        |regime: &&Regime| asked.structure || asked.gradients || regime.method.evidence < Evidence::Gradients;
    let mut regimes = REGIMES.iter().filter(possible);
    regimes
        .find(|regime| (regime.holds)(asked))
        .expect("the last regime holds always, and needs no gradients")
}

/// The table as a sentence.
pub fn regimes() -> String {
    let rows = REGIMES
        .iter()
        .map(|r| format!("{} for {} ({})", r.method.name, r.name, r.reason));
    rows.collect::<Vec<_>>().join("; ")
}

/// The method of that name.
pub fn method_named(name: &str) -> Result<&'static MethodRow, RunError> {
    method(name).ok_or_else(|| {
        let names = METHODS.iter().map(|row| row.name);
        RunError::UnknownMethod {
            name: name.to_string(),
            known: [AUTO].into_iter().chain(names).collect::<Vec<_>>().join(", "),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prune::Scope;

    #[test]
    fn every_regime_has_a_method_and_a_last_resort() {
        for regime in REGIMES {
            assert!(METHODS.contains(&regime.method), "{}", regime.name);
        }
        let last = REGIMES.last().unwrap();
        assert!(last.method.evidence < Evidence::Gradients);
        for sparsity in [0.1, 0.5, 0.9] {
            for [structure, gradients] in [[false, false], [false, true], [true, true], [true, false]] {
                let pattern = Pattern::unstructured(sparsity, Scope::Matrix).unwrap();
                let chosen = choose(&Asked {
                    pattern,
                    structure,
                    gradients,
                });
                assert_eq!(structure, chosen.name == "structured pruning");
                assert!(structure || gradients || chosen.method.evidence < Evidence::Gradients);
            }
        }
    }
}
