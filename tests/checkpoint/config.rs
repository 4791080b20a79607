//! `config.json`.

use std::path::Path;

use secateur::checkpoint::{CheckpointError, HfConfig};

use super::named;

fn parse(text: &str) -> Result<HfConfig, CheckpointError> {
    HfConfig::parse(Path::new("some/config.json"), text)
}

#[test]
fn keys_are_read_by_type() {
    let text =
        r#"{"model_type":"opt","architectures":["A","B"],"hidden_size":64,"eps":1e-5,"theta":10000,"tie":false}"#;
    let config = parse(text).unwrap();
    assert_eq!(config.model_type().unwrap(), "opt");
    assert_eq!(config.architectures(), ["A", "B"]);
    assert_eq!(config.usize("hidden_size").unwrap(), 64);
    assert_eq!(config.f64("eps").unwrap(), 1e-5);
    assert_eq!(config.f64_or("theta", 1.0).unwrap(), 10000.0);
    assert!(!config.bool_or("tie", true).unwrap());
    assert_eq!(config.text(), text.as_bytes());
}

#[test]
fn absent_and_null_keys_take_the_default() {
    let config = parse(r#"{"a":null}"#).unwrap();
    for key in ["a", "b"] {
        assert!(config.value(key).is_none());
        assert_eq!(config.usize_or(key, 3).unwrap(), 3);
        assert_eq!(config.f64_or(key, 0.5).unwrap(), 0.5);
        assert_eq!(config.str_or(key, "x").unwrap(), "x");
        assert!(config.bool_or(key, true).unwrap());
        named(
            config.usize(key).unwrap_err(),
            &["some/config.json", key, "a whole number", "absent"],
        );
    }
}

#[test]
fn a_wrong_type_is_named() {
    let config = parse(r#"{"n":-1,"half":0.5,"s":"64","list":[1]}"#).unwrap();
    named(
        config.usize("n").unwrap_err(),
        &["some/config.json", "\"n\"", "a whole number", "-1"],
    );
    named(config.usize_or("half", 1).unwrap_err(), &["\"half\"", "0.5"]);
    named(config.usize_or("s", 1).unwrap_err(), &["\"s\"", "\"64\""]);
    named(config.str("list").unwrap_err(), &["\"list\"", "a string", "a list"]);
    named(config.f64_or("s", 1.0).unwrap_err(), &["\"s\"", "a number"]);
    named(config.bool_or("n", true).unwrap_err(), &["\"n\"", "true or false"]);
}

#[test]
fn text_config_is_the_second_choice() {
    let config =
        parse(r#"{"model_type":"gemma3","text_config":{"model_type":"gemma3_text","hidden_size":8}}"#).unwrap();
    assert_eq!(config.model_type().unwrap(), "gemma3");
    assert_eq!(config.usize("hidden_size").unwrap(), 8);
}

#[test]
fn quantized_models_are_refused() {
    for text in [
        r#"{"quantization_config":{"quant_method":"gptq","bits":4}}"#,
        r#"{"text_config":{"quantization_config":{"quant_method":"gptq"}}}"#,
    ] {
        let error = named(
            parse(text).unwrap_err(),
            &["some/config.json", "quantization_config", "gptq"],
        );
        assert!(matches!(error, CheckpointError::Quantized { .. }));
    }
    parse(r#"{"quantization_config":null}"#).unwrap();
}

#[test]
fn what_is_no_json_object_is_refused() {
    for text in ["", "{", "[1]", "\"x\""] {
        let error = named(parse(text).unwrap_err(), &["some/config.json"]);
        assert!(
            matches!(error, CheckpointError::ConfigNotJson { .. }),
            "{text:?}: {error}"
        );
    }
}
