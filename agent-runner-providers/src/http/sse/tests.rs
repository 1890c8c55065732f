use std::convert::Infallible;

use futures::{FutureExt as _, StreamExt as _, stream};
use proptest::prelude::*;
use sse_stream::SseByteStream;

use super::*;
use crate::fuzz::fuzz;

/// Name and data of an event.
type Owned = (String, String);
type Decoded = (Vec<Owned>, Result<(), TooLong>);

fn decode(pieces: &[&[u8]], limit: usize) -> Decoded {
    let mut decoder = SseDecoder::new(limit);
    let mut out = Vec::new();
    let mut each = |event: SseEvent<'_>| {
        out.push((event.name.to_owned(), event.data.to_owned()));
        Ok(())
    };
    let pushed = pieces.iter().try_for_each(|piece| decoder.push(piece, &mut each));
    let end = pushed.and_then(|()| decoder.finish(&mut each));
    (out, end)
}

fn data(bytes: &[u8]) -> Vec<String> {
    decode(&[bytes], 1024).0.into_iter().map(|(_, data)| data).collect()
}

#[test]
fn all_three_line_ends_separate_events() {
    assert_eq!(data(b"data: a\n\ndata: b\r\n\r\ndata: c\r\rdata: d\n\n"), ["a", "b", "c", "d"]);
}

#[test]
fn several_data_lines_are_one_event_with_one_leading_space_removed() {
    assert_eq!(data(b"data:a\ndata:  b\ndata\n\n"), ["a\n b\n"]);
}

#[test]
fn a_bom_comments_and_unknown_fields_are_ignored() {
    assert_eq!(data(b"\xEF\xBB\xBFdata: a\n: ping\nid: 7\nretry: 1\nx: y\n\n"), ["a"]);
    assert_eq!(data(b": PROCESSING\n\n: PROCESSING\n\n"), [""; 0]);
}

#[test]
fn the_name_of_an_event_may_follow_its_data_and_does_not_stick() {
    let (events, _) = decode(&[b"data: a\nevent: error\n\ndata: b\n\n"], 64);
    assert_eq!(events[0].0, "error");
    assert_eq!(events[1].0, "");
}

#[test]
fn an_error_field_is_an_event_named_error() {
    let (events, _) = decode(&[b"error: {\"code\":500}\n\n"], 64);
    assert_eq!(events, [("error".to_owned(), "{\"code\":500}".to_owned())]);
}

#[test]
fn an_event_cut_off_by_the_end_of_the_stream_is_delivered() {
    assert_eq!(data(b"data: a\n\ndata: b"), ["a", "b"]);
}

#[test]
fn what_is_not_utf8_is_replaced() {
    assert_eq!(data(b"data: a\xFFb\n\ndata: \xE2\x82\n\n"), ["a\u{FFFD}b", "\u{FFFD}"]);
}

#[test]
fn an_event_that_lies_whole_in_its_piece_is_not_copied() {
    let bytes = b"event: a\ndata: b\n\n: ping\ndata: c\r\n\r\n";
    let within = |text: &str| bytes.as_ptr_range().contains(&text.as_ptr());
    let mut decoder = SseDecoder::new(64);
    let mut seen = 0;
    let each = |event: SseEvent<'_>| {
        assert!(within(event.data) && (event.name.is_empty() || within(event.name)));
        seen += 1;
        Ok::<_, TooLong>(())
    };
    decoder.push(bytes, each).unwrap();
    assert_eq!(seen, 2);
    assert_eq!((decoder.line.capacity(), decoder.data.capacity()), (0, 0));
}

#[test]
fn an_error_of_the_receiver_ends_the_push() {
    let mut seen = 0;
    let mut decoder = SseDecoder::new(64);
    let end = decoder.push(b"data: a\n\ndata: b\n\n", |_| {
        seen += 1;
        Err(TooLong { limit: 7 })
    });
    assert_eq!((end, seen), (Err(TooLong { limit: 7 }), 1));
}

#[test]
fn an_endless_event_is_refused_at_the_limit() {
    let (events, end) = decode(&[b"data: a\n\ndata: 0123456789\ndata: 0123456789\n\n"], 20);
    assert_eq!(events.len(), 1);
    assert_eq!(end, Err(TooLong { limit: 20 }));
}

