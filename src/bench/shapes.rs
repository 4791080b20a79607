//! Shapes of real layers, and which of them a size stands for.

use std::str::FromStr;

use super::BenchError;

/// Shapes of a model's linears and heads.
#[derive(Debug, PartialEq, Eq)]
pub struct Model {
    /// Name on the command line.
    pub name: &'static str,
    /// Name, outputs and inputs of each kind of linear.
    pub linears: &'static [(&'static str, [usize; 2])],
    /// Query heads, key and value heads, columns of a head.
    pub heads: [usize; 3],
}

/// The models known by name.
const MODELS: &[Model] = &[
    Model {
        name: "smollm2-135m",
        linears: &[
            ("q", [576, 576]),
            ("k", [192, 576]),
            ("gate", [1536, 576]),
            ("down", [576, 1536]),
        ],
        heads: [9, 3, 64],
    },
    Model {
        name: "llama-3.2-1b",
        linears: &[
            ("q", [2048, 2048]),
            ("k", [512, 2048]),
            ("gate", [8192, 2048]),
            ("down", [2048, 8192]),
        ],
        heads: [32, 8, 64],
    },
    Model {
        name: "llama-3.1-8b",
        linears: &[
            ("q", [4096, 4096]),
            ("k", [1024, 4096]),
            ("gate", [14336, 4096]),
            ("down", [4096, 14336]),
        ],
        heads: [32, 8, 128],
    },
];

/// Rows, columns and tokens at most: a matrix then has at most 4 GiB.
const LARGEST: usize = 1 << 15;

/// Something to take sizes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `1024^3`: a product of square matrices.
    Cube(usize),
    /// `2048x640`: a linear with that many outputs and inputs.
    Linear([usize; 2]),
    /// The linears and heads of a model.
    Model(&'static Model),
}

impl FromStr for Shape {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self, BenchError> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|n| (1..=LARGEST).contains(n));
        if let Some(model) = MODELS.iter().find(|model| model.name == text) {
            return Ok(Shape::Model(model));
        }
        if let Some(n) = text.strip_suffix("^3").and_then(number) {
            return Ok(Shape::Cube(n));
        }
        if let Some((rows, cols)) = text.split_once('x')
            && let (Some(rows), Some(cols)) = (number(rows), number(cols))
        {
            return Ok(Shape::Linear([rows, cols]));
        }
        let names: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        Err(BenchError::Setting(format!(
            "`{text}` is no shape: write a model ({}), OUTPUTSxINPUTS such as 2048x640, or N^3 such as 1024^3, up to {LARGEST}",
            names.join(", ")
        )))
    }
}

/// How much is measured unless told otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Size {
    /// 512^3 and smollm2-135m with 256 tokens, and one layer solve. Takes about two minutes on a driver that runs on
    /// the CPU
    #[default]
    Small,
    /// 1024^3, 2048x640, 576x1536, smollm2-135m and llama-3.2-1b with 1024 tokens
    Medium,
    /// 4096^3, llama-3.2-1b and llama-3.1-8b with 2048 tokens, for a GPU with 16 GB or more
    Large,
}

impl Size {
    /// Its shapes.
    pub fn shapes(self) -> Vec<Shape> {
        let names: &[&str] = match self {
            Size::Small => &["512^3", "smollm2-135m"],
            Size::Medium => &["1024^3", "2048x640", "576x1536", "smollm2-135m", "llama-3.2-1b"],
            Size::Large => &["4096^3", "llama-3.2-1b", "llama-3.1-8b"],
        };
        names.iter().map(|name| name.parse().expect("a known shape")).collect()
    }

    /// Its tokens.
    pub fn tokens(self) -> usize {
        match self {
            Size::Small => 256,
            Size::Medium => 1024,
            Size::Large => 2048,
        }
    }
}
