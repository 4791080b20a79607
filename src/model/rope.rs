//! Rotary position embedding: frequencies of the supported scalings, and the table the kernel reads.

use serde_json::Value;

use super::ModelError;
use crate::checkpoint::HfConfig;

/// Inverse frequencies of the rotated pairs.
#[derive(Clone, Debug, Default)]
pub struct Rope {
    inverse: Vec<f32>,
    /// Frequencies of sequences longer than this many tokens (longrope).
    long: Option<(usize, Vec<f32>)>,
    /// Factor of cosines and sines.
    factor: f32,
}

impl Rope {
    /// The rotary embeddings of a model: that of all layers, and, if there are `local` layers with another,
    /// theirs.
    ///
    /// Reads `rope_theta` and `rope_scaling`, or `rope_parameters` as newer configs have it, there also one block per
    /// kind of layer. Known scalings: default, linear, dynamic, llama3, yarn, longrope.
    pub(super) fn all(config: &HfConfig, file: &str, head_dim: usize, local: bool) -> Result<Vec<Self>, ModelError> {
        let block = ["rope_scaling", "rope_parameters"]
            .iter()
            .find_map(|k| config.value(k).filter(|v| v.is_object()));
        let of_kind = |kind: &str| block.and_then(|b| b.get(kind)).filter(|v| v.is_object());
        let theta = config.f64_or("rope_theta", 10_000.0)?;
        let reader = |block, theta| Reader {
            config,
            file,
            block,
            theta,
            head_dim,
        };
        let full = reader(of_kind("full_attention").or(block), theta).read()?;
        if !local {
            return Ok(vec![full]);
        }
        let local_theta = config.f64_or("rope_local_base_freq", 10_000.0)?;
        let local = reader(of_kind("sliding_attention"), local_theta).read()?;
        Ok(vec![full, local])
    }

    /// Columns of a head that are rotated.
    pub fn rotary_dim(&self) -> usize {
        2 * self.inverse.len()
    }

    /// `[positions, rotary_dim]`: the cosines of the pairs, then the sines, for sequences of `positions` tokens. Angles
    /// are rounded to f32 as the reference implementation does.
    pub fn table(&self, positions: usize) -> Vec<f32> {
        let inverse = match &self.long {
            Some((original, long)) if positions > *original => long,
            _ => &self.inverse,
        };
        let mut table = Vec::with_capacity(positions * self.rotary_dim());
        for position in 0..positions {
            let angle = |f: &f32| f64::from(position as f32 * f);
            table.extend(inverse.iter().map(|f| angle(f).cos() as f32 * self.factor));
            table.extend(inverse.iter().map(|f| angle(f).sin() as f32 * self.factor));
        }
        table
    }
}

/// One block of rotary settings.
struct Reader<'a> {
    config: &'a HfConfig,
    file: &'a str,
    block: Option<&'a Value>,
    theta: f64,
    head_dim: usize,
}

