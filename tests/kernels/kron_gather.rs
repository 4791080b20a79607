use secateur::gpu::Recording;
use secateur::ops::factor::{KronGather, kron_gather};
use secateur::tensor::PanelMatrix;

use super::panel_read::matrix;
use crate::common::{Data, assert_close, devices, open, play, poisoned, tensor};

#[test]
fn elements_of_the_kronecker_product() {
    let small = open("cpu", Some(16 * 1024));
    for gpu in devices().iter().chain([&small]) {
        // Outputs, inputs, first row and rows of g, places.
        for [m, n, g_first, height, count] in [
            [1, 1, 0, 1, 1],
            [6, 8, 0, 6, 15],
            [9, 131, 4, 3, 64],
            [40, 17, 0, 40, 65],
            [5, 131, 1, 4, 257],
        ] {
            let mut data = Data::new(72);
            let (a, a_values) = matrix(gpu, n);
            let g_values = data.uniform(height * m);
            let scale = data.uniform(count);
            let span = height * n;
            let step = (1..)
                .map(|i| 7919 + i)
                .find(|step| span % step != 0 && gcd(*step, span) == 1);
            let step = step.expect("there is a number prime to it");
            let places: Vec<u32> = (0..count.min(span))
                .map(|i| (g_first * n + i * step % span) as u32)
                .collect();
            assert_eq!(places.len(), count, "enough places");
            let ids = gpu.upload("places", bytemuck::cast_slice(&places)).unwrap().slice();
            let mut recording = Recording::new();
            let out = PanelMatrix::zeros(gpu, &mut recording, "out", count).unwrap();
            for (_, panel) in out.panels() {
                recording.copy(&poisoned(gpu, panel.rows(), count).slice(), &panel.slice());
            }
            gpu.submit(recording).unwrap();
            let (g, s) = (tensor(gpu, height, m, &g_values), tensor(gpu, 1, count, &scale));
            let call = KronGather {
                places: &ids,
                scale: &s,
                g: &g,
                g_first,
                a: &a,
            };
            play(gpu, |recording| kron_gather(recording, &call, &out));
            let split = |i: usize| (places[i] as usize / n, places[i] as usize % n);
            let wanted: Vec<f64> = (0..count * count)
                .map(|i| {
                    let ((r, c), (r2, c2)) = (split(i / count), split(i % count));
                    let product = f64::from(g_values[(r - g_first) * m + r2]) * f64::from(a_values[c * n + c2]);
                    f64::from(scale[i / count]) * f64::from(scale[i % count]) * product
                })
                .collect();
            let found: Vec<f32> = out.panels().flat_map(|(_, p)| p.fetch(gpu).unwrap()).collect();
            let tolerance = 2.0 * f64::from(f32::EPSILON);
            assert_close(&format!("{} {m}x{n} {count}", gpu.name()), &found, &wanted, tolerance);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
