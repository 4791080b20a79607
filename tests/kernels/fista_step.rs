use secateur::gpu::Gpu;
use secateur::ops::dense::{Gemm, Layout, gemm};
use secateur::ops::prox::{self, FistaStep};
use secateur::ops::{DOUBLES, TILES, Variant};
use secateur::reference::prox::fista_step::{Row, Step, fista_step};

use crate::common::{Data, assert_close, cooperative, devices, f64s, play, poisoned, subgroups, tensor};

/// Rows and columns: around both tiles and TILE_K, a prime, long thin ones.
const SIZES: [[usize; 2]; 8] = [
    [1, 1],
    [15, 16],
    [16, 15],
    [17, 64],
    [63, 65],
    [65, 33],
    [131, 7],
    [2, 257],
];
const STEP: f32 = 0.3;
const MOMENTUM: f32 = 0.6;
const THRESHOLD: f32 = 0.05;

struct Case {
    size: [usize; 2],
    y: Vec<f32>,
    h: Vec<f32>,
    b: Vec<f32>,
    free: Vec<f32>,
    x: Vec<f32>,
}

impl Case {
    fn new([m, n]: [usize; 2]) -> Self {
        let mut data = Data::new(13);
        let mut h = data.uniform(n * n);
        // Products of order one, whatever the length of the sums.
        h.iter_mut().for_each(|v| *v /= (n as f32).sqrt());
        Case {
            size: [m, n],
            y: data.uniform(m * n),
            h,
            b: data.uniform(m * n),
            free: data.below(4, m * n).iter().map(|v| f32::from(*v > 0)).collect(),
            x: data.uniform(m * n),
        }
    }

    /// With an h whose steps converge: `3 Q Qᵀ / n`, of mean 1, eigenvalues below 2 / STEP.
    fn spd([m, n]: [usize; 2]) -> Self {
        let mut case = Case::new([m, n]);
        let q = Data::new(14).uniform(n * n);
        for (at, h) in case.h.iter_mut().enumerate() {
            let (left, right) = (&q[at / n * n..][..n], &q[at % n * n..][..n]);
            *h = left.iter().zip(right).map(|(l, r)| l * r).sum::<f32>() * 3.0 / n as f32;
        }
        case
    }

    fn wanted(&self) -> [Vec<f64>; 2] {
        let step = Step {
            step: f64::from(STEP),
            threshold: f64::from(THRESHOLD),
            momentum: f64::from(MOMENTUM),
        };
        let (y, b, free) = (f64s(&self.y), f64s(&self.b), f64s(&self.free));
        let row = Row {
            y: &y,
            b: &b,
            free: &free,
        };
        let (mut x, mut y_next) = (f64s(&self.x), vec![0.0; y.len()]);
        fista_step(self.size[1], step, &f64s(&self.h), row, &mut x, &mut y_next);
        [x, y_next]
    }

    /// Plays one step with H cut before row `cut` (0: whole) and returns x and y_next.
    fn play(&self, gpu: &Gpu, variant: Variant, cut: usize) -> [Vec<f32>; 2] {
        let [m, n] = self.size;
        let [y, b, free, x] = [&self.y, &self.b, &self.free, &self.x].map(|values| tensor(gpu, m, n, values));
        let y_next = poisoned(gpu, m, n);
        let panels = [
            tensor(gpu, cut, n, &self.h[..cut * n]),
            tensor(gpu, n - cut, n, &self.h[cut * n..]),
        ];
        play(gpu, |recording| {
            if cut > 0 {
                gemm(recording, gpu, &Gemm::new(&y, &panels[0], Layout::NN, &y_next));
            }
            let call = FistaStep {
                y: &y,
                y_col: cut,
                h: &panels[1],
                b: &b,
                free: &free,
                x: &x,
                y_next: &y_next,
                step: STEP,
                threshold: THRESHOLD,
                momentum: MOMENTUM,
                accumulate: cut > 0,
            };
            prox::fista_step_with(recording, variant, &call);
        });
        [x.fetch(gpu).unwrap(), y_next.fetch(gpu).unwrap()]
    }
}

