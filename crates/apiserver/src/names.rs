//! Names that the server makes up.

use rand::Rng;

/// Letters that do not make words, and digits that are not taken for letters.
const LETTERS: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// Five random letters, as they end generated names.
pub fn random_suffix() -> String {
    let mut rng = rand::rng();
    (0..5).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}
