use secateur::ops::dense;
use secateur::reference::dense::scatter_rows::scatter_rows;

use crate::common::{Data, assert_close, devices, f64s, play, tensor};

#[test]
fn weighted_rows_reach_their_places() {
    for gpu in devices() {
        // Rows of x, rows of out, columns.
        for [count, out_rows, cols] in [
            [1, 1, 1],
            [3, 5, 63],
            [64, 64, 64],
            [7, 131, 65],
            [131, 7, 130],
            [65_537, 65_600, 1],
        ] {
            let mut data = Data::new(6);
            // 7919 is prime to these lengths: no number twice, and some beyond out.
            let span = count.max(out_rows) + 3;
            let rows: Vec<u32> = (0..count).map(|i| (i * 7919 % span) as u32).collect();
            let (weights, x) = (data.uniform(count), data.uniform(count * cols));
            let out = data.uniform((out_rows + 1) * cols);
            let ids = gpu.upload("rows", bytemuck::cast_slice(&rows)).unwrap().slice();
            let (w, x_tensor) = (tensor(gpu, 1, count, &weights), tensor(gpu, count, cols, &x));
            let whole = tensor(gpu, out_rows + 1, cols, &out);
            play(gpu, |r| {
                dense::scatter_rows(r, &ids, &w, &x_tensor, &whole.row_window(0, out_rows));
            });
            let mut wanted = f64s(&out);
            scatter_rows(&rows, &f64s(&weights), &f64s(&x), cols, &mut wanted[..out_rows * cols]);
            let what = format!("{} {count} of {out_rows} rows of {cols}", gpu.name());
            let tolerance = 2.0 * f64::from(f32::EPSILON);
            let found = whole.fetch(gpu).unwrap();
            assert_close(&what, &found, &wanted, tolerance);
            assert_eq!(found[out_rows * cols..], out[out_rows * cols..], "{what}: guard row");
        }
    }
}

#[test]
fn numbers_beyond_out_are_skipped() {
    for gpu in devices() {
        // 2^31 times two columns wraps round to row 0.
        let rows = [2u32, 3, u32::MAX, 1 << 31, 0];
        let ids = gpu.upload("rows", bytemuck::cast_slice(&rows)).unwrap().slice();
        let weights = tensor(gpu, 1, 5, &[10.0, 100.0, 1e3, 1e4, 2.0]);
        let x = tensor(gpu, 5, 2, &[1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 3.0, 4.0]);
        let out = tensor(gpu, 3, 2, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        play(gpu, |r| dense::scatter_rows(r, &ids, &weights, &x, &out));
        let wanted = f64s(&[7.0, 10.0, 3.0, 4.0, 15.0, 26.0]);
        assert_close(gpu.name(), &out.fetch(gpu).unwrap(), &wanted, 0.0);
    }
}
