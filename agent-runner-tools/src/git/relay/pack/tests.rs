//! Packs of git's own, and packs that nobody should unpack.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use flate2::{Compression, write::ZlibEncoder};

use super::*;

fn git(dir: &Path, args: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(["-c", "user.name=a", "-c", "user.email=a@b"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap().stdout
}

/// A repository with files that differ a little, so that git makes deltas.
fn packs() -> Vec<Vec<u8>> {
    let temp = tempfile::TempDir::new().unwrap();
    let dir = temp.path();
    git(dir, &["init", "-q"], b"");
    for round in 0..6 {
        let text: String = (0..400)
            .map(|n| format!("line {n} of {}\n", if n == round * 7 { round } else { 0 }))
            .collect();
        std::fs::write(dir.join("text"), text).unwrap();
        git(dir, &["add", "."], b"");
        git(dir, &["commit", "-q", "-m", "x"], b"");
    }
    let all = git(dir, &["rev-list", "--objects", "--all"], b"");
    let thin = git(dir, &["pack-objects", "--stdout", "--revs", "--thin"], b"HEAD\n^HEAD~1\n");
    let offsets = git(dir, &["pack-objects", "--stdout", "--delta-base-offset", "-q"], &all);
    vec![git(dir, &["pack-objects", "--stdout", "-q"], &all), offsets, thin]
}

/// As a server sends a pack: after an acknowledgement, in lines of the first band, with progress.
fn in_lines(pack: &[u8]) -> Vec<u8> {
    let mut sent = b"0008NAK\n".to_vec();
    for piece in pack.chunks(1_000) {
        sent.extend(format!("{:04x}", piece.len() + 5).bytes());
        sent.push(1);
        sent.extend(piece);
        sent.extend(b"000a\x02busy\n");
    }
    sent.extend(b"0000");
    sent
}

fn check(sent: &[u8], step: usize) -> Result<(), ToolError> {
    let mut check = PackCheck::new(&GitLimits::default());
    sent.chunks(step).try_for_each(|piece| check.take(piece))
}

#[test]
fn packs_of_gits_pass_however_they_are_split() {
    for pack in packs() {
        assert!(pack.starts_with(b"PACK"));
        for sent in [in_lines(&pack), [b"0008NAK\n", &*pack].concat()] {
            for step in [1, 2, 3, 7, 100, 65_536] {
                check(&sent, step).unwrap();
            }
        }
    }
    for plain in
        [&b""[..], b"0000", b"0008NAK\n", b"0034shallow 0123456789012345678901234567890123456789"]
    {
        check(plain, 1).unwrap();
    }
}

#[test]
fn every_object_of_a_pack_is_seen() {
    for pack in packs() {
        let mut check = PackCheck::new(&GitLimits::default());
        check.take(&in_lines(&pack)).unwrap();
        assert!(matches!(check.pack.at, At::Trailer), "{:?}", check.pack.at);
        assert!(check.pack.bytes > 0);
    }
}

fn head(objects: u32) -> Vec<u8> {
    [b"PACK".as_slice(), &2_u32.to_be_bytes(), &objects.to_be_bytes()].concat()
}

/// Type and size as a pack has them.
fn object(kind: u8, mut size: u64) -> Vec<u8> {
    let mut bytes = vec![(kind << 4) | u8::try_from(size & 15).unwrap()];
    size >>= 4;
    while size > 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(u8::try_from(size & 127).unwrap());
        size >>= 7;
    }
    bytes
}

fn number(mut n: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n > 127 {
        bytes.push(u8::try_from(n & 127).unwrap() | 0x80);
        n >>= 7;
    }
    bytes.push(u8::try_from(n).unwrap());
    bytes
}

fn packed(content: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn kind(pack: &[u8]) -> ToolErrorKind {
    let sent = in_lines(pack);
    let kinds: Vec<_> =
        [1, 65_536].iter().map(|step| check(&sent, *step).unwrap_err().kind()).collect();
    assert_eq!(kinds[0], kinds[1], "however it is split");
    kinds[0]
}

#[test]
fn bombs_are_noticed_before_they_go_off() {
    let large = GitLimits::default().blob_bytes_max + 1;
    assert_eq!(kind(&head(u32::MAX)), ToolErrorKind::TooLarge, "so many objects");
    assert_eq!(kind(&[head(1), object(3, large)].concat()), ToolErrorKind::TooLarge, "a claim");
    let lies = [head(1), object(3, 10), packed(&vec![0; 1_000_000])].concat();
    assert_eq!(kind(&lies), ToolErrorKind::Network, "more than it claims to be");
    // A delta of a few bytes that makes a file of gigabytes.
    let delta = [number(10), number(8 << 30), vec![0x80 | 0x70, 0xff, 0xff, 0xff]].concat();
    let size = delta.len() as u64;
    let of_offset =
        [head(2), object(3, 10), packed(&[1; 10]), object(6, size), number(20), packed(&delta)]
            .concat();
    assert_eq!(kind(&of_offset), ToolErrorKind::TooLarge);
    let of_id = [head(1), object(7, size), vec![7; 20], packed(&delta)].concat();
    assert_eq!(kind(&of_id), ToolErrorKind::TooLarge);
}

#[test]
fn what_is_no_pack_is_refused() {
    let cut = [head(1), object(3, 1 << 62), vec![0xff; 12]].concat();
    for (name, pack) in [
        ("another beginning", b"KCAP\0\0\0\x02\0\0\0\x01".to_vec()),
        (
            "another version",
            [b"PACK".as_slice(), &9_u32.to_be_bytes(), &1_u32.to_be_bytes()].concat(),
        ),
        ("no kind of object", [head(1), object(5, 1)].concat()),
        ("no zlib", [head(1), object(3, 5), vec![0xaa; 30]].concat()),
        ("a number without end", [head(1), vec![0xff; 40]].concat()),
        ("a delta without sizes", [head(1), object(7, 1), vec![7; 20], packed(&[0x80])].concat()),
    ] {
        assert!(check(&in_lines(&pack), 3).is_err(), "{name}");
    }
    assert!(check(&in_lines(&cut), 3).is_err());
    for lines in [&b"zzzz"[..], b"0001", b"0003", b"ffgg"] {
        assert_eq!(check(lines, 1).unwrap_err().kind(), ToolErrorKind::Network);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), step in 1_usize..20) {
        let _ = check(&bytes, step);
        let _ = check(&in_lines(&[head(3), bytes].concat()), step);
    }
}
