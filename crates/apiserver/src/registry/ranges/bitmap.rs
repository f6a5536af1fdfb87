//! A set of small numbers, kept the way upstream stores it: one large number whose bit `n` says that `n` is in the set.

/// The set. Bytes from the lowest bits to the highest, the last one not zero.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Bitmap(Vec<u8>);

impl Bitmap {
    /// Reads a stored one: the highest bits come first.
    pub(super) fn from_stored(bytes: &[u8]) -> Self {
        let mut map = Self(bytes.iter().rev().copied().collect());
        map.trim();
        map
    }

    /// As it is stored; nothing for the empty set.
    pub(super) fn to_stored(&self) -> Vec<u8> {
        self.0.iter().rev().copied().collect()
    }

    /// Whether the number is in the set.
    pub(super) fn has(&self, number: usize) -> bool {
        self.0.get(number / 8).is_some_and(|byte| byte & 1 << (number % 8) != 0)
    }

    /// Puts a number in.
    pub(super) fn insert(&mut self, number: usize) {
        if self.0.len() <= number / 8 {
            self.0.resize(number / 8 + 1, 0);
        }
        self.0[number / 8] |= 1 << (number % 8);
    }

    /// Takes a number out.
    pub(super) fn remove(&mut self, number: usize) {
        if let Some(byte) = self.0.get_mut(number / 8) {
            *byte &= !(1 << (number % 8));
            self.trim();
        }
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_number_with_its_highest_byte_first() {
        let mut map = Bitmap::default();
        assert_eq!(map.to_stored(), [0u8; 0]);
        for (number, stored) in [(0, &[1][..]), (9, &[2, 1]), (9, &[2, 1]), (8, &[3, 1]), (16, &[1, 3, 1])] {
            map.insert(number);
            assert_eq!(map.to_stored(), stored);
            assert_eq!(Bitmap::from_stored(stored), map);
        }
        assert!(map.has(9) && !map.has(10) && !map.has(4000));
        map.remove(16);
        map.remove(4000);
        assert_eq!(map.to_stored(), [3, 1]);
        assert_eq!(Bitmap::from_stored(&[0, 0, 3, 1]), map);
    }
}
