//! JSONPath read into steps: a recursive descent, bounded in depth.

use serde_json::Value;

use crate::ToolError;

const MAX_DEPTH: usize = 16;

#[derive(Debug)]
pub(super) struct Query {
    pub(super) from_root: bool,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug)]
pub(super) struct Step {
    /// At any depth below as well.
    pub(super) below: bool,
    pub(super) selectors: Vec<Selector>,
}

#[derive(Debug)]
pub(super) enum Selector {
    All,
    Name(String),
    Index(i64),
    Slice(Option<i64>, Option<i64>, i64),
    Filter(Test),
}

#[derive(Debug)]
pub(super) enum Test {
    Any(Vec<Test>),
    All(Vec<Test>),
    Not(Box<Test>),
    Exists(Query),
    Compare(Operand, Comparison, Operand),
}

#[derive(Debug)]
pub(super) enum Operand {
    Literal(Value),
    Query(Query),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// In the order in which they are tried: the longer ones first.
const COMPARISONS: &[(&str, Comparison)] = &[
    ("==", Comparison::Equal),
    ("!=", Comparison::Unequal),
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

/// Reads a whole query, which begins with `$`.
pub(super) fn query(text: &str) -> Result<Query, ToolError> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    parser.blanks();
    parser.expect("$")?;
    let steps = parser.steps()?;
    parser.blanks();
    if parser.at < text.len() {
        return Err(parser.unexpected("a segment or the end"));
    }
    Ok(Query {
        from_root: true,
        steps,
    })
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

type Parsed<T> = Result<T, ToolError>;

impl Parser<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn unexpected(&self, wanted: &str) -> ToolError {
        let at = self.at;
        ToolError::arguments(format!("the query has no {wanted} at byte {at}"))
    }

    fn blanks(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        if there {
            self.at += token.len();
        }
        there
    }

    fn expect(&mut self, token: &str) -> Parsed<()> {
        if self.take(token) {
            Ok(())
        } else {
            Err(self.unexpected(token))
        }
    }

    fn steps(&mut self) -> Parsed<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            let before = self.at;
            self.blanks();
            let below = self.take("..");
            if self.take("[") {
                let selectors = self.selectors()?;
                steps.push(Step { below, selectors });
            } else if below || self.take(".") {
                let selector = if self.take("*") {
                    Selector::All
                } else {
                    Selector::Name(self.name()?)
                };
                steps.push(Step {
                    below,
                    selectors: vec![selector],
                });
            } else {
                self.at = before;
                return Ok(steps);
            }
        }
    }

    fn name(&mut self) -> Parsed<String> {
        let rest = self.rest();
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default().to_owned();
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(self.unexpected("name"));
        }
        self.at += end;
        Ok(name)
    }

    fn selectors(&mut self) -> Parsed<Vec<Selector>> {
        let mut selectors = Vec::new();
        loop {
            self.blanks();
            selectors.push(self.selector()?);
            self.blanks();
            if self.take("]") {
                return Ok(selectors);
            }
            self.expect(",")?;
        }
    }

    fn selector(&mut self) -> Parsed<Selector> {
        if self.take("*") {
            return Ok(Selector::All);
        }
        if self.take("?") {
            return Ok(Selector::Filter(self.any()?));
        }
        if self.rest().starts_with(['\'', '"']) {
            return Ok(Selector::Name(self.string()?));
        }
        let start = self.integer()?;
        self.blanks();
        if !self.take(":") {
            let index = start.ok_or_else(|| self.unexpected("selector"))?;
            return Ok(Selector::Index(index));
        }
        self.blanks();
        let end = self.integer()?;
        self.blanks();
        let step = if self.take(":") {
            self.blanks();
            self.integer()?
        } else {
            None
        };
        Ok(Selector::Slice(start, end, step.unwrap_or(1)))
    }

    fn integer(&mut self) -> Parsed<Option<i64>> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| c != '-' && !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let digits = rest.get(..end).unwrap_or_default();
        if digits.is_empty() {
            return Ok(None);
        }
        let number = digits
            .parse()
            .map_err(|_| self.unexpected("whole number"))?;
        self.at += end;
        Ok(Some(number))
    }

    fn string(&mut self) -> Parsed<String> {
        let quote = self.rest().chars().next().unwrap_or('"');
        self.at += quote.len_utf8();
        let mut text = String::new();
        loop {
            let Some(c) = self.rest().chars().next() else {
                return Err(self.unexpected("closing quote"));
            };
            self.at += c.len_utf8();
            match c {
                _ if c == quote => return Ok(text),
                '\\' => text.push(self.escaped()?),
                _ => text.push(c),
            }
        }
    }

    fn escaped(&mut self) -> Parsed<char> {
        let c = self.rest().chars().next();
        let meant = match c {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some(c @ ('\'' | '"' | '\\' | '/')) => c,
            Some('u') => {
                let code = self
                    .rest()
                    .get(1..5)
                    .and_then(|hex| u32::from_str_radix(hex, 16).ok());
                let meant = code.and_then(char::from_u32);
                let meant = meant.ok_or_else(|| self.unexpected("character after \\u"))?;
                self.at += 5;
                return Ok(meant);
            }
            _ => return Err(self.unexpected("known escape")),
        };
        self.at += 1;
        Ok(meant)
    }

    fn any(&mut self) -> Parsed<Test> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(ToolError::arguments(
                "the query's filters are nested too deeply",
            ));
        }
        let mut tests = vec![self.all()?];
        while self.operator("||") {
            tests.push(self.all()?);
        }
        self.depth -= 1;
        Ok(Test::Any(tests))
    }

    fn all(&mut self) -> Parsed<Test> {
        let mut tests = vec![self.test()?];
        while self.operator("&&") {
            tests.push(self.test()?);
        }
        Ok(Test::All(tests))
    }

    fn operator(&mut self, token: &str) -> bool {
        self.blanks();
        self.take(token)
    }

    fn test(&mut self) -> Parsed<Test> {
        self.blanks();
        let negated = self.take("!");
        self.blanks();
        let test = if self.take("(") {
            let inner = self.any()?;
            self.blanks();
            self.expect(")")?;
            inner
        } else {
            self.comparison()?
        };
        Ok(if negated {
            Test::Not(Box::new(test))
        } else {
            test
        })
    }

    fn comparison(&mut self) -> Parsed<Test> {
        let left = self.operand()?;
        self.blanks();
        let comparison = COMPARISONS.iter().find(|(token, _)| self.take(token));
        match (comparison, left) {
            (Some((_, comparison)), left) => {
                self.blanks();
                Ok(Test::Compare(left, *comparison, self.operand()?))
            }
            (None, Operand::Query(query)) => Ok(Test::Exists(query)),
            (None, Operand::Literal(_)) => Err(self.unexpected("comparison")),
        }
    }

    fn operand(&mut self) -> Parsed<Operand> {
        for (token, from_root) in [("@", false), ("$", true)] {
            if self.take(token) {
                let steps = self.steps()?;
                return Ok(Operand::Query(Query { from_root, steps }));
            }
        }
        if self.rest().starts_with(['\'', '"']) {
            return Ok(Operand::Literal(self.string()?.into()));
        }
        for (token, value) in [
            ("true", Value::Bool(true)),
            ("false", Value::Bool(false)),
            ("null", Value::Null),
        ] {
            if self.take(token) {
                return Ok(Operand::Literal(value));
            }
        }
        let rest = self.rest();
        let end = rest
            .find(|c: char| !"+-.eE0123456789".contains(c))
            .unwrap_or(rest.len());
        let number = rest
            .get(..end)
            .and_then(|text| text.parse::<serde_json::Number>().ok());
        let number = number.ok_or_else(|| self.unexpected("operand"))?;
        self.at += end;
        Ok(Operand::Literal(number.into()))
    }
}