impl Reader<'_> {
    fn number(&self, key: &str) -> Option<f64> {
        self.block.and_then(|b| b.get(key)).and_then(Value::as_f64)
    }

    fn need(&self, key: &str, kind: &str) -> Result<f64, ModelError> {
        self.number(key)
            .ok_or_else(|| self.unsupported(format!("{kind} without `{key}`"), "the key must be a number"))
    }

    fn unsupported(&self, found: String, supported: &str) -> ModelError {
        ModelError::UnsupportedSetting {
            file: self.file.to_string(),
            key: "rope_scaling".to_string(),
            found,
            supported: supported.to_string(),
        }
    }

    /// Length the model was first trained for.
    fn original(&self) -> Result<f64, ModelError> {
        let key = "original_max_position_embeddings";
        let longest = self.config.f64_or("max_position_embeddings", 2048.0)?;
        let in_block = self.number(key).unwrap_or(longest);
        Ok(self.config.f64_or(key, in_block)?)
    }

    fn read(&self) -> Result<Rope, ModelError> {
        let fraction = self
            .number("partial_rotary_factor")
            .unwrap_or(self.config.f64_or("partial_rotary_factor", 1.0)?);
        let dim = (self.head_dim as f64 * fraction) as usize;
        if !(fraction > 0.0 && fraction <= 1.0) || dim == 0 || !dim.is_multiple_of(2) {
            let message = format!(
                "{fraction} of a head of {} columns cannot be rotated in pairs",
                self.head_dim
            );
            return Err(ModelError::BadSize {
                file: self.file.to_string(),
                message,
            });
        }
        let theta = self.number("rope_theta").unwrap_or(self.theta);
        let plain: Vec<f64> = (0..dim / 2).map(|i| theta.powf(-2.0 * i as f64 / dim as f64)).collect();
        let kind = self
            .block
            .and_then(|b| b.get("rope_type").or_else(|| b.get("type")))
            .and_then(Value::as_str)
            .unwrap_or("default");
        let rope = |inverse: Vec<f64>, factor: f64| Rope {
            inverse: inverse.into_iter().map(|f| f as f32).collect(),
            long: None,
            factor: factor as f32,
        };
        Ok(match kind {
            // Dynamic scaling begins beyond the longest context, where this program does not go.
            "default" | "dynamic" => rope(plain, 1.0),
            "linear" => {
                let factor = self.need("factor", kind)?;
                rope(plain.into_iter().map(|f| f / factor).collect(), 1.0)
            }
            "llama3" => {
                let [factor, low, high, original] = [
                    self.need("factor", kind)?,
                    self.need("low_freq_factor", kind)?,
                    self.need("high_freq_factor", kind)?,
                    self.original()?,
                ];
                let scaled = plain.into_iter().map(|f| llama3(f, factor, low, high, original));
                rope(scaled.collect(), 1.0)
            }
            "yarn" => {
                let (inverse, factor) = self.yarn(plain, theta)?;
                rope(inverse, factor)
            }
            "longrope" | "su" => self.longrope(&plain)?,
            other => {
                let supported = "default, linear, dynamic, llama3, yarn, longrope";
                return Err(self.unsupported(format!("`{other}`"), supported));
            }
        })
    }

    /// YaRN (Peng et al. 2023): fast pairs keep their frequency, slow ones are stretched, with a ramp between.
    fn yarn(&self, plain: Vec<f64>, theta: f64) -> Result<(Vec<f64>, f64), ModelError> {
        let (dim, factor, original) = (2.0 * plain.len() as f64, self.need("factor", "yarn")?, self.original()?);
        let or = |key: &str, default: f64| self.number(key).filter(|v| *v != 0.0).unwrap_or(default);
        // The pair that turns `rotations` times over the original length.
        let pair =
            |rotations: f64| dim * (original / (rotations * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln());
        let (mut low, mut high) = (pair(or("beta_fast", 32.0)), pair(or("beta_slow", 1.0)));
        let truncate = self.block.and_then(|b| b.get("truncate")).and_then(Value::as_bool);
        if truncate.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        (low, high) = (low.max(0.0), high.min(dim - 1.0));
        if low == high {
            high += 0.001;
        }
        let stretched = |(i, f): (usize, f64)| {
            let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
            f / factor * ramp + f * (1.0 - ramp)
        };
        let mscale = |weight: f64| {
            if factor <= 1.0 {
                1.0
            } else {
                0.1 * weight * factor.ln() + 1.0
            }
        };
        let attention = match (
            self.number("attention_factor"),
            self.number("mscale"),
            self.number("mscale_all_dim"),
        ) {
            (Some(given), _, _) => given,
            (None, Some(one), Some(all)) if one != 0.0 && all != 0.0 => mscale(one) / mscale(all),
            _ => mscale(1.0),
        };
        Ok((plain.into_iter().enumerate().map(stretched).collect(), attention))
    }

    /// LongRoPE (Ding et al. 2024): a factor per pair, one list for short and one for long sequences.
    fn longrope(&self, plain: &[f64]) -> Result<Rope, ModelError> {
        let list = |key: &str| -> Result<Vec<f32>, ModelError> {
            let values: Option<Vec<f64>> = self
                .block
                .and_then(|b| b.get(key))
                .and_then(Value::as_array)
                .map(|v| v.iter().filter_map(Value::as_f64).collect());
            match values.filter(|v| v.len() == plain.len()) {
                Some(values) => Ok(plain.iter().zip(values).map(|(f, by)| (f / by) as f32).collect()),
                None => {
                    let found = format!("longrope whose `{key}` is not a list of {} numbers", plain.len());
                    Err(self.unsupported(found, "one factor per rotated pair"))
                }
            }
        };
        let original = self.original()?;
        let longest = self.config.f64_or("max_position_embeddings", original)?;
        let factor = self.number("factor").unwrap_or(longest / original);
        let attention = match self.number("attention_factor") {
            Some(given) => given,
            None if factor <= 1.0 => 1.0,
            None => (1.0 + factor.ln() / original.ln()).sqrt(),
        };
        Ok(Rope {
            inverse: list("short_factor")?,
            long: Some((original as usize, list("long_factor")?)),
            factor: attention as f32,
        })
    }
}

/// Llama 3.1's scaling: long wavelengths are stretched by `factor`, short ones kept, a smooth step between.
fn llama3(frequency: f64, factor: f64, low: f64, high: f64, original: f64) -> f64 {
    let wavelength = 2.0 * std::f64::consts::PI / frequency;
    if wavelength < original / high {
        return frequency;
    }
    if wavelength > original / low {
        return frequency / factor;
    }
    let smooth = (original / wavelength - low) / (high - low);
    (1.0 - smooth) * frequency / factor + smooth * frequency
}
