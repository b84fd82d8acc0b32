//! The certificates (`lbctl cert list`).

use chrono::DateTime;
use lb_core::view::{CertificateChain, CertificateList, CertificateView, OcspState};

use super::order::counted;
use super::style::Style;
use super::table::{Align, Cell, Table};
use super::wrong::listed;

/// Names of a certificate that its row shows.
const NAMES: usize = 3;

/// Days before its end from which a certificate is no longer green.
const SOON: i64 = 30;

/// The certificates for a terminal of `width` columns, and what is wrong with them.
#[must_use]
pub fn certificates(list: &CertificateList, width: usize, colour: bool) -> String {
    use Align::{Left, Right};
    if list.certificates.is_empty() && list.warnings.is_empty() {
        return "No certificate is configured.\n".to_owned();
    }
    let mut table = Table::new(&[Left, Left, Right, Left, Left, Left, Left]);
    table.header(vec!["  Certificate", "Until", "Left", "Key", "Issuer", "Chain", "Shown by"], "Names");
    for certificate in &list.certificates {
        row(&mut table, certificate);
    }
    format!("{}{}", table.render(width, colour), listed(&list.warnings, width, colour))
}

fn row(table: &mut Table, certificate: &CertificateView) {
    let plain = |text: &str| Cell::new(text, Style::Plain);
    let (mark, style) = match certificate.days_left {
        ..0 => ("▼", Style::Red),
        0..=SOON => ("△", Style::Yellow),
        _ => ("▲", Style::Green),
    };
    let left = match certificate.days_left {
        ..0 => "expired".to_owned(),
        days => counted(days.unsigned_abs(), "day"),
    };
    let chain = match certificate.chain {
        CertificateChain::Broken => Style::Red,
        CertificateChain::Complete | CertificateChain::SelfSigned | CertificateChain::UnknownAuthority => Style::Plain,
    };
    let stapled = match certificate.ocsp {
        OcspState::None => "",
        OcspState::Stapled => ", stapled",
        OcspState::Outdated | OcspState::OfAnother | OcspState::NotGood => ", not stapled",
    };
    let shown_by = if certificate.services.is_empty() { "nobody".to_owned() } else { certificate.services.join(", ") };
    let cells = vec![
        Cell::new(mark, style).and(" ", Style::Plain).and(&certificate.label, Style::Plain),
        plain(&day(certificate.not_after_seconds)),
        Cell::new(&left, style),
        plain(&certificate.key),
        plain(&certificate.issuer),
        Cell::new(certificate.chain.word(), chain).and(stapled, Style::Plain),
        plain(&shown_by),
    ];
    table.row_with_text(cells, &names(&certificate.names), Style::Plain);
}

fn names(all: &[String]) -> String {
    let shown = all.iter().take(NAMES).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// The date in UTC.
fn day(seconds: i64) -> String {
    DateTime::from_timestamp(seconds, 0).map_or_else(|| "?".to_owned(), |time| time.format("%Y-%m-%d").to_string())
}
