//! `src/model/activations`: what is kept between layers, in memory or in a file, and across processes.

mod saved;

use half::{bf16, f16};
use secateur::model::{ActivationError, ActivationOptions, Activations, Ahead, batch_rows};
use secateur::tensor::DType;
use tempfile::TempDir;

use crate::common::{Data, devices};

const DTYPES: [DType; 3] = [DType::F32, DType::BF16, DType::F16];
/// 7 sequences of 3 tokens, 5 columns, 2 sequences a batch: batches of 6, 6, 6 and 3 rows.
const SIZES: [usize; 3] = [7, 3, 5];

fn options(dtype: DType, ram_budget: Option<u64>, spill_dir: &TempDir) -> ActivationOptions {
    ActivationOptions {
        dtype,
        ram_budget,
        spill_dir: spill_dir.path().into(),
        rows: 8,
    }
}

/// Filled with seeded values; also returns these.
fn filled(options: &ActivationOptions) -> (Activations, Vec<Vec<f32>>) {
    let [sequences, sequence, hidden] = SIZES;
    let mut activations = Activations::new(sequences, sequence, hidden, options).unwrap();
    let mut data = Data::new(11);
    let values: Vec<Vec<f32>> = (0..activations.batches())
        .map(|batch| data.normal(activations.rows(batch) * hidden))
        .collect();
    // Out of order: places do not depend on it.
    for batch in [2, 0, 3, 1] {
        activations.write(batch, &values[batch]).unwrap();
    }
    (activations, values)
}

#[test]
fn every_split_between_memory_and_file_keeps_the_same_values() {
    let spill = TempDir::new().unwrap();
    for dtype in DTYPES {
        let size = dtype.size() as u64;
        let (whole, total) = (30 * size, 105 * size);
        for (budget, memory) in [
            (None, total),
            (Some(total), total),
            // The last batch is smaller, but none goes to memory after one has gone to the file.
            (Some(total - 1), 3 * whole),
            (Some(2 * whole + 15 * size), 2 * whole),
            (Some(whole - 1), 0),
            (Some(0), 0),
        ] {
            let (activations, values) = filled(&options(dtype, budget, &spill));
            assert_eq!(activations.batches(), 4);
            assert_eq!([0, 1, 2, 3].map(|b| activations.rows(b)), [6, 6, 6, 3]);
            assert_eq!(activations.tokens(), 21);
            assert_eq!(activations.ram_bytes(), memory, "{dtype:?}, {budget:?}");
            assert_eq!(activations.file_bytes(), total - memory);
            for (batch, values) in values.iter().enumerate() {
                let rounded = dtype.decode(&dtype.encode(values));
                assert_eq!(
                    activations.read(batch).unwrap(),
                    rounded,
                    "{dtype:?}, {budget:?}, {batch}"
                );
                for gpu in devices() {
                    let tensor = activations.upload(gpu, batch).unwrap();
                    assert_eq!(tensor.shape(), [activations.rows(batch), 5]);
                    assert_eq!(tensor.fetch(gpu).unwrap(), rounded);
                }
            }
            assert_eq!(activations.saturated(), 0);
            let empty = activations.empty_like().unwrap();
            assert_eq!([empty.ram_bytes(), empty.file_bytes()], [memory, total - memory]);
            assert!((0..4).all(|b| empty.read(b).unwrap().iter().all(|v| *v == 0.0)));
        }
    }
    assert_eq!(std::fs::read_dir(spill.path()).unwrap().count(), 0, "files are removed");
}

#[test]
fn a_batch_that_was_fetched_early_is_that_batch() {
    let spill = TempDir::new().unwrap();
    let (activations, values) = filled(&options(DType::F32, Some(50), &spill));
    for gpu in devices() {
        let mut ahead = Ahead::default();
        for (batch, values) in values.iter().enumerate() {
            let tensor = ahead.take(gpu, &activations, batch).unwrap();
            ahead.fetch(gpu, &activations, batch + 1).unwrap();
            assert_eq!(tensor.shape(), [activations.rows(batch), 5]);
            assert_eq!(&tensor.fetch(gpu).unwrap(), values, "batch {batch}");
        }
        // Another than was expected.
        ahead.fetch(gpu, &activations, 1).unwrap();
        let tensor = ahead.take(gpu, &activations, 3).unwrap();
        assert_eq!(tensor.fetch(gpu).unwrap(), values[3]);
    }
}

