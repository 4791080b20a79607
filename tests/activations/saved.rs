use std::fs;

use secateur::model::{ActivationError, ActivationOptions, Activations};
use tempfile::TempDir;

use super::{DTYPES, filled, options};

#[test]
fn what_was_saved_comes_back_bit_for_bit_wherever_it_is_kept() {
    let (spill, folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = folder.path().join("activations-3.bin");
    for dtype in DTYPES {
        for (before, after) in [(None, Some(0)), (Some(60), None), (Some(100), Some(200))] {
            let (mut saved, mut values) = filled(&options(dtype, before, &spill));
            values[1][0] = f32::MAX;
            saved.write(1, &values[1]).unwrap();
            saved.save_to(&path).unwrap();
            // Neither the type nor the rows of these options count.
            let options = ActivationOptions {
                ram_budget: after,
                spill_dir: spill.path().into(),
                ..Default::default()
            };
            let loaded = Activations::load_from(&path, &options).unwrap();
            assert_eq!(loaded.options().dtype, dtype);
            assert_eq!([loaded.sequence, loaded.hidden, loaded.per_batch()], [3, 5, 2]);
            assert_eq!(loaded.saturated(), saved.saturated());
            for batch in 0..4 {
                assert_eq!(loaded.read(batch).unwrap(), saved.read(batch).unwrap());
            }
            let again = folder.path().join("again");
            loaded.save_to(&again).unwrap();
            assert!(fs::read(&again).unwrap() == fs::read(&path).unwrap(), "{dtype:?}");
            fs::remove_file(again).unwrap();
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
}

#[test]
fn any_damage_is_noticed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("activations-3.bin");
    let (saved, _) = filled(&options(DTYPES[1], None, &folder));
    saved.save_to(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let refused = |bytes: &[u8], what: &str| {
        fs::write(&path, bytes).unwrap();
        let error = Activations::load_from(&path, &ActivationOptions::default())
            .err()
            .unwrap_or_else(|| panic!("{what} must be noticed"));
        assert!(matches!(error, ActivationError::Damaged { .. }), "{what}: {error}");
        let message = error.to_string();
        assert!(
            message.contains("activations-3.bin") && message.contains("`resume`"),
            "{message}"
        );
    };
    for byte in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[byte] ^= 0x80;
        refused(&bytes, &format!("a flipped bit in byte {byte}"));
    }
    for len in 0..whole.len() {
        refused(&whole[..len], &format!("a file cut to {len} bytes"));
    }
    refused(&[&whole[..], &[0]].concat(), "a longer file");
    fs::write(&path, &whole).unwrap();
    Activations::load_from(&path, &ActivationOptions::default()).unwrap();
}

#[test]
fn a_failed_save_leaves_the_older_file() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("activations-3.bin");
    let (saved, _) = filled(&options(DTYPES[0], None, &folder));
    saved.save_to(&path).unwrap();
    // The temporary name is taken by a folder.
    fs::create_dir(folder.path().join("activations-3.bin.tmp")).unwrap();
    let error = saved.save_to(&path).unwrap_err();
    assert!(error.to_string().contains("activations-3.bin"), "{error}");
    Activations::load_from(&path, &ActivationOptions::default()).unwrap();
    let missing = Activations::load_from(&folder.path().join("none.bin"), &ActivationOptions::default());
    assert!(matches!(missing, Err(ActivationError::Io { .. })));
}

/// The kernel's own ENOSPC.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_reported_with_the_bytes_needed() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("activations-3.bin");
    let (saved, _) = filled(&options(DTYPES[0], None, &folder));
    std::os::unix::fs::symlink("/dev/full", folder.path().join("activations-3.bin.tmp")).unwrap();
    let error = saved.save_to(&path).unwrap_err();
    let needed = 105 * 4 + 56 + 32;
    assert!(
        matches!(error, ActivationError::DiskFull { needed: n, .. } if n == needed),
        "{error}"
    );
    assert!(error.to_string().contains(&format!("{needed} bytes")), "{error}");
}
