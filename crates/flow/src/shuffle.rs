//! Shuffle sharding: a flow's hash deals it a hand of queues, so that two flows rarely share all of theirs.

/// Largest hand that is dealt; the API allows no combination of hand and deck that needs more.
pub const HAND_MAX: usize = 60;

/// A hand: distinct numbers below the size of the deck.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    cards: [u32; HAND_MAX],
    len: usize,
}

impl Hand {
    /// The cards, in the order they were dealt.
    pub fn cards(&self) -> &[u32] {
        &self.cards[..self.len]
    }
}

/// Deals `size` cards of a deck of `deck` cards, fixed by `hash`.
pub fn deal(mut hash: u64, deck: u32, size: u32) -> Hand {
    let len = (size.min(deck) as usize).min(HAND_MAX);
    let mut hand = Hand { cards: [0; HAND_MAX], len };
    for i in 0..len {
        let left = u64::from(deck) - i as u64;
        let mut card = (hash % left) as u32;
        hash /= left;
        // The card counts only those not dealt yet: step over the dealt ones that lie below it, in rising order.
        let mut sorted = [0; HAND_MAX];
        sorted[..i].copy_from_slice(&hand.cards[..i]);
        sorted[..i].sort_unstable();
        for dealt in &sorted[..i] {
            if *dealt <= card {
                card += 1;
            }
        }
        hand.cards[i] = card;
    }
    hand
}

/// The hash of a flow: its schema and what tells it from the schema's other flows (FNV-1a, mixed once more).
pub fn hash(schema: &str, distinguisher: &str) -> u64 {
    let bytes = schema.bytes().chain([0]).chain(distinguisher.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn cards_of_a_hand_are_distinct_and_of_the_deck() {
        for (deck, size) in [(1, 1), (8, 8), (64, 6), (128, 6), (512, 4)] {
            for user in 0..200 {
                let hand = deal(hash("schema", &user.to_string()), deck, size);
                let distinct: BTreeSet<u32> = hand.cards().iter().copied().collect();
                assert_eq!(distinct.len(), size as usize);
                assert!(distinct.iter().all(|card| *card < deck));
            }
        }
    }

    #[test]
    fn every_card_is_dealt_about_as_often() {
        let mut count = [0_u32; 64];
        for user in 0..10_000 {
            deal(hash("s", &user.to_string()), 64, 6).cards().iter().for_each(|card| count[*card as usize] += 1);
        }
        let expected = 10_000 * 6 / 64;
        assert!(count.iter().all(|n| n.abs_diff(expected) < expected / 5), "{count:?}");
    }

    #[test]
    fn few_meek_flows_have_their_whole_hand_within_a_greedy_ones() {
        let greedy: BTreeSet<u32> = deal(hash("s", "greedy"), 128, 6).cards().iter().copied().collect();
        let covered = (0..10_000)
            .filter(|user| deal(hash("s", &user.to_string()), 128, 6).cards().iter().all(|c| greedy.contains(c)))
            .count();
        assert_eq!(covered, 0);
    }
}