#[test]
fn a_name_counts_towards_the_limit_once() {
    let line = b"event: 0123456789\n";
    assert_eq!(decode(&[line, line, b"data: x\n\n"], 20).1, Err(TooLong { limit: 20 }));
    assert_eq!(decode(&[line, b"\n", line], 20).1, Ok(()));
    assert_eq!(decode(&[line, line, b"data: x\n\n"], 27).0.len(), 1);
}

/// What another decoder makes of the pieces of a stream that ends with a blank line.
fn other(pieces: &[&[u8]]) -> Vec<Owned> {
    let pieces = pieces.iter().map(|piece| Ok::<_, Infallible>(*piece));
    let events = SseByteStream::new(stream::iter(pieces)).map(Result::unwrap);
    let events = events.collect::<Vec<_>>().now_or_never().unwrap();
    // It tells of events without data, too.
    let named = |event: sse_stream::Sse| Some((event.event.unwrap_or_default(), event.data?));
    events.into_iter().filter_map(named).collect()
}

#[test]
fn damaged_streams_fit_the_limit_and_may_be_cut_anywhere() {
    let good: [&[u8]; 3] = [
        b"\xEF\xBB\xBFdata: {\"a\":1}\n\n: ping\n\nevent: b\ndata: c\ndata: d\n\ndata: [DONE]\n\n",
        b"data: a\r\n\r\nid: 7\r\nevent: e\r\ndata\r\n\r\nerror: {}\r\n\r\nretry: 1\r\rdata:x\r\r",
        "data: żółw 🐢\n\nevent: ü\ndata: €\n\ndata: cut".as_bytes(),
    ];
    fuzz(&good, 0..40_000, |bytes, pieces, random| {
        let limit = 8 + random.below(120);
        let whole = decode(&[bytes], limit);
        assert_eq!(decode(pieces, limit), whole);
        let mut decoder = SseDecoder::new(limit);
        for piece in pieces {
            let pushed = decoder.push(piece, |_| Ok::<_, TooLong>(()));
            assert!(decoder.line.len() + decoder.name.len() + decoder.data.len() <= limit);
            if pushed.is_err() {
                break;
            }
        }
    });
}

proptest! {
    #[test]
    fn another_decoder_of_the_standard_reads_the_same(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("data: "), Just("data:"), Just("data"), Just("event: e"), Just("event:"),
                Just("event"), Just("id: 1"), Just("retry: 5"), Just("retry: x"), Just("\n"),
                Just("\r"), Just("\r\n"), Just("\n\n"), Just(": c"), Just("żółw€🐢"), Just("{}"),
                Just("unknown: x"), Just(" "), Just(":"), Just("\u{FEFF}"),
            ],
            0..60,
        ),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        // The standard discards an event that the end cuts off.
        let bytes = (parts.concat() + "\n\n").into_bytes();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        prop_assert_eq!(decode(&pieces, 4096), (other(&pieces), Ok(())));
    }

    #[test]
    fn where_the_bytes_are_cut_makes_no_difference(
        bytes in proptest::collection::vec(
            prop_oneof![
                Just(b"data: ".to_vec()), Just(b"data:".to_vec()), Just(b"event: e".to_vec()),
                Just(b"\n".to_vec()), Just(b"\r".to_vec()), Just(b"\r\n".to_vec()),
                Just(b"\n\n".to_vec()), Just(b": c".to_vec()), Just("żółw€🐢".as_bytes().to_vec()),
                Just(b"\xEF\xBB\xBF".to_vec()), Just(vec![0xFF, 0xC3]), Just(b"{}".to_vec()),
            ],
            0..40,
        ).prop_map(|parts| parts.concat()),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        limit in 8_usize..200,
    ) {
        let mut places: Vec<usize> =
            cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for place in places {
            pieces.push(&bytes[from..place]);
            from = place;
        }
        pieces.push(&bytes[from..]);
        prop_assert_eq!(decode(&pieces, limit), decode(&[&bytes], limit));
    }
}
