//! The grammar of a label selector; words come from [`super::label_lexer`]. Tests are in [`super::labels`].

use super::SelectorError;
use super::label_lexer::{Token, Word, words};
use super::labels::{Operator, Requirement, check_key};
use crate::field::{Errors, Path};

const BINARY_OPERATORS: &str = "in, notin, =, ==, !=, gt, lt";

/// Reads one selector.
pub(super) struct Parser<'a> {
    words: Vec<Word<'a>>,
    at: usize,
}

fn unexpected<T>(found: &str, expected: &str) -> Result<T, SelectorError> {
    Err(SelectorError(format!("found '{found}', expected: {expected}")))
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { words: words(text), at: 0 }
    }

    /// The next word. The last one is [`Token::End`] and is never passed.
    fn next(&mut self) -> Word<'a> {
        let word = self.words[self.at].clone();
        if self.at + 1 < self.words.len() {
            self.at += 1;
        }
        word
    }

    fn peek(&self) -> Token {
        self.words[self.at].token
    }

    /// The next word where `in` and `notin` are names like others.
    fn next_value(&mut self) -> Word<'a> {
        let mut word = self.next();
        word.token = as_value(word.token);
        word
    }

    fn peek_value(&self) -> Token {
        as_value(self.peek())
    }

    pub(super) fn selector(mut self) -> Result<Vec<Requirement>, SelectorError> {
        let mut requirements = Vec::new();
        loop {
            match self.peek_value() {
                Token::End => return Ok(requirements),
                Token::Identifier | Token::Bang => {}
                _ => return unexpected(&self.next().text, "!, identifier, or 'end of string'"),
            }
            let requirement = self.requirement();
            requirements.push(requirement.map_err(|e| SelectorError(format!("unable to parse requirement: {}", e.0)))?);
            let separator = self.next_value();
            match separator.token {
                Token::End => return Ok(requirements),
                Token::Comma if matches!(self.peek_value(), Token::Identifier | Token::Bang) => {}
                Token::Comma => return unexpected(&self.next().text, "identifier after ','"),
                _ => return unexpected(&separator.text, "',' or 'end of string'"),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, SelectorError> {
        let mut word = self.next_value();
        let absent = word.token == Token::Bang;
        if absent {
            word = self.next_value();
        }
        if word.token != Token::Identifier {
            return unexpected(&word.text, "identifier");
        }
        let key = word.text;
        let mut errors = Errors::new();
        check_key(&Path::ROOT, &key, &mut errors);
        if let Some(error) = errors.0.first() {
            return Err(SelectorError(error.to_string()));
        }
        if absent {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new());
        }
        if matches!(self.peek_value(), Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new());
        }
        let operator = self.operator()?;
        let values = match operator {
            Operator::In | Operator::NotIn => self.value_list()?,
            _ => self.exact_value()?,
        };
        Requirement::new(&key, operator, values)
    }

    fn operator(&mut self) -> Result<Operator, SelectorError> {
        let word = self.next();
        Ok(match word.token {
            Token::In => Operator::In,
            Token::NotIn => Operator::NotIn,
            Token::Equals => Operator::Equals,
            Token::DoubleEquals => Operator::DoubleEquals,
            Token::NotEquals => Operator::NotEquals,
            Token::Greater => Operator::GreaterThan,
            Token::Less => Operator::LessThan,
            _ => return unexpected(&word.text, BINARY_OPERATORS),
        })
    }

    fn exact_value(&mut self) -> Result<Vec<String>, SelectorError> {
        if matches!(self.peek_value(), Token::End | Token::Comma) {
            return Ok(vec![String::new()]);
        }
        let word = self.next_value();
        if word.token == Token::Identifier {
            return Ok(vec![word.text.into_owned()]);
        }
        unexpected(&word.text, "identifier")
    }

    fn value_list(&mut self) -> Result<Vec<String>, SelectorError> {
        let open = self.next_value();
        if open.token != Token::Open {
            // Upstream leaves out the comma here.
            return Err(SelectorError(format!("found '{}' expected: '('", open.text)));
        }
        match self.peek_value() {
            Token::Identifier | Token::Comma => self.values(),
            // Nothing between the parentheses is the empty value.
            Token::Close => {
                self.next();
                Ok(vec![String::new()])
            }
            _ => unexpected(&self.next().text, "',', ')' or identifier"),
        }
    }

    /// Values up to and with `)`, each once. A missing value beside a comma is the empty one.
    fn values(&mut self) -> Result<Vec<String>, SelectorError> {
        let mut values: Vec<String> = Vec::new();
        loop {
            let word = self.next_value();
            match word.token {
                Token::Identifier => {
                    values.push(word.text.into_owned());
                    match self.peek_value() {
                        Token::Comma => {}
                        Token::Close => break,
                        _ => return unexpected(&self.next().text, "',' or ')'"),
                    }
                }
                Token::Comma => {
                    if values.is_empty() {
                        values.push(String::new());
                    }
                    match self.peek_value() {
                        Token::Close => {
                            values.push(String::new());
                            break;
                        }
                        Token::Comma => {
                            self.next();
                            values.push(String::new());
                        }
                        _ => {}
                    }
                }
                _ => return unexpected(&word.text, "',', or identifier"),
            }
        }
        self.next();
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }
}

fn as_value(token: Token) -> Token {
    match token {
        Token::In | Token::NotIn => Token::Identifier,
        other => other,
    }
}
