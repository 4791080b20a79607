//! The search for the one penalty λ of a model in convex pruning by the metric of the curvature. Host code.
//!
//! As in FISTAPruner (arXiv 2408.03728, Eq. 8) the share of the error that rounding has made says which way to go, but for
//! the model as a whole and in steps of powers of two. With λ as large as it takes for the LASSO to reach the sparsity by
//! itself, the mask is worse than that of LLM Surgeon (twice the expected loss on correlated factors); with none at all
//! rounding undoes what FISTA found. In between the gain is flat over a factor of four.

/// Where to begin, as a share of the root of twice the threshold on costs: a scaled weight at that threshold.
const START: f64 = 0.25;
/// Share of the error, as a norm, that rounding may make. FISTAPruner has 0.3; in this metric 0.5 to 0.6 was best.
const ROUNDING: f64 = 0.5;
/// Step while the penalty is not yet enclosed.
const STEP: f64 = 2.0;

/// The penalty of the next round, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Penalty {
    /// λ, in the unit of the root of a cost.
    pub lambda: f64,
    /// Too small, and too large, as far as known.
    bounds: [Option<f64>; 2],
}

/// What a round came to, over all linears.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Trial {
    /// Zeros of the iterate, those of the weight before included.
    pub zeros: u64,
    /// Zeros wanted.
    pub target: u64,
    /// Objective of the rounded iterate.
    pub rounded: f64,
    /// Distance of the rounded iterate from the iterate, squared, in the same metric.
    pub rounding: f64,
}

impl Penalty {
    /// To begin with, given the threshold on the costs of single weights ([`super::threshold`]).
    pub fn new(threshold: f64) -> Self {
        Penalty {
            lambda: START * (2.0 * threshold).sqrt(),
            bounds: [None; 2],
        }
    }

    /// Moves on from a round.
    pub fn learn(&mut self, trial: &Trial) {
        let share = if trial.rounded > 0.0 {
            (trial.rounding / trial.rounded).sqrt()
        } else {
            0.0
        };
        let too_small = share > ROUNDING && trial.zeros < trial.target;
        self.bounds[usize::from(!too_small)] = Some(self.lambda);
        self.lambda = match self.bounds {
            [Some(low), Some(high)] => (low * high).sqrt(),
            [Some(low), None] => low * STEP,
            [None, Some(high)] => high / STEP,
            [None, None] => unreachable!("one of the bounds was just set"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(rounding: f64) -> Trial {
        Trial {
            zeros: 5,
            target: 10,
            rounded: 4.0,
            rounding,
        }
    }

    #[test]
    fn up_down_and_in_between() {
        let mut penalty = Penalty::new(8.0);
        assert_eq!(penalty.lambda, 1.0);
        penalty.learn(&trial(2.0));
        assert_eq!(penalty.lambda, 2.0);
        penalty.learn(&trial(2.0));
        assert_eq!(penalty.lambda, 4.0);
        penalty.learn(&trial(0.5));
        assert_eq!(penalty.lambda, 8.0f64.sqrt());
        penalty.learn(&trial(2.0));
        assert!((penalty.lambda - 32.0f64.sqrt().sqrt() * 2.0f64.sqrt()).abs() < 1e-12);
    }

    /// Where the iterate has too many zeros, which of them stay is arbitrary.
    #[test]
    fn too_many_zeros_are_too_much() {
        let mut penalty = Penalty::new(8.0);
        penalty.learn(&Trial {
            zeros: 10,
            ..trial(2.0)
        });
        assert_eq!(penalty.lambda, 0.5);
    }

    #[test]
    fn nothing_to_lose() {
        let mut penalty = Penalty::new(0.0);
        penalty.learn(&Trial::default());
        assert_eq!(penalty.lambda, 0.0);
    }
}
