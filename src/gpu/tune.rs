//! Autotuning: which of several ways to run a kernel is fastest on this adapter, found once and kept in a file.
//!
//! An op names the question ([`Question`]) and how a candidate is checked and played ([`Contest`]); this file decides
//! whether to measure, and remembers. `SECATEUR_TUNE`: `off` takes the first candidate, `load` what earlier runs found,
//! `full` measures what nobody has measured yet. The default is `full` on hardware and `load` on software adapters,
//! where a measurement costs more than it brings; the host executor has nothing to choose. `SECATEUR_COOP=off` takes
//! cooperative matrices from the candidates.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::{GpuError, cache};

/// Plays before the first that counts.
const WARM_UP: usize = 3;
/// Plays that count; their median decides.
const REPETITIONS: usize = 5;

/// Whether to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TuneMode {
    /// Neither read nor measure.
    Off,
    /// Use what is known.
    Load,
    /// Use what is known and measure the rest.
    Full,
}

impl TuneMode {
    /// What `SECATEUR_TUNE` says, `default` where it is unset or empty.
    pub fn from_env(default: TuneMode) -> Result<Self, GpuError> {
        match std::env::var("SECATEUR_TUNE").as_deref() {
            Err(std::env::VarError::NotPresent) | Ok("") => Ok(default),
            Ok("off") => Ok(TuneMode::Off),
            Ok("load") => Ok(TuneMode::Load),
            Ok("full") => Ok(TuneMode::Full),
            other => Err(GpuError::TuneMode {
                value: other.map_or_else(|error| error.to_string(), str::to_string),
            }),
        }
    }
}

/// The power of two nearest to a size, by its logarithm.
pub(crate) fn rounded_log(size: usize) -> u32 {
    (size.max(1) as f64).log2().round() as u32
}

/// What is to be decided: a kernel, its fixed knobs and rounded sizes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Kernel stem.
    pub stem: &'static str,
    /// Knobs that the caller needs as they are.
    pub knobs: Vec<u32>,
    /// Logarithms (base 2, rounded) of the sizes.
    pub sizes: Vec<u32>,
}

impl Question {
    /// Sizes as they are; they are rounded here.
    pub fn new(stem: &'static str, knobs: &[u32], sizes: &[usize]) -> Self {
        Question {
            stem,
            knobs: knobs.to_vec(),
            sizes: sizes.iter().map(|size| rounded_log(*size)).collect(),
        }
    }

    fn key(&self, device: &str) -> String {
        let list = |values: &[u32]| {
            let words: Vec<String> = values.iter().map(u32::to_string).collect();
            words.join(",")
        };
        let (knobs, sizes) = (list(&self.knobs), list(&self.sizes));
        format!("{} [{knobs}] 2^[{sizes}] on {device}", self.stem)
    }
}

/// The candidates of a question, and how to try them.
pub trait Contest {
    /// A name and the composed source of each, the default first.
    fn candidates(&self) -> Vec<(String, String)>;

    /// Plays a candidate once and compares with the truth. `Some`: what is wrong with it.
    fn check(&self, candidate: usize) -> Result<Option<String>, GpuError>;

    /// Plays a candidate once and waits for it.
    fn play(&self, candidate: usize) -> Result<(), GpuError>;
}

/// How one candidate did.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trial {
    /// Its name.
    pub candidate: String,
    /// Seconds of every play, as measured; empty if it was rejected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seconds: Vec<f64>,
    /// Why it may not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

impl Trial {
    fn median(&self) -> Option<f64> {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied()
    }
}

/// What was found for one question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TuneRecord {
    /// Hash of the composed sources of all candidates: an edited kernel asks again.
    pub sources: String,
    /// The winner.
    pub chosen: String,
    /// Every candidate, in order.
    pub trials: Vec<Trial>,
}

type Entries = BTreeMap<String, TuneRecord>;

/// Choices of this process and of earlier ones.
pub(super) struct Tuner {
    mode: TuneMode,
    /// Adapter and driver.
    device: String,
    path: Option<PathBuf>,
    known: Mutex<Option<Entries>>,
    made: Mutex<HashMap<Question, usize>>,
}

