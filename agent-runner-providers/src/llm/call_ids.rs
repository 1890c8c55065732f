//! Ids of tool calls as a service takes them back.

use std::collections::{HashMap, HashSet, VecDeque};

/// Whether a service takes an id back. Ids of nine letters and digits must pass.
pub(crate) type IdRule = fn(&str) -> bool;

/// What every service takes that is not particular about ids.
pub(crate) fn is_short(id: &str) -> bool {
    (1..=40).contains(&id.len())
}

/// The ids of one request's conversation, told in its order. Each call gets one of its own, also
/// where a conversation has an id twice; what stands for an id depends only on what came before
/// it, so that a longer conversation begins with the same bytes.
#[derive(Debug)]
pub(crate) struct WireIds {
    fits: IdRule,
    used: HashSet<String>,
    /// By the conversation's id: what stands for the calls that have no result yet.
    open: HashMap<String, VecDeque<String>>,
    /// By the conversation's id: what stood for the last call with a result.
    answered: HashMap<String, String>,
}

impl WireIds {
    /// Ids by that rule.
    pub(crate) fn new(fits: IdRule) -> Self {
        Self { fits, used: HashSet::new(), open: HashMap::new(), answered: HashMap::new() }
    }

    /// The id to send for a call.
    pub(crate) fn call(&mut self, id: &str) -> String {
        let mut wire = id.to_owned();
        let mut attempt = 0;
        while !(self.fits)(&wire) || self.used.contains(&wire) {
            wire = nine_of(id, attempt);
            attempt += 1;
        }
        self.used.insert(wire.clone());
        self.open.entry(id.to_owned()).or_default().push_back(wire.clone());
        wire
    }

    /// The id to send for the result of a call: of the first one with this id that has none.
    pub(crate) fn result(&mut self, id: &str) -> String {
        if let Some(wire) = self.open.get_mut(id).and_then(VecDeque::pop_front) {
            self.answered.insert(id.to_owned(), wire.clone());
            return wire;
        }
        match self.answered.get(id) {
            Some(wire) => wire.clone(),
            // A result without a call, which the service will judge.
            None if (self.fits)(id) => id.to_owned(),
            None => nine_of(id, 0),
        }
    }
}

/// Nine letters and digits that an id and a number always lead to (FNV-1a, base 62).
fn nine_of(id: &str, attempt: u32) -> String {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let bytes = id.bytes().chain(attempt.to_le_bytes());
    let mut hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut digits = String::with_capacity(9);
    for _ in 0..9 {
        let digit = usize::try_from(hash % 62).ok().and_then(|at| DIGITS.get(at));
        digits.push(digit.map_or('0', |digit| char::from(*digit)));
        hash /= 62;
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_nine(id: &str) -> bool {
        id.len() == 9 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
    }

    #[test]
    fn an_id_used_twice_becomes_two_and_each_result_finds_its_call() {
        let mut ids = WireIds::new(is_short);
        let (a, b) = (ids.call("c"), ids.call("c"));
        assert_eq!(a, "c");
        assert_ne!(a, b);
        assert_eq!([ids.result("c"), ids.result("c"), ids.result("c")], [a, b.clone(), b]);
        assert_eq!(ids.result("nobody"), "nobody");
    }

    #[test]
    fn an_id_that_fits_is_kept() {
        let mut ids = WireIds::new(is_nine);
        assert_eq!(ids.call("call00001"), "call00001");
        assert_ne!(ids.call("call_0001"), "call_0001");
        assert_eq!(WireIds::new(is_short).call("toolu_01"), "toolu_01");
    }

    proptest! {
        #[test]
        fn ids_fit_are_unique_and_do_not_change_when_more_come(
            calls in proptest::collection::vec("[a-c_]{0,2}|[a-z0-9]{9}|.{40,60}", 0..12),
            cut in any::<prop::sample::Index>(),
        ) {
            for rule in [is_short as IdRule, is_nine] {
                let wires = |calls: &[String]| -> Vec<String> {
                    let mut ids = WireIds::new(rule);
                    calls.iter().map(|id| ids.call(id)).collect()
                };
                let all = wires(&calls);
                prop_assert!(all.iter().all(|wire| rule(wire)));
                prop_assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
                let cut = cut.index(calls.len() + 1);
                prop_assert_eq!(&wires(&calls[..cut]), &all[..cut]);
            }
        }
    }
}
