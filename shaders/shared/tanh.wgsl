// A hyperbolic tangent right to a few ulp; the drivers' own may be 1e-5 wrong, or NaN far out.

fn exact_tanh(x: f32) -> f32 {
    let size = abs(x);
    if size < 0.625 {
        // Cephes' odd polynomial; the quotient below would lose the digits of small x.
        let square = x * x;
        var series = -5.70498872745e-3;
        series = series * square + 2.06390887954e-2;
        series = series * square - 5.37397155531e-2;
        series = series * square + 1.33314422036e-1;
        series = series * square - 3.33332819422e-1;
        return x + x * square * series;
    }
    let decay = exp(-2.0 * size);
    return sign(x) * (1.0 - 2.0 * decay / (1.0 + decay));
}
