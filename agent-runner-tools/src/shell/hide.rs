//! Where the project is on the host, kept out of what programs say.

/// What stands in its place: paths below it become paths of the project.
const SHOWN_AS: &str = ".";

/// Replaces a path in a text that comes in pieces.
#[derive(Debug)]
pub(super) struct Hider {
    path: String,
    /// The end of what came, which may be the beginning of the path.
    held: String,
}

impl Hider {
    /// Hides `path`; nothing when it is too short to be one.
    pub(super) const fn new(path: String) -> Self {
        Self { path, held: String::new() }
    }

    /// The next piece without the path.
    pub(super) fn push(&mut self, text: &str) -> String {
        if self.path.len() < 2 {
            return text.to_owned();
        }
        self.held.push_str(text);
        let mut clean = self.held.replace(&self.path, SHOWN_AS);
        let kept = clean.len().saturating_sub(self.begun(&clean));
        self.held = clean.split_off(kept);
        clean
    }

    /// What was held back at the end.
    pub(super) fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes at the end of a text with which the path begins.
    fn begun(&self, text: &str) -> usize {
        let ends = self.path.char_indices().map(|(at, _)| at).rev();
        ends.filter(|end| *end > 0)
            .find(|end| self.path.get(..*end).is_some_and(|begin| text.ends_with(begin)))
            .unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_hidden_wherever_it_is_cut() {
        let text = "at /srv/p1/src/main.rs, in /srv/p1 and /srv/p2, /srv/srv/p1/x /srv/";
        for cut in 0..=text.len() {
            let mut hider = Hider::new("/srv/p1".to_owned());
            let (first, second) = text.split_at(cut);
            let mut clean = hider.push(first);
            clean.push_str(&hider.push(second));
            clean.push_str(&hider.finish());
            assert_eq!(clean, "at ./src/main.rs, in . and /srv/p2, /srv./x /srv/", "{cut}");
        }
    }

    proptest! {
        #[test]
        fn nothing_else_changes(pieces in proptest::collection::vec("[/äsp1]{0,6}", 0..20)) {
            let mut hider = Hider::new("/äs/p1".to_owned());
            let mut clean: String = pieces.iter().map(|piece| hider.push(piece)).collect();
            clean.push_str(&hider.finish());
            prop_assert_eq!(clean, pieces.concat().replace("/äs/p1", SHOWN_AS));
        }
    }
}
