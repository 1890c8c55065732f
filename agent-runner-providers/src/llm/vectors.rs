//! What every embedder needs: requests of a size that services take, and vectors that are vectors.

use agent_runner_core::llm::{EmbedRequest, ErrorKind};

use super::Fault;

/// Most texts of one request; every service takes more.
const TEXTS_MAX: usize = 256;
/// Most bytes of the texts of one request, unless a single one is longer. OpenAI takes 300,000
/// tokens, and a token has at least a byte.
const BYTES_MAX: usize = 256 * 1024;

/// The texts in pieces of at most [`TEXTS_MAX`] texts and [`BYTES_MAX`] bytes.
pub(crate) fn batches(texts: &[String]) -> impl Iterator<Item = &[String]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let mut bytes = 0_usize;
        let fits = rest.iter().take(TEXTS_MAX).take_while(|text| {
            bytes = bytes.saturating_add(text.len());
            bytes <= BYTES_MAX
        });
        let count = fits.count().max(1).min(rest.len());
        let (batch, tail) = rest.split_at(count);
        rest = tail;
        (!batch.is_empty()).then_some(batch)
    })
}

/// Refuses vectors that are not what was asked for: one for each of `texts`, as long as the
/// request or, if it does not say, those `before` them.
pub(crate) fn check(
    request: &EmbedRequest,
    texts: &[String],
    before: &[Vec<f32>],
    vectors: &[Vec<f32>],
) -> Result<(), Fault> {
    let wrong = |message: String| Err(Fault::new(ErrorKind::MalformedResponse, message));
    if vectors.len() != texts.len() {
        let (came, asked) = (vectors.len(), texts.len());
        return wrong(format!("the service sent {came} vectors for {asked} texts"));
    }
    let Some(length) = vectors.first().map(Vec::len) else { return Ok(()) };
    let asked = request.dimensions.and_then(|asked| usize::try_from(asked).ok());
    if let Some(asked) = asked
        && length != asked
    {
        let message = format!("the model makes vectors of {length} numbers and not of {asked}");
        return Err(Fault::new(ErrorKind::UnsupportedFeature, message));
    }
    let length = before.first().map_or(length, Vec::len);
    if vectors.iter().any(|vector| vector.len() != length || vector.is_empty()) {
        return wrong("the service sent vectors that are empty or of different lengths".to_owned());
    }
    if vectors.iter().flatten().any(|number| !number.is_finite()) {
        return wrong("the service sent a vector with a number that is none".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(texts: usize, dimensions: Option<u32>) -> EmbedRequest {
        EmbedRequest {
            model: "m".into(),
            texts: vec![String::new(); texts],
            purpose: agent_runner_core::llm::EmbedPurpose::Document,
            dimensions,
        }
    }

    #[test]
    fn vectors_are_counted_and_measured() {
        let kind = |texts, dimensions, vectors: &[Vec<f32>]| {
            let request = request(texts, dimensions);
            check(&request, &request.texts, &[], vectors).err().map(|fault| fault.kind)
        };
        assert_eq!(kind(0, Some(3), &[]), None);
        assert_eq!(kind(2, Some(1), &[vec![1.0], vec![2.0]]), None);
        assert_eq!(kind(1, Some(2), &[vec![1.0]]), Some(ErrorKind::UnsupportedFeature));
        let malformed: [&[Vec<f32>]; 4] = [
            &[vec![1.0]],
            &[vec![1.0], vec![1.0, 2.0]],
            &[vec![], vec![]],
            &[vec![1.0], vec![f32::NAN]],
        ];
        for vectors in malformed {
            assert_eq!(kind(2, None, vectors), Some(ErrorKind::MalformedResponse), "{vectors:?}");
        }
        let (request, before) = (request(1, None), [vec![1.0, 2.0]]);
        assert!(check(&request, &request.texts, &before, &[vec![1.0]]).is_err());
    }

    proptest! {
        #[test]
        fn batches_are_bounded_and_lose_nothing(
            lengths in proptest::collection::vec(
                prop_oneof![0..10_usize, 100_000..300_000_usize], 0..40,
            ),
            small in 0..600_usize,
        ) {
            let texts: Vec<String> = lengths
                .into_iter()
                .chain(std::iter::repeat_n(1, small))
                .map(|length| "x".repeat(length))
                .collect();
            let batches: Vec<&[String]> = batches(&texts).collect();
            prop_assert!(batches.concat() == texts, "something was lost");
            for batch in batches {
                let bytes: usize = batch.iter().map(String::len).sum();
                prop_assert!(batch.len() == 1 || (batch.len() <= TEXTS_MAX && bytes <= BYTES_MAX));
            }
        }
    }
}
