use secateur::ops::prox;
use secateur::reference::prox::group_cost::group_cost;
use secateur::reference::prox::project_nm::project_nm;

use crate::common::{Data, assert_close, devices, f64s, play, poisoned, tensor};

#[test]
fn sum_of_what_a_group_loses() {
    for gpu in devices() {
        for ([n, m], [rows, groups]) in [
            ([1, 2], [1, 1]),
            ([2, 4], [3, 85]),
            ([2, 4], [2, 128]),
            ([4, 8], [1, 257]),
            ([3, 5], [131, 7]),
            ([15, 16], [2, 300]),
        ] {
            let cols = groups * m;
            let mut data = Data::new(74);
            // A few values only: ties; and zero weights, which cost nothing or something.
            let costs: Vec<f32> = data.below(5, rows * cols).iter().map(|v| *v as f32 * 0.3).collect();
            let w: Vec<f32> = data.below(3, rows * cols).iter().map(|v| *v as f32 - 1.0).collect();
            let [c, w_tensor] = [&costs, &w].map(|v| tensor(gpu, rows, cols, v));
            let [cost, open] = [(); 2].map(|()| poisoned(gpu, rows, groups));
            play(gpu, |r| prox::group_cost(r, [&c, &w_tensor], [n, m], [&cost, &open]));
            let (costs, w) = (f64s(&costs), f64s(&w));
            let pairs = costs.chunks(m).zip(w.chunks(m));
            let wanted: Vec<(f64, bool)> = pairs.map(|(c, w)| group_cost(c, w, n)).collect();
            let what = format!("{} {n}:{m} {rows}x{groups}", gpu.name());
            let sums: Vec<f64> = wanted.iter().map(|w| w.0).collect();
            assert_close(
                &what,
                &cost.fetch(gpu).unwrap(),
                &sums,
                m as f64 * f64::from(f32::EPSILON),
            );
            let opens: Vec<f32> = wanted.iter().map(|w| f32::from(w.1)).collect();
            assert_eq!(open.fetch(gpu).unwrap(), opens, "{what}");
            // What the projection removes.
            let [mut kept, mut support] = [(); 2].map(|()| vec![0.0; costs.len()]);
            project_nm(n, m, &costs, &w, &mut kept, &mut support);
            let lost: Vec<f64> = costs.iter().zip(&support).map(|(c, s)| c * (1.0 - s)).collect();
            for (sum, lost) in sums.iter().zip(lost.chunks(m)) {
                assert!((sum - lost.iter().sum::<f64>()).abs() < 1e-12, "{what}");
            }
        }
    }
}
