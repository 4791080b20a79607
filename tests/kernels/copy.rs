use secateur::ops::bench::copy;

use crate::common::{Data, devices, play, poisoned, tensor};

#[test]
fn copies_every_bit() {
    for gpu in devices() {
        for quads in [1, 255, 256, 257, 4099] {
            let x = Data::new(60).uniform(4 * quads);
            let (from, out) = (tensor(gpu, 1, 4 * quads, &x), poisoned(gpu, 1, 4 * quads));
            play(gpu, |recording| copy(recording, &from, &out));
            assert_eq!(out.fetch(gpu).unwrap(), x, "{} {quads}", gpu.name());
        }
    }
}
