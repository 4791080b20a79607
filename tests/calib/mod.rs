//! `src/calib`: texts, tokenizers, and the choice of samples held against CPython's own.

mod corpus;
mod sample;
mod tokens;

use secateur::calib::{CalibError, Tokenizer};

/// Words `w0`, `w1`, ... have the ids 2, 3, ...; `<s>` is 1 and opens every text; anything else is 0. The truncation
/// and padding asked for must have no effect.
fn tokenizer(words: usize) -> Tokenizer {
    Tokenizer::from_bytes("tokenizer.json", tokenizer_json(words).as_bytes()).unwrap()
}

fn tokenizer_json(words: usize) -> String {
    let vocab: String = (0..words).map(|i| format!(",\"w{i}\":{}", i + 2)).collect();
    format!(
        r#"{{"version":"1.0",
        "truncation":{{"direction":"Right","max_length":4,"strategy":"LongestFirst","stride":0}},
        "padding":{{"strategy":{{"Fixed":64}},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,"pad_token":"?"}},
        "added_tokens":[{{"id":1,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}}],
        "normalizer":null,"pre_tokenizer":{{"type":"WhitespaceSplit"}},"decoder":null,
        "post_processor":{{"type":"TemplateProcessing",
            "single":[{{"SpecialToken":{{"id":"<s>","type_id":0}}}},{{"Sequence":{{"id":"A","type_id":0}}}}],
            "pair":[{{"Sequence":{{"id":"A","type_id":0}}}},{{"Sequence":{{"id":"B","type_id":0}}}}],
            "special_tokens":{{"<s>":{{"id":"<s>","ids":[1],"tokens":["<s>"]}}}}}},
        "model":{{"type":"WordLevel","vocab":{{"?":0,"<s>":1{vocab}}},"unk_token":"?"}}}}"#
    )
}

fn words(range: std::ops::Range<usize>) -> String {
    range.map(|i| format!("w{i} ")).collect()
}

/// The message must name each of `culprits`.
fn named(error: CalibError, culprits: &[&str]) -> CalibError {
    let message = error.to_string();
    for culprit in culprits {
        assert!(message.contains(culprit), "{culprit:?} is not named in {message:?}");
    }
    error
}
