//! A prunable linear as it is stored, and the parts of it that the forward pass uses.

use std::borrow::Cow;
use std::ops::Range;

use super::family::{Fused, Role};
use crate::tensor::DType;

/// Names a linear within its decoder layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinearId {
    /// What it does.
    pub role: Role,
    /// Of which expert, in a mixture.
    pub expert: Option<usize>,
}

impl LinearId {
    /// A linear outside a mixture of experts.
    pub fn of(role: Role) -> Self {
        LinearId { role, expert: None }
    }

    /// Name in reports: `q`, or `up.3` for expert 3.
    pub fn name(&self) -> String {
        match self.expert {
            None => self.role.name().to_string(),
            Some(expert) => format!("{}.{expert}", self.role.name()),
        }
    }
}

/// Rows of a stored linear that make one linear of the forward pass, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The linear they make.
    pub role: Role,
    /// Where they are.
    pub rows: Vec<Range<usize>>,
}

impl Part {
    /// Parts one below the other.
    pub(super) fn blocks(sizes: &[(Role, usize)]) -> Vec<Part> {
        let mut first = 0;
        sizes
            .iter()
            .map(|(role, rows)| {
                first += rows;
                Part {
                    role: *role,
                    rows: std::iter::once(first - rows..first).collect(),
                }
            })
            .collect()
    }

    /// Queries, keys and values in one tensor.
    pub(super) fn qkv(fused: Fused, [heads, kv_heads]: [usize; 2], dim: usize) -> Vec<Part> {
        match fused {
            Fused::Blocks => Self::blocks(&[
                (Role::Q, heads * dim),
                (Role::K, kv_heads * dim),
                (Role::V, kv_heads * dim),
            ]),
            Fused::Heads => [Role::Q, Role::K, Role::V]
                .into_iter()
                .enumerate()
                .map(|(i, role)| {
                    let start = |head: usize| (3 * head + i) * dim;
                    let rows = (0..heads).map(|head| start(head)..start(head) + dim).collect();
                    Part { role, rows }
                })
                .collect(),
        }
    }
}

/// A prunable linear of one decoder layer.
#[derive(Clone, Debug)]
pub struct LinearSpec {
    /// Which it is.
    pub id: LinearId,
    /// Tensor name of its weight.
    pub tensor: String,
    /// Tensor name of its bias.
    pub bias: Option<String>,
    /// `[outputs, inputs]`.
    pub shape: [usize; 2],
    /// Whether the file holds `[inputs, outputs]` (GPT-2's Conv1D).
    pub transposed: bool,
    /// What the forward pass cuts out of it.
    pub parts: Vec<Part>,
}

impl LinearSpec {
    /// Names a part as a linear of the forward pass.
    pub(super) fn id_of(&self, part: &Part) -> LinearId {
        LinearId {
            role: part.role,
            expert: self.id.expert,
        }
    }

    /// The linears of the forward pass it makes.
    pub fn ids(&self) -> impl Iterator<Item = LinearId> {
        self.parts.iter().map(|part| self.id_of(part))
    }

    /// The linear of the forward pass that it is, if it is just one and all of it.
    pub fn whole(&self) -> Option<LinearId> {
        let [part] = &self.parts[..] else { return None };
        let [rows] = &part.rows[..] else { return None };
        (*rows == (0..self.shape[0])).then(|| self.id_of(part))
    }

    /// Shape of the tensor in the file.
    pub fn stored_shape(&self) -> [usize; 2] {
        let [outputs, inputs] = self.shape;
        if self.transposed {
            [inputs, outputs]
        } else {
            [outputs, inputs]
        }
    }

    /// Stored elements as `[outputs, inputs]` row-major.
    pub fn rows<'a>(&self, bytes: &'a [u8], dtype: DType) -> Cow<'a, [u8]> {
        if self.transposed {
            Cow::Owned(transposed(bytes, self.stored_shape(), dtype.size()))
        } else {
            Cow::Borrowed(bytes)
        }
    }

    /// Elements `[outputs, inputs]` row-major as they are stored.
    pub fn stored<'a>(&self, rows: &'a [u8], dtype: DType) -> Cow<'a, [u8]> {
        if self.transposed {
            Cow::Owned(transposed(rows, self.shape, dtype.size()))
        } else {
            Cow::Borrowed(rows)
        }
    }

    /// Elements of a part, cut out of a row-major matrix of `width` bytes per row.
    pub(super) fn part<'a>(part: &Part, rows: &'a [u8], width: usize) -> Cow<'a, [u8]> {
        match part.rows.as_slice() {
            [range] => Cow::Borrowed(&rows[range.start * width..range.end * width]),
            ranges => Cow::Owned(
                ranges
                    .iter()
                    .flat_map(|range| &rows[range.start * width..range.end * width])
                    .copied()
                    .collect(),
            ),
        }
    }
}

/// A row-major matrix of elements of `size` bytes, transposed.
fn transposed(bytes: &[u8], [rows, cols]: [usize; 2], size: usize) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    for (i, element) in bytes.chunks_exact(size).enumerate() {
        let (row, col) = (i / cols, i % cols);
        out[(col * rows + row) * size..][..size].copy_from_slice(element);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conv1d_is_turned_and_turned_back() {
        let linear = LinearSpec {
            id: LinearId::of(Role::Up),
            tensor: String::new(),
            bias: None,
            shape: [3, 2],
            transposed: true,
            parts: Vec::new(),
        };
        let stored = [1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0];
        let rows = linear.rows(&stored, DType::F16);
        assert_eq!(*rows, [1, 0, 4, 0, 2, 0, 5, 0, 3, 0, 6, 0]);
        assert_eq!(*linear.stored(&rows, DType::F16), stored);
    }

    #[test]
    fn heads_are_gathered() {
        let parts = Part::qkv(Fused::Heads, [2, 2], 1);
        let rows: Vec<u8> = (0..6).collect();
        let cut: Vec<Vec<u8>> = parts
            .iter()
            .map(|p| LinearSpec::part(p, &rows, 1).into_owned())
            .collect();
        assert_eq!(cut, [[0, 3], [1, 4], [2, 5]]);
    }
}
