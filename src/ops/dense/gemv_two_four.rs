//! `dense/gemv_two_four`: a 2:4 matrix times a vector, from its packed form.

use rayon::prelude::*;

use crate::gpu::{Gpu, GpuError, HostCall, Kernel, Knob, Recording, Slice, Workload, f32s, f32s_mut, params};
use crate::reference::dense::gemm::decode_rows;
use crate::reference::dense::gemv_two_four as twin;
use crate::tensor::{DType, Tensor};

params! {
    /// Sizes.
    struct Params {
        /// Rows of the matrix.
        rows: u32,
        /// Groups of four columns in a row.
        groups: u32,
        /// Words of places in a row.
        words: u32,
        /// Padding.
        pad0: u32,
    }
}

/// The kernel row.
pub(super) static KERNEL: Kernel = Kernel {
    stem: "dense/gemv_two_four",
    source: include_str!("../../../shaders/dense/gemv_two_four.wgsl"),
    knobs: &[Knob {
        name: "FORMAT",
        values: &[0, 1, 2],
    }],
    params: Params::FIELDS,
    reads: 3,
    writes: 1,
    host,
};

/// A matrix of which at most two of every four weights along a row are not zero: those two, and two bits each that say
/// where they are. In half precision 9/16 of the bytes of the dense matrix.
pub struct TwoFour {
    /// `[rows, cols / 2]`, any element type.
    values: Tensor,
    /// `[rows, words]` u32.
    places: Slice,
}

impl TwoFour {
    /// Packs rows of `cols` weights, a multiple of 4, rounded to `dtype`. Panics where more than two of four are not zero.
    pub fn upload(gpu: &Gpu, weights: &[f32], cols: usize, dtype: DType) -> Result<Self, GpuError> {
        assert!(cols.is_multiple_of(4), "gemv_two_four: {cols} columns");
        let packed = twin::pack(weights, cols)
            .unwrap_or_else(|[row, group]| panic!("gemv_two_four: row {row}, group {group} is not 2:4"));
        let shape = [weights.len() / cols, cols / 2];
        let places = gpu.upload("places", bytemuck::cast_slice(&packed.places))?;
        Ok(TwoFour {
            values: Tensor::upload_stored(gpu, "kept weights", shape, dtype, &dtype.encode(&packed.values))?,
            places: places.slice(),
        })
    }

    /// Bytes of weights and places.
    pub fn bytes(&self) -> u64 {
        self.values.slice().len + self.places.len
    }
}

/// Records `y = matrix x` for x `[1, cols]` and y `[1, rows]`. Panics on other shapes.
pub fn gemv_two_four(recording: &mut Recording, matrix: &TwoFour, x: &Tensor, y: &Tensor) {
    let [rows, kept] = matrix.values.shape();
    assert_eq!(x.len(), 2 * kept, "gemv_two_four: length of x");
    assert_eq!(y.len(), rows, "gemv_two_four: length of y");
    let params = Params {
        rows: rows as u32,
        groups: (kept / 2) as u32,
        words: twin::words(2 * kept) as u32,
        pad0: 0,
    };
    let bindings = [matrix.values.slice(), matrix.places.clone(), x.slice(), y.slice()];
    let work = Workload::rows(rows, 2.0 * (rows * kept) as f64);
    recording.dispatch(&KERNEL, &[matrix.values.dtype().code()], &params, &bindings, work);
}

fn host(call: &mut HostCall<'_>) {
    let p: Params = call.params();
    let format = call.knobs[0];
    let (rows, kept, words) = (p.rows as usize, 2 * p.groups as usize, p.words as usize);
    let ([values, places, x], [y]) = call.split::<3, 1>();
    let x = &f32s(x)[..2 * kept];
    let places = places[..rows * words].par_chunks(words);
    places
        .zip(f32s_mut(&mut y[..rows]))
        .enumerate()
        .for_each(|(row, (places, y))| {
            let decoded;
            let line = if format == 0 {
                &f32s(values)[row * kept..][..kept]
            } else {
                decoded = decode_rows(format, values, row * kept, 1, kept, kept);
                &decoded
            };
            *y = twin::dot(line, places, x);
        });
}
