//! Rules of priority levels.

use crate::hooks::check::Node;
use api_core::field::Errors;
use serde_json::{Value, json};

const QUEUES_MAX: i64 = 10_000_000;
/// Bits of a hash that shuffle sharding has to deal hands from.
const HASH_BITS_MAX: i64 = 60;

pub(super) fn validate(object: &Value, e: &mut Errors) {
    let root = Node::root(object);
    let (name, spec) = (root.at("metadata").text("name"), root.at("spec"));
    fixed(name, &spec, e);
    let kind = spec.at("type");
    if (name == "exempt") != (kind.str() == "Exempt") {
        e.invalid(&kind.path, kind.str(), "type must be 'Exempt' if and only if name is 'exempt'");
    }
    let (limited, exempt) = (spec.at("limited"), spec.at("exempt"));
    match kind.str() {
        "Exempt" => {
            if limited.present() {
                limited.forbidden("must be nil if the type is not Limited", e);
            }
            concurrency(&exempt, e);
            lendable(&exempt, e);
        }
        "Limited" => {
            if exempt.present() {
                exempt.forbidden("must be nil if the type is Limited", e);
            }
            if limited.required_because("must not be empty when type is Limited", e) {
                concurrency(&limited, e);
                limit_response(&limited.at("limitResponse"), e);
                lendable(&limited, e);
                let borrowing = limited.at("borrowingLimitPercent");
                borrowing.non_negative_because("if specified, must be a non-negative integer", e);
            }
        }
        _ => e.not_supported(&kind.path, kind.str(), &["Exempt", "Limited"]),
    }
}

/// One level is as it is, another one but for its shares.
fn fixed(name: &str, spec: &Node<'_, '_>, e: &mut Errors) {
    match name {
        "catch-all" => {
            let wanted = json!({"type": "Limited", "limited": {
                "nominalConcurrencyShares": 5, "limitResponse": {"type": "Reject"}, "lendablePercent": 0,
            }});
            if *spec.value != wanted {
                spec.invalid(&format!("spec of '{name}' must equal the fixed value"), e);
            }
        }
        "exempt" => {
            let only_shares = spec.value.as_object().is_some_and(|s| s.keys().all(|k| k == "type" || k == "exempt"));
            if spec.text("type") != "Exempt" || !only_shares {
                let why = format!(
                    "spec of '{name}' except the 'spec.exempt.nominalConcurrencyShares' and 'spec.exempt.lendablePercent' \
                     fields must equal the fixed value"
                );
                spec.invalid(&why, e);
            }
        }
        _ => {}
    }
}

fn concurrency(node: &Node<'_, '_>, e: &mut Errors) {
    node.at("nominalConcurrencyShares").non_negative_because("must be a non-negative integer", e);
}

fn lendable(node: &Node<'_, '_>, e: &mut Errors) {
    let lendable = node.at("lendablePercent");
    if lendable.present() {
        lendable.in_range(0, 100, e);
    }
}

fn limit_response(node: &Node<'_, '_>, e: &mut Errors) {
    let (kind, queuing) = (node.at("type"), node.at("queuing"));
    match kind.str() {
        "Reject" => {
            if queuing.present() {
                queuing.forbidden("must be nil if limited.limitResponse.type is not Limited", e);
            }
        }
        "Queue" => {
            if queuing.present() {
                queues(&queuing, e);
            } else {
                queuing.path_required("must not be empty if limited.limitResponse.type is Limited", e);
            }
        }
        other => e.not_supported(&kind.path, other, &["Queue", "Reject"]),
    }
}

fn queues(node: &Node<'_, '_>, e: &mut Errors) {
    let positive = |field: &str, e: &mut Errors| {
        let at = node.at(field);
        if at.int_or_zero() <= 0 {
            e.invalid(&at.path, at.int_or_zero(), "must be positive");
        }
        at.int_or_zero()
    };
    positive("queueLengthLimit", e);
    let count = positive("queues", e);
    if count > QUEUES_MAX {
        node.at("queues").invalid(&format!("must not be greater than {QUEUES_MAX}"), e);
    }
    let hand = positive("handSize", e);
    let at = node.at("handSize");
    if hand > 0 && hand > count {
        at.invalid(&format!("should not be greater than queues ({count})"), e);
    } else if hand > 0 && entropy_bits(count, hand) > HASH_BITS_MAX {
        let why = format!(
            "required entropy bits of deckSize {count} and handSize {hand} should not be greater than {HASH_BITS_MAX}"
        );
        at.invalid(&why, e);
    }
}

/// Bits that it takes to deal a hand of a deck.
fn entropy_bits(deck: i64, hand: i64) -> i64 {
    let bits: f64 = (0..hand).map(|i| ((deck - i) as f64).log2()).sum();
    bits.ceil() as i64
}
