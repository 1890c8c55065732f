//! What routes take out of a request, with errors that name the place.

mod body;
mod header;
mod path;
mod query;

pub(crate) use self::{
    body::{Bodies, Body, Bundle, OptionalBody, collect, collect_up_to, object},
    header::{IdempotencyKey, IfMatch, hex, sha256_hex},
    path::{
        ApprovalPath, ArtifactPath, FilePath, GitActionPath, GitViewPath, Name, ProjectPath,
        RunEventPath, RunPairPath, RunPath, RunSignalPath, RunStepPath,
    },
    query::{FromQuery, Page, Parameters, Query},
};

/// The known name that `text` was probably meant to be.
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(text, name), name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_nothing() {
        let known = ["goal", "max_steps", "model"];
        assert_eq!(nearest("max_step", known), Some("max_steps"));
        assert_eq!(nearest("gaol", known), Some("goal"));
        assert_eq!(nearest("webhook", known), None);
    }
}
