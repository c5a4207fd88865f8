//! Conditions over a moment, as `bisect --where` takes them: what they may say, and whether they hold. Pure.
//!
//! ```text
//! expr    = all { "or" all }
//! all     = one { "and" one }
//! one     = "not" one | "(" expr ")" | value [ op value ]
//! op      = "==" | "!=" | "<" | "<=" | ">" | ">="
//! value   = count | task | NUMBER | TEXT | "true" | "false"
//! count   = "total" | "notes" | the name of a state
//! task    = "task" "(" TEXT ")" "." field
//! field   = "exists" | "state" | "attempts" | "version" | "error" | "meta" "(" TEXT ")"
//! ```
//! A text stands in double quotes, with `\"` and `\\`. Kinds are checked when it is read: numbers go with numbers, texts with
//! texts, and a state is compared with the name of one. A comparison with something that is not there is false.

use taskledger::{Task, TaskState};

use crate::cli::fact::state;
use crate::cli::fail::Failure;
use crate::cli::token::{Token, tokens};

/// Longer ones are refused, and deeper ones, so that nobody can exhaust the stack.
const BYTES_MAX: usize = 16 << 10;
const DEPTH_MAX: usize = 64;

/// A condition, and how it was typed.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub text: String,
    expr: Expr,
}

#[derive(Debug, Clone, PartialEq)]
enum Expr {
    Any(Vec<Expr>),
    All(Vec<Expr>),
    Not(Box<Expr>),
    Is(Value),
    Compare(Value, Op, Value),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Known(Got),
    Count(Count),
    Field(String, Field),
}

/// How many there are of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Count {
    Total,
    Notes,
    In(TaskState),
}

#[derive(Debug, Clone, PartialEq)]
enum Field {
    Exists,
    State,
    Attempts,
    Version,
    Error,
    Meta(String),
}

/// What a value comes to.
#[derive(Debug, Clone, PartialEq)]
enum Got {
    Number(u64),
    Text(String),
    Truth(bool),
    /// There is none.
    Nothing,
}

/// What is so at a moment.
pub(crate) struct World<'a> {
    pub count: &'a dyn Fn(Count) -> u64,
    pub task: &'a dyn Fn(&str) -> Result<Option<Task>, Failure>,
}

impl Condition {
    /// Whether it holds.
    ///
    /// # Errors
    /// What it asks for cannot be read.
    pub(crate) fn holds(&self, world: &World<'_>) -> Result<bool, Failure> {
        self.expr.holds(world)
    }
}

impl Expr {
    fn holds(&self, world: &World<'_>) -> Result<bool, Failure> {
        Ok(match self {
            Expr::Any(parts) => {
                for part in parts {
                    if part.holds(world)? {
                        return Ok(true);
                    }
                }
                false
            }
            Expr::All(parts) => {
                for part in parts {
                    if !part.holds(world)? {
                        return Ok(false);
                    }
                }
                true
            }
            Expr::Not(part) => !part.holds(world)?,
            Expr::Is(value) => value.get(world)? == Got::Truth(true),
            Expr::Compare(a, op, b) => match (a.get(world)?, b.get(world)?) {
                (Got::Nothing, _) | (_, Got::Nothing) => false,
                (Got::Number(a), Got::Number(b)) => op.holds(&a, &b),
                (a, b) => (a == b) == (*op == Op::Equal),
            },
        })
    }
}

impl Op {
    fn holds(self, a: &u64, b: &u64) -> bool {
        match self {
            Op::Equal => a == b,
            Op::NotEqual => a != b,
            Op::Less => a < b,
            Op::LessOrEqual => a <= b,
            Op::Greater => a > b,
            Op::GreaterOrEqual => a >= b,
        }
    }
}

