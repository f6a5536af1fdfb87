//! Amounts of resources: `100m`, `1.5Gi`, `1e3`. Exact decimal arithmetic, canonical text, rounding as the API rounds.
//!
//! An amount is kept as `mantissa * 10^scale` with `scale >= -9`: nothing finer than a billionth exists, and what is
//! finer is rounded away from zero when it is read.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// The finest power of ten that exists.
const FINEST: i32 = -9;
/// An amount of more than this many digits is cut to [`i64::MAX`] when it is read.
const FAST_DIGITS_MAX: usize = 18;

/// A power of ten beyond this, as text may name one, reads as this one.
const EXPONENT_MAX: i32 = 100;

/// How an amount was written, and so how it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// `1500m`, `2k`.
    #[default]
    DecimalSi,
    /// `64Mi`.
    BinarySi,
    /// `1e3`.
    DecimalExponent,
}

/// An exact amount.
#[derive(Debug, Clone, Copy)]
pub struct Quantity {
    /// Without trailing zeros, unless the scale is at its bound; 0 has scale 0.
    mantissa: i128,
    scale: i32,
    format: Format,
}

/// Why text is no quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The text is not a number with a suffix.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The suffix is not known.
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

impl Quantity {
    /// Nothing.
    pub const ZERO: Quantity = Quantity { mantissa: 0, scale: 0, format: Format::DecimalSi };

    /// A whole amount.
    pub fn from_int(value: i64) -> Self {
        Self::new(value.into(), 0, Format::DecimalSi)
    }

    /// Thousandths.
    pub fn from_milli(value: i64) -> Self {
        Self::new(value.into(), -3, Format::DecimalSi)
    }

    fn new(mantissa: i128, scale: i32, format: Format) -> Self {
        let (mut mantissa, mut scale) = (mantissa, scale);
        if mantissa == 0 {
            return Self { mantissa, scale: 0, format };
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            scale += 1;
        }
        if scale < FINEST {
            let finest = div_away_from_zero(mantissa, pow10((FINEST - scale).unsigned_abs()));
            return Self::new(finest, FINEST, format);
        }
        Self { mantissa, scale, format }
    }

    /// How it was written.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The same amount, printed in another way.
    pub fn with_format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// Whether it is nothing.
    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    /// -1, 0 or 1.
    pub fn sign(&self) -> i32 {
        self.mantissa.signum() as i32
    }

    /// In units of `10^scale`, rounded away from zero and cut to what an `i64` holds.
    pub fn scaled_value(&self, scale: i32) -> i64 {
        let shift = self.scale - scale;
        let wide = if shift >= 0 {
            self.mantissa.saturating_mul(pow10(shift.unsigned_abs()))
        } else {
            div_away_from_zero(self.mantissa, pow10(shift.unsigned_abs()))
        };
        wide.clamp(i64::MIN.into(), i64::MAX.into()) as i64
    }

    /// Whole units, rounded away from zero.
    pub fn value(&self) -> i64 {
        self.scaled_value(0)
    }

    /// Thousandths, rounded away from zero.
    pub fn milli_value(&self) -> i64 {
        self.scaled_value(-3)
    }

    /// As a whole number, if it is one that an `i64` holds.
    pub fn as_i64(&self) -> Option<i64> {
        if self.scale < 0 {
            return None;
        }
        self.mantissa.checked_mul(checked_pow10(self.scale.unsigned_abs())?)?.try_into().ok()
    }

    /// As a float; not exact.
    pub fn as_f64(&self) -> f64 {
        self.mantissa as f64 * 10f64.powi(self.scale)
    }

    /// Rounded away from zero to a multiple of `10^scale`.
    #[must_use]
    pub fn round_up(self, scale: i32) -> Self {
        if self.scale >= scale {
            return self;
        }
        let mantissa = div_away_from_zero(self.mantissa, pow10((scale - self.scale).unsigned_abs()));
        Self::new(mantissa, scale, self.format)
    }

    /// The sum; in the left side's format, unless that is nothing.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.scale.min(other.scale);
        let sum = self.at_scale(scale).saturating_add(other.at_scale(scale));
        Self::new(sum, scale, format)
    }

    /// The difference; in the left side's format, unless that is nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.plus(other.negated())
    }

    /// With the other sign.
    #[must_use]
    pub fn negated(self) -> Self {
        Self { mantissa: -self.mantissa, ..self }
    }

    fn at_scale(&self, scale: i32) -> i128 {
        self.mantissa.saturating_mul(pow10((self.scale - scale).unsigned_abs()))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Quantity {}
impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.min(other.scale);
        self.at_scale(scale).cmp(&other.at_scale(scale))
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.format == Format::BinarySi
            && let Some(whole) = self.as_i64()
            && whole.unsigned_abs() >= 1024
        {
            let twos = (whole.trailing_zeros() / 10).min(6);
            let suffix = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"][twos as usize];
            return write!(f, "{}{suffix}", whole >> (twos * 10));
        }
        let down = self.scale.rem_euclid(3);
        let exponent = self.scale - down;
        write!(f, "{}", self.mantissa.saturating_mul(pow10(down.unsigned_abs())))?;
        let known = DECIMAL.iter().find(|(_, e)| *e == exponent);
        match known {
            _ if exponent == 0 => Ok(()),
            Some((suffix, _)) if self.format != Format::DecimalExponent => f.write_str(suffix),
            _ => write!(f, "e{exponent}"),
        }
    }
}

