//! Products on cooperative matrices. An adapter without them is named in the log; what the splitting costs is shown by the twin
//! on every machine.

use secateur::gpu::Gpu;
use secateur::ops::Variant;
use secateur::ops::dense::{self, Gemm, Layout};
use secateur::reference::dense::gemm::View;
use secateur::reference::dense::gemm_coop::{Split, product};
use secateur::tensor::DType;

use crate::common::{Data, cooperative, f64s, play, poisoned, stored, tensor};

/// What is promised of random data: error over the norm of the product.
const BAR: f64 = 1e-5;
/// What splitting costs a factor pair at most, for elements of one size.
const PAIR: f64 = 3.0 / (1 << 22) as f64;

/// `a` is `[rows, inner]`, `b` is `[inner, cols]`.
struct Case {
    name: &'static str,
    size: [usize; 3],
    a: Vec<f32>,
    b: Vec<f32>,
}

impl Case {
    fn new(name: &'static str, size: [usize; 3], data: impl Fn(&mut Data, usize) -> Vec<f32>) -> Self {
        let [rows, cols, inner] = size;
        let mut random = Data::new(7);
        let (a, b) = (data(&mut random, rows * inner), data(&mut random, inner * cols));
        Case { name, size, a, b }
    }

    /// Normal numbers times a factor for each operand.
    fn scaled(name: &'static str, factors: [f32; 2]) -> Self {
        let mut case = Case::new(name, [40, 33, 100], Data::normal);
        case.a.iter_mut().for_each(|v| *v *= factors[0]);
        case.b.iter_mut().for_each(|v| *v *= factors[1]);
        case
    }

    /// In f64: `a b`, and `|a| |b|`.
    fn truth(&self) -> [Vec<f64>; 2] {
        let [rows, cols, inner] = self.size;
        let sum = |f: fn(f64) -> f64| {
            let element = |at: usize| {
                let term =
                    |k: usize| f64::from(self.a[at / cols * inner + k]) * f64::from(self.b[k * cols + at % cols]);
                (0..inner).map(|k| f(term(k))).sum()
            };
            (0..rows * cols).map(element).collect()
        };
        [sum(|term| term), sum(f64::abs)]
    }

    fn split(&self, tile: usize, depth: usize, short: bool) -> Vec<f64> {
        let [_, cols, inner] = self.size;
        let split = Split { tile, depth, short };
        product(
            self.size,
            View::row_major(&self.a, inner),
            View::row_major(&self.b, cols),
            split,
        )
    }

    /// b as `[cols, inner]`.
    fn turned(&self) -> Vec<f32> {
        let [_, cols, inner] = self.size;
        (0..cols * inner)
            .map(|at| self.b[at % inner * cols + at / inner])
            .collect()
    }

    fn play(&self, gpu: &Gpu, variant: Variant, layout: Layout) -> Vec<f32> {
        let [rows, cols, inner] = self.size;
        let a = tensor(gpu, rows, inner, &self.a);
        let b = match layout {
            Layout::NN => tensor(gpu, inner, cols, &self.b),
            Layout::NT => tensor(gpu, cols, inner, &self.turned()),
        };
        let out = poisoned(gpu, rows, cols);
        play(gpu, |recording| {
            dense::gemm_with(recording, variant, &Gemm::new(&a, &b, layout, &out));
        });
        out.fetch(gpu).unwrap()
    }
}

