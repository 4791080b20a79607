// Slopes of the activation functions of `act`, chosen by the same knob ACT. Like there, only exp of negative numbers is taken.
#import act

// Of x sigmoid(k x). 1 - sigmoid is taken as the sigmoid of the negative: nothing cancels.
fn sigmoid_slope(k: f32, x: f32) -> f32 {
    let above = sigmoid(k * x);
    return above + k * x * above * sigmoid(-k * x);
}

fn gelu_erf_slope(x: f32) -> f32 {
    // Beyond 15 the density is zero, and the square stays finite.
    let near = clamp(x, -15.0, 15.0);
    return normal_share(x) + 0.3989423 * near * exp(-0.5 * near * near);
}

fn gelu_tanh_slope(x: f32) -> f32 {
    // Beyond 12 the sigmoid is zero or one, and the powers stay finite.
    let near = clamp(x, -12.0, 12.0);
    let square = 0.044715 * near * near;
    let inner = 1.5957691 * (near + square * near);
    let above = sigmoid(inner);
    return above + near * above * sigmoid(-inner) * 1.5957691 * (1.0 + 3.0 * square);
}

fn activation_slope(x: f32) -> f32 {
    if ACT == 0u {
        return sigmoid_slope(1.0, x);
    }
    if ACT == 1u {
        return gelu_erf_slope(x);
    }
    if ACT == 2u {
        return gelu_tanh_slope(x);
    }
    if ACT == 3u {
        return select(0.0, 1.0, x > 0.0);
    }
    return sigmoid_slope(1.702, x);
}
