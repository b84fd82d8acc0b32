//! How many tests passed, read from what the test runners print. Text in, numbers out.

/// Outcomes counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
}

impl Tally {
    /// One thing that went well.
    pub(crate) const PASSED: Self = Self { passed: 1, failed: 0 };
    /// One thing that did not.
    pub(crate) const FAILED: Self = Self { passed: 0, failed: 1 };

    /// Both counted together.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self { passed: self.passed + other.passed, failed: self.failed + other.failed }
    }
}

/// The last `Summary [..] 3 tests run: 2 passed, 1 failed, 0 skipped` of nextest. `None`: there is none.
///
/// Every outcome that is neither passed nor skipped is a failure (failed, timed out, exec failed), and
/// so is every test that was to run and did not (`1/3 tests run`).
pub(crate) fn nextest(output: &str) -> Option<Tally> {
    let output = without_colours(output);
    let line = output.lines().rev().find(|line| line.trim_start().starts_with("Summary ["))?;
    let (run, outcomes) = line.split_once(']')?.1.split_once(':')?;
    let planned = run.split_whitespace().next()?;
    let (ran, planned) = planned.split_once('/').unwrap_or((planned, planned));
    let (ran, planned): (u32, u32) = (ran.parse().ok()?, planned.parse().ok()?);
    let mut tally = Tally { passed: 0, failed: planned.saturating_sub(ran) };
    for (count, outcome) in outcomes_of(outcomes) {
        match outcome.as_str() {
            "passed" => tally.passed += count,
            "skipped" => {}
            _ => tally.failed += count,
        }
    }
    Some(tally)
}

/// `(1, "timed out")` of `2 passed (1 slow, 1 flaky), 1 timed out`; what is in brackets is a remark.
fn outcomes_of(text: &str) -> Vec<(u32, String)> {
    let mut depth = 0u32;
    let plain: String = text
        .chars()
        .filter(|&c| {
            match c {
                '(' => depth += 1,
                ')' => depth = depth.saturating_sub(1),
                _ => return depth == 0,
            }
            false
        })
        .collect();
    plain
        .split(',')
        .filter_map(|part| part.trim().split_once(' '))
        .filter_map(|(count, outcome)| Some((count.parse().ok()?, outcome.trim().to_owned())))
        .collect()
}

/// All `test result: ok. 3 passed; 0 failed; ...` lines of rustdoc's tests, summed.
pub(crate) fn doc_tests(output: &str) -> Tally {
    let output = without_colours(output);
    let results = output.lines().filter_map(|line| line.trim_start().strip_prefix("test result:"));
    results.fold(Tally::default(), |sum, line| {
        let number = |of: &str| -> u32 {
            let part = line.split([';', '.']).find(|part| part.trim().ends_with(of));
            part.and_then(|part| part.split_whitespace().next()?.parse().ok()).unwrap_or(0)
        };
        sum.plus(Tally { passed: number("passed"), failed: number("failed") })
    })
}

/// `text` without terminal escape sequences.
fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\u{1b}' {
            plain.push(c);
        } else if chars.next() == Some('[') {
            // A control sequence ends at its first letter.
            let _ = chars.find(char::is_ascii_alphabetic);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u32, failed: u32) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn a_nextest_summary_is_read_in_every_form_it_takes() {
        let cases = [
            ("     Summary [   0.083s] 2 tests run: 1 passed, 1 failed, 1 skipped", tally(1, 1)),
            ("     Summary [   0.005s] 1 test run: 1 passed, 2 skipped", tally(1, 0)),
            (
                "Summary [  61.2s] 5 tests run: 3 passed (1 slow, 1 leaky), 1 timed out, 1 exec failed, 0 skipped",
                tally(3, 2),
            ),
            ("Summary [   1.0s] 3/10 tests run: 2 passed, 1 failed, 0 skipped", tally(2, 8)),
            ("Summary [   0.000s] 0 tests run: 0 passed, 3 skipped", tally(0, 0)),
            (
                "\u{1b}[32;1m     Summary\u{1b}[0m [   0.1s] \u{1b}[1m7\u{1b}[0m tests run: \u{1b}[1m7\u{1b}[0m passed, 0 skipped",
                tally(7, 0),
            ),
        ];
        for (line, wanted) in cases {
            assert_eq!(nextest(&format!("        PASS x\n{line}\n   FAIL again\n")), Some(wanted), "{line}");
        }
    }

    #[test]
    fn no_summary_is_no_result() {
        assert_eq!(nextest("error: could not compile `lb-core`"), None);
    }

    #[test]
    fn doc_tests_of_several_crates_are_summed() {
        let output = "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n\
            noise\ntest result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert_eq!(doc_tests(output), tally(4, 2));
    }
}
