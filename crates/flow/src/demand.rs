//! How many seats a level wanted over time: mean, deviation and highest, and a smoothed figure that falls slowly.

use crate::Nanos;

/// Part of the smoothed figure that is kept when demand falls; it halves in about five minutes of ten-second periods.
const KEPT: f64 = 0.977;

/// Follows a value over time.
#[derive(Debug, Clone, Default)]
pub struct Integrator {
    since: Nanos,
    value: f64,
    seconds: f64,
    sum: f64,
    squares: f64,
    high: f64,
}

/// What a period was like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Period {
    /// Mean over time.
    pub mean: f64,
    /// Standard deviation over time.
    pub deviation: f64,
    /// Highest value.
    pub high: f64,
}

impl Integrator {
    /// Zero from `now` on.
    pub fn starting(now: Nanos) -> Self {
        Self { since: now, ..Self::default() }
    }

    /// The value is `value` from `now` on.
    pub fn set(&mut self, now: Nanos, value: f64) {
        self.advance(now);
        self.value = value;
        self.high = self.high.max(value);
    }

    fn advance(&mut self, now: Nanos) {
        let seconds = now.saturating_sub(self.since) as f64 / 1e9;
        self.since = self.since.max(now);
        self.seconds += seconds;
        self.sum += self.value * seconds;
        self.squares += self.value * self.value * seconds;
    }

    /// Ends a period and begins the next.
    pub fn reset(&mut self, now: Nanos) -> Period {
        self.advance(now);
        let mut period = Period { high: self.high, ..Period::default() };
        if self.seconds > 0.0 {
            period.mean = self.sum / self.seconds;
            period.deviation = (self.squares / self.seconds - period.mean * period.mean).max(0.0).sqrt();
        }
        *self = Self { since: self.since, value: self.value, high: self.value, ..Self::default() };
        period
    }
}

/// A level's demand, period after period.
#[derive(Debug, Clone, Copy, Default)]
pub struct Smoothed {
    /// The last period.
    pub last: Period,
    /// Follows a rise at once and a fall slowly.
    pub value: f64,
}

impl Smoothed {
    /// Takes in a period; `idle` further ones without demand came before it.
    pub fn update(&mut self, period: Period, idle: u32) {
        let envelope = period.mean + period.deviation;
        self.value *= KEPT.powi(i32::try_from(idle).unwrap_or(i32::MAX));
        self.value = envelope.max(KEPT * self.value + (1.0 - KEPT) * envelope);
        self.last = period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = 1_000_000_000;

    #[test]
    fn a_period_is_weighed_by_time() {
        let mut demand = Integrator::default();
        demand.set(0, 4.0);
        demand.set(S, 0.0);
        let period = demand.reset(4 * S);
        assert_eq!((period.mean, period.high), (1.0, 4.0));
        assert!((period.deviation - 3_f64.sqrt()).abs() < 1e-9);
        assert_eq!(demand.reset(5 * S), Period::default(), "the next period begins with the present value");
    }

    #[test]
    fn smoothing_rises_at_once_and_falls_slowly() {
        let mut smoothed = Smoothed::default();
        smoothed.update(Period { mean: 100.0, ..Period::default() }, 0);
        assert_eq!(smoothed.value, 100.0);
        let mut step_by_step = smoothed;
        (0..30).for_each(|_| step_by_step.update(Period::default(), 0));
        assert!((45.0..55.0).contains(&step_by_step.value), "{step_by_step:?}");
        smoothed.update(Period::default(), 29);
        assert!((smoothed.value - step_by_step.value).abs() < 1e-9, "idle periods may be caught up with");
    }
}
