//! The command's side of `umbel put`: finds what the command line names, reads it here if only this process can, and
//! summarises it before anything is sent.

use crate::api::{Content, LeftOut, Listed, Listing, shown};
use crate::host::error::{Error, ErrorKind};
use crate::node::cli::PutArgs;
use crate::node::control::client::Conversation;
use crate::node::control::report::{Progress, PutReport};
use crate::node::control::server::News;
use crate::node::control::{PutRequest, Request};
use crate::node::output::Report;
use crate::node::setting::Size;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Bytes per read of an input.
const PIECE: usize = 64 * 1024;
/// Pieces that are read ahead of the node.
const PIECES_MAX: usize = 4;
/// Names in one row of a summary; `--dry-run` lists all.
const TOLD_MAX: usize = 20;

/// Where the content comes from.
enum Source {
    /// A path that the node reads.
    Path(PathBuf),
    /// An input that only this process can read, or of unknown length, with its name in errors. Its bytes are sent to the node.
    Input(Box<dyn Read + Send>, PathBuf),
}

/// Publishes what the command line names through the node on `dir`. `tell` gets the listing before anything is sent.
pub async fn put(
    dir: &Path,
    args: &PutArgs,
    tell: impl Fn(&Listing),
    progress: impl Fn(&Progress),
) -> Result<PutReport, Error> {
    let news = |news: News| match news {
        News::Listing(listing) => tell(&listing),
        News::Progress(p) => progress(&p),
    };
    let request = |path: Option<PathBuf>, name: Option<String>| {
        let (convergent, follow, exclude) = (args.convergent, args.follow, args.exclude.clone());
        Request::Put(PutRequest { path, name, convergent, follow, exclude })
    };
    // Checked first, so that a mistyped pattern is reported even if no node runs.
    content(args)?;
    match find(&args.path)? {
        Source::Path(path) => {
            let path = std::path::absolute(&path).map_err(|e| unreadable(&args.path, &e))?;
            if path.to_str().is_none() {
                let message = format!("{} is not UTF-8, so no link can name it", shown(&path));
                return Err(
                    Error::new(ErrorKind::Usage, message).with_hint("rename it, or give it with umbel put - < FILE")
                );
            }
            Conversation::ask(dir, &request(Some(path), args.name.clone())).await?.report(news).await
        }
        Source::Input(from, path) => {
            let name = args.name.clone().unwrap_or_default();
            let talk = Conversation::ask(dir, &request(None, Some(name))).await?;
            talk.report_on(pieces(from, path), news).await
        }
    }
}

/// Lists what a put would publish. Needs no node.
pub fn list(args: &PutArgs) -> Result<Listing, Error> {
    let content = content(args)?;
    match find(&args.path)? {
        Source::Path(_) => content.list(),
        Source::Input(mut from, path) => {
            let bytes = io::copy(&mut from, &mut io::sink()).map_err(|e| unreadable(&path, &e))?;
            let input = Content::reader(args.name.clone().unwrap_or_default(), tokio::io::empty());
            let mut listing = input.list()?;
            listing.bytes = bytes;
            Ok(listing)
        }
    }
}

fn content(args: &PutArgs) -> Result<Content, Error> {
    let mut content = Content::from(args.path.as_path()).follow(args.follow);
    for pattern in &args.exclude {
        content = content.exclude(pattern)?;
    }
    Ok(match &args.name {
        Some(name) => content.named(name),
        None => content,
    })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::file("read", Path::new(&shown(path)), error).with_kind(ErrorKind::Usage)
}

/// Finds out who reads the path. This process reads pipes, devices, `/dev/stdin` and files whose length is not what their
/// metadata says.
fn find(path: &Path) -> Result<Source, Error> {
    if path.as_os_str() == "-" {
        return Ok(Source::Input(Box::new(io::stdin()), PathBuf::from("standard input")));
    }
    let meta = std::fs::metadata(path).map_err(|e| unreadable(path, &e))?;
    if meta.is_dir() {
        return Ok(Source::Path(path.to_owned()));
    }
    let file = OpenOptions::new().read(true).open(path).map_err(|e| unreadable(path, &e))?;
    let own = path.starts_with("/dev") || path.starts_with("/proc");
    if meta.is_file() && !own && is_sized(&file, meta.len()) {
        return Ok(Source::Path(path.to_owned()));
    }
    Ok(Source::Input(Box::new(file), path.to_owned()))
}

