use secateur::ops::dense;
use secateur::reference::dense::diagonal::diagonal;

use crate::common::{Data, devices, play, tensor};

#[test]
fn diagonal_of_a_panel() {
    for gpu in devices() {
        for [rows, cols, first] in [[1, 1, 0], [63, 64, 1], [64, 64, 0], [65, 131, 7], [2, 300, 298]] {
            let mut data = Data::new(5);
            let (x, old) = (data.uniform(rows * cols), data.uniform(cols + 3));
            let (panel, out) = (tensor(gpu, rows, cols, &x), tensor(gpu, 1, cols + 3, &old));
            play(gpu, |recording| dense::diagonal(recording, &panel, first, &out));
            let mut wanted = old;
            diagonal([rows, cols], first, &x, &mut wanted);
            assert_eq!(
                out.fetch(gpu).unwrap(),
                wanted,
                "{} {rows}x{cols} from {first}",
                gpu.name()
            );
        }
    }
}
