//! Contract 1 and 4: payloads that are too large for their events.

use super::{
    StoreHarness,
    fixture::{Fixture, blob, by_control, seconds},
};
use crate::{
    event::NewEvent,
    store::{Batch, StoreErrorKind},
};

/// Any bytes, any size.
pub async fn a_payload_reads_back_byte_by_byte<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let every_byte: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = every_byte.iter().copied().cycle().take(1024 * 1024 + 1).collect();
    let payloads = [blob(b""), blob(b"\0"), blob(&every_byte), blob(&large)];
    f.append(Batch { blobs: payloads.to_vec(), ..by_control(&run) }).await;
    for payload in payloads {
        let kept = f.store.blob(&payload.sha256).await.unwrap();
        assert!(kept == payload.bytes, "{} bytes changed on their way", payload.bytes.len());
    }
}

/// Two runs, or one run twice, may bring the same payload.
pub async fn a_payload_may_come_again<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let (one, two) = (f.queued().await, f.queued().await);
    let payload = blob(b"the same");
    for run in [&one, &one, &two] {
        let blobs = vec![payload.clone(), payload.clone()];
        f.append(Batch { blobs, ..by_control(run) }).await;
    }
    assert_eq!(f.store.blob(&payload.sha256).await.unwrap(), payload.bytes);
}

/// Nobody gets a payload that is not there.
pub async fn an_unknown_payload_is_not_found<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    for hash in [blob(b"never written").sha256.as_str(), "", "not a hash", "%"] {
        let error = f.store.blob(hash).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotFound, "{hash}");
    }
}

/// Moments are kept to the microsecond, which is what databases have.
pub async fn moments_are_kept_to_the_microsecond<H: StoreHarness>() {
    let f = Fixture::<H>::open().await;
    let run = f.queued().await;
    let odd = jiff::Timestamp::from_microsecond(1_767_323_045_000_001).unwrap();
    let old = jiff::Timestamp::from_microsecond(-1).unwrap();
    let moments = [odd, old, jiff::Timestamp::UNIX_EPOCH, seconds(odd, 100 * 365 * 86_400)];
    let events = moments.map(|at| NewEvent { at, ..f.event(1) }).to_vec();
    f.append(Batch { events, ..by_control(&run) }).await;
    let kept: Vec<_> = f.events(run.id).await[1..].iter().map(|event| event.at).collect();
    assert_eq!(kept, moments);
}
