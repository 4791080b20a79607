//! One threshold for the whole model without keeping its costs: every linear counts its costs in bins 0.4 % wide, the
//! counts are added up, and each linear learns how many to remove. Host code.

use crate::reference::prox::cost_histogram::cost_of_bin;

/// Costs of one linear, counted by their leading bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CostHistogram {
    /// First bin that is not empty.
    first: usize,
    counts: Vec<u32>,
    /// Weights or groups that are zero already.
    done: u64,
    /// Those that stay at any cost.
    kept: u64,
}

impl CostHistogram {
    /// From the counts of all bins, cheapest first, of the `total` weights or groups of a linear; those that were not
    /// counted are zero already.
    pub fn new(counts: &[u32], total: u64) -> Self {
        let first = counts.iter().position(|c| *c > 0).unwrap_or(0);
        let end = counts.iter().rposition(|c| *c > 0).map_or(first, |last| last + 1);
        let counted: u64 = counts.iter().map(|c| u64::from(*c)).sum();
        CostHistogram {
            first,
            counts: counts[first..end].to_vec(),
            done: total - counted,
            kept: 0,
        }
    }

    /// Weights or groups in all.
    pub fn total(&self) -> u64 {
        self.done + self.kept + self.counts.iter().map(|c| u64::from(*c)).sum::<u64>()
    }

    /// With a share of them to go whatever the others cost, and no more: of a linear nothing is known of.
    pub fn settled(&self, share: f64) -> Self {
        let due = (share * self.total() as f64).round() as u64;
        CostHistogram {
            first: 0,
            counts: Vec::new(),
            done: due.max(self.done),
            kept: self.total() - due.max(self.done),
        }
    }

    /// How many of them are zero already.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// With the costs of another part of the linear.
    pub fn and(&self, other: &CostHistogram) -> Self {
        let full = || [self, other].into_iter().filter(|part| !part.counts.is_empty());
        let first = full().map(|part| part.first).min().unwrap_or(0);
        let end = full().map(|part| part.first + part.counts.len()).max().unwrap_or(0);
        let counts = (first..end).map(|bin| (self.count(bin) + other.count(bin)) as u32);
        CostHistogram {
            first,
            counts: counts.collect(),
            done: self.done + other.done,
            kept: self.kept + other.kept,
        }
    }

    /// Those that are not zero yet but cost nothing.
    pub fn free(&self) -> u64 {
        self.count(0)
    }

    fn count(&self, bin: usize) -> u64 {
        let at = bin.checked_sub(self.first);
        u64::from(at.and_then(|at| self.counts.get(at)).copied().unwrap_or(0))
    }
}

/// How many weights or groups of each linear are to be zero so that `target` of the model are, the cheapest ones: those that
/// are zero already first. The bin the threshold falls in is shared in proportion to what each linear has in it. The
/// numbers add up to `target`, or to what is zero already if that is more, or to all there are if that is less.
pub fn allocate(linears: &[CostHistogram], target: u64) -> Vec<u64> {
    allocate_within(linears, target, [0.0, 1.0])
}

/// Cost at which so many are cheaper: what [`allocate`] removes up to, to the width of a bin. 0 if nothing is left to remove.
pub fn threshold(linears: &[CostHistogram], target: u64) -> f64 {
    let mut cheaper: u64 = linears.iter().map(CostHistogram::done).sum();
    let end = linears.iter().map(|linear| linear.first + linear.counts.len()).max();
    for bin in 0..end.unwrap_or(0) {
        cheaper += linears.iter().map(|linear| linear.count(bin)).sum::<u64>();
        if cheaper >= target {
            return f64::from(cost_of_bin(bin));
        }
    }
    0.0
}

/// As [`allocate`], with no share of a linear below or above these two unless it is below or above already.
pub fn allocate_within(linears: &[CostHistogram], target: u64, [least, most]: [f64; 2]) -> Vec<u64> {
    let bounds: Vec<[u64; 2]> = (linears.iter())
        .map(|linear| {
            let [least, most] = [least, most].map(|share| (share * linear.total() as f64).round() as u64);
            let least = least.max(linear.done);
            [least, most.max(least)]
        })
        .collect();
    let clamped = |cheaper: &[u64]| -> Vec<u64> {
        let pairs = cheaper.iter().zip(&bounds);
        pairs.map(|(count, [least, most])| *count.clamp(least, most)).collect()
    };
    // Those cheaper than the bin at hand, first of all those that are done.
    let mut cheaper: Vec<u64> = linears.iter().map(|linear| linear.done).collect();
    let mut removed = clamped(&cheaper);
    let mut left = target.saturating_sub(removed.iter().sum());
    let end = linears
        .iter()
        .map(|linear| linear.first + linear.counts.len())
        .max()
        .unwrap_or(0);
    let start = linears.iter().map(|linear| linear.first).min().unwrap_or(0);
    for bin in start..end {
        if left == 0 {
            break;
        }
        cheaper
            .iter_mut()
            .zip(linears)
            .for_each(|(sum, linear)| *sum += linear.count(bin));
        let here: Vec<u64> = clamped(&cheaper)
            .iter()
            .zip(&removed)
            .map(|(now, before)| now - before)
            .collect();
        let taken = shared(&here, left);
        left -= taken.iter().sum::<u64>();
        removed.iter_mut().zip(&taken).for_each(|(sum, taken)| *sum += taken);
    }
    removed
}

