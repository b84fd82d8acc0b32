//! Numbers and lists as a person reads them.

/// A length of time by its two largest units: `45s`, `3m 12s`, `5h 3m`, `12d 4h`.
#[must_use]
pub fn age(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    let pair = |large: u64, unit: char, small: u64, small_unit: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{small_unit}"),
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => pair(minutes, 'm', seconds % 60, 's'),
        (0, hours, minutes) => pair(hours, 'h', minutes, 'm'),
        (days, hours, _) => pair(days, 'd', hours, 'h'),
    }
}

/// A number with its thousands set apart: `1,048,576`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A port list of at most `width` columns, cut between ports: `554,1935,…`.
#[must_use]
pub fn cut_ports(ports: &str, width: usize) -> String {
    if ports.chars().count() <= width {
        return ports.to_owned();
    }
    // Room for the ellipsis; the comma before it stays.
    let room: String = ports.chars().take(width.saturating_sub(1)).collect();
    match room.rfind(',') {
        Some(comma) => format!("{}…", &room[..=comma]),
        None => "…".to_owned(),
    }
}
