//! Activations as a file that outlives the process: the exact stored bytes between a small head and a checksum.

use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;

use super::{ActivationError, ActivationOptions, Activations, Place};
use crate::checkpoint::Replacement;
use crate::tensor::DType;

const MAGIC: [u8; 8] = *b"secatAC1";
/// Magic, then six u64 of [`Head`], little-endian.
const HEAD_BYTES: usize = 8 + 6 * 8;
/// BLAKE3 of all that stands before it.
const HASH_BYTES: usize = 32;

struct Head {
    dtype: DType,
    sequences: u64,
    sequence: u64,
    hidden: u64,
    per_batch: u64,
    saturated: u64,
}

impl Head {
    fn to_bytes(&self) -> Vec<u8> {
        let code = u64::from(self.dtype.code());
        let numbers = [
            code,
            self.sequences,
            self.sequence,
            self.hidden,
            self.per_batch,
            self.saturated,
        ];
        let numbers = numbers.iter().flat_map(|n| n.to_le_bytes());
        MAGIC.into_iter().chain(numbers).collect()
    }

    /// `Err` says what is wrong.
    fn from_bytes(bytes: &[u8; HEAD_BYTES]) -> Result<Self, String> {
        let (magic, numbers) = bytes.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err("it does not begin as saved activations do".into());
        }
        let mut numbers = numbers
            .chunks_exact(8)
            .map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes")));
        let mut next = || numbers.next().expect("as many as fields");
        let code = next();
        let dtype = [DType::F32, DType::F16, DType::BF16]
            .into_iter()
            .find(|d| u64::from(d.code()) == code)
            .ok_or_else(|| format!("element type {code} is unknown"))?;
        Ok(Head {
            dtype,
            sequences: next(),
            sequence: next(),
            hidden: next(),
            per_batch: next(),
            saturated: next(),
        })
    }

    /// Length of the whole file; `None` if the sizes make no sense.
    fn file_bytes(&self) -> Option<u64> {
        let rows = self.sequences.checked_mul(self.sequence)?;
        let bytes = rows.checked_mul(self.hidden)?.checked_mul(self.dtype.size() as u64)?;
        self.per_batch.checked_mul(self.sequence)?;
        (self.per_batch > 0 && self.sequence > 0).then_some(())?;
        bytes.checked_add((HEAD_BYTES + HASH_BYTES) as u64)
    }
}

impl Activations {
    /// Writes all batches, exactly as they are kept, to `path`. Durable when it returns; until then what was at `path`
    /// before stays whole.
    pub fn save_to(&self, path: &Path) -> Result<(), ActivationError> {
        let head = Head {
            dtype: self.options.dtype,
            sequences: self.sequences as u64,
            sequence: self.sequence as u64,
            hidden: self.hidden as u64,
            per_batch: self.per_batch() as u64,
            saturated: self.saturated,
        };
        let needed = head.file_bytes().expect("they exist");
        let failed = |e| ActivationError::io(path, "save", needed, e);
        let mut out = Replacement::create(path).map_err(failed)?;
        let mut hasher = blake3::Hasher::new();
        let mut put = |bytes: &[u8]| {
            hasher.update(bytes);
            out.file().write_all(bytes).map_err(failed)
        };
        put(&head.to_bytes())?;
        for batch in 0..self.batches() {
            self.with_bytes(batch, &mut put)??;
        }
        let hash = hasher.finalize();
        out.file().write_all(hash.as_bytes()).map_err(failed)?;
        out.finish().map_err(failed)
    }

    /// Reads what [`Activations::save_to`] wrote, bit for bit, and checks it.
    ///
    /// `options` say where they are kept now; element type and rows per batch are those of the file, without which a
    /// continued run would not give the same result.
    pub fn load_from(path: &Path, options: &ActivationOptions) -> Result<Self, ActivationError> {
        let damaged = |reason: String| ActivationError::Damaged {
            path: path.into(),
            reason,
        };
        let file = File::open(path).map_err(|e| ActivationError::io(path, "open", 0, e))?;
        let found = file
            .metadata()
            .map_err(|e| ActivationError::io(path, "open", 0, e))?
            .len();
        if found < (HEAD_BYTES + HASH_BYTES) as u64 {
            return Err(damaged(format!("it ends after {found} bytes")));
        }
        let failed = |e| ActivationError::io(path, "read", found, e);
        let mut file = BufReader::new(file);
        let mut bytes = [0; HEAD_BYTES];
        file.read_exact(&mut bytes).map_err(failed)?;
        let head = Head::from_bytes(&bytes).map_err(damaged)?;
        // The length bounds all sizes, so a damaged head cannot ask for more memory than the file has bytes.
        match head.file_bytes() {
            Some(wanted) if wanted == found => {}
            Some(wanted) => return Err(damaged(format!("{found} bytes long instead of {wanted}"))),
            None => return Err(damaged("its sizes make no sense".into())),
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&bytes);
        let mut out = head.empty(options)?;
        out.fill(|bytes| {
            file.read_exact(bytes).map_err(failed)?;
            hasher.update(bytes);
            Ok(())
        })?;
        let mut hash = [0; HASH_BYTES];
        file.read_exact(&mut hash).map_err(failed)?;
        match hasher.finalize().as_bytes() == &hash {
            true => Ok(out),
            false => Err(damaged("its checksum does not fit its contents".into())),
        }
    }

    fn fill(&mut self, mut next: impl FnMut(&mut [u8]) -> Result<(), ActivationError>) -> Result<(), ActivationError> {
        for batch in 0..self.batches() {
            let mut bytes = vec![0; self.batch_bytes(batch)];
            next(&mut bytes)?;
            match &mut self.batches[batch] {
                Place::Memory(kept) => *kept = bytes,
                Place::File(offset) => {
                    let spill = self.spill.as_ref().expect("a batch in the file has a file");
                    spill.write(*offset, &bytes)?;
                }
            }
        }
        Ok(())
    }
}

impl Head {
    /// Room for what follows in the file.
    fn empty(&self, options: &ActivationOptions) -> Result<Activations, ActivationError> {
        let options = ActivationOptions {
            dtype: self.dtype,
            rows: (self.per_batch * self.sequence) as usize,
            ..options.clone()
        };
        let [sequences, sequence, hidden] = [self.sequences, self.sequence, self.hidden].map(|n| n as usize);
        let mut out = Activations::new(sequences, sequence, hidden, &options)?;
        out.saturated = self.saturated;
        Ok(out)
    }
}
