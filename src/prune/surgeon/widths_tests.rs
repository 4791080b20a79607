use super::*;

/// Two layers of 40 neurons of 3 x 10 weights and 4 groups of 100.
fn target(weights: u64) -> SizeTarget {
    SizeTarget {
        whole: Widths { neurons: 40, groups: 4 },
        layers: 2,
        neuron: 30,
        group: 100,
        weights,
        round: 8,
        groups: vec![1, 2, 3, 4],
    }
}

fn only_neurons(weights: u64) -> SizeTarget {
    SizeTarget {
        group: 0,
        groups: vec![4],
        ..target(weights)
    }
}

fn at(neurons: usize, groups: usize) -> Widths {
    Widths { neurons, groups }
}

#[test]
fn rounding_by_default() {
    let rounds = [1, 7, 48, 255, 256, 768, 1023, 1024, 1536, 11008].map(default_round);
    assert_eq!(rounds, [1, 1, 8, 32, 64, 128, 128, 256, 256, 256]);
}

#[test]
fn promises_come_nearest() {
    // 2 x 30 x 10 = 600 is a width of 30: the multiples 24 and 32 are 6 and 2 away.
    assert_eq!(only_neurons(600).promises(), [at(32, 4)]);
    assert_eq!(only_neurons(900).promises(), [at(24, 4)]);
    assert_eq!(only_neurons(900).removed(at(24, 4)), 960);
    // Nothing would go, or all would.
    assert_eq!(only_neurons(200).promises(), []);
    assert_eq!(only_neurons(2350).promises(), []);
    // Fewer groups, more neurons; as soon as groups alone exceed half a step beyond the target they are no choice.
    let wanted = [at(24, 4), at(32, 3), at(32, 2), at(32, 1)];
    assert_eq!(target(900).promises(), wanted);
    // A width of 36 lies between two: the smaller.
    assert_eq!(target(240).promises(), [at(32, 4), at(40, 3), at(40, 2)]);
    let groups = SizeTarget {
        neuron: 0,
        ..target(500)
    };
    assert_eq!(groups.promises(), [at(40, 1)]);
    let coarse = SizeTarget {
        groups: vec![1, 4],
        ..groups
    };
    assert_eq!(coarse.promises(), [at(40, 1)]);
}

#[test]
fn a_width_that_is_no_multiple_may_stay() {
    let odd = SizeTarget {
        whole: at(43, 4),
        ..target(240)
    };
    assert_eq!(odd.promises(), [at(40, 4), at(43, 3), at(43, 2)]);
}

fn costs(neuron: f64, group: f64) -> Vec<LayerCosts> {
    let layer = |first: usize| LayerCosts {
        neurons: (0..40).map(|i| neuron * (1 + (i + first) % 40) as f64).collect(),
        groups: (0..4).map(|i| group * (1 + (i + first) % 4) as f64).collect(),
    };
    vec![layer(0), layer(3)]
}

#[test]
fn the_split_of_least_cost() {
    let target = target(900);
    let cut = target.uniform(at(40, 4), 1.0, &costs(1.0, 1e6)).unwrap();
    assert_eq!(cut.widths, at(24, 4));
    assert_eq!(cut.layers[0].neurons, (0..16).collect::<Vec<_>>());
    // 37, 38, 39 are its 1, 2, 3 in the second layer: the same number, its own cheapest.
    let own: Vec<usize> = (0..13).chain(37..40).collect();
    assert_eq!(cut.layers[1].neurons, own);
    assert!(cut.layers.iter().all(|layer| layer.groups.is_empty()));
    let cut = target.uniform(at(40, 4), 1.0, &costs(1e6, 1.0)).unwrap();
    assert_eq!(cut.widths, at(32, 1));
    assert_eq!(
        [&cut.layers[0].groups[..], &cut.layers[1].groups],
        [&[0, 1, 2], &[1, 2, 3]]
    );
}

#[test]
fn shots_end_at_a_promise() {
    for (neuron, group) in [(1.0, 1.0), (1.0, 10.0), (1.0, 40.0), (1.0, 1e6), (1e6, 1.0)] {
        for shots in [1, 2, 3, 5, 11] {
            let target = target(900);
            let mut now = target.whole;
            for shot in 1..=shots {
                let all = costs(neuron, group);
                let left: Vec<LayerCosts> = (all.iter())
                    .map(|layer| LayerCosts {
                        neurons: layer.neurons[..now.neurons].to_vec(),
                        groups: layer.groups[..now.groups].to_vec(),
                    })
                    .collect();
                let cut = target.uniform(now, f64::from(shot) / f64::from(shots), &left).unwrap();
                assert!(cut.widths.neurons <= now.neurons && cut.widths.groups <= now.groups);
                for layer in &cut.layers {
                    assert_eq!(layer.neurons.len(), now.neurons - cut.widths.neurons);
                    assert_eq!(layer.groups.len(), now.groups - cut.widths.groups);
                }
                now = cut.widths;
            }
            assert!(target.promises().contains(&now), "{now:?} after {shots}");
        }
    }
}

#[test]
fn intermediate_shots_are_not_rounded() {
    let target = only_neurons(900);
    let no_groups: Vec<LayerCosts> = (costs(1.0, 0.0).into_iter())
        .map(|layer| LayerCosts {
            groups: Vec::new(),
            ..layer
        })
        .collect();
    let cut = target.uniform(at(40, 4), 0.25, &no_groups).unwrap();
    assert_eq!(cut.widths, at(36, 4));
    let cut = target.uniform(at(40, 4), 0.3, &no_groups).unwrap();
    assert_eq!(cut.widths, at(35, 4));
}

#[test]
fn one_threshold_and_the_widest_layer() {
    let target = only_neurons(900);
    let layer = |costs: [f64; 40]| LayerCosts {
        neurons: costs.to_vec(),
        groups: Vec::new(),
    };
    let cheap: [f64; 40] = std::array::from_fn(|i| i as f64);
    let costs = [layer(cheap.map(|c| 10.0 * c + 5.0)), layer(cheap)];
    // 30 neurons of 30 weights: by value 5, 15, .. and 0, 1, 2, ..; 3 and 27 of them.
    let cut = target.padded(at(40, 4), 1.0, &costs);
    assert_eq!([cut.layers[0].neurons.len(), cut.layers[1].neurons.len()], [3, 27]);
    assert_eq!(cut.widths, at(40, 4));
    let cut = target.padded(at(40, 4), 0.999, &costs);
    assert_eq!([cut.layers[0].neurons.len(), cut.layers[1].neurons.len()], [3, 26]);
    assert_eq!(cut.widths, at(37, 4));
}

#[test]
fn padding_is_not_paid_twice() {
    let target = only_neurons(900);
    // One layer lost 10 neurons for good and 8 more as zeros, the other 10.
    let mut first = vec![0.0; 8];
    first.extend((1..=22).map(f64::from));
    let second: Vec<f64> = (1..=30).map(|i| 1.5 * f64::from(i)).collect();
    let costs = [first, second].map(|neurons| LayerCosts {
        neurons,
        groups: Vec::new(),
    });
    // 900 / 30 = 30 in all, 20 paid by the widths, 8 by the zeros: two new ones, at 1 and 1.5.
    let cut = target.padded(at(30, 4), 1.0, &costs);
    assert_eq!(cut.layers[0].neurons, (0..9).collect::<Vec<_>>());
    assert_eq!(cut.layers[1].neurons, [0]);
    assert_eq!(cut.widths, at(32, 4));
}
