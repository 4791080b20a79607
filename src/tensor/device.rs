//! A row-major matrix in device memory.

use crate::gpu::{Gpu, GpuError, Recording, Slice};

use super::DType;

/// A row-major `[rows, cols]` matrix in a device buffer; vectors are `[1, n]`. Cloning shares the memory.
#[derive(Clone)]
pub struct Tensor {
    slice: Slice,
    rows: usize,
    cols: usize,
    dtype: DType,
}

impl Tensor {
    /// An f32 matrix with undefined contents.
    pub fn empty(gpu: &Gpu, label: &str, rows: usize, cols: usize) -> Result<Self, GpuError> {
        let slice = gpu.buffer(label, (rows * cols * 4) as u64)?.slice();
        Ok(Tensor {
            slice,
            rows,
            cols,
            dtype: DType::F32,
        })
    }

    /// An f32 matrix of zeros; the fill is recorded.
    pub fn zeros(
        gpu: &Gpu,
        recording: &mut Recording,
        label: &str,
        rows: usize,
        cols: usize,
    ) -> Result<Self, GpuError> {
        let tensor = Self::empty(gpu, label, rows, cols)?;
        recording.clear(&tensor.slice);
        Ok(tensor)
    }

    /// Uploads f32 values. Panics if their number is not rows * cols.
    pub fn upload(gpu: &Gpu, label: &str, rows: usize, cols: usize, values: &[f32]) -> Result<Self, GpuError> {
        assert_eq!(values.len(), rows * cols, "`{label}`: values for [{rows}, {cols}]");
        Self::upload_stored(gpu, label, [rows, cols], DType::F32, bytemuck::cast_slice(values))
    }

    /// Uploads little-endian elements of a stored type as they are.
    pub fn upload_stored(
        gpu: &Gpu,
        label: &str,
        [rows, cols]: [usize; 2],
        dtype: DType,
        bytes: &[u8],
    ) -> Result<Self, GpuError> {
        assert_eq!(
            bytes.len(),
            rows * cols * dtype.size(),
            "`{label}`: bytes for [{rows}, {cols}]"
        );
        Ok(Tensor {
            slice: gpu.upload(label, bytes)?.slice(),
            rows,
            cols,
            dtype,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// `[rows, cols]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.cols]
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.rows * self.cols
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The memory as a binding.
    pub fn slice(&self) -> Slice {
        self.slice.clone()
    }

    /// Name in messages.
    pub fn label(&self) -> &str {
        self.slice.buffer.label()
    }

    /// The same elements as `[rows, cols]`. Panics if their number differs.
    pub fn reshaped(&self, rows: usize, cols: usize) -> Tensor {
        assert_eq!(
            self.len(),
            rows * cols,
            "`{}`: {:?} as [{rows}, {cols}]",
            self.label(),
            self.shape()
        );
        Tensor {
            rows,
            cols,
            ..self.clone()
        }
    }

    /// Rows `first .. first + count` in the same memory. Panics unless the window starts on a whole word; whether its
    /// start suits the device is [`Tensor::window_rows`]'s concern.
    pub fn row_window(&self, first: usize, count: usize) -> Tensor {
        assert!(
            first + count <= self.rows,
            "`{}`: rows {first} + {count} of {}",
            self.label(),
            self.rows
        );
        let row = (self.cols * self.dtype.size()) as u64;
        let (start, len) = (first as u64 * row, (count as u64 * row).next_multiple_of(4));
        let slice = self.slice.buffer.window(self.slice.offset + start, len);
        Tensor {
            slice,
            rows: count,
            cols: self.cols,
            dtype: self.dtype,
        }
    }

    /// Largest number of rows, at most `wanted`, whose windows fit a binding and start where the device allows.
    /// Returns all rows if the whole tensor fits and `wanted` covers it.
    pub fn window_rows(&self, gpu: &Gpu, wanted: usize) -> usize {
        let limits = gpu.limits();
        let row = (self.cols * self.dtype.size()) as u64;
        if wanted >= self.rows && row * self.rows as u64 <= limits.binding {
            return self.rows.max(1);
        }
        // The smallest number of rows that is a multiple of the alignment in bytes.
        let step = limits.alignment / gcd(row.max(1), limits.alignment);
        let fitting = (limits.binding / row.max(1)).min(wanted as u64) / step * step;
        fitting.max(step) as usize
    }

    /// All values as f32, waiting for the device.
    pub fn fetch(&self, gpu: &Gpu) -> Result<Vec<f32>, GpuError> {
        let words = gpu.fetch(&self.slice)?;
        let mut values = self.dtype.decode(bytemuck::cast_slice(&words));
        values.truncate(self.len());
        Ok(values)
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