const DECIMAL: [(&str, i32); 10] =
    [("", 0), ("n", -9), ("u", -6), ("m", -3), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
const BINARY: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

impl FromStr for Quantity {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parts = split(text)?;
        let (twos, tens, format) = suffix(parts.suffix)?;
        let digits = parts.whole.len() + parts.fraction.len();
        if digits > FAST_DIGITS_MAX {
            return Ok(long(&parts, twos, tens, format));
        }
        let number: i128 = format!("{}{}", parts.whole, parts.fraction).parse().unwrap_or(0);
        let signed = if parts.negative { -number } else { number };
        let scale = tens - parts.fraction.len() as i32;
        let mut q = Self::new(signed << twos, scale, format);
        // A binary amount is cut where a decimal one of few digits is not.
        if twos > 0 && !fits(&q) {
            q = Self::new(if parts.negative { -i128::from(i64::MAX) } else { i64::MAX.into() }, 0, format);
        }
        Ok(less_than_one_is_decimal(q))
    }
}

fn fits(q: &Quantity) -> bool {
    let max = Quantity::new(i64::MAX.into(), 0, q.format);
    *q <= max && *q >= max.negated()
}

fn less_than_one_is_decimal(q: Quantity) -> Quantity {
    let small = q.sign() > 0 && q < Quantity::from_int(1);
    if q.format == Format::BinarySi && small { q.with_format(Format::DecimalSi) } else { q }
}

/// A number of many digits: those beyond a billionth are rounded up, and the whole is cut to what an `i64` holds.
fn long(parts: &Parts<'_>, twos: u32, tens: i32, format: Format) -> Quantity {
    // 27 digits of the fraction are more than are ever kept, whatever the suffix, except that any rest rounds up.
    let (kept, rest) = parts.fraction.split_at(parts.fraction.len().min(27));
    let sign = if parts.negative { -1 } else { 1 };
    let max = Quantity::new(sign * i128::from(i64::MAX), 0, format);
    if parts.whole.len() as i64 + i64::from(tens) > 28 {
        return max;
    }
    let whole: i128 = parts.whole.parse().unwrap_or(0);
    let fraction: i128 = if kept.is_empty() { 0 } else { kept.parse().unwrap_or(0) };
    let fraction = fraction + i128::from(rest.bytes().any(|b| b != b'0'));
    let whole = Quantity::new(sign * whole.saturating_mul(1 << twos), tens, format);
    let fraction = scaled_fraction(sign * fraction, kept.len(), twos, tens, format);
    let q = whole.plus(fraction);
    let q = Quantity { format, ..q };
    if fits(&q) { less_than_one_is_decimal(q) } else { max }
}

fn scaled_fraction(digits: i128, len: usize, twos: u32, tens: i32, format: Format) -> Quantity {
    match digits.checked_mul(1 << twos) {
        Some(wide) => Quantity::new(wide, tens - len as i32, format),
        // Twenty digits are enough beside a power of two: what is lost is finer than a billionth.
        None => Quantity::new(div_away_from_zero(digits, pow10(9)) << twos, tens - len as i32 + 9, format),
    }
}

struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

fn split(text: &str) -> Result<Parts<'_>, ParseError> {
    if text.is_empty() {
        return Err(ParseError::Format);
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let number_len = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(number_len);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') {
        return Err(ParseError::Format);
    }
    let after_letters = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let exponent = after_letters.strip_prefix(['+', '-']).unwrap_or(after_letters);
    if !exponent.bytes().all(|b| b.is_ascii_digit()) {
        return Err(ParseError::Format);
    }
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    // No digit at all is zero: `m`, `-`.
    Ok(Parts { negative: text.starts_with('-'), whole, fraction, suffix })
}

fn suffix(suffix: &str) -> Result<(u32, i32, Format), ParseError> {
    if let Some((_, e)) = DECIMAL.iter().find(|(s, _)| *s == suffix) {
        return Ok((0, *e, Format::DecimalSi));
    }
    if let Some((_, e)) = BINARY.iter().find(|(s, _)| *s == suffix) {
        return Ok((*e, 0, Format::BinarySi));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseError::Suffix)?;
    let exponent: i32 = exponent.parse().map_err(|_| ParseError::Suffix)?;
    Ok((0, exponent.clamp(-EXPONENT_MAX, EXPONENT_MAX), Format::DecimalExponent))
}

