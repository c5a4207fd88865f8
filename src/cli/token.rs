//! The words, numbers, texts and symbols of a condition, and where each stands.

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Word(String),
    Number(u64),
    Text(String),
    Symbol(&'static str),
    End,
}

/// The longer ones first.
const SYMBOLS: [&str; 9] = ["==", "!=", "<=", ">=", "<", ">", "(", ")", "."];

/// The tokens, and where each begins, in characters from 1.
pub(crate) fn tokens(text: &str) -> Result<Vec<(usize, Token)>, String> {
    let mut tokens = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        let at = text.chars().count() - rest.chars().count() + 1;
        let Some(c) = rest.chars().next() else {
            tokens.push((at, Token::End));
            return Ok(tokens);
        };
        let (token, length) = if c == '"' {
            quoted(rest).ok_or_else(|| format!("character {at}: the text that begins here has no end"))?
        } else if c.is_ascii_alphanumeric() {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            let word = rest.get(..end).unwrap_or_default();
            let token = match c {
                '0'..='9' => {
                    Token::Number(word.parse().map_err(|_| format!("character {at}: {word:?} is no whole number"))?)
                }
                _ => Token::Word(word.to_owned()),
            };
            (token, end)
        } else {
            let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
            let symbol = symbol.ok_or_else(|| {
                format!("character {at}: {c:?} means nothing here; there are == != < <= > >= and or not ( ), and texts in \"\"")
            })?;
            (Token::Symbol(symbol), symbol.len())
        };
        tokens.push((at, token));
        rest = rest.get(length..).unwrap_or_default();
    }
}

/// A text in quotes at the beginning, and how many bytes it takes with them.
fn quoted(text: &str) -> Option<(Token, usize)> {
    let mut inner = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((Token::Text(inner), at + 1)),
            '\\' => inner.push(chars.next()?.1),
            c => inner.push(c),
        }
    }
    None
}
