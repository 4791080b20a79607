// Activation functions of multilayer perceptrons, one of them chosen by the kernel's knob ACT (ops/nn/activation.rs):
// 0 silu, 1 gelu with erf, 2 gelu with tanh, 3 relu, 4 quick_gelu. Only exp of negative numbers is taken: nothing
// overflows, and the drivers' tanh (1e-5 wrong, or NaN far out) is not used.

// 1 / (1 + exp(-x)), for negative x multiplied out by exp(x).
fn sigmoid(x: f32) -> f32 {
    let decay = exp(-abs(x));
    return select(decay, 1.0, x >= 0.0) / (1.0 + decay);
}

// erfc(z) for z >= 0: exp(-z^2) times a polynomial in t = 1 / (1 + 0.3 z), fitted to 4e-8 relative up to z = 9.5.
fn erfc_positive(z: f32) -> f32 {
    let t = 1.0 / (1.0 + 0.3 * z);
    var series = -0.130492821;
    series = series * t + 0.490571588;
    series = series * t - 0.523314655;
    series = series * t + 0.561246216;
    series = series * t - 0.104712144;
    series = series * t + 0.21956712;
    series = series * t + 0.147045419;
    series = series * t + 0.170914158;
    series = series * t + 0.169175103;
    return series * t * exp(-z * z);
}

// The normal distribution function: half of erfc(-x / sqrt(2)).
fn normal_share(x: f32) -> f32 {
    // Beyond 15 the tail is zero, and the square stays finite.
    let tail = 0.5 * erfc_positive(min(abs(x) * 0.70710678, 15.0));
    return select(tail, 1.0 - tail, x >= 0.0);
}

// x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3).
fn gelu_tanh(x: f32) -> f32 {
    // Beyond 12 the sigmoid is zero or one, and the cube stays finite.
    let near = clamp(x, -12.0, 12.0);
    return x * sigmoid(1.5957691 * (near + 0.044715 * near * near * near));
}

fn activate(x: f32) -> f32 {
    if ACT == 0u {
        return x * sigmoid(x);
    }
    if ACT == 1u {
        return x * normal_share(x);
    }
    if ACT == 2u {
        return gelu_tanh(x);
    }
    if ACT == 3u {
        return max(x, 0.0);
    }
    return x * sigmoid(1.702 * x);
}