fn checked_pow10(n: u32) -> Option<i128> {
    10i128.checked_pow(n)
}

fn pow10(n: u32) -> i128 {
    checked_pow10(n).unwrap_or(i128::MAX)
}

fn div_away_from_zero(n: i128, by: i128) -> i128 {
    let quotient = n / by;
    if n % by == 0 { quotient } else { quotient + n.signum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn q(text: &str) -> Quantity {
        text.parse().unwrap_or_else(|e| panic!("{text:?}: {e}"))
    }

    #[test]
    fn prints_canonically() {
        let cases = [
            ("0", "0"),
            ("00", "0"),
            ("0Mi", "0"),
            ("1", "1"),
            ("+1", "1"),
            ("-1", "-1"),
            ("1.5", "1500m"),
            ("0.1m", "100u"),
            ("1n", "1n"),
            ("0.1n", "1n"),
            ("-0.1n", "-1n"),
            ("0.000000001", "1n"),
            ("1000m", "1"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1e3", "1e3"),
            ("1000e0", "1e3"),
            ("1e20", "100e18"),
            ("1Ki", "1Ki"),
            ("1024Ki", "1Mi"),
            ("1023", "1023"),
            ("0.5Ki", "512"),
            ("1.5Gi", "1536Mi"),
            ("0.5Mi", "512Ki"),
            ("100Mi", "100Mi"),
            ("1Ei", "1Ei"),
            ("1E", "1E"),
            ("1E1", "10"),
            ("9223372036854775807", "9223372036854775807"),
            ("9223372036854775808", "9223372036854775807"),
            ("1.", "1"),
            (".5", "500m"),
            ("100Ei", "9223372036854775807"),
            ("123456789012345678901234567890", "9223372036854775807"),
            ("1.0000000001", "1000000001n"),
            ("0.00000000000000000000000000000000001", "1n"),
            ("12345678901234567890m", "12345678901234567890m"),
            ("1500", "1500"),
        ];
        for (text, canonical) in cases {
            assert_eq!(q(text).to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        for text in ["", "a", "-a", "1.2.3", "1 ", " 1", "1i1x", "1_0"] {
            assert_eq!(text.parse::<Quantity>(), Err(ParseError::Format), "{text:?}");
        }
        for text in ["-", "+", "m", "-m", ".", "-.", "+e1", "Ki", "00"] {
            assert_eq!(text.parse::<Quantity>().map(|q| q.sign()), Ok(0), "{text:?}");
        }
        for text in ["in", "--1", "1mi", "1e", "1KiB1", "1Mii", "1K", "1ee1", "1g"] {
            let e = text.parse::<Quantity>();
            assert!(matches!(e, Err(ParseError::Suffix | ParseError::Format)), "{text:?} {e:?}");
        }
    }

    #[test]
    fn rounds_away_from_zero() {
        assert_eq!(q("1.1").value(), 2);
        assert_eq!(q("-1.1").value(), -2);
        assert_eq!(q("1u").milli_value(), 1);
        assert_eq!(q("1u").round_up(-3).to_string(), "1m");
        assert_eq!(q("100E").value(), i64::MAX);
        assert_eq!(q("1.5").as_i64(), None);
        assert_eq!(q("1.5k").as_i64(), Some(1500));
    }

    fn any_quantity() -> impl Strategy<Value = String> {
        let suffixes = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e2", "e-3"];
        (any::<bool>(), 0u32..1_000_000, proptest::option::of(0u16..1000), 0..suffixes.len()).prop_map(
            move |(neg, whole, fraction, s)| {
                let sign = if neg { "-" } else { "" };
                let fraction = fraction.map(|f| format!(".{f}")).unwrap_or_default();
                format!("{sign}{whole}{fraction}{}", suffixes[s])
            },
        )
    }

    proptest! {
        #[test]
        fn canonical_text_reads_as_the_same_amount(text in any_quantity()) {
            let a = q(&text);
            let again = q(&a.to_string());
            prop_assert_eq!(a, again);
            prop_assert_eq!(again.to_string(), a.to_string());
        }

        #[test]
        fn adding_and_taking_away_are_inverse(a in any_quantity(), b in any_quantity()) {
            let (a, b) = (q(&a), q(&b));
            prop_assert_eq!(a.plus(b).minus(b), a);
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.cmp(&b), Quantity::ZERO.cmp(&b.minus(a)));
        }

        #[test]
        fn milli_values_add_up_like_the_amounts(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
            let sum = Quantity::from_milli(a).plus(Quantity::from_milli(b));
            prop_assert_eq!(sum.milli_value(), a + b);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[-+0-9.eEinumkKMGTP]{0,12}") {
            if let Ok(a) = text.parse::<Quantity>() {
                prop_assert_eq!(q(&a.to_string()), a);
            }
        }
    }
}
