//! A device that binds little gives the same result through panels and row blocks.

use secateur::prune::{Fista, LayerProblem, Method, Pattern, refit};

use super::problem::Layer;
use crate::common::open;

#[test]
fn small_bindings_change_nothing() {
    let adapter = std::env::var("SECATEUR_TEST_ADAPTER").unwrap_or_else(|_| "0".to_string());
    let names = if adapter == "none" {
        vec!["cpu".to_string()]
    } else {
        vec!["cpu".to_string(), adapter]
    };
    for name in names {
        let solve = |max_binding| {
            let gpu = open(&name, max_binding);
            let layer = Layer::new(11, 12, 64, 400, 0.1);
            let inputs = layer.inputs(&gpu);
            assert_eq!(inputs.gram().panels().count() > 1, max_binding.is_some());
            let pattern = Pattern::NM { n: 2, m: 4 };
            let problem = LayerProblem::new(&gpu, &inputs, [12, 64], &layer.weight, pattern).unwrap();
            let solution = refit(&gpu, &problem, Fista::default().solve(&gpu, &problem).unwrap(), 15).unwrap();
            (solution.error, problem.energy)
        };
        let (whole, panels) = (solve(None), solve(Some(6000)));
        assert!(
            (panels.1 / whole.1 - 1.0).abs() < 1e-5,
            "{name}: energy {panels:?} {whole:?}"
        );
        assert!(
            (panels.0 / whole.0 - 1.0).abs() < 1e-2,
            "{name}: error {panels:?} {whole:?}"
        );
    }
}