fn norm(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// `‖found - wanted‖` over `‖a‖ ‖b‖` and over `‖wanted‖`, and the worst `|found - wanted| / (|a| |b|)`; NaN where anything is.
fn errors(case: &Case, found: &[f64]) -> [f64; 3] {
    let [wanted, sizes] = case.truth();
    assert_eq!(found.len(), wanted.len());
    let (mut square, mut norms, mut worst) = (0.0, 0.0, 0.0f64);
    for ((found, wanted), size) in found.iter().zip(&wanted).zip(&sizes) {
        let difference = (found - wanted).abs();
        square += difference * difference;
        norms += wanted * wanted;
        let relative = if difference == 0.0 { 0.0 } else { difference / size };
        worst = if relative <= worst { worst } else { relative };
    }
    let over = |size: f64| square.sqrt() / size.max(f64::MIN_POSITIVE);
    [over(norm(&case.a) * norm(&case.b)), over(norms.sqrt()), worst]
}

/// Magnitudes of 1e-`range` .. 1e`range` inside every row and column.
fn wide(data: &mut Data, n: usize, range: f32) -> Vec<f32> {
    let (signs, powers) = (data.uniform(n), data.uniform(n));
    let one = |(sign, power): (&f32, &f32)| sign.signum() * 10f32.powf(power * range);
    signs.iter().zip(&powers).map(one).collect()
}

fn cases() -> Vec<Case> {
    let zeros = |data: &mut Data, n: usize| {
        let values = data.normal(n);
        let keep = data.below(4, n);
        values
            .iter()
            .zip(&keep)
            .map(|(v, keep)| if *keep == 0 { *v } else { 0.0 })
            .collect()
    };
    vec![
        Case::new("uniform", [70, 67, 333], Data::uniform),
        Case::new("one sign", [33, 40, 2100], |data, n| {
            data.uniform(n).iter().map(|v| v.abs()).collect()
        }),
        Case::new("mostly zeros", [64, 65, 130], zeros),
        Case::new("nothing", [9, 10, 40], |_, n| vec![0.0; n]),
        Case::new("1e-4 .. 1e4", [40, 70, 200], |data, n| wide(data, n, 4.0)),
        Case::new("1e-18 .. 1e18", [40, 70, 200], |data, n| wide(data, n, 18.0)),
        Case::scaled("around 1e-15", [1e-15, 1e-15]),
        Case::scaled("around 1e15", [1e15, 1e15]),
        Case::scaled("a around 1e-20, b around 1e20", [1e-20, 1e20]),
        Case::scaled("a around 1e20, b around 1e-20", [1e20, 1e-20]),
        Case::scaled("a around 1e-33, b around 1e33", [1e-33, 1e33]),
    ]
}

/// Elements so different in size that the smallest ones of a tile may be lost beside its largest.
fn is_wide(case: &Case) -> bool {
    case.name.contains("..")
}

#[test]
fn what_splitting_costs() {
    for case in cases() {
        for (tile, depth) in [(32, 32), (64, 16), (64, 32)] {
            let [by_norm, by_result, by_element] = errors(&case, &case.split(tile, depth, false));
            assert!(by_result <= BAR, "{} {tile}x{depth}: {by_result:.1e}", case.name);
            assert!(by_norm <= PAIR, "{} {tile}x{depth}: {by_norm:.1e}", case.name);
            if !is_wide(&case) {
                assert!(by_element <= PAIR, "{} {tile}x{depth}: {by_element:.1e}", case.name);
            }
        }
    }
}

/// One half is all of an f16 or bf16 element.
#[test]
fn short_elements_are_not_split() {
    for dtype in [DType::F16, DType::BF16] {
        let mut case = Case::new("short", [20, 33, 70], Data::normal);
        case.b = dtype.decode(&dtype.encode(&case.b));
        let [by_norm, _, by_element] = errors(&case, &case.split(32, 32, true));
        assert!(
            by_norm <= PAIR && by_element <= PAIR,
            "{dtype:?}: {by_norm:.1e} {by_element:.1e}"
        );
    }
}

/// A sum's rounding, on top of the splitting: a step of 32 terms, which may be cut, then an addition for each step.
fn summed(inner: usize) -> f64 {
    PAIR + (32.0 + inner as f64 / 16.0) * f64::from(f32::EPSILON)
}

#[test]
fn device_within_its_bound() {
    for (gpu, variant) in cooperative("gemm_coop: device_within_its_bound", &dense::GEMM_COOPERATIVE) {
        for case in cases() {
            for layout in [Layout::NN, Layout::NT] {
                let found = f64s(&case.play(gpu, variant, layout));
                let what = format!("{} {} {} {layout:?}", gpu.name(), variant.name(), case.name);
                let [by_norm, by_result, by_element] = errors(&case, &found);
                let bound = summed(case.size[2]);
                eprintln!(
                    "{what}: of the norms {by_norm:.2e}, of the product's {by_result:.2e}, an element {by_element:.2e}"
                );
                assert!(by_result <= BAR, "{what}: {by_result:.2e} of the product's norm");
                assert!(by_norm <= bound, "{what}: {by_norm:.2e} of the norms");
                if !is_wide(&case) {
                    assert!(by_element <= bound, "{what}: an element by {by_element:.2e}");
                }
                // The twin splits alike, so only sums are between the two.
                let size = norm(&case.a) * norm(&case.b);
                let twin = case.split(variant.tile().rows.into(), variant.tile().depth.into(), false);
                let between = found
                    .iter()
                    .zip(&twin)
                    .map(|(f, t)| (f - t).powi(2))
                    .sum::<f64>()
                    .sqrt();
                let most = (bound - PAIR) * size;
                assert!(between <= most, "{what}: {:.2e} from the twin", between / size);
            }
        }
    }
}

/// Neither an infinity nor a NaN may turn into a number, nor spoil other rows and columns.
#[test]
fn what_is_not_finite_stays_so() {
    for (gpu, variant) in cooperative("gemm_coop: what_is_not_finite_stays_so", &dense::GEMM_COOPERATIVE) {
        let finite = Case::new("finite", [40, 50, 70], Data::normal);
        let [rows, cols, inner] = finite.size;
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
            let mut case = Case::new("not finite", finite.size, Data::normal);
            (case.a[3 * inner + 65], case.b[5 * cols + 41]) = (value, value);
            for layout in [Layout::NN, Layout::NT] {
                let (found, before) = (case.play(gpu, variant, layout), finite.play(gpu, variant, layout));
                for at in 0..rows * cols {
                    let what = format!("{} {layout:?} {value}: element {at} is {}", variant.name(), found[at]);
                    if at / cols == 3 || at % cols == 41 {
                        assert!(!found[at].is_finite(), "{what}");
                    } else {
                        // The scale is another if the largest was replaced: the same but for rounding.
                        assert!((found[at] - before[at]).abs() <= 1e-4, "{what}, not {}", before[at]);
                    }
                }
            }
        }
    }
}

