//! `config.json` as Hugging Face writes it: kept whole, asked key by key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::error::CheckpointError;

/// Keys under which a quantized checkpoint describes itself.
const QUANTIZED: [&str; 2] = ["quantization_config", "compression_config"];

/// The contents of `config.json`.
///
/// A key that is absent at the top is looked up under `text_config`, where multimodal models keep their language part,
/// then among the family's defaults. A key with the value `null` counts as absent.
#[derive(Clone, Debug)]
pub struct HfConfig {
    file: PathBuf,
    text: Vec<u8>,
    raw: Value,
    names: BTreeMap<String, String>,
    defaults: Map<String, Value>,
}

impl HfConfig {
    /// Reads `config.json` in `dir`.
    ///
    /// Fails if the file is missing or is not a JSON object, and for a quantized checkpoint.
    pub fn read(dir: &Path) -> Result<Self, CheckpointError> {
        let file = dir.join("config.json");
        match std::fs::read(&file) {
            Ok(text) => Self::parse(&file, text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(CheckpointError::MissingConfig { file }),
            Err(error) => Err(CheckpointError::io(&file, "read", error)),
        }
    }

    /// Takes `text` as the contents of `file`, which later errors will name. Fails as [`HfConfig::read`] does.
    pub fn parse(file: &Path, text: impl Into<Vec<u8>>) -> Result<Self, CheckpointError> {
        let text = text.into();
        let not_json = |reason| CheckpointError::ConfigNotJson {
            file: file.into(),
            reason,
        };
        let raw: Value = serde_json::from_slice(&text).map_err(|e| not_json(e.to_string()))?;
        if !raw.is_object() {
            return Err(not_json(format!("it holds {}", kind(&raw))));
        }
        let config = HfConfig {
            file: file.into(),
            text,
            raw,
            names: BTreeMap::new(),
            defaults: Map::new(),
        };
        for key in QUANTIZED {
            if let Some(block) = config.value(key) {
                let method = block
                    .get("quant_method")
                    .and_then(Value::as_str)
                    .unwrap_or("method unnamed")
                    .to_owned();
                return Err(CheckpointError::Quantized {
                    file: config.file,
                    key,
                    method,
                });
            }
        }
        Ok(config)
    }

    /// The same file seen by a family: `names` maps the usual key to the family's own, `defaults` holds what an absent
    /// key means there (by the family's own key).
    pub fn seen_by(&self, names: &BTreeMap<String, String>, defaults: &Map<String, Value>) -> Self {
        HfConfig {
            names: names.clone(),
            defaults: defaults.clone(),
            ..self.clone()
        }
    }

    /// The file with other values, by the family's own keys, each where the file has it or else where the sizes of the
    /// language model are. All else stays as it is, in its order.
    pub fn edited(&self, values: &[(&str, Value)]) -> Vec<u8> {
        let mut raw = self.raw.clone();
        let nested = raw.get("text_config").is_some_and(Value::is_object);
        for (key, value) in values {
            let at_top = raw.get(*key).is_some() || !nested;
            let object = if at_top { &mut raw } else { &mut raw["text_config"] };
            object[*key] = value.clone();
        }
        let mut text = serde_json::to_vec_pretty(&raw).expect("plain data");
        text.push(b'\n');
        text
    }

    /// What this file calls the usual `key`.
    pub fn own_key<'a>(&'a self, key: &'a str) -> &'a str {
        self.names.get(key).map_or(key, String::as_str)
    }

    /// Where the file was read from.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The file, byte for byte.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The whole file as JSON.
    pub fn raw(&self) -> &Value {
        &self.raw
    }

    /// The value of `key`, unless absent or `null`.
    pub fn value(&self, key: &str) -> Option<&Value> {
        let key = self.own_key(key);
        let in_file = [Some(&self.raw), self.raw.get("text_config")]
            .into_iter()
            .flatten()
            .find_map(|object| object.get(key));
        // A `null` in the file is absent, but says so: defaults do not step in for it.
        match in_file {
            Some(value) => Some(value).filter(|v| !v.is_null()),
            None => self.defaults.get(key),
        }
    }

    /// The string at `key`; fails if absent or no string.
    pub fn str(&self, key: &str) -> Result<&str, CheckpointError> {
        self.required(key, "a string", Value::as_str)
    }

    /// The whole number at `key`; fails if absent, negative or no whole number.
    pub fn usize(&self, key: &str) -> Result<usize, CheckpointError> {
        self.required(key, "a whole number", as_usize)
    }

    /// The number at `key`; fails if absent or no number.
    pub fn f64(&self, key: &str) -> Result<f64, CheckpointError> {
        self.required(key, "a number", Value::as_f64)
    }

    /// The string at `key`, or `default` if absent; fails if it is no string.
    pub fn str_or<'a>(&'a self, key: &str, default: &'a str) -> Result<&'a str, CheckpointError> {
        self.optional(key, "a string", Value::as_str)
            .map(|v| v.unwrap_or(default))
    }

    /// The whole number at `key`, or `default` if absent; fails if it is no whole number.
    pub fn usize_or(&self, key: &str, default: usize) -> Result<usize, CheckpointError> {
        self.optional(key, "a whole number", as_usize)
            .map(|v| v.unwrap_or(default))
    }

    /// The number at `key`, or `default` if absent; fails if it is no number.
    pub fn f64_or(&self, key: &str, default: f64) -> Result<f64, CheckpointError> {
        self.optional(key, "a number", Value::as_f64)
            .map(|v| v.unwrap_or(default))
    }

    /// The truth value at `key`, or `default` if absent; fails if it is neither `true` nor `false`.
    pub fn bool_or(&self, key: &str, default: bool) -> Result<bool, CheckpointError> {
        self.optional(key, "true or false", Value::as_bool)
            .map(|v| v.unwrap_or(default))
    }

    /// The strings under `architectures`; empty if the file names none.
    pub fn architectures(&self) -> Vec<&str> {
        let list = self.value("architectures").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// The string at `model_type`; fails if absent.
    pub fn model_type(&self) -> Result<&str, CheckpointError> {
        self.str("model_type")
    }

    /// Whether the model comes with its own Python code (`auto_map`).
    pub fn has_own_code(&self) -> bool {
        self.raw
            .get("auto_map")
            .and_then(Value::as_object)
            .is_some_and(|map: &Map<_, _>| !map.is_empty())
    }

    fn required<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, CheckpointError> {
        self.optional(key, expected, read)?
            .ok_or_else(|| self.wrong(key, expected, "absent".into()))
    }

    fn optional<'a, T>(
        &'a self,
        key: &str,
        expected: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, CheckpointError> {
        let Some(value) = self.value(key) else { return Ok(None) };
        read(value)
            .map(Some)
            .ok_or_else(|| self.wrong(key, expected, kind(value)))
    }

    fn wrong(&self, key: &str, expected: &'static str, found: String) -> CheckpointError {
        CheckpointError::ConfigKey {
            file: self.file.clone(),
            key: self.own_key(key).into(),
            expected,
            found,
        }
    }
}

fn as_usize(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok())
}

/// A JSON value as an error message may show it: lists and objects only by their kind.
fn kind(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        scalar => scalar.to_string(),
    }
}
