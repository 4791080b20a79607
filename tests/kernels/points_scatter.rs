use secateur::ops::dense;
use secateur::reference::dense::points_scatter::points_scatter;

use super::points_gather::{CASES, places};
use crate::common::{Data, devices, play, tensor};

#[test]
fn values_reach_their_places() {
    for gpu in devices() {
        for case in CASES {
            let [_, rows, cols, first] = case;
            let (places, ids) = places(gpu, case);
            let mut data = Data::new(71);
            let (x, scale, values) = (
                data.uniform((rows + 1) * cols),
                data.uniform(places.len()),
                data.uniform(places.len()),
            );
            let [s, v] = [&scale, &values].map(|v| tensor(gpu, 1, places.len(), v));
            let whole = tensor(gpu, rows + 1, cols, &x);
            play(gpu, |r| {
                dense::points_scatter(r, &ids, [&s, &v], first, &whole.row_window(0, rows));
            });
            let mut wanted = x.clone();
            points_scatter(&places, &scale, &values, first * cols, &mut wanted[..rows * cols]);
            let found = whole.fetch(gpu).unwrap();
            assert_eq!(found, wanted, "{} {case:?}", gpu.name());
            assert_eq!(found[rows * cols..], x[rows * cols..], "guard row");
            let inside = |p: &u32| (*p as usize).checked_sub(first * cols).filter(|at| *at < rows * cols);
            for (i, at) in places.iter().enumerate().filter_map(|(i, p)| Some((i, inside(p)?))) {
                assert_eq!(wanted[at], scale[i] * values[i]);
            }
            let written = places.iter().filter_map(inside).count();
            let changed = wanted.iter().zip(&x).filter(|(w, x)| w != x).count();
            assert!(
                changed <= written && 2 * changed >= written,
                "{case:?}: {changed} of {written}"
            );
        }
    }
}