/// At most `wanted` of `parts`, in proportion: rounded down, the rest to the largest remainders, the first among equals.
fn shared(parts: &[u64], wanted: u64) -> Vec<u64> {
    let total: u64 = parts.iter().sum();
    if total <= wanted {
        return parts.to_vec();
    }
    let product = |part: u64| u128::from(part) * u128::from(wanted);
    let mut shares: Vec<u64> = parts.iter().map(|p| (product(*p) / u128::from(total)) as u64).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(product(parts[*i]) % u128::from(total)));
    let rest = wanted - shares.iter().sum::<u64>();
    for i in &order[..rest as usize] {
        shares[*i] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(bins: &[(usize, u32)], done: u64) -> CostHistogram {
        let mut counts = vec![0; 100];
        bins.iter().for_each(|(bin, count)| counts[*bin] = *count);
        let counted: u64 = bins.iter().map(|b| u64::from(b.1)).sum();
        CostHistogram::new(&counts, counted + done)
    }

    #[test]
    fn cheapest_bins_first_and_the_last_in_proportion() {
        let linears = [
            histogram(&[(3, 10), (7, 5)], 0),
            histogram(&[(7, 15), (50, 100)], 4),
            histogram(&[], 6),
        ];
        assert_eq!(allocate(&linears, 10), [0, 4, 6]);
        // What is zero already cannot be undone.
        assert_eq!(allocate(&linears, 3), [0, 4, 6]);
        assert_eq!(allocate(&linears, 15), [5, 4, 6]);
        // A quarter and three quarters of eight.
        assert_eq!(allocate(&linears, 28), [12, 10, 6]);
        assert_eq!(allocate(&linears, 41), [15, 20, 6]);
        assert_eq!(allocate(&linears, 1000), [15, 119, 6]);
    }

    #[test]
    fn every_target_is_met_exactly_and_shares_grow() {
        let linears = [
            histogram(&[(0, 3), (1, 1), (99, 7)], 1),
            histogram(&[(1, 1), (98, 2)], 0),
            histogram(&[(1, 1), (99, 11)], 2),
        ];
        let total: u64 = linears.iter().map(CostHistogram::total).sum();
        assert_eq!(total, 29);
        for target in 3..=total {
            let removed = allocate(&linears, target);
            assert_eq!(removed.iter().sum::<u64>(), target);
            assert!(
                removed
                    .iter()
                    .zip(&linears)
                    .all(|(r, l)| *r >= l.done() && *r <= l.total())
            );
        }
    }

    #[test]
    fn the_threshold_is_where_the_target_falls() {
        let linears = [histogram(&[(0, 2), (70, 3)], 1), histogram(&[(80, 4)], 0)];
        let at = |target| threshold(&linears, target);
        assert_eq!([at(1), at(3)], [0.0; 2]);
        assert_eq!(at(4), f64::from(cost_of_bin(70)));
        assert_eq!(at(7), f64::from(cost_of_bin(80)));
        assert_eq!(at(11), 0.0);
        assert_eq!(linears.each_ref().map(CostHistogram::free), [2, 0]);
    }

    #[test]
    fn shares_stay_within_bounds() {
        let linears = [
            histogram(&[(1, 100)], 0),
            histogram(&[(2, 100)], 0),
            histogram(&[(3, 200)], 0),
        ];
        let removed = allocate_within(&linears, 240, [0.5, 0.7]);
        assert_eq!(removed, [70, 70, 100]);
        // What is done already counts, also beyond the bounds.
        let linears = [histogram(&[(1, 20)], 80), histogram(&[(1, 100)], 0)];
        assert_eq!(allocate_within(&linears, 140, [0.5, 0.7]), [80, 60]);
    }

    #[test]
    fn parts_add_up() {
        let (a, b) = (histogram(&[(3, 10), (7, 5)], 1), histogram(&[(7, 15), (50, 100)], 4));
        assert_eq!(a.and(&b), histogram(&[(3, 10), (7, 20), (50, 100)], 5));
        assert_eq!(histogram(&[], 2).and(&a), histogram(&[(3, 10), (7, 5)], 3));
    }

    #[test]
    fn a_settled_linear_gets_its_share_whatever_the_others_cost() {
        let unknown = histogram(&[(0, 90)], 10).settled(0.4);
        assert_eq!((unknown.total(), unknown.done()), (100, 40));
        let linears = [unknown, histogram(&[(5, 50), (6, 50)], 0)];
        assert_eq!(allocate(&linears, 80), [40, 40]);
        assert_eq!(allocate(&linears, 200), [40, 100]);
        // What is zero stays zero.
        assert_eq!(histogram(&[(0, 40)], 60).settled(0.4).done(), 60);
    }

    #[test]
    fn nothing_at_all() {
        assert!(allocate(&[], 5).is_empty());
        assert_eq!(allocate(&[histogram(&[], 0)], 5), [0]);
    }
}
