//! An ordered map whose clone costs nothing: a B-tree of shared nodes, copied only where it changes.
//!
//! A writer keeps one map and changes it in O(log n); a clone taken before is a snapshot that never changes. It also
//! counts, so that "how many keys lie in this range" is O(log n).

use std::borrow::Borrow;
use std::ops::Bound;
use std::sync::Arc;

/// Most entries in a leaf and children of an inner node. Small, because a change copies one node per level.
const NODE_ENTRIES_MAX: usize = 32;
/// A node with fewer is merged with its neighbour when both fit into one.
const NODE_ENTRIES_MIN: usize = NODE_ENTRIES_MAX / 4;

/// A persistent ordered map. `clone` is O(1); `insert` and `remove` are O(log n).
#[derive(Debug, Clone)]
pub struct OrderedMap<K, V> {
    root: Arc<Node<K, V>>,
}

#[derive(Debug, Clone)]
enum Node<K, V> {
    Leaf(Vec<(K, V)>),
    Inner { count: usize, children: Vec<Child<K, V>> },
}

#[derive(Debug, Clone)]
struct Child<K, V> {
    /// Not above any key in `node`, and above all keys in the child before it.
    first: K,
    node: Arc<Node<K, V>>,
}

impl<K, V> Default for OrderedMap<K, V> {
    fn default() -> Self {
        Self { root: Arc::new(Node::Leaf(Vec::new())) }
    }
}

impl<K, V> OrderedMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many entries; O(1).
    pub fn len(&self) -> usize {
        self.root.count()
    }

    /// Whether it has no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries in order.
    pub fn iter(&self) -> Iter<'_, K, V> {
        let mut iter = Iter { stack: Vec::new(), left: self.len() };
        iter.descend(&self.root);
        iter
    }
}

impl<K: Ord + Clone, V: Clone> OrderedMap<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// A key as it was put in, and its value.
    pub fn get_key_value<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
                    return Some((&entries[at].0, &entries[at].1));
                }
                Node::Inner { children, .. } => node = &children[child_of(children, key)?].node,
            }
        }
    }

    /// Puts a value in; returns the one that was there.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let (old, split) = insert(&mut self.root, key, value);
        if let Some(right) = split {
            let left = std::mem::replace(&mut self.root, Arc::new(Node::Leaf(Vec::new())));
            let first = left.first_key().expect("a node that was split has entries").clone();
            let count = left.count() + right.node.count();
            self.root = Arc::new(Node::Inner { count, children: vec![Child { first, node: left }, right] });
        }
        old
    }

    /// Takes a key out; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.get(key)?;
        let old = remove(&mut self.root, key);
        while let Node::Inner { children, .. } = &*self.root {
            match children.len() {
                0 => self.root = Arc::new(Node::Leaf(Vec::new())),
                1 => self.root = children[0].node.clone(),
                _ => break,
            }
        }
        old
    }

    /// How many keys lie below the bound: all `< key` for `Excluded(key)` as an upper bound.
    pub fn rank<Q: Ord + ?Sized>(&self, key: &Q) -> usize
    where
        K: Borrow<Q>,
    {
        let mut node = &*self.root;
        let mut below = 0;
        loop {
            match node {
                Node::Leaf(entries) => return below + entries.partition_point(|(k, _)| k.borrow() < key),
                Node::Inner { children, .. } => {
                    let Some(at) = child_of(children, key) else { return below };
                    below += children[..at].iter().map(|child| child.node.count()).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The last entry whose key is below `key`.
    pub fn last_below<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let rank = self.rank(key);
        if rank == 0 { None } else { self.nth(rank - 1) }
    }

    /// The entry at a position in the order.
    pub fn nth(&self, mut at: usize) -> Option<(&K, &V)> {
        let mut node = &*self.root;
        'down: loop {
            match node {
                Node::Leaf(entries) => return entries.get(at).map(|(k, v)| (k, v)),
                Node::Inner { children, .. } => {
                    for child in children {
                        let count = child.node.count();
                        if at < count {
                            node = &child.node;
                            continue 'down;
                        }
                        at -= count;
                    }
                    return None;
                }
            }
        }
    }

    /// Entries from `start` up to `end`, in order.
    pub fn range<Q: Ord + ?Sized>(&self, start: Bound<&Q>, end: Bound<&Q>) -> Iter<'_, K, V>
    where
        K: Borrow<Q>,
    {
        let from = match start {
            Bound::Unbounded => 0,
            Bound::Included(key) => self.rank(key),
            Bound::Excluded(key) => self.rank(key) + usize::from(self.get(key).is_some()),
        };
        let to = match end {
            Bound::Unbounded => self.len(),
            Bound::Excluded(key) => self.rank(key),
            Bound::Included(key) => self.rank(key) + usize::from(self.get(key).is_some()),
        };
        self.slice(from, to)
    }

    /// Entries at positions `from..to`.
    pub fn slice(&self, from: usize, to: usize) -> Iter<'_, K, V> {
        let mut iter = Iter { stack: Vec::new(), left: to.min(self.len()).saturating_sub(from) };
        if iter.left > 0 {
            iter.seek(&self.root, from);
        }
        iter
    }
}

