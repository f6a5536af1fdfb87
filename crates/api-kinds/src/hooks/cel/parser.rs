//! The grammar of CEL, and the scope of names.

use super::lexer::{Token, Word, words};
use super::{FUNCTIONS, LIBRARIES, RESERVED, Scope};

/// How deep an expression may nest; upstream's limit is 250.
const DEPTH_MAX: usize = 250;
/// Macros whose first argument names what the others speak of.
const BINDING: [&str; 7] = ["all", "exists", "exists_one", "existsOne", "filter", "map", "bind"];

/// What is wrong, and at which byte.
pub(super) struct Wrong {
    pub at: usize,
    pub why: String,
}

pub(super) fn check(text: &str, scope: &Scope<'_>) -> Result<(), Wrong> {
    let mut parser = Parser { words: words(text), at: 0, scope, bound: Vec::new(), depth: 0, undeclared: None };
    parser.expression()?;
    match parser.token() {
        Token::End => parser.undeclared.map_or(Ok(()), Err),
        _ => parser.syntax("expecting <EOF>"),
    }
}

struct Parser<'a> {
    words: Vec<Word<'a>>,
    at: usize,
    scope: &'a Scope<'a>,
    /// Names that macros around here have bound.
    bound: Vec<&'a str>,
    depth: usize,
    /// The first name that is not there; grammar comes first.
    undeclared: Option<Wrong>,
}

impl<'a> Parser<'a> {
    fn token(&self) -> Token<'a> {
        self.words[self.at].token
    }

    fn advance(&mut self) {
        self.at = (self.at + 1).min(self.words.len() - 1);
    }

    fn wrong<T>(&self, word: usize, why: String) -> Result<T, Wrong> {
        Err(Wrong { at: self.words[word].at, why })
    }

    fn unknown(&mut self, word: usize, why: String) {
        let at = self.words[word].at;
        self.undeclared.get_or_insert(Wrong { at, why });
    }

    fn syntax<T>(&self, expected: &str) -> Result<T, Wrong> {
        let found = match self.token() {
            Token::Identifier(text) | Token::Symbol(text) => text,
            Token::Literal => "literal",
            Token::Unknown => "unknown token",
            Token::End => "<EOF>",
        };
        self.wrong(self.at, format!("Syntax error: mismatched input '{found}' {expected}"))
    }

    fn take(&mut self, symbol: &str) -> bool {
        let found = self.token() == Token::Symbol(symbol);
        if found {
            self.advance();
        }
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Wrong> {
        if self.take(symbol) { Ok(()) } else { self.syntax(&format!("expecting '{symbol}'")) }
    }

    fn expression(&mut self) -> Result<(), Wrong> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return self.wrong(self.at, format!("expression recursion limit exceeded: {DEPTH_MAX}"));
        }
        self.binary()?;
        if self.take("?") {
            self.binary()?;
            self.expect(":")?;
            self.expression()?;
        }
        self.depth -= 1;
        Ok(())
    }

    /// Operands between operators; what binds how does not matter here.
    fn binary(&mut self) -> Result<(), Wrong> {
        loop {
            self.unary()?;
            let operator = match self.token() {
                Token::Symbol(s) => {
                    ["||", "&&", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"].contains(&s)
                }
                Token::Identifier(word) => word == "in",
                _ => false,
            };
            if !operator {
                return Ok(());
            }
            self.advance();
        }
    }

    fn unary(&mut self) -> Result<(), Wrong> {
        if self.take("!") {
            while self.take("!") {}
        } else if self.take("-") {
            while self.take("-") {}
        }
        let root = self.primary()?;
        self.members(root)
    }

    /// A primary; its name if it is one.
    fn primary(&mut self) -> Result<Option<&'a str>, Wrong> {
        match self.token() {
            Token::Literal => self.advance(),
            Token::Symbol("(") => {
                self.advance();
                self.expression()?;
                self.expect(")")?;
            }
            Token::Symbol("[") => {
                self.advance();
                self.list("]")?;
            }
            Token::Symbol("{") => {
                self.advance();
                self.entries()?;
            }
            Token::Symbol(".") => {
                self.advance();
                return self.name();
            }
            Token::Identifier(_) => return self.name(),
            _ => return self.syntax("expecting an expression"),
        }
        Ok(None)
    }

    fn name(&mut self) -> Result<Option<&'a str>, Wrong> {
        let at = self.at;
        let Token::Identifier(name) = self.token() else { return self.syntax("expecting IDENTIFIER") };
        self.advance();
        if ["true", "false", "null"].contains(&name) {
            return Ok(None);
        }
        if RESERVED.contains(&name) {
            return self.wrong(at, format!("Syntax error: reserved identifier: {name}"));
        }
        let undeclared = format!("undeclared reference to '{name}' (in container '')");
        if self.take("(") {
            if !FUNCTIONS.contains(&name) {
                self.unknown(at, undeclared);
            }
            self.list(")")?;
            return Ok(None);
        }
        if !self.bound.contains(&name) && !self.scope.declares(name) {
            self.unknown(at, undeclared);
        }
        Ok((!self.bound.contains(&name)).then_some(name))
    }

    /// What follows a primary: fields, calls, indexes, the body of a message.
    fn members(&mut self, mut root: Option<&'a str>) -> Result<(), Wrong> {
        let library = root.is_some_and(|name| LIBRARIES.contains(&name) || name == "google");
        loop {
            let at = self.at;
            if self.take(".") {
                self.take("?");
                let Token::Identifier(field) = self.token() else { return self.syntax("expecting IDENTIFIER") };
                self.advance();
                if self.take("(") {
                    self.call(field)?;
                } else if root.is_some_and(|root| !self.scope.has_field(root, field)) {
                    self.unknown(at, format!("undefined field '{field}'"));
                }
                root = None;
            } else if self.take("[") {
                self.take("?");
                self.expression()?;
                self.expect("]")?;
                root = None;
            } else if library && self.take("{") {
                self.fields()?;
            } else {
                return Ok(());
            }
        }
    }

    /// The arguments of a method or macro.
    fn call(&mut self, name: &str) -> Result<(), Wrong> {
        let bound = match (self.token(), &self.words.get(self.at + 1).map(|w| w.token)) {
            (Token::Identifier(variable), Some(Token::Symbol(","))) if BINDING.contains(&name) => Some(variable),
            _ => None,
        };
        let Some(variable) = bound else { return self.list(")") };
        self.advance();
        self.advance();
        self.bound.push(variable);
        let rest = self.list(")");
        self.bound.pop();
        rest
    }

    /// Expressions up to `close`.
    fn list(&mut self, close: &str) -> Result<(), Wrong> {
        while !self.take(close) {
            self.take("?");
            self.expression()?;
            if !self.take(",") {
                return self.expect(close);
            }
        }
        Ok(())
    }

    fn entries(&mut self) -> Result<(), Wrong> {
        while !self.take("}") {
            self.take("?");
            self.expression()?;
            self.expect(":")?;
            self.expression()?;
            if !self.take(",") {
                return self.expect("}");
            }
        }
        Ok(())
    }

    fn fields(&mut self) -> Result<(), Wrong> {
        while !self.take("}") {
            let Token::Identifier(_) = self.token() else { return self.syntax("expecting IDENTIFIER") };
            self.advance();
            self.expect(":")?;
            self.expression()?;
            if !self.take(",") {
                return self.expect("}");
            }
        }
        Ok(())
    }
}
