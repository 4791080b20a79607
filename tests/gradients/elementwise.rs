use secateur::ops::nn::Activation;
use secateur::reference::nn::activation::activation;
use secateur::reference::nn::activation_backward::activation_backward;
use secateur::reference::nn::cross_entropy::cross_entropy;
use secateur::reference::nn::cross_entropy_backward::cross_entropy_backward;
use secateur::reference::nn::gate::gate;
use secateur::reference::nn::gate_backward::gate_backward;
use secateur::reference::nn::rope::{rope, rope_backward};
use secateur::reference::nn::soft_cap::soft_cap;
use secateur::reference::nn::soft_cap_backward::soft_cap_backward;

use super::{assert_gradient, dot, random};
use crate::kernels::activation::oracle;
use crate::kernels::activation_backward::slope;

/// From -6 to 6, not at the corner of a ReLU.
fn arguments(n: usize) -> Vec<f64> {
    (0..n).map(|i| 12.0 * (i as f64 + 0.3) / n as f64 - 6.0).collect()
}

#[test]
fn activations() {
    for act in Activation::ALL {
        let (x, c) = (arguments(101), random(1, 101));
        let mut found = c.clone();
        activation_backward(slope(act), &x, &mut found);
        assert_gradient(&format!("{act:?}"), &found, &x, |x| {
            let mut out = x.to_vec();
            activation(oracle(act), &mut out);
            dot(&c, &out)
        });
    }
}

#[test]
fn gates() {
    for act in Activation::ALL {
        let (x, y, c) = (arguments(101), random(1, 101), random(2, 101));
        let (mut dgate, mut dup) = (x.clone(), y.clone());
        gate_backward([oracle(act), slope(act)], &c, &mut dgate, &mut dup);
        let loss = |x: &[f64], y: &[f64]| {
            let mut out = x.to_vec();
            gate(oracle(act), y, &mut out);
            dot(&c, &out)
        };
        assert_gradient(&format!("{act:?}: gate"), &dgate, &x, |x| loss(x, &y));
        assert_gradient(&format!("{act:?}: up"), &dup, &y, |y| loss(&x, y));
    }
}

#[test]
fn soft_caps() {
    for cap in [1.0, 5.0, 30.0] {
        let (x, c) = (arguments(101), random(1, 101));
        let mut found = c.clone();
        soft_cap_backward(cap, &x, &mut found);
        assert_gradient(&format!("cap {cap}"), &found, &x, |x| {
            let mut out = x.to_vec();
            soft_cap(cap, &mut out);
            dot(&c, &out)
        });
    }
}

#[test]
fn rotations() {
    let (dim, rotary) = (10, 6);
    let (x, angles, c) = (random(1, 2 * dim), random(2, rotary), random(3, 2 * dim));
    let mut found = c.clone();
    rope_backward(dim, &angles, &mut found);
    assert_gradient("rope", &found, &x, |x| {
        let mut out = x.to_vec();
        rope(dim, &angles, &mut out);
        dot(&c, &out)
    });
}

#[test]
fn losses_tile_by_tile() {
    let (cols, target, factor) = (23, 14, 0.7);
    let logits: Vec<f64> = random(1, cols).iter().map(|v| 3.0 * v).collect();
    let state_of = |logits: &[f64]| {
        let mut state = [f64::NAN; 4];
        for (tile, logits) in logits.chunks(10).enumerate() {
            cross_entropy(logits, target, 10 * tile, &mut state);
        }
        state
    };
    let state = state_of(&logits);
    let mut found = logits.clone();
    for (tile, logits) in found.chunks_mut(10).enumerate() {
        cross_entropy_backward(&state, target as u32, factor, 10 * tile, logits);
    }
    assert_gradient("cross entropy", &found, &logits, |logits| {
        let state = state_of(logits);
        factor * (state[0] + state[1].ln() - state[2])
    });
}
