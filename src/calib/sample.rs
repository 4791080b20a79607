//! Which stretches of a corpus become calibration samples.

use super::corpus::{Corpus, CorpusKind};
use super::cpython_random::CpythonRandom;
use super::error::CalibError;
use super::tokens::{Tokenizer, hash_ids};

/// How many samples to take, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SampleSpec {
    /// Number of samples, at least 1.
    pub samples: usize,
    /// Tokens in each, at least 2.
    pub length: usize,
    /// Seed of the choice.
    pub seed: u64,
    /// Put in the place of each sample's first token, for models that are lost without a BOS.
    pub bos: Option<u32>,
}

impl SampleSpec {
    /// Fails if it asks for nothing.
    pub fn check(&self) -> Result<(), CalibError> {
        let SampleSpec { samples, length, .. } = *self;
        if samples == 0 || length < 2 {
            return Err(CalibError::BadSpec { samples, length });
        }
        Ok(())
    }
}

/// The samples taken.
#[derive(Clone, Debug)]
pub struct CalibrationSet {
    /// Token ids: as many rows as samples were asked for, each of the length asked for.
    pub ids: Vec<Vec<u32>>,
    /// [`hash_ids`] of `ids`: two sets are the same exactly if their hashes are.
    pub hash: String,
    /// Name of the rule that chose them: `sparsegpt` or `disjoint-windows`.
    pub rule: &'static str,
    /// Tokens the samples were chosen from. For separate documents, only those that came up are counted: the others
    /// were never tokenized.
    pub tokens_available: usize,
}

/// Draws samples from `corpus`; the same arguments give the same samples on every machine.
///
/// - Separate documents, rule `sparsegpt`: that of SparseGPT's `get_c4` (also Wanda's), to the bit. A document is drawn
///   until one has more than `length` tokens, special tokens included; of it, a random stretch. Documents may repeat.
/// - A plain text, rule `disjoint-windows`: the text is tokenized once, special tokens included, and cut into windows
///   from its start; of these, `samples` different ones in the order of the text.
///
/// Fails if `spec` asks for nothing, if the text is too short, or if no document is long enough.
pub fn draw(corpus: &Corpus, tokenizer: &Tokenizer, spec: &SampleSpec) -> Result<CalibrationSet, CalibError> {
    spec.check()?;
    let SampleSpec { seed, bos, .. } = *spec;
    let mut random = CpythonRandom::new(seed);
    let (rule, (ids, tokens_available)) = match corpus.kind {
        CorpusKind::Documents => ("sparsegpt", from_documents(corpus, tokenizer, spec, &mut random)?),
        CorpusKind::Plain => ("disjoint-windows", from_plain(corpus, tokenizer, spec, &mut random)?),
    };
    let mut ids = ids;
    if let Some(bos) = bos {
        ids.iter_mut().for_each(|row| row[0] = bos);
    }
    Ok(CalibrationSet {
        hash: hash_ids(&ids),
        ids,
        rule,
        tokens_available,
    })
}

/// Samples, and the number of tokens they were chosen from.
type Drawn = (Vec<Vec<u32>>, usize);

fn from_documents(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    spec: &SampleSpec,
    random: &mut CpythonRandom,
) -> Result<Drawn, CalibError> {
    let mut pool = Pool {
        corpus,
        tokenizer,
        counts: vec![None; corpus.documents.len()],
        open: corpus.documents.len(),
    };
    let mut rows = Vec::new();
    for _ in 0..spec.samples {
        let ids = pool.draw_longer_than(spec.length, random)?;
        let start = random.below(ids.len() - spec.length);
        rows.push(ids[start..start + spec.length].to_vec());
    }
    Ok((rows, pool.counts.iter().flatten().sum()))
}

/// Documents with the token counts known so far: short ones come up again and again.
struct Pool<'a> {
    corpus: &'a Corpus,
    tokenizer: &'a Tokenizer,
    counts: Vec<Option<usize>>,
    /// Documents not yet found too short; at 0 no draw can ever succeed.
    open: usize,
}

impl Pool<'_> {
    fn draw_longer_than(&mut self, length: usize, random: &mut CpythonRandom) -> Result<Vec<u32>, CalibError> {
        while self.open > 0 {
            let number = random.below(self.counts.len());
            let known = self.counts[number];
            if known.is_some_and(|count| count <= length) {
                continue;
            }
            let ids = self.tokenizer.encode(&self.corpus.documents[number], true)?;
            self.counts[number] = Some(ids.len());
            if ids.len() > length {
                return Ok(ids);
            }
            self.open -= 1;
        }
        let longest = self.counts.iter().flatten().copied().max().unwrap_or(0);
        let (file, documents) = (self.corpus.path.clone(), self.counts.len());
        Err(CalibError::DocumentsTooShort {
            file,
            documents,
            longest,
            length,
        })
    }
}

fn from_plain(
    corpus: &Corpus,
    tokenizer: &Tokenizer,
    spec: &SampleSpec,
    random: &mut CpythonRandom,
) -> Result<Drawn, CalibError> {
    let SampleSpec { samples, length, .. } = *spec;
    let text = corpus.documents.first().map_or("", String::as_str);
    let ids = tokenizer.encode(text, true)?;
    let (tokens, windows) = (ids.len(), ids.len() / length);
    if windows < samples {
        return Err(CalibError::TextTooShort {
            file: corpus.path.clone(),
            tokens,
            windows,
            samples,
            length,
        });
    }
    // Fisher-Yates, stopped once enough are drawn.
    let mut order: Vec<usize> = (0..windows).collect();
    for k in 0..samples {
        order.swap(k, k + random.below(windows - k));
    }
    let chosen = &mut order[..samples];
    chosen.sort_unstable();
    Ok((
        chosen
            .iter()
            .map(|&w| ids[w * length..(w + 1) * length].to_vec())
            .collect(),
        tokens,
    ))
}
