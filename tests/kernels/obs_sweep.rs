use secateur::gpu::Gpu;
use secateur::ops::prox::{self, ObsSweep, Survivors};
use secateur::reference::prox::obs_sweep::{ColumnBlock, obs_sweep_row};

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

/// Rows, columns, first column and width of the block: one, around the rows of a workgroup, around its columns.
const BLOCKS: [[usize; 4]; 7] = [
    [1, 1, 0, 1],
    [7, 130, 0, 127],
    [8, 128, 0, 128],
    [9, 300, 16, 128],
    [131, 7, 2, 5],
    [2, 1030, 900, 112],
    [1, 257, 129, 128],
];

/// Inputs of one sweep. U is what its rows below the diagonal of the block say: garbage that must not be read.
struct Case {
    shape: [usize; 4],
    u: Vec<f32>,
    v: Vec<f32>,
    /// Of the whole matrix.
    free: Vec<f32>,
}

impl Case {
    fn new(shape: [usize; 4]) -> Self {
        let [rows, cols, first, width] = shape;
        let mut data = Data::new(32);
        let mut u: Vec<f32> = data.uniform(width * cols).iter().map(|v| v / 8.0).collect();
        for (j, row) in u.chunks_mut(cols).enumerate() {
            row[first + j] += 1.0;
            row[..first + j].fill(f32::NAN);
        }
        let free = data.below(4, rows * cols).iter().map(|v| f32::from(*v > 0)).collect();
        Case {
            shape,
            u,
            v: data.normal(rows * cols),
            free,
        }
    }

    /// The block's part of a matrix.
    fn part(&self, matrix: &[f32]) -> Vec<f32> {
        let [_, cols, first, width] = self.shape;
        matrix
            .chunks(cols)
            .flat_map(|row| &row[first..first + width])
            .copied()
            .collect()
    }

    /// v, support and err of the device; support starts as NaN.
    fn sweep(&self, gpu: &Gpu, pattern: Option<[usize; 2]>) -> [Vec<f32>; 3] {
        let [rows, cols, first, width] = self.shape;
        let (u, v) = (tensor(gpu, width, cols, &self.u), tensor(gpu, rows, cols, &self.v));
        let support = tensor(gpu, rows, cols, &vec![f32::NAN; rows * cols]);
        let err = tensor(gpu, rows, width, &vec![f32::NAN; rows * width]);
        let free = tensor(gpu, rows, cols, &self.free);
        let mask = tensor(gpu, rows, width, &self.part(&self.free));
        let survivors = match pattern {
            Some([n, m]) => Survivors::Nm { free: &free, n, m },
            None => Survivors::Given(&mask),
        };
        let call = ObsSweep {
            u: &u,
            first,
            survivors,
            v: &v,
            support: &support,
            err: &err,
        };
        play(gpu, |recording| prox::obs_sweep(recording, &call));
        [v, support, err].map(|t| t.fetch(gpu).unwrap())
    }

    /// The block's v and support, and err, of the twin in f64.
    fn wanted(&self, pattern: Option<[usize; 2]>) -> [Vec<f64>; 3] {
        let [rows, cols, first, width] = self.shape;
        let [keep, group] = pattern.unwrap_or([1, 1]);
        let u = f64s(&self.u);
        let block = ColumnBlock {
            u: &u,
            cols,
            first,
            keep,
            group,
        };
        let (mut v, allowed) = (f64s(&self.part(&self.v)), f64s(&self.part(&self.free)));
        let (mut support, mut err) = (vec![f64::NAN; rows * width], vec![f64::NAN; rows * width]);
        for row in 0..rows {
            let at = row * width..(row + 1) * width;
            let (v, support, err) = (&mut v[at.clone()], &mut support[at.clone()], &mut err[at.clone()]);
            obs_sweep_row(&block, &allowed[at], v, support, err);
        }
        [v, support, err]
    }
}

#[test]
fn equals_the_twin() {
    for gpu in devices() {
        for shape in BLOCKS {
            let [rows, cols, first, width] = shape;
            let case = Case::new(shape);
            for pattern in [None, Some([2, 4]), Some([1, 3]), Some([5, 8]), Some([16, 16])] {
                let group = pattern.map_or(1, |[_, m]| m);
                if !(width.is_multiple_of(group) && first.is_multiple_of(group)) {
                    continue;
                }
                let [v, support, err] = case.sweep(gpu, pattern);
                let wanted = case.wanted(pattern);
                let what = format!("{} {rows}x{cols}, {width} from {first}, {pattern:?}", gpu.name());
                assert_eq!(f64s(&case.part(&support)), wanted[1], "{what}");
                // A few roundings for each of the columns before, which grow by the factors of U.
                let tolerance = 16.0 * f64::from(f32::EPSILON) * (width as f64).sqrt();
                assert_close(&what, &case.part(&v), &wanted[0], tolerance);
                assert_close(&what, &err, &wanted[2], tolerance);
                for (i, (v, before)) in v.iter().zip(&case.v).enumerate() {
                    if !(first..first + width).contains(&(i % cols)) {
                        assert!(
                            v == before && support[i].is_nan(),
                            "{what}: column {} changed",
                            i % cols
                        );
                    }
                }
            }
        }
    }
}

/// With a diagonal U nothing makes up for anything: N:M is that of `|v / U_jj|`, ties by lower index.
#[test]
fn a_diagonal_factor_chooses_by_score() {
    for gpu in devices() {
        let case = Case {
            shape: [1, 8, 0, 8],
            u: (0..64)
                .map(|i| if i % 9 == 0 { [1.0, 2.0][i / 9 % 2] } else { 0.0 })
                .collect(),
            v: vec![1.0, -2.0, 1.0, 2.0, 3.0, 3.0, 5.0, 0.0],
            free: vec![1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0],
        };
        let [v, support, err] = case.sweep(gpu, Some([2, 4]));
        assert_eq!(support, [1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0], "{}", gpu.name());
        assert_eq!(v, [1.0, -2.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0], "{}", gpu.name());
        assert_eq!(err, [0.0, 0.0, 1.0, 1.0, 3.0, 0.0, 5.0, 0.0], "{}", gpu.name());
    }
}

/// Two columns by hand: pruning the first moves the second by `−v0 U01 / U00`.
#[test]
fn the_columns_to_the_right_make_up() {
    for gpu in devices() {
        let case = Case {
            shape: [1, 2, 0, 2],
            u: vec![2.0, 0.5, f32::NAN, 4.0],
            v: vec![3.0, 1.0],
            free: vec![0.0, 1.0],
        };
        assert_eq!(case.sweep(gpu, None), [vec![0.0, 0.25], vec![0.0, 1.0], vec![1.5, 0.0]]);
    }
}
