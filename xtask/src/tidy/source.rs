//! Rust text, line by line, with comments and literals told apart from code, and tests from the rest.

/// One file.
pub(super) struct Source {
    pub(super) lines: Vec<Line>,
}

/// One line of it.
#[derive(Default, Clone)]
pub(super) struct Line {
    /// The code, with the contents of strings and characters left out.
    pub(super) code: String,
    /// The text of its comments.
    pub(super) comment: String,
    /// Whether only tests compile it.
    pub(super) test: bool,
}

impl Source {
    pub(super) fn new(path: &str, text: &str) -> Self {
        let mut source = Self { lines: split(text) };
        if is_test_file(path) {
            source.mark_all_as_test();
        } else {
            mark_tests(&mut source.lines);
        }
        source
    }

    /// The modules that this file declares for tests alone, `#[cfg(test)] mod properties;`.
    pub(super) fn test_modules(&self) -> Vec<String> {
        let declared = self.lines.iter().filter(|line| line.test).filter_map(|line| {
            let (before, name) = line.code.trim().strip_suffix(';')?.rsplit_once(' ')?;
            before.ends_with("mod").then(|| name.to_owned())
        });
        declared.collect()
    }

    /// Only tests compile any of it.
    pub(super) fn mark_all_as_test(&mut self) {
        self.lines.iter_mut().for_each(|line| line.test = true);
    }

    /// Line numbers, from 1, and lines that ship.
    pub(super) fn shipped(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.numbered().filter(|(_, line)| !line.test)
    }

    /// Line numbers, from 1, and all lines.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Every path in code that ships, `use` trees written out: `use std::{fs, net::TcpStream}` gives
    /// `std::fs` and `std::net::TcpStream`.
    pub(super) fn paths(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        let mut open: Option<(usize, String)> = None;
        for (number, line) in self.shipped() {
            let code = line.code.trim();
            let starts = is_use(code);
            if open.is_none() && !starts {
                found.extend(words(code).into_iter().map(|word| (number, word)));
                continue;
            }
            let (begin, mut tree) = open.take().unwrap_or((number, String::new()));
            tree.push_str(code);
            tree.push(' ');
            if tree.contains(';') {
                found.extend(expand(&tree).into_iter().map(|path| (begin, path)));
            } else {
                open = Some((begin, tree));
            }
        }
        found
    }
}

/// Whether `code` contains `word` with no identifier character on either side.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    let of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].chars().next_back().is_some_and(of_name)
            && !code[at + word.len()..].chars().next().is_some_and(of_name)
    })
}

fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.contains("/benches/")
}

/// Marks what an inline `#[cfg(test)] mod x { ... }` (or function) holds.
fn mark_tests(lines: &mut [Line]) {
    let mut index = 0;
    while index < lines.len() {
        if !lines[index].code.trim_start().starts_with("#[cfg(test)]") {
            index += 1;
            continue;
        }
        let mut depth = 0i32;
        let mut opened = false;
        while index < lines.len() {
            lines[index].test = true;
            for c in lines[index].code.chars() {
                match c {
                    '{' => (depth, opened) = (depth + 1, true),
                    '}' => depth -= 1,
                    ';' if !opened => opened = true,
                    _ => {}
                }
            }
            index += 1;
            if opened && depth == 0 {
                break;
            }
        }
    }
}

fn is_use(code: &str) -> bool {
    let code = code.strip_prefix("pub").map_or(code, |rest| {
        let rest = rest.trim_start();
        if rest.starts_with('(') { rest.split_once(')').map_or(rest, |(_, rest)| rest).trim_start() } else { rest }
    });
    code.starts_with("use ")
}

/// The paths of one `use` declaration.
fn expand(declaration: &str) -> Vec<String> {
    let tree = declaration.split_once("use ").map_or(declaration, |(_, tree)| tree);
    let tree = tree.split(';').next().unwrap_or_default();
    let mut prefixes = vec![String::new()];
    let mut here = String::new();
    let mut found = Vec::new();
    for c in tree.chars() {
        match c {
            '{' => prefixes.push(prefix(&prefixes) + here.trim()),
            ',' | '}' => {
                found.extend(leaf(&prefix(&prefixes), &here));
                if c == '}' && prefixes.len() > 1 {
                    prefixes.pop();
                }
            }
            _ => {
                here.push(c);
                continue;
            }
        }
        here.clear();
    }
    found.extend(leaf(&prefix(&prefixes), &here));
    found
}

fn prefix(prefixes: &[String]) -> String {
    prefixes.last().cloned().unwrap_or_default()
}

fn leaf(prefix: &str, name: &str) -> Option<String> {
    let name = name.split(" as ").next().unwrap_or_default().trim();
    let path = if name == "self" { prefix.trim_end_matches("::").to_owned() } else { format!("{prefix}{name}") };
    (!name.is_empty()).then(|| path.trim_start_matches("::").to_owned())
}

