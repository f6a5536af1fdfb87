//! Expressions as they are written, macros taken apart.

use crate::types::Type;

/// A node and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// Characters before it.
    pub at: usize,
    /// What it is.
    pub kind: Kind,
    /// Its type, once it is checked.
    pub ty: Type,
    /// Levels of nodes from here down, itself included.
    pub(crate) height: usize,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A constant.
    Literal(Literal),
    /// A variable, or the name of a type.
    Ident(String),
    /// `operand.field`.
    Select {
        /// Left of the dot.
        operand: Box<Expr>,
        /// Right of it.
        field: String,
        /// Whether only its presence is asked for.
        test: bool,
        /// Whether it is `.?`.
        optional: bool,
    },
    /// A function, a method, an operator.
    Call {
        /// As it is declared: `_+_`, `size`.
        function: String,
        /// Left of the dot of a method.
        target: Option<Box<Expr>>,
        /// In parentheses.
        args: Vec<Expr>,
    },
    /// Items; whether each is left out if it is empty.
    List(Vec<(Expr, bool)>),
    /// Keys and values; whether each is left out if it is empty.
    Map(Vec<(Expr, Expr, bool)>),
    /// `name{field: value}`.
    Struct(String, Vec<(String, Expr)>),
    /// A macro over the items of a list or the keys of a map.
    Fold(Box<Fold>),
    /// `optMap` and `optFlatMap`.
    OptionalMap {
        /// The optional value.
        operand: Box<Expr>,
        /// What its value is called.
        variable: String,
        /// What is made of it.
        body: Box<Expr>,
        /// Whether the body is optional itself.
        flat: bool,
    },
}

/// Macros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FoldKind {
    /// Whether it holds of all.
    All,
    /// Whether it holds of any.
    Exists,
    /// Whether it holds of just one.
    ExistsOne,
    /// What becomes of each.
    Map,
    /// Those it holds of.
    Filter,
}

/// A macro.
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    /// Which.
    pub kind: FoldKind,
    /// What it goes over.
    pub range: Expr,
    /// What an item is called.
    pub variable: String,
    /// Items of which it does not hold are left out.
    pub condition: Option<Expr>,
    /// What is asked of, or made of, an item.
    pub body: Expr,
}

/// Constants.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// `null`.
    Null,
    /// `true`.
    Bool(bool),
    /// `1`.
    Int(i64),
    /// `1u`.
    Uint(u64),
    /// `1.0`.
    Double(f64),
    /// `'a'`.
    String(String),
    /// `b'a'`.
    Bytes(Vec<u8>),
}

impl Kind {
    /// Levels of the highest node right below.
    fn children_height(&self) -> usize {
        let highest = |nodes: &mut dyn Iterator<Item = &Expr>| nodes.map(|e| e.height).max().unwrap_or(0);
        match self {
            Self::Literal(_) | Self::Ident(_) => 0,
            Self::Select { operand, .. } => operand.height,
            Self::Call { target, args, .. } => highest(&mut target.iter().map(|t| &**t).chain(args)),
            Self::List(items) => highest(&mut items.iter().map(|(e, _)| e)),
            Self::Map(entries) => highest(&mut entries.iter().flat_map(|(k, v, _)| [k, v])),
            Self::Struct(_, fields) => highest(&mut fields.iter().map(|(_, e)| e)),
            Self::Fold(fold) => highest(&mut [&fold.range, &fold.body].into_iter().chain(&fold.condition)),
            Self::OptionalMap { operand, body, .. } => operand.height.max(body.height),
        }
    }
}

impl Expr {
    pub(crate) fn new(at: usize, kind: Kind) -> Self {
        let height = 1 + kind.children_height();
        Self { at, kind, ty: Type::Dyn, height }
    }

    pub(crate) fn call(at: usize, function: &str, args: Vec<Expr>) -> Self {
        Self::new(at, Kind::Call { function: function.into(), target: None, args })
    }

    /// `a.b.c`, if that is all there is.
    pub(crate) fn qualified(&self) -> Option<String> {
        match &self.kind {
            Kind::Ident(name) => Some(name.clone()),
            Kind::Select { operand, field, test: false, optional: false } => {
                operand.qualified().map(|o| format!("{o}.{field}"))
            }
            _ => None,
        }
    }
}

/// Visits a node and all below it.
pub(crate) fn visit(expr: &Expr, seen: &mut dyn FnMut(&Expr)) {
    seen(expr);
    match &expr.kind {
        Kind::Literal(_) | Kind::Ident(_) => {}
        Kind::Select { operand, .. } => visit(operand, seen),
        Kind::Call { target, args, .. } => {
            target.iter().for_each(|t| visit(t, seen));
            args.iter().for_each(|a| visit(a, seen));
        }
        Kind::List(items) => items.iter().for_each(|(e, _)| visit(e, seen)),
        Kind::Map(entries) => entries.iter().for_each(|(k, v, _)| {
            visit(k, seen);
            visit(v, seen);
        }),
        Kind::Struct(_, fields) => fields.iter().for_each(|(_, e)| visit(e, seen)),
        Kind::Fold(fold) => {
            visit(&fold.range, seen);
            fold.condition.iter().for_each(|c| visit(c, seen));
            visit(&fold.body, seen);
        }
        Kind::OptionalMap { operand, body, .. } => {
            visit(operand, seen);
            visit(body, seen);
        }
    }
}
