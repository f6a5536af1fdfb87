//! Functions and their types, as data.
//!
//! A line is a name, the types of arguments and the type of the result; a dot before the name marks a method, whose target
//! is the first argument. Capital letters stand for any type. `#` stands for each of the types that have an order.

use crate::types::Type;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// One way to call a function. Type variables are numbered from 0.
#[derive(Debug)]
pub(crate) struct Overload {
    pub method: bool,
    pub args: Vec<Type>,
    pub result: Type,
}

const ORDERED: [&str; 8] = ["int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes"];
const SUMMABLE: [&str; 4] = ["int", "uint", "double", "duration"];

const FUNCTIONS: &str = "
_==_(A,A) bool
_!=_(A,A) bool
_<_(#,#) bool
_<=_(#,#) bool
_>_(#,#) bool
_>=_(#,#) bool
_<_(@,@) bool
_<=_(@,@) bool
_>_(@,@) bool
_>=_(@,@) bool
_&&_(bool,bool) bool
_||_(bool,bool) bool
!_(bool) bool
_?_:_(bool,A,A) A
-_(int) int
-_(double) double
_+_(int,int) int
_+_(uint,uint) uint
_+_(double,double) double
_+_(string,string) string
_+_(bytes,bytes) bytes
_+_(list(A),list(A)) list(A)
_+_(duration,duration) duration
_+_(duration,timestamp) timestamp
_+_(timestamp,duration) timestamp
_-_(int,int) int
_-_(uint,uint) uint
_-_(double,double) double
_-_(duration,duration) duration
_-_(timestamp,duration) timestamp
_-_(timestamp,timestamp) duration
_*_(int,int) int
_*_(uint,uint) uint
_*_(double,double) double
_/_(int,int) int
_/_(uint,uint) uint
_/_(double,double) double
_%_(int,int) int
_%_(uint,uint) uint
@in(A,list(A)) bool
@in(A,map(A,B)) bool
_[_](list(A),int) A
_[_](map(A,B),A) B
_[_](optional(list(A)),int) optional(A)
_[_](optional(map(A,B)),A) optional(B)
_[?_](list(A),int) optional(A)
_[?_](map(A,B),A) optional(B)
_[?_](optional(list(A)),int) optional(A)
_[?_](optional(map(A,B)),A) optional(B)
size(string) int
size(bytes) int
size(list(A)) int
size(map(A,B)) int
.size(string) int
.size(bytes) int
.size(list(A)) int
.size(map(A,B)) int
.contains(string,string) bool
.startsWith(string,string) bool
.endsWith(string,string) bool
matches(string,string) bool
.matches(string,string) bool
bool(bool) bool
bool(string) bool
bytes(bytes) bytes
bytes(string) bytes
double(double) double
double(int) double
double(uint) double
double(string) double
duration(duration) duration
duration(string) duration
duration(int) duration
dyn(A) dyn
int(int) int
int(uint) int
int(double) int
int(string) int
int(timestamp) int
int(duration) int
string(string) string
string(bool) string
string(int) string
string(uint) string
string(double) string
string(bytes) string
string(timestamp) string
string(duration) string
timestamp(timestamp) timestamp
timestamp(string) timestamp
timestamp(int) timestamp
type(A) type(A)
uint(uint) uint
uint(int) uint
uint(double) uint
uint(string) uint
.getFullYear(timestamp) int
.getFullYear(timestamp,string) int
.getMonth(timestamp) int
.getMonth(timestamp,string) int
.getDayOfYear(timestamp) int
.getDayOfYear(timestamp,string) int
.getDayOfMonth(timestamp) int
.getDayOfMonth(timestamp,string) int
.getDate(timestamp) int
.getDate(timestamp,string) int
.getDayOfWeek(timestamp) int
.getDayOfWeek(timestamp,string) int
.getHours(timestamp) int
.getHours(timestamp,string) int
.getHours(duration) int
.getMinutes(timestamp) int
.getMinutes(timestamp,string) int
.getMinutes(duration) int
.getSeconds(timestamp) int
.getSeconds(timestamp,string) int
.getSeconds(duration) int
.getMilliseconds(timestamp) int
.getMilliseconds(timestamp,string) int
.getMilliseconds(duration) int
.charAt(string,int) string
.indexOf(string,string) int
.indexOf(string,string,int) int
.lastIndexOf(string,string) int
.lastIndexOf(string,string,int) int
.join(list(string)) string
.join(list(string),string) string
.lowerAscii(string) string
.upperAscii(string) string
.replace(string,string,string) string
.replace(string,string,string,int) string
.split(string,string) list(string)
.split(string,string,int) list(string)
.substring(string,int) string
.substring(string,int,int) string
.trim(string) string
.format(string,list(dyn)) string
strings.quote(string) string
.isSorted(list(#)) bool
.min(list(#)) #
.max(list(#)) #
.sum(list(+)) +
.indexOf(list(A),A) int
.lastIndexOf(list(A),A) int
.find(string,string) string
.findAll(string,string) list(string)
.findAll(string,string,int) list(string)
url(string) kubernetes.URL
isURL(string) bool
.getScheme(kubernetes.URL) string
.getHost(kubernetes.URL) string
.getHostname(kubernetes.URL) string
.getPort(kubernetes.URL) string
.getEscapedPath(kubernetes.URL) string
.getQuery(kubernetes.URL) map(string,list(string))
quantity(string) kubernetes.Quantity
isQuantity(string) bool
sign(kubernetes.Quantity) int
.isInteger(kubernetes.Quantity) bool
.asInteger(kubernetes.Quantity) int
.asApproximateFloat(kubernetes.Quantity) double
.isGreaterThan(kubernetes.Quantity,kubernetes.Quantity) bool
.isLessThan(kubernetes.Quantity,kubernetes.Quantity) bool
.compareTo(kubernetes.Quantity,kubernetes.Quantity) int
.add(kubernetes.Quantity,kubernetes.Quantity) kubernetes.Quantity
.add(kubernetes.Quantity,int) kubernetes.Quantity
.sub(kubernetes.Quantity,kubernetes.Quantity) kubernetes.Quantity
.sub(kubernetes.Quantity,int) kubernetes.Quantity
sets.contains(list(A),list(A)) bool
sets.equivalent(list(A),list(A)) bool
sets.intersects(list(A),list(A)) bool
optional.of(A) optional(A)
optional.ofNonZeroValue(A) optional(A)
optional.none() optional(A)
.value(optional(A)) A
.hasValue(optional(A)) bool
.or(optional(A),optional(A)) optional(A)
.orValue(optional(A),A) A
.path(kubernetes.authorization.Authorizer,string) kubernetes.authorization.PathCheck
.group(kubernetes.authorization.Authorizer,string) kubernetes.authorization.GroupCheck
.serviceAccount(kubernetes.authorization.Authorizer,string,string) kubernetes.authorization.Authorizer
.resource(kubernetes.authorization.GroupCheck,string) kubernetes.authorization.ResourceCheck
.subresource(kubernetes.authorization.ResourceCheck,string) kubernetes.authorization.ResourceCheck
.namespace(kubernetes.authorization.ResourceCheck,string) kubernetes.authorization.ResourceCheck
.name(kubernetes.authorization.ResourceCheck,string) kubernetes.authorization.ResourceCheck
.check(kubernetes.authorization.PathCheck,string) kubernetes.authorization.Decision
.check(kubernetes.authorization.ResourceCheck,string) kubernetes.authorization.Decision
.allowed(kubernetes.authorization.Decision) bool
.reason(kubernetes.authorization.Decision) string
.errored(kubernetes.authorization.Decision) bool
.error(kubernetes.authorization.Decision) string
";

/// Ways to call the function of that name.
pub(crate) fn overloads(name: &str) -> &'static [Overload] {
    static TABLE: OnceLock<HashMap<&'static str, Vec<Overload>>> = OnceLock::new();
    TABLE.get_or_init(table).get(name).map_or(&[], Vec::as_slice)
}

fn table() -> HashMap<&'static str, Vec<Overload>> {
    let mut table: HashMap<&'static str, Vec<Overload>> = HashMap::new();
    for line in FUNCTIONS.lines().filter(|l| !l.is_empty()) {
        let (method, line) = line.strip_prefix('.').map_or((false, line), |rest| (true, rest));
        let (name, rest) = line.split_once('(').unwrap_or((line, ") dyn"));
        let (args, result) = rest.rsplit_once(") ").map_or((rest, "dyn"), |(a, r)| (a, r));
        // A parenthesis of a result such as `list(A)` is no end of arguments.
        let (args, result) =
            if args.contains(") ") { args.split_once(") ").unwrap_or((args, result)) } else { (args, result) };
        for (args, result) in variants(args, result) {
            let args = split(&args).into_iter().map(read).collect();
            table.entry(name).or_default().push(Overload { method, args, result: read(&result) });
        }
    }
    table
}

fn variants(args: &str, result: &str) -> Vec<(String, String)> {
    let each = |mark: char, types: &[&str]| -> Vec<(String, String)> {
        types.iter().map(|t| (args.replace(mark, t), result.replace(mark, t))).collect()
    };
    if args.contains('#') {
        each('#', &ORDERED)
    } else if args.contains('+') {
        each('+', &SUMMABLE)
    } else if args.contains('@') {
        let numbers = ["int", "uint", "double"];
        let pairs = numbers.iter().flat_map(|a| numbers.iter().map(move |b| (a, b))).filter(|(a, b)| a != b);
        pairs.map(|(a, b)| (format!("{a},{b}"), result.to_owned())).collect()
    } else {
        vec![(args.to_owned(), result.to_owned())]
    }
}

/// Parts between commas outside of parentheses.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        parts.push(&text[start..]);
    }
    parts
}

const OPAQUE: [&str; 7] = [
    "kubernetes.URL",
    "kubernetes.Quantity",
    "kubernetes.authorization.Authorizer",
    "kubernetes.authorization.PathCheck",
    "kubernetes.authorization.GroupCheck",
    "kubernetes.authorization.ResourceCheck",
    "kubernetes.authorization.Decision",
];

/// The type of that name.
pub(crate) fn read(text: &str) -> Type {
    let inner =
        |name: &str| text.strip_prefix(name).and_then(|t| t.strip_prefix('(')).and_then(|t| t.strip_suffix(')'));
    if let Some(item) = inner("list") {
        return read(item).list();
    }
    if let Some(item) = inner("optional") {
        return read(item).optional();
    }
    if let Some(item) = inner("type") {
        return Type::Type(Arc::new(read(item)));
    }
    if let Some(parts) = inner("map") {
        let parts = split(parts);
        return Type::Map(Arc::new(read(parts[0])), Arc::new(read(parts[1])));
    }
    if let Some(name) = OPAQUE.iter().find(|name| **name == text) {
        return Type::Opaque(name);
    }
    named(text).unwrap_or(match text {
        "A" => Type::Var(0),
        "B" => Type::Var(1),
        _ => Type::Dyn,
    })
}

/// A type that expressions can name.
pub(crate) fn named(text: &str) -> Option<Type> {
    Some(match text {
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" | "google.protobuf.Timestamp" => Type::Timestamp,
        "duration" | "google.protobuf.Duration" => Type::Duration,
        "null_type" => Type::Null,
        "list" => Type::Dyn.list(),
        "map" => Type::Map(Arc::new(Type::Dyn), Arc::new(Type::Dyn)),
        "type" => Type::Type(Arc::new(Type::Dyn)),
        "optional_type" => Type::Dyn.optional(),
        "dyn" => Type::Dyn,
        other => OPAQUE.iter().find(|name| **name == other).map(|name| Type::Opaque(name))?,
    })
}