/// Whether a file ends where its metadata says.
fn is_sized(file: &File, len: u64) -> bool {
    let byte_at = |at: u64| file.read_at(&mut [0], at).is_ok_and(|n| n == 1);
    len.checked_sub(1).is_none_or(byte_at) && !byte_at(len)
}

/// Reads on a thread of its own, because a read may block on a person or a program.
fn pieces(mut from: Box<dyn Read + Send>, path: PathBuf) -> mpsc::Receiver<Result<Vec<u8>, Error>> {
    let (to, pieces) = mpsc::channel(PIECES_MAX);
    std::thread::spawn(move || {
        loop {
            let mut piece = vec![0; PIECE];
            let read = match from.read(&mut piece) {
                Ok(0) => return,
                Ok(n) => {
                    piece.truncate(n);
                    Ok(piece)
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => Err(unreadable(&path, &e)),
            };
            let failed = read.is_err();
            if to.blocking_send(read).is_err() || failed {
                return;
            }
        }
    });
    pieces
}

/// What a user should know before the content is public for good. Empty if nothing is hidden or left out, and every
/// `--exclude` matched something.
// spec: NODE-15
pub fn summary(listing: &Listing) -> String {
    let mut text = String::new();
    if listing.hidden.is_empty() && listing.left_out.is_empty() && listing.unmatched.is_empty() {
        return text;
    }
    let files = if listing.files == 1 { "file" } else { "files" };
    let _ = writeln!(text, "Publishing {}: {} {files}, {}.", listing.name, listing.files, Size(listing.bytes));
    row(&mut text, "hidden, and published", listing.hidden.iter().cloned());
    row(&mut text, "left out", listing.left_out.iter().map(|l| format!("{} ({})", l.path, l.why)));
    row(&mut text, "excluded nothing", listing.unmatched.iter().map(|p| format!("--exclude {p:?}")));
    if listing.left_out.iter().any(|l| l.why.starts_with("a symbolic link")) {
        text.push_str("  --follow publishes what symbolic links lead to\n");
    }
    text
}

fn row(text: &mut String, name: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.collect();
    for item in items.iter().take(TOLD_MAX) {
        let _ = writeln!(text, "  {name}: {item}");
    }
    if items.len() > TOLD_MAX {
        let _ = writeln!(text, "  {name}: {} more, which --dry-run lists", items.len() - TOLD_MAX);
    }
}

impl Report for Listing {
    fn text(&self) -> String {
        let mut text = String::new();
        for Listed { path, bytes, .. } in &self.entries {
            let _ = writeln!(text, "{path}  {}", Size(*bytes));
        }
        for LeftOut { path, why, .. } in &self.left_out {
            let _ = writeln!(text, "left out: {path} ({why})");
        }
        for path in &self.hidden {
            let _ = writeln!(text, "hidden, and would be published: {path}");
        }
        for pattern in &self.unmatched {
            let _ = writeln!(text, "excluded nothing: --exclude {pattern:?}");
        }
        let files = if self.files == 1 { "file" } else { "files" };
        let _ = writeln!(
            text,
            "{} {files}, {}; {} excluded. Nothing was published.",
            self.files,
            Size(self.bytes),
            self.excluded
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: NODE-15
    #[test]
    fn a_summary_names_what_is_hidden_and_what_is_left_out() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::write(at("a"), "a").unwrap();
        let list = || Content::from(temp.path()).exclude("*.tmp").unwrap().list().unwrap();
        assert!(summary(&list()).contains(r#"--exclude "*.tmp""#), "a pattern that excludes nothing may be mistyped");
        std::fs::write(at("b.tmp"), "b").unwrap();
        assert_eq!(summary(&list()), "");
        std::fs::create_dir(at(".git")).unwrap();
        std::fs::write(at(".git/config"), "c").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", at("out\x1b[2J")).unwrap();
        let text = summary(&list());
        assert!(text.contains("hidden, and published: .git/\n") && text.contains("--follow"), "{text}");
        assert!(text.contains("(a symbolic link)") && !text.contains('\x1b'), "{text}");
        assert!(
            list().text().contains("a  1 byte\n") && list().text().contains("Nothing was published"),
            "{}",
            list().text()
        );
    }

    #[test]
    fn what_has_no_length_is_read_here() {
        for (path, read) in [("/proc/self/status", true), ("/dev/null", true), ("-", true), ("/etc/passwd", false)] {
            assert_eq!(matches!(find(Path::new(path)).unwrap(), Source::Input(..)), read, "{path}");
        }
    }
}