/// Sums beyond f32 are infinite, as without splitting; those beside them are not touched.
#[test]
fn overflow_of_a_sum() {
    for (gpu, variant) in cooperative("gemm_coop: overflow_of_a_sum", &dense::GEMM_COOPERATIVE) {
        let mut case = Case::new("large", [9, 9, 33], Data::uniform);
        case.a[..33].fill(2e38);
        let found = case.play(gpu, variant, Layout::NN);
        case.b.iter_mut().for_each(|v| *v = 2.0);
        let beyond = case.play(gpu, variant, Layout::NN);
        assert!(beyond[..9].iter().all(|v| !v.is_finite()), "{:?}", &beyond[..9]);
        assert!(found[9..].iter().all(|v| v.is_finite()), "{found:?}");
    }
}

/// The stored types, against f64 on what the device sees.
#[test]
fn stored_elements() {
    for (gpu, variant) in cooperative("gemm_coop: stored_elements", &dense::GEMM_COOPERATIVE) {
        for dtype in [DType::F16, DType::BF16] {
            let mut case = Case::new("stored", [65, 70, 300], Data::normal);
            let [rows, cols, inner] = case.size;
            for layout in [Layout::NN, Layout::NT] {
                let (shape, b) = match layout {
                    Layout::NN => ([inner, cols], case.b.clone()),
                    Layout::NT => ([cols, inner], case.turned()),
                };
                let (b, _) = stored(gpu, shape[0], shape[1], &b, dtype);
                let (a, out) = (tensor(gpu, rows, inner, &case.a), poisoned(gpu, rows, cols));
                play(gpu, |r| dense::gemm_with(r, variant, &Gemm::new(&a, &b, layout, &out)));
                case.b = dtype.decode(&dtype.encode(&case.b));
                let [by_norm, _, by_element] = errors(&case, &f64s(&out.fetch(gpu).unwrap()));
                let what = format!("{} {dtype:?} {layout:?}", variant.name());
                eprintln!("{what}: {by_norm:.2e} of the norms, worst element {by_element:.2e}");
                assert!(
                    by_norm <= BAR && by_element <= summed(inner),
                    "{what}: {by_norm:.2e} {by_element:.2e}"
                );
            }
        }
    }
}