impl Value {
    fn get(&self, world: &World<'_>) -> Result<Got, Failure> {
        let (id, field) = match self {
            Value::Known(got) => return Ok(got.clone()),
            Value::Count(count) => return Ok(Got::Number((world.count)(*count))),
            Value::Field(id, field) => (id, field),
        };
        let Some(task) = (world.task)(id)? else {
            return Ok(if *field == Field::Exists { Got::Truth(false) } else { Got::Nothing });
        };
        let text = |text: Option<&String>| text.map_or(Got::Nothing, |text| Got::Text(text.clone()));
        Ok(match field {
            Field::Exists => Got::Truth(true),
            Field::State => Got::Text(task.record.state.name().to_owned()),
            Field::Attempts => Got::Number(u64::from(task.record.attempts)),
            Field::Version => Got::Number(task.version),
            Field::Error => text(task.record.error.as_ref()),
            Field::Meta(key) => text(task.record.metadata.get(key)),
        })
    }

    /// Which kind it is of, in a word.
    fn kind(&self) -> &'static str {
        match self {
            Value::Known(Got::Number(_)) | Value::Count(_) | Value::Field(_, Field::Attempts | Field::Version) => {
                "a number"
            }
            Value::Known(Got::Truth(_)) | Value::Field(_, Field::Exists) => "true or false",
            Value::Known(_) | Value::Field(..) => "a text",
        }
    }
}

/// Reads a condition.
///
/// # Errors
/// What is wrong with it, and where.
pub(crate) fn condition(text: &str) -> Result<Condition, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("it has more than {BYTES_MAX} bytes"));
    }
    let mut reader = Reader { tokens: tokens(text)?, next: 0, depth: 0 };
    let expr = reader.expr()?;
    match reader.peek() {
        Token::End => Ok(Condition { text: text.to_owned(), expr }),
        _ => Err(reader.wanted("`and`, `or` or the end")),
    }
}

