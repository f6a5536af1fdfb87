//! Numbers out of Kubernetes quantities, rounded up as the kubelet does. Knows only the notation.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The value of a quantity times 1000, rounded up; `None` if it is no quantity.
pub fn milli(q: &Quantity) -> Option<i64> {
    scaled(&q.0, 1000)
}

/// The value of a quantity, rounded up; `None` if it is no quantity.
pub fn value(q: &Quantity) -> Option<i64> {
    scaled(&q.0, 1)
}

/// A quantity of bytes or pieces.
pub fn of(value: i64) -> Quantity {
    Quantity(value.to_string())
}

/// A quantity of bytes, in `Ki` as the kubelet reports sizes.
pub fn of_kib(bytes: i64) -> Quantity {
    if bytes % 1024 == 0 { Quantity(format!("{}Ki", bytes / 1024)) } else { of(bytes) }
}

/// A quantity of milli-CPUs.
pub fn of_milli(milli: i64) -> Quantity {
    if milli % 1000 == 0 { Quantity((milli / 1000).to_string()) } else { Quantity(format!("{milli}m")) }
}

/// One entry of a resource list, in milli for `cpu` and whole units for the rest.
pub fn amount(list: Option<&BTreeMap<String, Quantity>>, name: &str) -> Option<i64> {
    let q = list?.get(name)?;
    if name == "cpu" { milli(q) } else { value(q) }
}

/// Decimal text with a suffix, times `scale`, rounded away from zero; exact in 128 bits.
fn scaled(text: &str, scale: i128) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !matches!(c, '0'..='9' | '.' | '+' | '-')).unwrap_or(text.len());
    let (number, suffix) = text.split_at(split);
    let (mul, div): (i128, i128) = match suffix {
        "" => (1, 1),
        "n" => (1, 1_000_000_000),
        "u" => (1, 1_000_000),
        "m" => (1, 1000),
        "k" => (1000, 1),
        "M" => (1_000_000, 1),
        "G" => (1_000_000_000, 1),
        "T" => (1_000_000_000_000, 1),
        "P" => (1_000_000_000_000_000, 1),
        "E" => (1_000_000_000_000_000_000, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        e if e.starts_with(['e', 'E']) => {
            let exponent: i32 = e[1..].parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
        _ => return None,
    };
    let negative = number.starts_with('-');
    let digits = number.trim_start_matches(['+', '-']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let div = div.checked_mul(10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?)?;
    let up = mantissa.checked_mul(mul)?.checked_mul(scale)?;
    let result = i64::try_from(up / div + i128::from(up % div > 0)).unwrap_or(i64::MAX);
    Some(if negative { -result } else { result })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_and_rounds_up() {
        for (text, m, v) in [
            ("100m", 100, 1),
            ("1", 1000, 1),
            ("1.5", 1500, 2),
            ("0.0001", 1, 1),
            ("64Mi", 67_108_864_000, 67_108_864),
            ("1k", 1_000_000, 1000),
            ("1e3", 1_000_000, 1000),
            ("-2", -2000, -2),
            ("10E", i64::MAX, i64::MAX),
            (".00100000000000000000000000000000009503", 2, 1),
        ] {
            let q = Quantity(text.into());
            assert_eq!((milli(&q), value(&q)), (Some(m), Some(v)), "{text}");
        }
        assert_eq!(milli(&Quantity("abc".into())), None);
        assert_eq!(of_milli(1500).0, "1500m");
        assert_eq!(of_kib(2048).0, "2Ki");
    }
}
