//! `benches/bench.schema.json`, and as much of JSON Schema as it uses.

use serde_json::{Map, Value};

pub(super) fn schema() -> Value {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/bench.schema.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

/// What of `value` the schema forbids, with the place. Panics on a keyword it does not know, so that none goes unheeded.
pub(super) fn violations(schema: &Value, value: &Value, place: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        let fine = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => match wanted {
                Value::String(name) => is(name, value),
                names => names
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|name| is(name.as_str().unwrap(), value)),
            },
            "enum" => wanted.as_array().unwrap().contains(value),
            // Limits hold for numbers; others, such as null, are a matter of the type.
            "minimum" => value.as_f64().is_none_or(|v| v >= wanted.as_f64().unwrap()),
            "exclusiveMinimum" => value.as_f64().is_none_or(|v| v > wanted.as_f64().unwrap()),
            "minItems" => value
                .as_array()
                .is_none_or(|v| v.len() as u64 >= wanted.as_u64().unwrap()),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    out.extend(violations(wanted, item, &format!("{place}[{i}]")));
                }
                true
            }
            "required" => {
                let has = |name: &Value| value.get(name.as_str().unwrap()).is_some();
                wanted.as_array().unwrap().iter().all(has)
            }
            "properties" => {
                for (name, value) in value.as_object().into_iter().flatten() {
                    if let Some(schema) = wanted.get(name) {
                        out.extend(violations(schema, value, &format!("{place}.{name}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Value::Bool(false));
                let known = schema["properties"].as_object().unwrap();
                value
                    .as_object()
                    .into_iter()
                    .flat_map(Map::keys)
                    .all(|name| known.contains_key(name))
            }
            other => panic!("the validator does not know `{other}`"),
        };
        if !fine {
            out.push(format!("{place}: {keyword} {wanted} against {value}"));
        }
    }
    out
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "array" => value.is_array(),
        "object" => value.is_object(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        "null" => value.is_null(),
        other => panic!("the validator does not know the type `{other}`"),
    }
}

/// Each way to break a row is seen.
#[test]
fn the_validator_sees_faults() {
    let schema = serde_json::json!({
        "type": "object", "required": ["a", "b"], "additionalProperties": false,
        "properties": {
            "a": { "type": "integer", "minimum": 1 },
            "b": { "type": ["number", "null"], "exclusiveMinimum": 0 },
            "c": { "type": "array", "minItems": 1, "items": { "type": "string", "enum": ["x"] } }
        }
    });
    let good = serde_json::json!({ "a": 1, "b": null, "c": ["x"] });
    assert_eq!(violations(&schema, &good, "row"), Vec::<String>::new());
    for bad in [
        serde_json::json!({ "a": 1 }),
        serde_json::json!({ "a": 0, "b": 1.5 }),
        serde_json::json!({ "a": 1.5, "b": 1.5 }),
        serde_json::json!({ "a": 1, "b": 0.0 }),
        serde_json::json!({ "a": 1, "b": "1" }),
        serde_json::json!({ "a": 1, "b": 1, "c": [] }),
        serde_json::json!({ "a": 1, "b": 1, "c": ["y"] }),
        serde_json::json!({ "a": 1, "b": 1, "d": 1 }),
        serde_json::json!([]),
    ] {
        assert!(!violations(&schema, &bad, "row").is_empty(), "{bad}");
    }
}