struct Reader {
    tokens: Vec<(usize, Token)>,
    next: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |(_, token)| token)
    }

    /// Takes the next token if it is this one.
    fn take(&mut self, token: &Token) -> bool {
        let is_it = self.peek() == token;
        self.next += usize::from(is_it);
        is_it
    }

    fn take_word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.to_owned()))
    }

    /// Says what should stand at the next token.
    fn wanted(&self, what: &str) -> String {
        let at = self.tokens.get(self.next).map_or(0, |(at, _)| *at);
        let found = match self.peek() {
            Token::Word(word) => format!("{word:?}"),
            Token::Number(number) => number.to_string(),
            Token::Text(text) => format!("the text {text:?}"),
            Token::Symbol(symbol) => format!("{symbol:?}"),
            Token::End => "the end".to_owned(),
        };
        format!("character {at}: {what} should stand here, and not {found}")
    }

    fn symbol(&mut self, symbol: &'static str) -> Result<(), String> {
        if self.take(&Token::Symbol(symbol)) { Ok(()) } else { Err(self.wanted(&format!("{symbol:?}"))) }
    }

    fn text(&mut self) -> Result<String, String> {
        match self.peek().clone() {
            Token::Text(text) => {
                self.next += 1;
                Ok(text)
            }
            _ => Err(self.wanted("a text in double quotes")),
        }
    }

    fn expr(&mut self) -> Result<Expr, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        let mut any = vec![self.all()?];
        while self.take_word("or") {
            any.push(self.all()?);
        }
        self.depth -= 1;
        Ok(if any.len() == 1 { any.remove(0) } else { Expr::Any(any) })
    }

    fn all(&mut self) -> Result<Expr, String> {
        let mut all = vec![self.one()?];
        while self.take_word("and") {
            all.push(self.one()?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Expr::All(all) })
    }

    fn one(&mut self) -> Result<Expr, String> {
        let mut negated = false;
        while self.take_word("not") {
            negated = !negated;
        }
        let expr = if self.take(&Token::Symbol("(")) {
            let expr = self.expr()?;
            self.symbol(")")?;
            expr
        } else {
            self.compare()?
        };
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn compare(&mut self) -> Result<Expr, String> {
        let a = self.value()?;
        let op = match self.peek() {
            Token::Symbol("==") => Op::Equal,
            Token::Symbol("!=") => Op::NotEqual,
            Token::Symbol("<") => Op::Less,
            Token::Symbol("<=") => Op::LessOrEqual,
            Token::Symbol(">") => Op::Greater,
            Token::Symbol(">=") => Op::GreaterOrEqual,
            _ if a.kind() == "true or false" => return Ok(Expr::Is(a)),
            _ => return Err(self.wanted("a comparison, such as > 3,")),
        };
        self.next += 1;
        let at = self.next;
        let b = self.value()?;
        let refused = |what: String| {
            let at = self.tokens.get(at).map_or(0, |(at, _)| *at);
            Err(format!("character {at}: {what}"))
        };
        if a.kind() != b.kind() {
            return refused(format!("{} is compared with {}", a.kind(), b.kind()));
        }
        if a.kind() != "a number" && !matches!(op, Op::Equal | Op::NotEqual) {
            return refused(format!("{} is equal to another (==) or not (!=), and neither less nor greater", a.kind()));
        }
        for (one, other) in [(&a, &b), (&b, &a)] {
            if let (Value::Field(_, Field::State), Value::Known(Got::Text(name))) = (one, other)
                && let Err(problem) = state(name)
            {
                return refused(format!("{name:?}: {problem}"));
            }
        }
        Ok(Expr::Compare(a, op, b))
    }

    fn value(&mut self) -> Result<Value, String> {
        let value = match self.peek().clone() {
            Token::Number(number) => Value::Known(Got::Number(number)),
            Token::Text(text) => Value::Known(Got::Text(text)),
            Token::Word(word) => match word.as_str() {
                "true" | "false" => Value::Known(Got::Truth(word == "true")),
                "total" => Value::Count(Count::Total),
                "notes" => Value::Count(Count::Notes),
                "task" => {
                    self.next += 1;
                    return self.task();
                }
                _ => match TaskState::from_name(&word) {
                    Some(state) => Value::Count(Count::In(state)),
                    None => {
                        return Err(
                            self.wanted("a number, a text in double quotes, task(\"ID\"), total, notes or a state")
                        );
                    }
                },
            },
            Token::Symbol(_) | Token::End => return Err(self.wanted("a value, such as failed or task(\"ID\").state,")),
        };
        self.next += 1;
        Ok(value)
    }

    fn task(&mut self) -> Result<Value, String> {
        self.symbol("(")?;
        let id = self.text()?;
        self.symbol(")")?;
        self.symbol(".")?;
        let fields = "exists, state, attempts, version, error or meta(\"KEY\")";
        let Token::Word(word) = self.peek().clone() else { return Err(self.wanted(fields)) };
        let field = match word.as_str() {
            "exists" => Field::Exists,
            "state" => Field::State,
            "attempts" => Field::Attempts,
            "version" => Field::Version,
            "error" => Field::Error,
            "meta" => Field::Meta(String::new()),
            _ => return Err(self.wanted(fields)),
        };
        self.next += 1;
        if !matches!(field, Field::Meta(_)) {
            return Ok(Value::Field(id, field));
        }
        self.symbol("(")?;
        let key = self.text()?;
        self.symbol(")")?;
        Ok(Value::Field(id, Field::Meta(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three failed, one running, four in all; no task is there.
    fn holds(text: &str) -> bool {
        let count = |count| match count {
            Count::Total => 4,
            Count::In(TaskState::Failed) => 3,
            Count::In(TaskState::Running) => 1,
            Count::Notes | Count::In(_) => 0,
        };
        condition(text).expect(text).holds(&World { count: &count, task: &|_| Ok(None) }).expect(text)
    }

    #[test]
    fn a_condition_means_what_the_grammar_says() {
        for so in [
            "failed == 3",
            "failed>2 and failed<4 and failed>=3 and failed<=3 and failed!=4",
            "total == 4 and notes == 0 and dead_lettered == 0",
            "running > failed or total > failed",
            // `and` binds closer than `or`, and `not` closer than both.
            "true or true and false",
            "not false and true",
            "not (false and true)",
            "not not true",
            "not failed == 2",
            "(((true)))",
            "\"a\\\"\\\\é\" == \"a\\\"\\\\é\" and \"a\" != \"b\"",
            "true != false",
            "not task(\"a\").exists",
            "18446744073709551615 > 0",
        ] {
            assert!(holds(so), "{so}");
            assert!(!holds(&format!("not ({so})")), "not {so}");
        }
        // What is not there equals nothing, and differs from nothing.
        for nothing in [
            "task(\"a\").state == \"failed\"",
            "task(\"a\").state != \"failed\"",
            "task(\"a\").attempts < 1",
            "task(\"a\").meta(\"k\") != \"v\"",
            "task(\"a\").error == task(\"b\").error",
        ] {
            assert!(!holds(nothing), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_place() {
        for (bad, says) in [
            ("", "character 1: a value"),
            ("failed", "character 7: a comparison"),
            ("failed >", "character 9: a value"),
            ("failed > 3 running", "character 12: `and`, `or` or the end"),
            ("1 < failed < 3", "character 12"),
            ("failed = 3", "character 8: '=' means nothing"),
            ("failed > 3 && total > 1", "character 12: '&'"),
            ("faild > 3", "\"faild\""),
            ("failed > \"3\"", "character 10: a number is compared with a text"),
            ("task(\"a\").state == \"faild\"", "character 20: \"faild\": no such state; there are pending"),
            ("\"faild\" == task(\"a\").state", "no such state"),
            ("task(\"a\").state > \"failed\"", "neither less nor greater"),
            ("task(\"a\").state", "a comparison"),
            ("task(\"a\")", "\".\" should stand here, and not the end"),
            ("task(a).exists", "character 6: a text in double quotes"),
            ("task(\"a\").size > 1", "exists, state, attempts, version, error or meta"),
            ("task(\"a).exists", "character 6: the text that begins here has no end"),
            ("task(\"a\").meta == \"b\"", "\"(\""),
            ("(failed > 3", "\")\""),
            ("failed > 99999999999999999999", "no whole number"),
            ("failed > 3x", "no whole number"),
            ("é > 3", "character 1"),
            ("not", "the end"),
        ] {
            let refused = condition(bad).map(|condition| condition.expr).expect_err(bad);
            assert!(refused.contains(says), "{bad}: {refused}");
        }
        let deep = format!("{}true{}", "(".repeat(65), ")".repeat(65));
        assert!(condition(&deep).unwrap_err().contains("deep"));
        assert!(condition(&format!("{}true", "not ".repeat(4000))).is_ok(), "nobody counts these");
        assert!(condition(&"true and ".repeat(3000)).unwrap_err().contains("bytes"));
    }

    proptest::proptest! {
        /// Whatever is typed is a condition, and then it can be answered, or is refused with a reason.
        #[test]
        fn nothing_that_is_typed_is_too_much(parts in proptest::collection::vec(proptest::sample::select(&[
            "failed", "total", " ", " and ", " or ", "not ", "(", ")", "==", "<", ">=", "3", "\"a\"", "\"", "\\", "task(\"a\").",
            "exists", "state", "meta(\"k\")", "true", "é", "\u{0}", "99999999999999999999", ".",
        ][..]), 0..12)) {
            let text = parts.concat();
            match condition(&text) {
                Ok(condition) => drop(condition.holds(&World { count: &|_| 3, task: &|_| Ok(None) })),
                Err(problem) => assert!(!problem.is_empty(), "{text:?}"),
            }
        }
    }
}