impl<K: Ord + Clone, V: Clone> FromIterator<(K, V)> for OrderedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        map
    }
}

impl<K, V> Node<K, V> {
    fn count(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner { count, .. } => *count,
        }
    }

    /// Entries of a leaf, children of an inner node.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner { children, .. } => children.len(),
        }
    }

    fn first_key(&self) -> Option<&K> {
        match self {
            Node::Leaf(entries) => entries.first().map(|(key, _)| key),
            Node::Inner { children, .. } => children.first().map(|child| &child.first),
        }
    }
}

/// The child that holds `key` if any does; `None` if the key is below all.
fn child_of<K: Borrow<Q>, V, Q: Ord + ?Sized>(children: &[Child<K, V>], key: &Q) -> Option<usize> {
    children.partition_point(|child| child.first.borrow() <= key).checked_sub(1)
}

fn insert<K: Ord + Clone, V: Clone>(node: &mut Arc<Node<K, V>>, key: K, value: V) -> (Option<V>, Option<Child<K, V>>) {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => match entries.binary_search_by(|(k, _)| k.cmp(&key)) {
            Ok(at) => (Some(std::mem::replace(&mut entries[at].1, value)), None),
            Err(at) => {
                entries.insert(at, (key, value));
                if entries.len() <= NODE_ENTRIES_MAX {
                    return (None, None);
                }
                let right = entries.split_off(split_at(entries.len(), at));
                let first = right[0].0.clone();
                (None, Some(Child { first, node: Arc::new(Node::Leaf(right)) }))
            }
        },
        Node::Inner { count, children } => {
            let at = child_of(children, &key).unwrap_or_else(|| {
                children[0].first = key.clone();
                0
            });
            let (old, split) = insert(&mut children[at].node, key, value);
            *count += usize::from(old.is_none());
            if let Some(child) = split {
                children.insert(at + 1, child);
            }
            if children.len() <= NODE_ENTRIES_MAX {
                return (old, None);
            }
            let right = children.split_off(split_at(children.len(), at + 1));
            let right_count = right.iter().map(|child| child.node.count()).sum();
            *count -= right_count;
            let first = right[0].first.clone();
            (old, Some(Child { first, node: Arc::new(Node::Inner { count: right_count, children: right }) }))
        }
    }
}

/// Where to split a full node: in the middle, but behind the rest when keys arrive in order, so that nodes stay full.
fn split_at(len: usize, inserted: usize) -> usize {
    if inserted + 1 == len { len - 1 } else { len / 2 }
}

/// The key must be there.
fn remove<K: Ord + Clone + Borrow<Q>, V: Clone, Q: Ord + ?Sized>(node: &mut Arc<Node<K, V>>, key: &Q) -> Option<V> {
    match Arc::make_mut(node) {
        Node::Leaf(entries) => {
            let at = entries.binary_search_by(|(k, _)| k.borrow().cmp(key)).ok()?;
            Some(entries.remove(at).1)
        }
        Node::Inner { count, children } => {
            let at = child_of(children, key)?;
            let old = remove(&mut children[at].node, key)?;
            *count -= 1;
            merge(children, at);
            Some(old)
        }
    }
}

/// Drops the child at `at` if it is empty; merges it with a neighbour if it is small and both fit into one node.
fn merge<K: Clone, V: Clone>(children: &mut Vec<Child<K, V>>, at: usize) {
    let width = children[at].node.width();
    if width == 0 {
        children.remove(at);
        return;
    }
    if width >= NODE_ENTRIES_MIN || children.len() == 1 {
        return;
    }
    let left = at.saturating_sub(1);
    if children[left].node.width() + children[left + 1].node.width() > NODE_ENTRIES_MAX {
        return;
    }
    let right = children.remove(left + 1);
    match (Arc::make_mut(&mut children[left].node), Arc::unwrap_or_clone(right.node)) {
        (Node::Leaf(entries), Node::Leaf(more)) => entries.extend(more),
        (Node::Inner { count, children }, Node::Inner { count: more_count, children: more }) => {
            *count += more_count;
            children.extend(more);
        }
        _ => unreachable!("children of one node have the same height"),
    }
}

