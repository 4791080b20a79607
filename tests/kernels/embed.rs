use secateur::ops::nn::embed;
use secateur::reference::nn::embed::embed as twin;
use secateur::tensor::DType;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, stored, tensor};

#[test]
fn rows_by_id_from_two_windows() {
    const VOCABULARY: usize = 101;
    const SPLIT: usize = 40;
    for gpu in devices() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for [tokens, width] in [[1, 1], [3, 63], [64, 64], [131, 65], [7, 130], [65_537, 1]] {
                // More rows than one dimension of workgroups: once is enough, software adapters are slow.
                if tokens > 65_535 && dtype != DType::F32 {
                    continue;
                }
                let mut data = Data::new(2);
                let values = data.uniform(VOCABULARY * width);
                let (low, mut seen) = stored(gpu, SPLIT, width, &values[..SPLIT * width], dtype);
                let (high, rest) = stored(gpu, VOCABULARY - SPLIT, width, &values[SPLIT * width..], dtype);
                seen.extend(rest);
                let ids = data.below(VOCABULARY as u32, tokens);
                let ids_buffer = gpu.upload("ids", bytemuck::cast_slice(&ids)).unwrap().slice();
                let whole = poisoned(gpu, tokens + 1, width);
                let out = whole.row_window(0, tokens);
                play(gpu, |r| {
                    embed(r, &ids_buffer, &low, 0, &out);
                    embed(r, &ids_buffer, &high, SPLIT, &out);
                });
                let mut wanted = vec![f64::NAN; tokens * width];
                twin(&ids, 0..VOCABULARY, width, |i| f64::from(seen[i]), &mut wanted);
                let found = whole.fetch(gpu).unwrap();
                let what = format!("{} {dtype:?} {tokens}x{width}", gpu.name());
                assert_close(&what, &found[..tokens * width], &wanted, 0.0);
                assert!(found[tokens * width..].iter().all(|v| v.is_nan()), "{what}: guard row");
            }
        }
    }
}

#[test]
fn rows_outside_the_window_stay() {
    for gpu in devices() {
        let table = [1.0, 2.0, 3.0, 4.0];
        let window = tensor(gpu, 2, 2, &table);
        let ids = gpu
            .upload("ids", bytemuck::cast_slice(&[4u32, 5, 6, 7, 0]))
            .unwrap()
            .slice();
        let out = tensor(gpu, 5, 2, &[-1.0; 10]);
        play(gpu, |r| embed(r, &ids, &window, 5, &out));
        let wanted = f64s(&[-1.0, -1.0, 1.0, 2.0, 3.0, 4.0, -1.0, -1.0, -1.0, -1.0]);
        assert_close(gpu.name(), &out.fetch(gpu).unwrap(), &wanted, 0.0);
    }
}
