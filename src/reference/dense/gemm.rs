//! General matrix product.

use half::{bf16, f16};
use num_traits::Float;

/// A strided matrix on a slice.
#[derive(Clone, Copy)]
pub struct View<'a, T> {
    data: &'a [T],
    start: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Copy> View<'a, T> {
    /// Element (r, c) is `data[start + r * row_stride + c * col_stride]`.
    pub fn new(data: &'a [T], start: usize, row_stride: usize, col_stride: usize) -> Self {
        View {
            data,
            start,
            row_stride,
            col_stride,
        }
    }

    /// A row-major matrix that fills the slice.
    pub fn row_major(data: &'a [T], cols: usize) -> Self {
        View::new(data, 0, cols, 1)
    }

    /// The transpose of a row-major matrix of `cols` columns.
    pub fn transposed(data: &'a [T], cols: usize) -> Self {
        View::new(data, 0, 1, cols)
    }

    /// Rows and columns exchanged.
    pub fn transpose(self) -> Self {
        View {
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// The same matrix without its first `skip` columns.
    pub fn columns(self, skip: usize) -> Self {
        View {
            start: self.start + skip * self.col_stride,
            ..self
        }
    }

    /// Element (r, c).
    pub fn at(&self, r: usize, c: usize) -> T {
        self.data[self.start + r * self.row_stride + c * self.col_stride]
    }

    fn check(&self, rows: usize, cols: usize) {
        let last = self.start + (rows - 1) * self.row_stride + (cols - 1) * self.col_stride;
        assert!(
            last < self.data.len(),
            "view of {rows} x {cols} ends at {last}, slice has {}",
            self.data.len()
        );
    }
}

/// A right operand as it is stored: words that hold f32 (format 0), f16 (1) or bf16 (2).
#[derive(Clone, Copy)]
pub struct Stored<'a> {
    /// The memory.
    pub words: &'a [u32],
    /// Element type.
    pub format: u32,
    /// First element.
    pub start: usize,
    /// Row stride in elements.
    pub stride: usize,
    /// Whether a row of it is a column of the operand.
    pub transposed: bool,
}

impl Stored<'_> {
    /// Hands `act` the operand as `[inner, cols]` in f32.
    pub fn view<R>(self, inner: usize, cols: usize, act: impl FnOnce(View<'_, f32>) -> R) -> R {
        let [rows, width] = if self.transposed { [cols, inner] } else { [inner, cols] };
        let decoded;
        let (data, start, stride) = if self.format == 0 {
            (bytemuck::cast_slice(self.words), self.start, self.stride)
        } else {
            decoded = decode_rows(self.format, self.words, self.start, rows, width, self.stride);
            (&decoded[..], 0, width)
        };
        let view = View::new(data, start, stride, 1);
        act(if self.transposed { view.transpose() } else { view })
    }
}

/// Where the product goes and how it is combined: `alpha * product + beta * old` (beta 0 does not read the old).
#[derive(Clone, Copy)]
pub struct Target<T> {
    /// First element.
    pub start: usize,
    /// Row stride in elements; columns are neighbours.
    pub stride: usize,
    /// Factor of the product.
    pub alpha: T,
    /// Factor of the old contents.
    pub beta: T,
}

/// `out = alpha * a * b + beta * out` with `[rows, cols, inner] = shape`, sums with k ascending.
pub fn gemm<T: Float>(shape: [usize; 3], a: View<'_, T>, b: View<'_, T>, target: Target<T>, out: &mut [T]) {
    let [rows, cols, inner] = shape;
    for r in 0..rows {
        for c in 0..cols {
            let mut sum = T::zero();
            for k in 0..inner {
                sum = sum + a.at(r, k) * b.at(k, c);
            }
            let at = target.start + r * target.stride + c;
            let old = if target.beta == T::zero() {
                T::zero()
            } else {
                target.beta * out[at]
            };
            out[at] = target.alpha * sum + old;
        }
    }
}

/// The same in f32 on a GEMM crate and all cores.
pub fn gemm_fast(shape: [usize; 3], a: View<'_, f32>, b: View<'_, f32>, target: Target<f32>, out: &mut [f32]) {
    let [rows, cols, inner] = shape;
    let parallelism = if rows * cols * inner < 1 << 16 || rayon::current_num_threads() == 1 {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    gemm_on(parallelism, shape, a, b, target, out);
}

/// [`gemm_fast`] on the calling thread alone, for callers that keep all cores busy themselves.
pub fn gemm_fast_single(shape: [usize; 3], a: View<'_, f32>, b: View<'_, f32>, target: Target<f32>, out: &mut [f32]) {
    gemm_on(gemm::Parallelism::None, shape, a, b, target, out);
}

fn gemm_on(
    parallelism: gemm::Parallelism,
    shape: [usize; 3],
    a: View<'_, f32>,
    b: View<'_, f32>,
    target: Target<f32>,
    out: &mut [f32],
) {
    let [rows, cols, inner] = shape;
    if rows == 0 || cols == 0 {
        return;
    }
    if inner == 0 {
        return gemm(shape, a, b, target, out);
    }
    a.check(rows, inner);
    b.check(inner, cols);
    assert!(
        target.start + (rows - 1) * target.stride + cols <= out.len(),
        "product lies outside its slice"
    );
    // SAFETY: the three checks above keep every element inside its slice; `out` is borrowed mutably, so it overlaps
    // neither operand.
    unsafe {
        gemm::gemm(
            rows,
            cols,
            inner,
            out.as_mut_ptr().add(target.start),
            1,
            target.stride as isize,
            target.beta != 0.0,
            a.data.as_ptr().add(a.start),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr().add(b.start),
            b.col_stride as isize,
            b.row_stride as isize,
            target.beta,
            target.alpha,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Value of element `index` of words that hold f32 (format 0), f16 (1) or bf16 (2).
pub fn decode(format: u32, words: &[u32], index: usize) -> f32 {
    if format == 0 {
        return f32::from_bits(words[index]);
    }
    let bits = (words[index / 2] >> (16 * (index % 2))) as u16;
    if format == 1 {
        f16::from_bits(bits).to_f32()
    } else {
        bf16::from_bits(bits).to_f32()
    }
}

/// A block of a stored matrix as row-major f32.
pub fn decode_rows(format: u32, words: &[u32], start: usize, rows: usize, cols: usize, stride: usize) -> Vec<f32> {
    use rayon::prelude::*;
    let mut out = vec![0.0; rows * cols];
    out.par_chunks_mut(cols.max(1)).enumerate().for_each(|(r, row)| {
        for (c, value) in row.iter_mut().enumerate() {
            *value = decode(format, words, start + r * stride + c);
        }
    });
    out
}