fn check(variant: Variant, sizes: &[[usize; 2]]) {
    for gpu in devices() {
        check_on(gpu, variant, sizes);
    }
}

fn check_on(gpu: &Gpu, variant: Variant, sizes: &[[usize; 2]]) {
    for &size in sizes {
        let case = Case::new(size);
        let wanted = case.wanted();
        let n = size[1];
        let tolerance = 16.0 * f64::from(f32::EPSILON) * (n as f64).sqrt();
        for cut in [0, n / 3, n - 1] {
            let found = case.play(gpu, variant, cut);
            for (name, found, wanted) in [("x", &found[0], &wanted[0]), ("y_next", &found[1], &wanted[1])] {
                let what = format!("{} {} {size:?} cut {cut} {name}", gpu.name(), variant.name());
                assert_close(&what, found, wanted, tolerance);
            }
            let zeros = found[0].iter().zip(&case.free).filter(|(_, free)| **free == 0.0);
            assert!(
                zeros.map(|(x, _)| x).all(|x| x.to_bits() == 0),
                "element that is not free"
            );
        }
    }
}

#[test]
fn whole_and_in_panels_tiled() {
    check(Variant::of(&prox::FISTA_TILED), &SIZES);
}

#[test]
fn whole_and_in_panels_register() {
    check(Variant::of(&prox::FISTA_REGISTER), &SIZES);
}

#[test]
fn whole_and_in_panels_in_subgroups() {
    let name = "fista_step: whole_and_in_panels_in_subgroups";
    for (gpu, variant) in subgroups(name, &prox::FISTA_SUBGROUP) {
        check_on(gpu, variant, &SIZES);
    }
}

#[test]
fn whole_and_in_panels_on_cooperative_matrices() {
    let name = "fista_step: whole_and_in_panels_on_cooperative_matrices";
    for (gpu, variant) in cooperative(name, &prox::FISTA_COOPERATIVE) {
        check_on(gpu, variant, &SIZES);
    }
}

/// A hundred iterations end as far from those in f64 as they do with sums in f32.
#[test]
fn many_iterations_on_cooperative_matrices() {
    let name = "fista_step: many_iterations_on_cooperative_matrices";
    let [m, n] = [40, 96];
    for (gpu, variant) in cooperative(name, &prox::FISTA_COOPERATIVE) {
        for iterations in [20, 100] {
            let wanted = solve(Case::spd([m, n]), iterations, |case| case.wanted());
            let error = |variant: Variant| {
                let found = solve(Case::spd([m, n]), iterations, |case| {
                    let [x, y] = case.play(gpu, variant, 0);
                    [f64s(&x), f64s(&y)]
                });
                let square = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
                let difference = found.iter().zip(&wanted).map(|(f, w)| f - w);
                square(&mut { difference }) / square(&mut wanted.iter().copied())
            };
            let (split, full) = (error(variant), error(Variant::of(&prox::FISTA_TILED)));
            eprintln!("{} after {iterations}: {split:.2e}, in f32 {full:.2e}", variant.name());
            assert!(
                split <= 4.0 * full.max(f64::from(f32::EPSILON)),
                "{split:.2e}, in f32 {full:.2e}"
            );
            assert!(split <= 1e-5, "{split:.2e}");
        }
    }
}

/// x after some iterations of a step that a device or the twin does.
fn solve(mut case: Case, iterations: usize, step: impl Fn(&Case) -> [Vec<f64>; 2]) -> Vec<f64> {
    let mut x = Vec::new();
    for _ in 0..iterations {
        let y;
        [x, y] = step(&case);
        let f32s = |values: &[f64]| values.iter().map(|v| *v as f32).collect();
        (case.x, case.y) = (f32s(&x), f32s(&y));
    }
    x
}

/// Every tile that tuning may choose.
#[test]
fn every_tile() {
    for tile in TILES {
        let kernel = &prox::FISTA_TILED;
        check(
            Variant::new(kernel, tile),
            &[[tile.rows as usize + 1, tile.cols as usize + 3]],
        );
    }
    for tile in DOUBLES {
        check(
            Variant::new(&prox::FISTA_DOUBLE, tile),
            &[[tile.rows as usize + 1, tile.cols as usize + 3]],
        );
    }
}
