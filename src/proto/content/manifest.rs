//! A directory as one source of content: its manifest, then its files, concatenated.

use super::tree::{Label, Source};
use crate::wire::content::Kind;
use crate::wire::content::manifest::Manifest;
use crate::wire::error::Malformed;
use std::io;

/// Bytes in memory and then several sources, concatenated.
pub struct Joined<S> {
    front: Vec<u8>,
    /// Where each part begins, in order.
    starts: Vec<u64>,
    parts: Vec<S>,
    total: u64,
}

impl<S: Source> Joined<S> {
    /// Joins a directory's files, given as path, MIME type and content in any order; and how to label the object.
    pub fn directory(name: &str, files: Vec<(String, String, S)>) -> Result<(Self, Label), Malformed> {
        let mut files = files;
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let manifest = Manifest::new(files.iter().map(|(p, m, s)| (p.clone(), m.clone(), s.len())))?;
        let front = manifest.encode();
        let label =
            Label { kind: Kind::Directory, manifest: front.len() as u32, mime: String::new(), name: name.to_owned() };
        let starts = manifest.entries().iter().map(|e| e.offset).collect();
        let parts = files.into_iter().map(|(_, _, s)| s).collect();
        Ok((Self { front, starts, parts, total: manifest.total() }, label))
    }
}

impl<S: Source> Source for Joined<S> {
    fn len(&self) -> u64 {
        self.total
    }

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (mut at, mut out) = (offset, out);
        if let Some(rest) = self.front.get(usize::try_from(at).unwrap_or(usize::MAX)..) {
            let n = rest.len().min(out.len());
            let (now, later) = out.split_at_mut(n);
            now.copy_from_slice(rest.get(..n).unwrap_or_default());
            (at, out) = (at + n as u64, later);
        }
        let mut part = self.starts.partition_point(|s| *s <= at).saturating_sub(1);
        while !out.is_empty() {
            let (Some(source), Some(start)) = (self.parts.get_mut(part), self.starts.get(part)) else {
                return Err(io::ErrorKind::UnexpectedEof.into());
            };
            let inside = at.saturating_sub(*start);
            let n = source.len().saturating_sub(inside).min(out.len() as u64) as usize;
            if n > 0 {
                let (now, later) = out.split_at_mut(n);
                source.read_at(inside, now)?;
                (at, out) = (at + n as u64, later);
            }
            part += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_of_a_directory_can_be_read() {
        let files: Vec<(String, String, &[u8])> = vec![
            ("z".into(), "t/z".into(), b"last"),
            ("empty".into(), String::new(), b""),
            ("a/b".into(), "t/b".into(), b"hello"),
            ("a/c".into(), "t/c".into(), b""),
        ];
        let (mut joined, label) = Joined::directory("d", files).unwrap();
        let whole = [joined.front.clone(), b"hellolast".to_vec()].concat();
        assert_eq!((joined.len(), label.manifest as usize), (whole.len() as u64, whole.len() - 9));
        for from in 0..=whole.len() {
            for to in from..=whole.len() {
                let mut out = vec![0; to - from];
                joined.read_at(from as u64, &mut out).unwrap();
                assert_eq!(out, whole[from..to]);
            }
        }
        assert!(joined.read_at(whole.len() as u64, &mut [0]).is_err());
        let manifest = Manifest::decode(&whole[..whole.len() - 9], whole.len() as u64).unwrap();
        let at = manifest.find("z").unwrap().offset as usize;
        assert_eq!(&whole[at..], b"last");
    }
}
