//! The device room: choice of adapters, typed errors, reuse, and the switch that checks kernels against their twins.

mod budget;
mod tune;

use secateur::gpu::{AdapterChoice, Gpu, GpuError, GpuOptions, HostCall, Kernel, Recording, Workload};
use secateur::ops::dense::{self, Gemm, GramPart, Layout};
use secateur::tensor::Tensor;

use crate::common::{devices, own_devices, play, reopen, tensor};

/// A wrong twin under a right shader.
static LIAR: Kernel = Kernel {
    stem: "dense/axpby",
    source: include_str!("../../shaders/dense/axpby.wgsl"),
    knobs: &[],
    params: &[],
    reads: 1,
    writes: 1,
    host: lie,
};

fn lie(call: &mut HostCall<'_>) {
    let ([_], [y]) = call.split::<1, 1>();
    secateur::gpu::f32s_mut(y).fill(-7.0);
}

#[test]
fn choices_are_read_as_documented() {
    let parse = |text: &str| text.parse::<AdapterChoice>().unwrap();
    assert_eq!(parse(""), AdapterChoice::Auto);
    assert_eq!(parse("auto"), AdapterChoice::Auto);
    assert_eq!(parse("cpu"), AdapterChoice::Cpu);
    assert_eq!(parse("3"), AdapterChoice::Index(3));
    assert_eq!(parse("Radeon"), AdapterChoice::Name("Radeon".to_string()));
    for text in ["auto", "cpu", "3", "Radeon"] {
        assert_eq!(parse(text).to_string(), text);
    }
}

#[test]
fn an_unknown_adapter_names_what_there_is() {
    for wanted in ["no such card", "999"] {
        let options = GpuOptions {
            adapter: wanted.parse().unwrap(),
            ..Default::default()
        };
        match Gpu::open(options) {
            Err(GpuError::NoSuchAdapter {
                wanted: named,
                available,
            }) => {
                assert_eq!(named, wanted);
                assert!(available.contains("cpu"), "{available}");
            }
            Err(other) => panic!("{other}"),
            Ok(gpu) => panic!("opened {}", gpu.name()),
        }
    }
}

