//! The grammar.

use crate::ast::{Expr, Kind, Literal};
use crate::issue::Issue;
use crate::lexer::{RESERVED, Token, Word, words};
use crate::macros;

/// How deep an expression may nest, as it is written and as a tree: a tree this high is walked on any thread's stack.
const DEPTH_MAX: usize = 250;
const OPERAND: &str = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, \
                       BYTES, IDENTIFIER}";
/// Operators by how weakly they bind.
const LEVELS: [&[(&str, &str)]; 5] = [
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[("==", "_==_"), ("!=", "_!=_"), ("<", "_<_"), ("<=", "_<=_"), (">", "_>_"), (">=", "_>=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// Reads an expression.
pub(crate) fn parse(text: &str) -> Result<Expr, Issue> {
    let mut parser = Parser { words: words(text)?, at: 0, depth: 0 };
    let expr = parser.expression()?;
    if parser.word().token != Token::End {
        return Err(parser.unexpected("<EOF>"));
    }
    Ok(expr)
}

struct Parser<'a> {
    words: Vec<Word<'a>>,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn word(&self) -> &Word<'a> {
        &self.words[self.at]
    }

    fn here(&self) -> usize {
        self.word().at
    }

    fn advance(&mut self) -> usize {
        let at = self.here();
        self.at = (self.at + 1).min(self.words.len() - 1);
        at
    }

    fn issue(&self, why: String) -> Issue {
        Issue { at: self.here(), why }
    }

    /// What stands here is not what `expected` says.
    fn unexpected(&self, expected: &str) -> Issue {
        let next = self.words.get(self.at + 1);
        let starts = next.is_some_and(|w| match &w.token {
            Token::Identifier | Token::Literal(_) => true,
            Token::Symbol => ["(", "[", "{", "-", "!", "."].contains(&w.text),
            Token::End => false,
        });
        let ends = expected == "<EOF>" && next.is_some_and(|w| w.token == Token::End);
        // A single word too many is told from a wrong one, but for names that end an expression.
        let extra = expected == OPERAND && starts && self.word().token != Token::End || ends && self.at == 0;
        if expected == "')'" && self.word().token == Token::End {
            return self.issue("Syntax error: missing ')' at '<EOF>'".to_owned());
        }
        let extra = extra || ends && self.word().text == ")";
        let how = if extra { "extraneous" } else { "mismatched" };
        self.issue(format!("Syntax error: {how} input '{}' expecting {expected}", self.word().text))
    }

    fn is(&self, symbol: &str) -> bool {
        self.word().token == Token::Symbol && self.word().text == symbol
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.is(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Issue> {
        if self.take(symbol) { Ok(()) } else { Err(self.unexpected(&format!("'{symbol}'"))) }
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T, Issue>) -> Result<T, Issue> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.too_deep());
        }
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn too_deep(&self) -> Issue {
        self.issue(format!("expression recursion limit exceeded: {DEPTH_MAX}"))
    }

    /// A node that is not too high. Chains of members within parentheses within such chains add up.
    fn check_height(&self, expr: &Expr) -> Result<(), Issue> {
        if expr.height > DEPTH_MAX { Err(self.too_deep()) } else { Ok(()) }
    }

    fn expression(&mut self) -> Result<Expr, Issue> {
        self.deeper(|p| {
            let condition = p.binary(0)?;
            if p.is("?") { p.conditional(condition) } else { Ok(condition) }
        })
    }

    /// What follows a condition. Apart, as other seldom needed things are, so that what recurses has a small frame.
    fn conditional(&mut self, condition: Expr) -> Result<Expr, Issue> {
        let at = self.advance();
        let yes = self.binary(0)?;
        self.expect(":")?;
        let no = self.expression()?;
        let whole = Expr::call(at, "_?_:_", vec![condition, yes, no]);
        self.check_height(&whole).map(|()| whole)
    }

    /// Operands between operators that bind at least as strongly as `level`.
    fn binary(&mut self, level: usize) -> Result<Expr, Issue> {
        let mut left = self.unary()?;
        let mut length = 0;
        while let Some((own, function)) = self.operator().filter(|(own, _)| *own >= level) {
            let at = self.advance();
            let right = self.deeper(|p| p.binary(own + 1))?;
            length += 1;
            // A long chain is a deep tree.
            if self.depth + length > DEPTH_MAX {
                return Err(self.too_deep());
            }
            left = Expr::call(at, function, vec![left, right]);
            self.check_height(&left)?;
        }
        Ok(left)
    }

    /// The operator that stands here, and how strongly it binds.
    fn operator(&self) -> Option<(usize, &'static str)> {
        let text = match self.word().token {
            Token::Symbol => self.word().text,
            Token::Identifier if self.word().text == "in" => "in",
            _ => return None,
        };
        let find = |operators: &[(&str, &'static str)]| operators.iter().find(|(t, _)| *t == text).map(|(_, f)| *f);
        LEVELS.iter().enumerate().find_map(|(level, operators)| Some((level, find(operators)?)))
    }

    fn unary(&mut self) -> Result<Expr, Issue> {
        for (symbol, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(symbol) {
                continue;
            }
            let at = self.here();
            if symbol == "-"
                && let Some(number) = self.negative()
            {
                return self.members(number);
            }
            let mut odd = false;
            while self.take(symbol) {
                odd = !odd;
            }
            let operand = self.primary()?;
            let operand = self.members(operand)?;
            return Ok(if odd { Expr::call(at, function, vec![operand]) } else { operand });
        }
        let operand = self.primary()?;
        self.members(operand)
    }

    /// A negative number.
    fn negative(&mut self) -> Option<Expr> {
        let literal = match &self.words.get(self.at + 1)?.token {
            Token::Literal(Some(Literal::Int(value))) => Literal::Int(value.wrapping_neg()),
            Token::Literal(Some(Literal::Double(value))) => Literal::Double(-value),
            _ => return None,
        };
        let at = self.advance();
        self.advance();
        Some(Expr::new(at, Kind::Literal(literal)))
    }

    fn primary(&mut self) -> Result<Expr, Issue> {
        match (&self.word().token, self.word().text) {
            (Token::Literal(_), _) => self.literal(),
            (Token::Identifier, _) => self.name(),
            (Token::Symbol, "(") => self.parenthesized(),
            (Token::Symbol, "[") => self.list(),
            (Token::Symbol, "{") => self.map(),
            (Token::Symbol, ".") => {
                self.advance();
                self.name()
            }
            _ => Err(self.unexpected(OPERAND)),
        }
    }

    fn literal(&mut self) -> Result<Expr, Issue> {
        match &self.word().token {
            Token::Literal(Some(literal)) if *literal != Literal::Int(i64::MIN) => {
                let literal = literal.clone();
                Ok(Expr::new(self.advance(), Kind::Literal(literal)))
            }
            _ => {
                let kind = if self.word().text.ends_with(['u', 'U']) { "uint" } else { "int" };
                Err(self.issue(format!("invalid {kind} literal")))
            }
        }
    }

    fn parenthesized(&mut self) -> Result<Expr, Issue> {
        self.advance();
        let inner = self.expression()?;
        self.expect(")").map(|()| inner)
    }

    fn list(&mut self) -> Result<Expr, Issue> {
        let at = self.advance();
        Ok(Expr::new(at, Kind::List(self.items("]")?)))
    }

    fn map(&mut self) -> Result<Expr, Issue> {
        let at = self.advance();
        Ok(Expr::new(at, Kind::Map(self.entries()?)))
    }

    fn name(&mut self) -> Result<Expr, Issue> {
        let (at, text) = (self.here(), self.word().text);
        if self.word().token != Token::Identifier {
            return Err(self.unexpected("IDENTIFIER"));
        }
        let literal = match text {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            "null" => Some(Literal::Null),
            "in" => return Err(self.unexpected(OPERAND)),
            _ => None,
        };
        if let Some(literal) = literal {
            self.advance();
            return Ok(Expr::new(at, Kind::Literal(literal)));
        }
        if RESERVED.contains(&text) {
            return Err(self.issue(format!("reserved identifier: {text}")));
        }
        self.advance();
        if !self.is("(") {
            return Ok(Expr::new(at, Kind::Ident(text.into())));
        }
        let open = self.advance();
        let args = self.arguments()?;
        macros::expand(open, text, None, args)
    }

    /// What follows a primary: fields, calls, indexes, the body of a message.
    fn members(&mut self, mut left: Expr) -> Result<Expr, Issue> {
        for _ in 0..DEPTH_MAX {
            self.check_height(&left)?;
            let at = self.here();
            if self.take(".") {
                let optional = self.take("?");
                let field = self.word().text;
                if self.word().token != Token::Identifier || field == "in" {
                    return Err(self.unexpected("IDENTIFIER"));
                }
                self.advance();
                left = if self.is("(") && !optional {
                    let open = self.advance();
                    let args = self.arguments()?;
                    macros::expand(open, field, Some(left), args)?
                } else {
                    let operand = Box::new(left);
                    Expr::new(at, Kind::Select { operand, field: field.into(), test: false, optional })
                };
            } else if self.take("[") {
                let function = if self.take("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                left = Expr::call(at, function, vec![left, index]);
            } else if self.is("{")
                && let Some(name) = left.qualified()
            {
                self.advance();
                left = Expr::new(at, Kind::Struct(name, self.fields()?));
            } else {
                return Ok(left);
            }
        }
        Err(self.too_deep())
    }

    fn arguments(&mut self) -> Result<Vec<Expr>, Issue> {
        Ok(self.items(")")?.into_iter().map(|(expr, _)| expr).collect())
    }

    /// Expressions up to `close`.
    fn items(&mut self, close: &str) -> Result<Vec<(Expr, bool)>, Issue> {
        let mut items = Vec::new();
        while !self.take(close) {
            let optional = close == "]" && self.take("?");
            items.push((self.expression()?, optional));
            if !self.take(",") {
                self.expect(close)?;
                break;
            }
            if close == ")" && self.is(")") {
                return Err(self.unexpected(OPERAND));
            }
        }
        Ok(items)
    }

    fn entries(&mut self) -> Result<Vec<(Expr, Expr, bool)>, Issue> {
        let mut entries = Vec::new();
        while !self.take("}") {
            let optional = self.take("?");
            let key = self.expression()?;
            self.expect(":")?;
            entries.push((key, self.expression()?, optional));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(entries)
    }

    fn fields(&mut self) -> Result<Vec<(String, Expr)>, Issue> {
        let mut fields = Vec::new();
        while !self.take("}") {
            let name = self.word().text;
            if self.word().token != Token::Identifier {
                return Err(self.unexpected("{'}', ',', IDENTIFIER}"));
            }
            self.advance();
            self.expect(":")?;
            fields.push((name.to_owned(), self.expression()?));
            if !self.take(",") {
                self.expect("}")?;
                break;
            }
        }
        Ok(fields)
    }
}