/// Entries in order; see [`OrderedMap::range`].
#[derive(Debug, Clone)]
pub struct Iter<'a, K, V> {
    stack: Vec<(&'a Node<K, V>, usize)>,
    left: usize,
}

impl<'a, K, V> Iter<'a, K, V> {
    fn descend(&mut self, mut node: &'a Node<K, V>) {
        loop {
            self.stack.push((node, 0));
            match node {
                Node::Leaf(_) => return,
                Node::Inner { children, .. } => match children.first() {
                    Some(child) => node = &child.node,
                    None => return,
                },
            }
        }
    }

    /// `at` is below the node's count.
    fn seek(&mut self, mut node: &'a Node<K, V>, mut at: usize) {
        'down: loop {
            match node {
                Node::Leaf(_) => return self.stack.push((node, at)),
                Node::Inner { children, .. } => {
                    for (index, child) in children.iter().enumerate() {
                        let count = child.node.count();
                        if at < count {
                            self.stack.push((node, index));
                            node = &child.node;
                            continue 'down;
                        }
                        at -= count;
                    }
                    return;
                }
            }
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        loop {
            let (node, at) = self.stack.last_mut()?;
            match *node {
                Node::Leaf(entries) => {
                    if let Some((key, value)) = entries.get(*at) {
                        *at += 1;
                        self.left -= 1;
                        return Some((key, value));
                    }
                    self.stack.pop();
                    if let Some((_, at)) = self.stack.last_mut() {
                        *at += 1;
                    }
                }
                Node::Inner { children, .. } => match children.get(*at) {
                    Some(child) => self.descend(&child.node),
                    None => {
                        self.stack.pop();
                        if let Some((_, at)) = self.stack.last_mut() {
                            *at += 1;
                        }
                    }
                },
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<K, V> ExactSizeIterator for Iter<'_, K, V> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// A small generator, so that the test needs no crate and repeats itself.
    struct Steps(u64);

    impl Steps {
        fn next(&mut self, below: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) % below
        }
    }

    fn check(map: &OrderedMap<u64, u64>, model: &BTreeMap<u64, u64>, steps: &mut Steps) {
        assert_eq!(map.len(), model.len());
        assert!(map.iter().eq(model.iter()));
        let (a, b) = (steps.next(2100), steps.next(2100));
        let (low, high) = (a.min(b), a.max(b) + 1);
        let got: Vec<_> = map.range(Bound::Included(&low), Bound::Excluded(&high)).collect();
        assert!(got.iter().copied().eq(model.range(low..high)), "{low}..{high}");
        assert!(map.range(Bound::Excluded(&low), Bound::Unbounded).eq(model.range(low + 1..)));
        assert_eq!(map.rank(&low), model.range(..low).count());
        assert_eq!(map.last_below(&low), model.range(..low).next_back());
        assert_eq!(map.get(&low), model.get(&low));
    }

    #[test]
    fn behaves_like_a_btree_map_and_snapshots_stay() {
        for seed in 0..8 {
            let mut steps = Steps(seed);
            let (mut map, mut model) = (OrderedMap::new(), BTreeMap::new());
            let mut snapshots = Vec::new();
            for step in 0..6000_u64 {
                let key = if seed % 2 == 0 { steps.next(2000) } else { step % 2000 };
                // Fill, then drain, then mixed.
                let removes = [1, 9, 5][(step / 2000) as usize];
                if steps.next(10) < removes {
                    assert_eq!(map.remove(&key), model.remove(&key));
                } else {
                    assert_eq!(map.insert(key, step), model.insert(key, step));
                }
                if step % 397 == 0 {
                    check(&map, &model, &mut steps);
                    snapshots.push((map.clone(), model.clone()));
                }
            }
            for (map, model) in &snapshots {
                check(map, model, &mut steps);
            }
            let keys: Vec<_> = model.keys().copied().collect();
            for key in keys {
                assert_eq!(map.remove(&key), model.remove(&key));
            }
            assert!(map.is_empty() && map.iter().next().is_none());
        }
    }
}
