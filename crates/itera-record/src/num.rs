//! Numbers as text: fixed forms that depend on the value alone, never on a locale.

/// A number with so many decimals; never `-0.0`.
pub fn fixed(value: f64, decimals: usize) -> String {
    let text = format!("{value:.decimals$}");
    let is_zero = text.bytes().all(|c| matches!(c, b'-' | b'0' | b'.'));
    match text.strip_prefix('-') {
        Some(positive) if is_zero => positive.to_owned(),
        _ => text,
    }
}

/// A whole number with commas between groups of three digits.
pub fn thousands(value: u64) -> String {
    group(&value.to_string())
}

/// A number with so many significant digits, without an exponent, with commas where it is large.
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return fixed(value, 0);
    }
    let rounded: f64 = format!("{value:.*e}", (digits - 1) as usize)
        .parse()
        .unwrap_or(value);
    // The exponent after rounding: 9.996 with three digits is 10.0 and not 10.00.
    let decimals = (digits - 1 - exponent_of_ten(rounded)).max(0) as usize;
    group(&fixed(rounded, decimals))
}

/// The power of ten of the first digit. From the text and not by a logarithm, whose last bit depends
/// on the system's library.
pub fn exponent_of_ten(value: f64) -> i32 {
    let text = format!("{value:e}");
    let exponent = text
        .rsplit_once('e')
        .and_then(|(_, exponent)| exponent.parse().ok());
    exponent.unwrap_or(0)
}

/// A power of ten, as near as a float can be.
pub fn power_of_ten(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(f64::INFINITY)
}

/// Three significant digits: what a measured figure deserves unless its spread says more.
pub fn short(value: f64) -> String {
    significant(value, 3)
}

/// Three significant digits and an SI prefix, for example `149 k` or `27.6 µ`: for one unit over many
/// powers of ten.
pub fn si(value: f64) -> String {
    const PREFIXES: [&str; 9] = ["p", "n", "µ", "m", "", "k", "M", "G", "T"];
    if value == 0.0 || !value.is_finite() {
        return fixed(value, 0);
    }
    let rounded: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    if rounded.abs() >= 1e15 {
        return format!("{rounded:.2e}");
    }
    let group = exponent_of_ten(rounded).div_euclid(3).clamp(-4, 4);
    let scaled = significant(rounded / power_of_ten(3 * group), 3);
    format!("{scaled} {}", PREFIXES[(group + 4) as usize])
        .trim_end()
        .to_owned()
}

/// How many times `a` is `b`, for example `13.2×`.
pub fn times(a: f64, b: f64) -> String {
    if b == 0.0 {
        return "not defined".to_owned();
    }
    format!("{}×", short(a / b))
}

/// A change in percent with its sign; two decimals below ten percent.
pub fn change_percent(old: f64, new: f64) -> String {
    if old == 0.0 {
        return (if new == 0.0 { "0 %" } else { "from 0" }).to_owned();
    }
    let percent = 100.0 * (new - old) / old.abs();
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    let decimals = usize::from(percent.abs() < 100.0) + usize::from(percent.abs() < 10.0);
    let sign = if percent > 0.0 { "+" } else { "" };
    format!("{sign}{} %", fixed(percent, decimals))
}

/// Bounds in square brackets.
pub fn interval([low, high]: [f64; 2], decimals: usize) -> String {
    format!(
        "[{}, {}]",
        group_label(low, decimals),
        group_label(high, decimals)
    )
}

/// Bounds in square brackets, three significant digits each.
pub fn short_interval([low, high]: [f64; 2]) -> String {
    format!("[{}, {}]", short(low), short(high))
}

/// A number with so many decimals and with commas: the label of a tick.
pub fn group_label(value: f64, decimals: usize) -> String {
    group(&fixed(value, decimals))
}

/// Puts commas between groups of three digits of the whole part.
fn group(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |d| ("-", d));
    let (whole, fraction) = digits.split_once('.').map_or((digits, ""), |parts| parts);
    let mut text = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(fixed(-0.001, 2), "0.00");
        assert_eq!(fixed(-1.5, 1), "-1.5");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(short(9.996), "10.0");
        assert_eq!(short(0.000_123_4), "0.000123");
        assert_eq!(short(123_456.0), "123,000");
        assert_eq!(short(0.0), "0");
        assert_eq!(short(-42.16), "-42.2");
        assert_eq!(
            [si(149_156.0), si(2.76e-5), si(999.9)],
            ["149 k", "27.6 µ", "1.00 k"]
        );
        assert_eq!([si(0.0), si(42.0), si(-0.0042)], ["0", "42.0", "-4.20 m"]);
        assert_eq!([si(3.914e160), si(2.5e14)], ["3.91e160", "250 T"]);
    }

    #[test]
    fn ratios_come_from_the_two_numbers() {
        assert_eq!(times(4.76, 0.36), "13.2×");
        assert_eq!(times(1.0, 0.0), "not defined");
        assert_eq!(change_percent(2.0, 2.5), "+25.0 %");
        assert_eq!(change_percent(2.0, 1.99), "-0.50 %");
        assert_eq!(change_percent(2.0, 2.0), "0 %");
        assert_eq!(change_percent(-2.0, -1.0), "+50.0 %");
        assert_eq!(interval([0.95, 0.9691], 3), "[0.950, 0.969]");
    }
}
