//! Bodies that are too much.

use std::io::Write as _;

use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};

use super::*;

fn answer(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn packed(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

async fn read(answer: Vec<u8>, limits: NetLimits) -> Result<NetResponse, ToolError> {
    let (address, _) = raw(answer).await;
    get(&limited(&[address], limits), &format!("http://{address}/")).await
}

#[tokio::test]
async fn a_packed_body_is_unpacked() {
    let body = b"hello, hello, hello".repeat(100);
    for headers in ["content-encoding: gzip\r\n", "content-encoding: x-GZIP\r\n"] {
        let got = read(answer(headers, &packed(&body)), NetLimits::default()).await.unwrap();
        assert_eq!((got.body.as_ref(), got.truncated), (body.as_slice(), false));
    }
}

/// `deflate` as RFC 9110 means it, in the format of zlib (section 8.4.1.2).
fn zlib(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

/// `deflate` as some servers mean it.
fn bare(body: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn deflate_was_unpacked_in_the_wrong_one_of_its_two_forms() {
    let body = b"hello, hello, hello".repeat(2_000);
    for packed in [zlib(&body), bare(&body)] {
        let answer = answer("content-encoding: deflate\r\n", &packed);
        let limits = NetLimits::default();
        let got = read(answer, limits).await.unwrap();
        assert_eq!((got.body.as_ref(), got.truncated), (body.as_slice(), false));
    }
}

#[tokio::test]
async fn a_packing_that_ends_early_was_taken_for_whole() {
    let body: Vec<u8> =
        (0..20_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for (name, packed) in
        [("gzip", packed(&body)), ("deflate", zlib(&body)), ("deflate", bare(&body))]
    {
        for short in [2, packed.len() / 2, packed.len() - 9] {
            let headers = format!("content-encoding: {name}\r\n");
            let cut = answer(&headers, packed.get(..short).unwrap());
            let got = read(cut, NetLimits::default()).await;
            let error = got.expect_err(&format!("{name} cut to {short} bytes"));
            assert_eq!(error.kind(), ToolErrorKind::Network, "{name} cut to {short} bytes");
        }
    }
}

#[tokio::test]
async fn a_second_content_encoding_was_not_looked_at() {
    let headers = "content-encoding: identity\r\ncontent-encoding: gzip\r\n";
    let error = read(answer(headers, &packed(b"x")), NetLimits::default()).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Network);
}

#[tokio::test]
async fn a_bomb_does_not_go_off() {
    let bomb = packed(&vec![0; 64 * 1024 * 1024]);
    assert!(bomb.len() < 100 * 1024);
    let limits = NetLimits { body_bytes_max: 1024 * 1024 * 1024, ..NetLimits::default() };
    let error = read(answer("content-encoding: gzip\r\n", &bomb), limits).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::TooLarge);
}

#[tokio::test]
async fn a_body_is_cut_at_the_limit() {
    let limits = NetLimits { body_bytes_max: 1_000, ..NetLimits::default() };
    let got = read(answer("", &[7; 5_000]), limits).await.unwrap();
    assert_eq!((got.body.len(), got.truncated), (1_000, true));
    let got = read(answer("", &[7; 1_000]), limits).await.unwrap();
    assert_eq!((got.body.len(), got.truncated), (1_000, false));
}

#[tokio::test]
async fn what_is_packed_otherwise_or_badly_is_an_error() {
    for (headers, body) in [
        ("content-encoding: br\r\n", b"x".to_vec()),
        ("content-encoding: gzip, gzip\r\n", packed(&packed(b"x"))),
        ("content-encoding: gzip\r\n", b"this is no gzip".to_vec()),
    ] {
        let error = read(answer(headers, &body), NetLimits::default()).await.unwrap_err();
        assert_eq!(error.kind(), ToolErrorKind::Network, "{headers}");
    }
}

#[tokio::test]
async fn headers_have_a_limit() {
    let many: String = (0..90).map(|n| format!("x-{n}: {}\r\n", "a".repeat(1_000))).collect();
    let error = read(answer(&many, b"x"), NetLimits::default()).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::TooLarge);
}

#[tokio::test]
async fn a_server_that_stops_in_the_middle_is_waited_for_only_so_long() {
    let limits = NetLimits { total: Duration::from_millis(200), ..NetLimits::default() };
    let half = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf".to_vec();
    let error = read(half, limits).await.unwrap_err();
    assert_eq!(error.kind(), ToolErrorKind::Timeout);
    assert!(error.effect_possible());
}

#[tokio::test]
async fn a_call_that_is_not_wanted_any_more_ends() {
    let (address, _) = raw("").await;
    let client = client(&[address]);
    let cancel = CancellationToken::new();
    let request = NetRequest {
        method: Method::GET,
        target: client.target(&format!("http://{address}/")).unwrap(),
        headers: HeaderMap::new(),
        body: None,
    };
    let (result, ()) = tokio::join!(client.send(request, &cancel), async { cancel.cancel() });
    assert_eq!(result.unwrap_err().kind(), ToolErrorKind::Cancelled);
}
