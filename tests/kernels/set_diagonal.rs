use secateur::ops::dense;
use secateur::reference::dense::set_diagonal::set_diagonal;

use crate::common::{Data, devices, play, tensor};

#[test]
fn diagonal_of_a_panel() {
    for gpu in devices() {
        for [rows, cols, first] in [[1, 1, 0], [63, 64, 1], [64, 64, 0], [65, 131, 7], [2, 300, 298]] {
            let mut data = Data::new(6);
            let (x, values) = (data.uniform(rows * cols), data.uniform(cols + 3));
            let (panel, given) = (tensor(gpu, rows, cols, &x), tensor(gpu, 1, cols + 3, &values));
            play(gpu, |recording| dense::set_diagonal(recording, &given, first, &panel));
            let mut wanted = x;
            set_diagonal([rows, cols], first, &values, &mut wanted);
            assert_eq!(
                panel.fetch(gpu).unwrap(),
                wanted,
                "{} {rows}x{cols} from {first}",
                gpu.name()
            );
        }
    }
}
