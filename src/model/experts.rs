//! Which tokens go through which expert of a mixture.

use super::spec::ExpertSpec;

/// Tokens of one expert.
#[derive(Clone, Debug, Default)]
pub struct ExpertTokens {
    /// Rows of the batch, ascending.
    pub rows: Vec<u32>,
    /// Weight of the expert's output in each of them.
    pub weights: Vec<f32>,
}

/// Tokens of every expert.
#[derive(Clone, Debug)]
pub struct Routing {
    /// By expert.
    pub experts: Vec<ExpertTokens>,
}

impl Routing {
    /// Sends each token (row of `logits` `[tokens, experts]`) to the experts with the largest softmax; ties go to the
    /// lower index.
    pub fn choose(logits: &[f32], spec: ExpertSpec) -> Self {
        let mut experts = vec![ExpertTokens::default(); spec.count];
        for (token, logits) in logits.chunks_exact(spec.count).enumerate() {
            let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = logits.iter().map(|l| f64::from(l - top).exp()).collect();
            let mut order: Vec<usize> = (0..spec.count).collect();
            order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
            let chosen = &order[..spec.per_token.min(spec.count)];
            let over: &[usize] = if spec.renormalise { chosen } else { &order };
            let total: f64 = over.iter().map(|e| weights[*e]).sum();
            for expert in chosen {
                experts[*expert].rows.push(token as u32);
                experts[*expert].weights.push((weights[*expert] / total) as f32);
            }
        }
        Routing { experts }
    }

    /// Gradient `[tokens, experts]` of the router's logits, from that of each expert's weights in the order of its rows.
    /// Which experts are chosen has none.
    pub(super) fn backward(&self, logits: &[f32], spec: ExpertSpec, of_weights: &[Vec<f32>]) -> Vec<f32> {
        let tokens = logits.len() / spec.count;
        // Weight and its gradient, by token.
        let mut chosen: Vec<Vec<(usize, f64, f64)>> = vec![Vec::new(); tokens];
        for (expert, (taken, gradients)) in self.experts.iter().zip(of_weights).enumerate() {
            for ((row, weight), gradient) in taken.rows.iter().zip(&taken.weights).zip(gradients) {
                chosen[*row as usize].push((expert, f64::from(*weight), f64::from(*gradient)));
            }
        }
        let mut out = vec![0.0; logits.len()];
        let rows = out.chunks_mut(spec.count).zip(logits.chunks(spec.count));
        for ((out, logits), chosen) in rows.zip(&chosen) {
            // Weights are a softmax over the chosen, or over all: w_e = p_e has dw_e / dl_j = p_e ([e = j] - p_j).
            let mean: f64 = chosen.iter().map(|(_, weight, gradient)| weight * gradient).sum();
            if !spec.renormalise {
                let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exps: Vec<f64> = logits.iter().map(|l| f64::from(l - top).exp()).collect();
                let total: f64 = exps.iter().sum();
                out.iter_mut()
                    .zip(exps)
                    .for_each(|(out, e)| *out = (-mean * e / total) as f32);
            }
            for (expert, weight, gradient) in chosen {
                let own = if spec.renormalise { gradient - mean } else { *gradient };
                out[*expert] += (weight * own) as f32;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_the_weights_reach_the_logits() {
        let logits = [0.3f32, 2.0, 1.0, 0.5, 1.5, 0.0, -0.7, 0.9];
        for renormalise in [true, false] {
            let spec = ExpertSpec {
                count: 4,
                per_token: 2,
                ffn: 1,
                renormalise,
            };
            let routing = Routing::choose(&logits, spec);
            // The loss weighs each expert's weight in each token by a number of its own.
            let factor = |expert: usize, row: u32| (3 * expert + 2) as f32 * 0.25 - row as f32;
            let factors = |r: &Routing| -> Vec<Vec<f32>> {
                let of = |(e, t): (usize, &ExpertTokens)| t.rows.iter().map(|row| factor(e, *row)).collect();
                r.experts.iter().enumerate().map(of).collect()
            };
            let loss = |logits: &[f32]| -> f64 {
                let r = Routing::choose(logits, spec);
                let terms = r.experts.iter().zip(factors(&r));
                terms
                    .flat_map(|(t, f)| {
                        t.weights
                            .iter()
                            .zip(f)
                            .map(|(w, f)| f64::from(w * f))
                            .collect::<Vec<_>>()
                    })
                    .sum()
            };
            let found = routing.backward(&logits, spec, &factors(&routing));
            for i in 0..logits.len() {
                let (mut above, mut below) = (logits, logits);
                (above[i], below[i]) = (above[i] + 0.01, below[i] - 0.01);
                let wanted = (loss(&above) - loss(&below)) / f64::from(above[i] - below[i]);
                assert!(
                    (f64::from(found[i]) - wanted).abs() < 2e-4,
                    "{i}: {} instead of {wanted}",
                    found[i]
                );
            }
            assert!(found.iter().any(|g| g.abs() > 0.1));
        }
    }

    #[test]
    fn tokens_go_to_the_largest() {
        let spec = |renormalise| ExpertSpec {
            count: 3,
            per_token: 2,
            ffn: 1,
            renormalise,
        };
        let logits = [0.0, 2.0, 1.0, 3.0, 3.0, 3.0];
        let routing = Routing::choose(&logits, spec(true));
        let rows: Vec<&[u32]> = routing.experts.iter().map(|e| e.rows.as_slice()).collect();
        assert_eq!(rows, [&[1][..], &[0, 1], &[0]]);
        assert!((routing.experts[1].weights[0] + routing.experts[2].weights[0] - 1.0).abs() < 1e-6);
        let routing = Routing::choose(&logits, spec(false));
        assert!((routing.experts[0].weights[0] - 1.0 / 3.0).abs() < 1e-6);
    }
}
