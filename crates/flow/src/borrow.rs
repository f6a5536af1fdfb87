//! Dividing the server's seats among levels: each gets at least its lower bound and at most its upper one, and what lies
//! between is in proportion to what each wants.

/// One level's part in the division.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// It gets no less.
    pub lower: f64,
    /// It gets no more.
    pub upper: f64,
    /// What it would like; at least `lower`.
    pub target: f64,
}

/// Seats for each claim and the factor that they were found with: `clamp(factor × target, lower, upper)`, adding up to
/// `total` where the bounds allow.
pub fn divide(total: f64, claims: &[Claim]) -> (Vec<f64>, f64) {
    let share =
        |factor: f64, c: &Claim| (factor * c.target.max(f64::MIN_POSITIVE)).clamp(c.lower, c.upper.max(c.lower));
    let sum = |factor: f64| claims.iter().map(|c| share(factor, c)).sum::<f64>();
    // The sum is piecewise linear in the factor and bends where a claim meets a bound: find the piece, then its point.
    let mut bends: Vec<f64> = claims
        .iter()
        .filter(|c| c.target > 0.0)
        .flat_map(|c| [c.lower / c.target, c.upper.max(c.lower) / c.target])
        .collect();
    bends.push(0.0);
    bends.sort_unstable_by(f64::total_cmp);
    let above = bends.partition_point(|factor| sum(*factor) < total);
    let factor = match (above.checked_sub(1).map(|i| bends[i]), bends.get(above)) {
        (_, None) => bends.last().copied().unwrap_or(0.0),
        (None, Some(first)) => *first,
        (Some(low), Some(high)) => {
            let (from, to) = (sum(low), sum(*high));
            if to > from { low + (high - low) * (total - from) / (to - from) } else { *high }
        }
    };
    (claims.iter().map(|c| share(factor, c)).collect(), factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(total: f64, claims: &[(f64, f64, f64)], expected: &[f64]) {
        let claims: Vec<Claim> = claims.iter().map(|(l, u, t)| Claim { lower: *l, upper: *u, target: *t }).collect();
        let (got, _) = divide(total, &claims);
        let close = got.iter().zip(expected).all(|(g, e)| (g - e).abs() < 1e-6);
        assert!(close && got.len() == expected.len(), "{got:?} is not {expected:?}");
    }

    #[test]
    fn what_is_over_goes_in_proportion_within_the_bounds() {
        check(100.0, &[(0.0, 1e9, 10.0), (0.0, 1e9, 30.0)], &[25.0, 75.0]);
        check(100.0, &[(40.0, 1e9, 40.0), (0.0, 1e9, 360.0)], &[40.0, 60.0]);
        check(100.0, &[(0.0, 20.0, 50.0), (0.0, 1e9, 50.0)], &[20.0, 80.0]);
        check(100.0, &[(0.0, 20.0, 50.0), (0.0, 30.0, 50.0)], &[20.0, 30.0]);
        check(10.0, &[(8.0, 20.0, 50.0), (8.0, 30.0, 50.0)], &[8.0, 8.0]);
        check(100.0, &[], &[]);
    }
}