#[test]
fn values_beyond_the_type_are_saturated_and_counted() {
    let spill = TempDir::new().unwrap();
    let special = [
        70_000.0,
        -1e30,
        f32::MAX,
        65_504.0,
        -65_504.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        1.0,
        65_505.0,
    ];
    let (h, b) = (f16::MAX.to_f32(), bf16::MAX.to_f32());
    for budget in [None, Some(0)] {
        for (dtype, count, wanted) in [
            (DType::F32, 0, special.map(Some)),
            (
                DType::F16,
                4,
                [
                    Some(h),
                    Some(-h),
                    Some(h),
                    Some(h),
                    Some(-h),
                    Some(f32::INFINITY),
                    Some(f32::NEG_INFINITY),
                    None,
                    Some(1.0),
                    Some(h),
                ],
            ),
            (
                DType::BF16,
                1,
                [
                    Some(70_144.0),
                    Some(bf16::from_f32(-1e30).to_f32()),
                    Some(b),
                    Some(65_536.0),
                    Some(-65_536.0),
                    Some(f32::INFINITY),
                    Some(f32::NEG_INFINITY),
                    None,
                    Some(1.0),
                    Some(65_536.0),
                ],
            ),
        ] {
            let mut activations = Activations::new(1, 2, 5, &options(dtype, budget, &spill)).unwrap();
            for round in 1..3 {
                activations.write(0, &special).unwrap();
                assert_eq!(activations.saturated(), round * count, "{dtype:?}");
            }
            for (found, wanted) in activations.read(0).unwrap().iter().zip(wanted) {
                match wanted.filter(|w| !w.is_nan()) {
                    Some(wanted) => assert_eq!(*found, wanted, "{dtype:?}"),
                    None => assert!(found.is_nan(), "{dtype:?}: {found}"),
                }
            }
        }
    }
}

#[test]
fn a_folder_that_is_not_there_is_named_with_the_bytes_needed() {
    let spill = TempDir::new().unwrap();
    let mut options = options(DType::F32, Some(0), &spill);
    options.spill_dir = spill.path().join("gone");
    let error = Activations::new(7, 3, 5, &options).err().expect("must be refused");
    let message = error.to_string();
    assert!(matches!(error, ActivationError::Io { needed: 420, .. }));
    assert!(message.contains("gone") && message.contains("420 bytes"), "{message}");
    // Not needed, not asked for.
    options.ram_budget = None;
    Activations::new(7, 3, 5, &options).unwrap();
}

#[test]
fn batches_are_whole_sequences_that_fit_a_binding() {
    let binding = |rows: u64| rows * 4 * 10;
    assert_eq!(batch_rows(10, 100, u64::MAX, 2048), 2000);
    assert_eq!(batch_rows(10, 100, binding(2048), 2048), 2000);
    assert_eq!(batch_rows(10, 100, binding(300), 2048), 300);
    assert_eq!(batch_rows(10, 100, binding(300) - 1, 2048), 200);
    assert_eq!(batch_rows(10, 100, binding(99), 2048), 100);
    assert_eq!(batch_rows(10, 4096, u64::MAX, 2048), 4096);
    assert_eq!(batch_rows(0, 0, 0, 0), 1);
    let rows = |rows| ActivationOptions {
        rows,
        ..Default::default()
    };
    assert_eq!(
        rows(batch_rows(10, 100, binding(300), 2048)).sequences_per_batch(100),
        3
    );
    assert_eq!(rows(1).sequences_per_batch(100), 1);
    assert_eq!(Activations::sequences_per_batch(512), 4);
}
