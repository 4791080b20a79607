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
}

#[cfg(test)]
mod tests {
    use super::*;

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
