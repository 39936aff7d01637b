//! Numbers for people: grouped digits, percentages that do not round a
//! failure away, durations.

/// Decimal digits in groups of three.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `part` of `whole` in per cent; `None` of nothing. `100 %` and `0 %` are said
/// only where they are exact: one value in a million must stay visible, so
/// decimals are added, from two up to six, until it does.
pub(crate) fn percent(part: u64, whole: u64) -> Option<String> {
    match (part, whole) {
        (_, 0) => return None,
        (0, _) => return Some("0 %".to_owned()),
        _ if part == whole => return Some("100 %".to_owned()),
        _ => {}
    }
    let (part, whole) = (u128::from(part), u128::from(whole));
    for decimals in 2..=6u32 {
        let unit = 10u128.pow(decimals);
        let scaled = (part * 100 * unit + whole / 2) / whole;
        if scaled != 0 && scaled != 100 * unit {
            let width = decimals as usize;
            return Some(format!("{}.{:0width$} %", scaled / unit, scaled % unit));
        }
    }
    Some(if part < whole / 2 { "< 0.000001 %" } else { "> 99.999999 %" }.to_owned())
}

/// A rate with the digits that mean something.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.1}") } else { grouped(per_second.round() as u64) }
}

/// Seconds as a person would say them.
pub(crate) fn duration(seconds: f64) -> String {
    if seconds < 1.0 {
        return format!("{:.1} ms", seconds * 1000.0);
    }
    if seconds < 120.0 {
        return format!("{seconds:.2} s");
    }
    let whole = seconds.round() as u64;
    let (hours, minutes, rest) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours == 0 {
        return format!("{minutes} min {rest:02} s");
    }
    format!("{} h {minutes:02} min {rest:02} s", grouped(hours))
}

/// `1 boundary`, `2 boundaries`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_three() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (123_456, "123,456"),
            (u64::MAX, "18,446,744,073,709,551,615"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn a_failure_is_not_rounded_away() {
        for (part, whole, text) in [
            (0, 0, None),
            (0, 7, Some("0 %")),
            (7, 7, Some("100 %")),
            (9997, 10_000, Some("99.97 %")),
            (1, 3, Some("33.33 %")),
            (999_999, 1_000_000, Some("99.9999 %")),
            (1, 1_000_000, Some("0.0001 %")),
            (u64::MAX - 1, u64::MAX, Some("> 99.999999 %")),
            (1, u64::MAX, Some("< 0.000001 %")),
        ] {
            assert_eq!(percent(part, whole).as_deref(), text, "{part}/{whole}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration(0.0123), "12.3 ms");
        assert_eq!(duration(12.345), "12.35 s");
        assert_eq!(duration(125.0), "2 min 05 s");
        assert_eq!(duration(7325.0), "2 h 02 min 05 s");
        // Somebody else's report may say anything.
        assert!(duration(f64::MAX).starts_with("5,124,095,576,030,431 h"));
    }
}
