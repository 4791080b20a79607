//! Rotary position embedding: frequencies of the supported scalings, and the table the kernel reads.

use super::ModelError;
use crate::checkpoint::HfConfig;

/// Inverse frequencies of the rotated pairs.
#[derive(Clone, Debug)]
pub struct Rope {
    inverse: Vec<f32>,
}

impl Rope {
    /// Reads `rope_theta` and `rope_scaling` (or `rope_parameters`, as newer configs have it). Known scalings: none,
    /// `linear`, `llama3`.
    pub(super) fn from_config(config: &HfConfig, file: &str, head_dim: usize) -> Result<Self, ModelError> {
        let block = ["rope_scaling", "rope_parameters"]
            .iter()
            .find_map(|k| config.value(k).filter(|v| v.is_object()));
        let number = |key: &str| block.and_then(|b| b.get(key)).and_then(serde_json::Value::as_f64);
        let theta = number("rope_theta").unwrap_or(config.f64_or("rope_theta", 10_000.0)?);
        let plain: Vec<f64> = (0..head_dim / 2)
            .map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64))
            .collect();
        let kind = block
            .and_then(|b| b.get("rope_type").or_else(|| b.get("type")))
            .and_then(serde_json::Value::as_str)
            .unwrap_or("default");
        let missing = |key: &str| ModelError::UnsupportedSetting {
            file: file.to_string(),
            key: "rope_scaling".to_string(),
            found: format!("{kind} without `{key}`"),
            supported: "the key must be a number".to_string(),
        };
        let need = |key: &str| number(key).ok_or_else(|| missing(key));
        let scaled = match kind {
            "default" => plain,
            "linear" => {
                let factor = need("factor")?;
                plain.into_iter().map(|f| f / factor).collect()
            }
            "llama3" => {
                let (factor, low, high) = (need("factor")?, need("low_freq_factor")?, need("high_freq_factor")?);
                let original = need("original_max_position_embeddings")?;
                plain
                    .into_iter()
                    .map(|f| llama3(f, factor, low, high, original))
                    .collect()
            }
            other => {
                return Err(ModelError::UnsupportedSetting {
                    file: file.to_string(),
                    key: "rope_scaling".to_string(),
                    found: format!("`{other}`"),
                    supported: "default, linear, llama3".to_string(),
                });
            }
        };
        Ok(Rope {
            inverse: scaled.into_iter().map(|f| f as f32).collect(),
        })
    }

    /// `[positions, head_dim]`: the cosines of the pairs, then the sines. Angles are rounded to f32 as the reference
    /// implementation does.
    pub fn table(&self, positions: usize) -> Vec<f32> {
        let mut table = Vec::with_capacity(positions * self.inverse.len() * 2);
        for position in 0..positions {
            let angle = |f: &f32| f64::from(position as f32 * f);
            table.extend(self.inverse.iter().map(|f| angle(f).cos() as f32));
            table.extend(self.inverse.iter().map(|f| angle(f).sin() as f32));
        }
        table
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