/// The paths in an expression: runs of names joined by `::`.
fn words(code: &str) -> Vec<String> {
    let of_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let runs = code.split(|c: char| !of_path(c)).map(|run| run.trim_matches(':'));
    runs.filter(|run| run.starts_with(|c: char| c.is_alphabetic() || c == '_')).map(str::to_owned).collect()
}

/// What the reader of the text is inside of.
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    Text,
    RawText(usize),
}

fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' {
            if matches!(state, State::LineComment) {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let Some(line) = lines.last_mut() else { return lines };
        at += match state {
            State::Code => code(&chars, at, line, &mut state),
            State::LineComment => {
                line.comment.push(c);
                1
            }
            State::BlockComment(depth) => block_comment(&chars, at, depth, line, &mut state),
            State::Text => match c {
                // A backslash before the end of the line leaves that end to be counted.
                '\\' if chars.get(at + 1) != Some(&'\n') => 2,
                '"' => {
                    line.code.push('"');
                    state = State::Code;
                    1
                }
                _ => 1,
            },
            State::RawText(hashes) => {
                if c == '"' && (1..=hashes).all(|offset| chars.get(at + offset) == Some(&'#')) {
                    line.code.push('"');
                    state = State::Code;
                    1 + hashes
                } else {
                    1
                }
            }
        };
    }
    lines
}

/// Reads at `at` in code; returns how many characters were used up.
fn code(chars: &[char], at: usize, line: &mut Line, state: &mut State) -> usize {
    let (c, next) = (chars[at], chars.get(at + 1).copied());
    match (c, next) {
        ('/', Some('/')) => *state = State::LineComment,
        ('/', Some('*')) => *state = State::BlockComment(1),
        ('"', _) => {
            line.code.push(c);
            *state = State::Text;
            return 1;
        }
        ('r', Some('"' | '#')) if !line.code.ends_with(|before: char| before.is_alphanumeric() && before != 'b') => {
            let hashes = chars[at + 1..].iter().take_while(|&&c| c == '#').count();
            if chars.get(at + 1 + hashes) != Some(&'"') {
                line.code.push(c);
                return 1;
            }
            line.code.push('"');
            *state = State::RawText(hashes);
            return 2 + hashes;
        }
        ('\'', Some('\\')) => return 2 + chars[at + 2..].iter().skip(1).take_while(|&&c| c != '\'').count() + 2,
        ('\'', Some(_)) if chars.get(at + 2) == Some(&'\'') => return 3,
        _ => {
            line.code.push(c);
            return 1;
        }
    }
    2
}

fn block_comment(chars: &[char], at: usize, depth: u32, line: &mut Line, state: &mut State) -> usize {
    match (chars[at], chars.get(at + 1)) {
        ('*', Some('/')) => {
            *state = if depth == 1 { State::Code } else { State::BlockComment(depth - 1) };
            2
        }
        ('/', Some('*')) => {
            *state = State::BlockComment(depth + 1);
            2
        }
        (c, _) => {
            line.comment.push(c);
            1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_of(text: &str) -> Vec<String> {
        Source::new("x.rs", text).lines.into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let cases = [
            ("a // unsafe", "a "),
            ("a /* b /* c */ d */ e", "a  e"),
            (r#"f("un\"safe // x") + 1"#, r#"f("") + 1"#),
            (r##"f(r#"un"safe"#) + 1"##, r#"f("") + 1"#),
            ("f(b\"x\", br\"y\")", "f(b\"\", b\"\")"),
            (r"g('{', '\'', '\u{1f}') {", "g(, , ) {"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("let r#type = for_r;", "let r#type = for_r;"),
        ];
        for (text, wanted) in cases {
            assert_eq!(code_of(text), [wanted], "{text}");
        }
    }

    #[test]
    fn a_string_over_two_lines_keeps_the_count_of_lines() {
        assert_eq!(code_of("a(\"x\\\n y\");\nb"), ["a(\"", "\");", "b"]);
    }

    #[test]
    fn what_only_tests_compile_is_marked() {
        let text =
            "fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod more;\nfn d() {}\n";
        let source = Source::new("x.rs", text);
        let shipped: Vec<usize> = source.shipped().map(|(number, _)| number).collect();
        assert_eq!(shipped, [1, 6, 9, 10]);
        assert_eq!(Source::new("a/tests.rs", text).shipped().count(), 0);
    }

    #[test]
    fn use_trees_are_written_out() {
        let source = Source::new(
            "x.rs",
            "pub(crate) use std::{fs, io::{self, Read as _},\n    net::TcpStream};\nfn f() { std::thread::spawn(g) }\n",
        );
        let paths: Vec<String> = source.paths().into_iter().map(|(_, path)| path).collect();
        for wanted in ["std::fs", "std::io", "std::io::Read", "std::net::TcpStream", "std::thread::spawn"] {
            assert!(paths.iter().any(|path| path == wanted), "{wanted} in {paths:?}");
        }
    }

    #[test]
    fn a_word_is_found_only_whole() {
        assert!(has_word("unsafe {", "unsafe") && has_word("(unsafe)", "unsafe"));
        assert!(!has_word("forbid(unsafe_code)", "unsafe"));
    }
}