impl Tuner {
    /// Nothing is read before the first question; `path` is by default in the user's cache folder.
    pub(super) fn new(mode: TuneMode, device: String, path: Option<PathBuf>) -> Self {
        Tuner {
            mode,
            device,
            path: path.or_else(|| Some(cache::folder()?.join("tune.json"))),
            known: Mutex::default(),
            made: Mutex::default(),
        }
    }

    /// Index of the candidate to use. `contest` is only asked for where something has to be looked up or measured.
    pub(super) fn choose<C: Contest>(
        &self,
        question: &Question,
        contest: impl FnOnce() -> Result<C, GpuError>,
    ) -> usize {
        if self.mode == TuneMode::Off {
            return 0;
        }
        if let Some(&made) = self.made.lock().expect("tuner lock").get(question) {
            return made;
        }
        // Tuning is a guest: where it cannot be done, say for lack of memory, the default serves.
        let choice = contest().map_or(0, |contest| self.decide(&question.key(&self.device), &contest));
        self.made.lock().expect("tuner lock").insert(question.clone(), choice);
        choice
    }

    fn decide(&self, key: &str, contest: &impl Contest) -> usize {
        let candidates = contest.candidates();
        let sources = hash(&candidates);
        let place = |chosen: &str| candidates.iter().position(|(name, _)| name == chosen);
        let known = self.entry(key).filter(|found| found.sources == sources);
        if let Some(choice) = known.and_then(|found| place(&found.chosen)) {
            return choice;
        }
        if self.mode != TuneMode::Full {
            return 0;
        }
        let trials: Vec<Trial> = (0..candidates.len())
            .map(|i| trial(contest, i, &candidates[i].0))
            .collect();
        let timed = trials
            .iter()
            .enumerate()
            .filter_map(|(i, trial)| Some((i, trial.median()?)));
        let choice = timed.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(i, _)| i);
        let chosen = candidates[choice].0.clone();
        self.remember(
            key,
            TuneRecord {
                sources,
                chosen,
                trials,
            },
        );
        choice
    }

    fn entry(&self, key: &str) -> Option<TuneRecord> {
        let mut known = self.known.lock().expect("tuner lock");
        known
            .get_or_insert_with(|| self.path.as_deref().map(read).unwrap_or_default())
            .get(key)
            .cloned()
    }

    /// Adds to the file what this process found; what others wrote meanwhile stays.
    fn remember(&self, key: &str, found: TuneRecord) {
        if let Some(known) = self.known.lock().expect("tuner lock").as_mut() {
            known.insert(key.to_string(), found.clone());
        }
        let Some(path) = &self.path else { return };
        let mut entries = read(path);
        entries.insert(key.to_string(), found);
        cache::store(
            path,
            &serde_json::to_vec_pretty(&entries).expect("trials are plain data"),
        );
    }
}

/// Checks, warms up and measures; dropped at the first failure.
fn trial(contest: &impl Contest, index: usize, name: &str) -> Trial {
    let measure = || -> Result<Result<Vec<f64>, String>, GpuError> {
        if let Some(wrong) = contest.check(index)? {
            return Ok(Err(wrong));
        }
        for _ in 0..WARM_UP {
            contest.play(index)?;
        }
        let timed = (0..REPETITIONS).map(|_| {
            let start = Instant::now();
            contest.play(index)?;
            Ok(start.elapsed().as_secs_f64())
        });
        timed.collect::<Result<Vec<f64>, GpuError>>().map(Ok)
    };
    let (seconds, rejected) = match measure() {
        Ok(Ok(seconds)) => (seconds, None),
        Ok(Err(wrong)) => (Vec::new(), Some(wrong)),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Trial {
        candidate: name.to_string(),
        seconds,
        rejected,
    }
}

fn hash(candidates: &[(String, String)]) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, source) in candidates {
        hasher.update(name.as_bytes());
        hasher.update(&[0]);
        hasher.update(source.as_bytes());
        hasher.update(&[0]);
    }
    hasher.finalize().to_hex()[..16].to_string()
}

/// Nothing, where there is no file or it is not ours.
fn read(path: &Path) -> Entries {
    let text = std::fs::read(path).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