#[test]
fn buffers_and_bindings_beyond_the_limits_are_named() {
    for gpu in devices().iter().filter(|g| !g.is_host()) {
        let too_much = gpu.limits().buffer + 4;
        match gpu.buffer("huge", too_much) {
            Err(GpuError::BufferTooLarge { label, bytes, .. }) => {
                assert_eq!(label, "huge");
                assert!(bytes >= too_much);
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("allocated more than the limit"),
        }
        let max_binding = Some(1024);
        let small = reopen(
            gpu,
            GpuOptions {
                max_binding,
                ..Default::default()
            },
        );
        let (a, b) = (tensor(&small, 20, 20, &[1.0; 400]), tensor(&small, 20, 20, &[1.0; 400]));
        let mut recording = Recording::new();
        dense::axpby(&mut recording, 1.0, &a, 1.0, &b);
        match small.submit(recording) {
            Err(GpuError::BindingTooLarge {
                kernel,
                bytes: 1600,
                limit: 1024,
                ..
            }) => assert_eq!(kernel, "dense/axpby"),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("a binding beyond the limit went through"),
        }
    }
}

#[test]
fn buffers_are_reused_without_mixing_contents() {
    // Of its own: nobody else takes what is freed here.
    for gpu in &own_devices(GpuOptions::default()) {
        let mut last = Vec::new();
        for round in 0..20 {
            let a = tensor(gpu, 8, 8, &[round as f32; 64]);
            let b = tensor(gpu, 8, 8, &[1.0; 64]);
            let out = Tensor::empty(gpu, "out", 8, 8).unwrap();
            // Not waited for: the next round's upload may take the freed memory of this one.
            let mut recording = Recording::new();
            dense::gemm(&mut recording, gpu, &Gemm::new(&a, &b, Layout::NN, &out));
            gpu.submit(recording).unwrap();
            last.push((out, 8.0 * round as f32));
        }
        for (out, wanted) in last {
            assert_eq!(out.fetch(gpu).unwrap(), [wanted; 64], "{}", gpu.name());
        }
    }
}

#[test]
fn the_verify_switch_names_the_first_wrong_command() {
    for gpu in devices().iter().filter(|g| !g.is_host()) {
        let options = GpuOptions {
            verify: true,
            ..Default::default()
        };
        let checked = reopen(gpu, options);
        let (x, y) = (tensor(&checked, 1, 8, &[1.0; 8]), tensor(&checked, 1, 8, &[2.0; 8]));
        play(&checked, |recording| dense::axpby(recording, 2.0, &x, 1.0, &y));
        assert_eq!(y.fetch(&checked).unwrap(), [4.0; 8]);
        let mut recording = Recording::new();
        dense::axpby(&mut recording, 2.0, &x, 1.0, &y);
        let parameters = [8u32, 1f32.to_bits(), 1f32.to_bits(), 0];
        recording.dispatch(&LIAR, &[], &parameters, &[x.slice(), y.slice()], Workload::flat(8, 256));
        match checked.submit(recording) {
            Err(GpuError::TwinMismatch {
                index: 1,
                kernel,
                binding: 1,
                host,
                ..
            }) => {
                assert_eq!((kernel.as_str(), host), ("dense/axpby", -7.0));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("the lie went through"),
        }
    }
}

/// The switch compares whole buffers, so device and host must leave the same elements alone, whatever their tiles.
#[test]
fn an_upper_gram_passes_the_verify_switch() {
    for gpu in devices().iter().filter(|g| !g.is_host()) {
        let options = GpuOptions {
            verify: true,
            ..Default::default()
        };
        let checked = reopen(gpu, options);
        let (tokens, n) = (5, 200);
        let values: Vec<f32> = (0..tokens * n).map(|i| (i * 7919 % 1009) as f32 / 1009.0).collect();
        let (x, total) = (
            tensor(&checked, tokens, n, &values),
            tensor(&checked, n, n, &vec![0.5; n * n]),
        );
        let part = GramPart {
            a: &x,
            a_col: 0,
            b: &x,
            total: &total,
            upper: true,
        };
        play(&checked, |recording| dense::gram_chunk(recording, &checked, &part));
        let found = total.fetch(&checked).unwrap();
        let below = (0..n).flat_map(|r| (0..r).map(move |c| r * n + c));
        assert!(below.map(|i| found[i]).all(|v| v == 0.5), "{}", gpu.name());
    }
}

#[test]
fn timings_are_kept_where_they_are_asked_for() {
    let options = GpuOptions {
        profile: true,
        ..Default::default()
    };
    for timed in own_devices(options) {
        let (x, y) = (tensor(&timed, 1, 8, &[1.0; 8]), tensor(&timed, 1, 8, &[2.0; 8]));
        play(&timed, |recording| dense::axpby(recording, 2.0, &x, 1.0, &y));
        let rows = timed.timings();
        assert_eq!(
            (rows.len(), rows[0].kernel.as_str(), rows[0].calls),
            (1, "dense/axpby", 1),
            "{}",
            timed.name()
        );
        // The only kernel of the only submission is all of the device's time.
        let device = if timed.has_timestamps() { rows[0].seconds } else { 0.0 };
        assert_eq!(timed.device_seconds(), device, "{}", timed.name());
        play(&timed, |recording| {
            for _ in 0..3 {
                dense::axpby(recording, 2.0, &x, 1.0, &y);
            }
        });
        // Of three in one submission it is at least their sum: they wait for each other.
        let (sum, span) = (timed.timings()[0].seconds, timed.device_seconds());
        assert!(
            span >= 0.999 * sum || !timed.has_timestamps(),
            "{}: {span} {sum}",
            timed.name()
        );
        assert_eq!(span > 0.0, timed.has_timestamps(), "{}", timed.name());
    }
}

/// Small pieces and rests change the time, not the result.
#[test]
fn a_gentle_device_does_the_same() {
    let [rows, inner, cols] = [70, 33, 90];
    let mut data = crate::common::Data::new(90);
    let (a, b) = (data.uniform(rows * inner), data.uniform(inner * cols));
    for gpu in devices().iter().filter(|gpu| !gpu.is_host()) {
        let options = GpuOptions {
            gentle: true,
            ..Default::default()
        };
        let gentle = reopen(gpu, options);
        assert!(gentle.dispatch_flops() < gpu.dispatch_flops());
        let product = |gpu: &Gpu| {
            let (a, b) = (tensor(gpu, rows, inner, &a), tensor(gpu, inner, cols, &b));
            let out = tensor(gpu, rows, cols, &vec![f32::NAN; rows * cols]);
            play(gpu, |recording| {
                dense::gemm(recording, gpu, &Gemm::new(&a, &b, Layout::NN, &out))
            });
            out.fetch(gpu).unwrap()
        };
        assert_eq!(product(&gentle), product(gpu), "{}", gpu.name());
    }
}
