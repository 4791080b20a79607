//! Which rows, columns or units of the whole model go, within a budget of parameters. Host code: there are few of them.
//!
//! As published: sorted by cost, without regard to how many parameters each has; the budget counts parameters, those
//! where a removed row meets a removed column once; the longest prefix that fits goes.

/// Costs of the rows and columns of one linear.
#[derive(Clone, Debug)]
pub struct LinearLines {
    /// Outputs and inputs.
    pub shape: [usize; 2],
    /// Cost of each row; empty if rows stay.
    pub rows: Vec<f64>,
    /// Cost of each column; empty if columns stay.
    pub cols: Vec<f64>,
}

/// Rows and columns to remove, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemovedLines {
    /// Of the outputs.
    pub rows: Vec<usize>,
    /// Of the inputs.
    pub cols: Vec<usize>,
}

/// The cheapest rows and columns of all linears whose parameters together are at most `budget`, in the order of the linears.
/// One row and one column of each stay. Equal costs: earlier linears, rows before columns, lower numbers first.
pub fn cheapest_lines(linears: &[LinearLines], budget: u64) -> Vec<RemovedLines> {
    let mut items = Vec::new();
    for (at, linear) in linears.iter().enumerate() {
        let lines = |costs: &[f64], column: bool| -> Vec<_> {
            (costs.iter().enumerate())
                .map(|(i, cost)| (*cost, at, column, i))
                .collect()
        };
        items.extend(lines(&linear.rows, false));
        items.extend(lines(&linear.cols, true));
    }
    items.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut removed = vec![RemovedLines::default(); linears.len()];
    let mut total = 0;
    for (_, at, column, i) in items {
        let ([rows, cols], lines) = (linears[at].shape, &mut removed[at]);
        let (height, width) = (rows - lines.rows.len(), cols - lines.cols.len());
        let (parameters, left) = if column { (height, width) } else { (width, height) };
        if left == 1 {
            continue;
        }
        total += parameters as u64;
        if total > budget {
            break;
        }
        if column { &mut lines.cols } else { &mut lines.rows }.push(i);
    }
    for lines in &mut removed {
        lines.rows.sort_unstable();
        lines.cols.sort_unstable();
    }
    removed
}

/// Something that goes as one: a neuron of an MLP, a group of attention heads.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// What removing it costs.
    pub cost: f64,
    /// Parameters it frees.
    pub parameters: u64,
    /// Units of one class have a limit in common.
    pub class: usize,
}

/// The cheapest units whose parameters together are at most `budget`, as their numbers in ascending order. At most `most[c]`
/// of class c go (a layer keeps some neurons and heads). Equal costs: lower numbers first.
pub fn cheapest_units(units: &[Unit], most: &[usize], budget: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..units.len()).collect();
    order.sort_by(|a, b| units[*a].cost.total_cmp(&units[*b].cost));
    let mut gone = vec![0; most.len()];
    let (mut total, mut removed) = (0, Vec::new());
    for i in order {
        let Unit { parameters, class, .. } = units[i];
        if gone[class] == most[class] {
            continue;
        }
        total += parameters;
        if total > budget {
            break;
        }
        gone[class] += 1;
        removed.push(i);
    }
    removed.sort_unstable();
    removed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(rows: &[usize], cols: &[usize]) -> RemovedLines {
        RemovedLines {
            rows: rows.to_vec(),
            cols: cols.to_vec(),
        }
    }

    #[test]
    fn overlap_counts_once() {
        let linear = LinearLines {
            shape: [4, 6],
            rows: vec![1.0, 9.0, 2.0, 9.0],
            cols: vec![9.0, 3.0, 9.0, 9.0, 4.0, 9.0],
        };
        // Rows of 6, then columns of the 2 rows left: r cols + c rows - r c.
        for (budget, wanted) in [
            (5, lines(&[], &[])),
            (6, lines(&[0], &[])),
            (11, lines(&[0], &[])),
            (13, lines(&[0, 2], &[])),
            (14, lines(&[0, 2], &[1])),
            (16, lines(&[0, 2], &[1, 4])),
        ] {
            assert_eq!(
                cheapest_lines(std::slice::from_ref(&linear), budget),
                [wanted],
                "{budget}"
            );
        }
        // One row and one column stay, whatever the budget.
        let most = cheapest_lines(&[linear], 24);
        assert_eq!([most[0].rows.len(), most[0].cols.len()], [3, 5]);
    }

    #[test]
    fn one_threshold_for_all_linears() {
        let linears = [
            LinearLines {
                shape: [3, 100],
                rows: vec![5.0, 1.0, 7.0],
                cols: Vec::new(),
            },
            LinearLines {
                shape: [3, 2],
                rows: vec![2.0, 6.0, 0.5],
                cols: vec![8.0, 8.0],
            },
        ];
        assert_eq!(cheapest_lines(&linears, 104), [lines(&[1], &[]), lines(&[0, 2], &[])]);
        // The next in line does not fit: nothing dearer goes instead.
        assert_eq!(cheapest_lines(&linears, 103), [lines(&[1], &[]), lines(&[2], &[])]);
        assert_eq!(cheapest_lines(&linears, 203), [lines(&[1], &[]), lines(&[0, 2], &[])]);
        // The last row of the second stays; a column of what is left of it is one parameter.
        assert_eq!(
            cheapest_lines(&linears, 205),
            [lines(&[0, 1], &[]), lines(&[0, 2], &[0])]
        );
    }

    #[test]
    fn units_within_budget_and_class() {
        let unit = |cost, parameters, class| Unit {
            cost,
            parameters,
            class,
        };
        let units = [
            unit(3.0, 10, 0),
            unit(1.0, 10, 0),
            unit(2.0, 100, 1),
            unit(4.0, 10, 0),
            unit(2.0, 10, 0),
        ];
        assert_eq!(cheapest_units(&units, &[9, 9], 10), [1]);
        assert_eq!(cheapest_units(&units, &[9, 9], 119), [1, 2]);
        assert_eq!(cheapest_units(&units, &[9, 9], 120), [1, 2, 4]);
        assert_eq!(cheapest_units(&units, &[9, 0], 20), [1, 4]);
        assert_eq!(cheapest_units(&units, &[2, 1], 1000), [1, 2, 4]);
        assert_eq!(cheapest_units(&units, &[9, 9], 0), [0; 0]);
    }
}
