//! What expressions cost, against what a real API server's library says: estimate, and what an evaluation is charged.

use crate::{Authorize, Authz, Check, Decision, Decl, Env, EvalError, Meter, Scope, Type, Value, estimate};
use std::sync::Arc;

#[derive(Debug)]
struct Everybody;

impl Authorize for Everybody {
    fn check(&self, _: &Check) -> Decision {
        Decision { allowed: true, ..Decision::default() }
    }
}

struct Permissions;

impl Scope for Permissions {
    fn variable(&self, name: &str, _: &mut Meter) -> Option<Result<Value, EvalError>> {
        (name == "authorizer").then(|| Ok(Value::Authz(Arc::new(Authz::new(Arc::new(Everybody))))))
    }
}

fn env() -> Env {
    Env::new().with("authorizer", Arc::new(Decl::of(Type::Opaque("kubernetes.authorization.Authorizer"))))
}

/// Each line: least and most of the estimate (`-` where it depends on sizes that a schema would give), what is charged, and
/// the expression. An estimate counts literals; an evaluation has them for nothing, since they are made before.
const COSTS: &str = r#"
15 15 5 [5, 4, 3, 2, 1].sum()
20 20 5 [uint(1), uint(2), uint(3), uint(4), uint(5)].sum()
20 20 5 [duration('1m'), duration('2m'), duration('3m'), duration('4m'), duration('5m')].sum()
15 15 5 [1.5, 2.5, 3.5, 4.5, 5.5].isSorted()
15 15 5 [true, true, false, true, false].max()
- - 5 ['abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl'].min()
- - 5 [bytes('abcdefghijkl'), bytes('abcdefghijkl'), bytes('abcdefghijkl'), bytes('abcdefghijkl'), bytes('abcdefghijkl')].max()
15 15 5 [5, 4, 3, 2, 1].indexOf(3)
21 21 5 [uint(1), uint(2), uint(3), uint(4), uint(5)].lastIndexOf(uint(3))
- - 5 ['abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl', 'abcdefghijkl'].indexOf('z')
5 5 5 'abcdefghijabcdefghijabcdefghijabcdefghijabcdefghij'.indexOf('hij')
4 4 4 url('https://mainstay.dev/ab').getHost()
3 3 3 'lower UPPER mixed AbC'.lowerAscii()
7 9 9 'lower UPPER mixed AbC'.lowerAscii() == 'lower UPPER mixed aBc'.upperAscii()
3 3 3 strings.quote('lower UPPER mixed AbC')
7 11 9 strings.quote('lower UPPER mixed AbC') == strings.quote('lower UPPER mixed AbC')
3 3 3 'one two one ten'.replace('one', 'six')
3 3 3 'one two one ten'.replace('', '.')
3 3 3 'one two one ten'.replace('one', 'six', 1)
3 3 3 'one two one ten'.split(' ')
2 2 2 'one two one ten'.substring(4, 7)
2 2 2 '   one two one ten  '.trim()
- - 5 ['xx', 'yy', 'zz', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].join('-')
- - 3 ['xx', 'yy', 'zz', 'd', 'e', 'f', 'g', 'h', 'i', 'j'].join()
2 2 2 'one two one ten'.find('one')
2 2 2 'one two one ten'.findAll('one', 1)
2 2 2 authorizer.path('/livez')
6 6 6 authorizer.group('batch').resource('jobs').subresource('status').namespace('a').name('b')
350003 350003 350003 authorizer.path('/livez').check('get').allowed()
350007 350007 350007 authorizer.group('batch').resource('jobs').subresource('status').namespace('a').name('b').check('get').reason()
1 1 1 quantity('12Mi')
1 1 1 isQuantity('20M')
- - 3 quantity('200M') == quantity('0.2G')
3 3 3 quantity('50M').isLessThan(quantity('50Mi'))
4 4 4 quantity('200M').compareTo(quantity('0.2G')) > 0
- - 5 quantity('50k').add(quantity('20')) == quantity('50.02k')
6 6 6 quantity('50k').add(20).sub(quantity('100k')).asInteger() > 0
2 2 2 quantity('50').isInteger()
21 21 1 sets.contains([], [])
22 22 2 sets.contains([7], [7])
23 23 3 sets.contains([7, 8], [7])
29 29 9 sets.contains([1, 2, 3, 4], [4, 1])
53 53 3 sets.contains([[1], [2, 3]], [[2, 3]])
24 24 4 !sets.contains([1], [3, 2])
21 21 1 sets.equivalent([], [])
23 23 3 sets.equivalent([7], [7])
25 25 5 sets.equivalent([7, 7], [7])
39 39 19 sets.equivalent([1, 2, 3], [3, 2, 1])
23 23 3 sets.intersects([7], [7, 8])
27 27 7 sets.intersects([1, 2], [2, 2, 2])
22 22 2 !sets.intersects([], [])
- - 0 'a' in ['b', 'a']
"#;

#[test]
fn costs_are_those_of_the_library() {
    let mut wrong = Vec::new();
    for line in COSTS.lines().filter(|line| !line.is_empty()) {
        let mut parts = line.splitn(4, ' ');
        let mut next = || parts.next().expect("four parts");
        let (least, most, charged, source) = (next(), next(), next(), next());
        let program = env().compile(source).unwrap_or_else(|issues| panic!("{source}: {issues}"));
        let (estimated, mut meter) = (estimate(&program, &env()), Meter::new(crate::CALL_COST_MAX));
        program.eval(&Permissions, &mut meter).unwrap_or_else(|error| panic!("{source}: {error}"));
        let found = [
            if least == "-" { "-".into() } else { estimated.min.to_string() },
            if most == "-" { "-".into() } else { estimated.max.to_string() },
            meter.used().to_string(),
        ];
        if found != [least, most, charged] {
            wrong.push(format!("{source}: {found:?}, not {:?}", [least, most, charged]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
