//! Patterns for ids: `*` stands for any characters, `?` for one, everything else for itself.

use std::str::Chars;

/// Whether a whole text is like one of some patterns.
pub(crate) fn like_any(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|pattern| like(pattern, text))
}

/// Whether a whole text is like a pattern. It takes at most as many steps as the lengths of both multiplied: only the last
/// `*` is ever tried again, since an earlier one that took more would leave less to all that follows.
fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    // What follows the last `*`, and from where in the text it is looked for.
    let mut star: Option<(Chars<'_>, Chars<'_>)> = None;
    loop {
        let (mut asked, mut there) = (pattern.clone(), text.clone());
        match (asked.next(), there.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((asked.clone(), text.clone()));
                pattern = asked;
            }
            // Whatever the `*` took, there is too little text.
            (Some(_), None) => return false,
            (Some(wanted), Some(found)) if wanted == '?' || wanted == found => (pattern, text) = (asked, there),
            (_, Some(_)) => {
                let Some((after, from)) = &mut star else { return false };
                from.next();
                (pattern, text) = (after.clone(), from.clone());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By definition: a `*` takes each number of characters in turn.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], _) => text.is_empty(),
            (['*', rest @ ..], _) => (0..=text.len()).any(|n| by_definition(rest, &text[n..])),
            (['?', rest @ ..], [_, after @ ..]) => by_definition(rest, after),
            ([wanted, rest @ ..], [found, after @ ..]) => wanted == found && by_definition(rest, after),
            _ => false,
        }
    }

    /// Every text over some letters up to a length.
    fn texts(letters: &[char], longest: usize) -> Vec<String> {
        let mut all = vec![String::new()];
        let mut last = all.clone();
        for _ in 0..longest {
            last = last.iter().flat_map(|text| letters.iter().map(move |c| format!("{text}{c}"))).collect();
            all.extend_from_slice(&last);
        }
        all
    }

    #[test]
    fn every_short_pattern_means_what_its_definition_says() {
        let (patterns, texts) = (texts(&['a', 'é', '*', '?'], 5), texts(&['a', 'é'], 5));
        for pattern in &patterns {
            for text in &texts {
                let chars = |text: &str| text.chars().collect::<Vec<_>>();
                let expected = by_definition(&chars(pattern), &chars(text));
                assert_eq!(like(pattern, text), expected, "{pattern:?} and {text:?}");
            }
        }
    }

    #[test]
    fn a_pattern_is_of_the_whole_id_and_only_two_characters_are_special() {
        assert!(like("test/net-*", "test/net-suite/7") && like("*", "") && like("東?都", "東京都"));
        assert!(!like("test", "test/net") && !like("net", "test/net") && !like("", "a"));
        assert!(like("[a-z]\\", "[a-z]\\") && !like("[a-z]", "b"));
    }

    /// What takes exponential time where each star is tried again.
    #[test]
    fn many_stars_take_no_longer() {
        let (pattern, text) = ("*a".repeat(600) + "b", "a".repeat(1280));
        assert!(!like(&pattern, &text));
    }
}
