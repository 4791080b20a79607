use secateur::gpu::{Gpu, Slice};
use secateur::ops::dense;
use secateur::reference::dense::points_gather::points_gather;

use crate::common::{Data, devices, play, poisoned, tensor};

/// Places asked for, rows and columns of the window, and its first row.
pub(super) const CASES: [[usize; 4]; 6] = [
    [1, 1, 1, 0],
    [255, 16, 16, 0],
    [256, 31, 17, 3],
    [257, 131, 7, 0],
    [1000, 5, 4099, 2],
    [70_000, 400, 401, 0],
];

/// Different places in and around a window.
pub(super) fn places(gpu: &Gpu, [count, rows, cols, first]: [usize; 4]) -> (Vec<u32>, Slice) {
    let span = (rows + 2 * first) * cols;
    // 7919 is prime to these sizes: no place twice.
    let places: Vec<u32> = (0..count.min(span)).map(|i| (i * 7919 % span) as u32).collect();
    let slice = gpu.upload("places", bytemuck::cast_slice(&places)).unwrap().slice();
    (places, slice)
}

#[test]
fn elements_at_places() {
    for gpu in devices() {
        for case in CASES {
            let [_, rows, cols, first] = case;
            let (places, ids) = places(gpu, case);
            let mut data = Data::new(70);
            let (x, scale) = (data.uniform(rows * cols), data.uniform(places.len()));
            let (out, s) = (poisoned(gpu, 1, places.len()), tensor(gpu, 1, places.len(), &scale));
            let x_tensor = tensor(gpu, rows, cols, &x);
            play(gpu, |r| dense::points_gather(r, &ids, &s, first, &x_tensor, &out));
            let mut wanted = vec![f32::NAN; places.len()];
            points_gather(&places, &scale, first * cols, &x, &mut wanted);
            let found = out.fetch(gpu).unwrap();
            let bits = |v: &[f32]| v.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&found), bits(&wanted), "{} {case:?}", gpu.name());
            for (i, place) in places.iter().enumerate() {
                let inside = (*place as usize).checked_sub(first * cols).filter(|at| *at < x.len());
                match inside {
                    Some(at) => assert_eq!(wanted[i], scale[i] * x[at]),
                    None => assert!(wanted[i].is_nan()),
                }
            }
        }
    }
}
