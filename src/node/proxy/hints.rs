//! What a page without scripts can still do unseen by its policy, taken out of it.
//!
//! A policy governs what a page fetches. `<link rel=preconnect>` and `dns-prefetch` fetch nothing: a browser connects, or
//! looks a name up, and the host outside learns that the page was opened, and when. Chromium does the same for a frame
//! whose page the policy then forbids. So the tags that can say so are renamed to an element of the same length that does
//! nothing with these attributes and has no content either. The page keeps its length, and all other bytes.
//!
//! *Seen by:* the publisher of a page, who may be hostile. No tag is read by a guess: one that this reader does not
//! understand to its end is renamed.

/// Longest tag that is read; a longer one is renamed unread.
const TAG_MAX: usize = 16 * 1024;

/// Kinds of links that a page without scripts keeps: what they load, the policy governs, or they load nothing.
const KEPT: [&str; 10] = [
    "alternate",
    "apple-touch-icon",
    "author",
    "bookmark",
    "canonical",
    "help",
    "icon",
    "license",
    "shortcut",
    "stylesheet",
];

/// Reads a page as it passes.
#[derive(Debug, Default)]
pub(super) struct Hints {
    /// The beginning of a tag whose end has not come.
    held: Vec<u8>,
    scripts: bool,
}

impl Hints {
    /// Takes the next bytes of the page and gives those that can go on.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut page = std::mem::take(&mut self.held);
        page.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(found) = page.get(at..).and_then(|rest| rest.iter().position(|&b| b == b'<')) {
            let start = at.saturating_add(found);
            let verdict = judge(page.get(start..).unwrap_or_default());
            match verdict {
                Verdict::Keep => {}
                Verdict::Script => self.scripts = true,
                Verdict::Rename(to) => rename(&mut page, start, to),
                Verdict::Unknown => {
                    self.held = page.split_off(start);
                    return page;
                }
            }
            at = start.saturating_add(1);
        }
        page
    }

    /// The rest, at the page's end.
    pub(super) fn end(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.held);
        // A tag without an end makes no element, but what a browser makes of it is its affair.
        if let Some(to) = name_of(&rest).and_then(harmless) {
            rename(&mut rest, 0, to);
        }
        rest
    }

    /// Whether the page so far has a script.
    pub(super) fn has_scripts(&self) -> bool {
        self.scripts
    }
}

fn rename(page: &mut [u8], start: usize, to: &str) {
    page.iter_mut().skip(start.saturating_add(1)).zip(to.bytes()).for_each(|(byte, to)| *byte = to);
}

/// What stands in for an element. All are void, as `link` is; `meta` may stand in a head, as it may.
fn harmless(name: &str) -> Option<&'static str> {
    match name {
        "link" => Some("meta"),
        "iframe" => Some("source"),
        "frame" => Some("param"),
        _ => None,
    }
}

enum Verdict {
    Keep,
    Script,
    /// The element becomes this one.
    Rename(&'static str),
    /// More of the page must come first.
    Unknown,
}

/// The elements of interest.
const NAMES: [&str; 4] = ["link", "iframe", "frame", "script"];

/// Which element of interest a tag opens; `tag` begins with `<`.
fn name_of(tag: &[u8]) -> Option<&'static str> {
    let rest = tag.get(1..)?;
    NAMES.into_iter().find(|name| {
        let (head, next) = (rest.get(..name.len()), rest.get(name.len()));
        head.is_some_and(|head| head.eq_ignore_ascii_case(name.as_bytes())) && next.is_none_or(|&b| ends_name(b))
    })
}

/// What ends a tag's name, after the standard for HTML.
fn ends_name(b: u8) -> bool {
    is_blank(b) || b == b'/' || b == b'>'
}

fn is_blank(b: u8) -> bool {
    matches!(b, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

fn judge(tag: &[u8]) -> Verdict {
    let rest = tag.get(1..).unwrap_or_default();
    // Whether what has come could still become one of the names.
    let begins = |name: &str| name.as_bytes().get(..rest.len()).is_some_and(|head| head.eq_ignore_ascii_case(rest));
    if NAMES.into_iter().any(begins) {
        return Verdict::Unknown;
    }
    let Some(name) = name_of(tag) else { return Verdict::Keep };
    let Some(to) = harmless(name) else { return Verdict::Script };
    let inside = tag.get(name.len().saturating_add(1)..).unwrap_or_default();
    match attributes(inside) {
        Read::Whole(found) if keeps(name, &found) => Verdict::Keep,
        Read::Cut if tag.len() < TAG_MAX => Verdict::Unknown,
        Read::Whole(_) | Read::Cut | Read::Strange => Verdict::Rename(to),
    }
}

/// Whether a tag with these attributes can do nothing but what the policy governs.
fn keeps(name: &str, attributes: &[(Vec<u8>, Vec<u8>)]) -> bool {
    let mut all = attributes.iter();
    match name {
        // The first of two equal attributes counts. A character reference could spell any word.
        "link" => all.find(|(name, _)| name == b"rel").is_none_or(|(_, value)| {
            let words = value.split(|&b| is_blank(b)).filter(|word| !word.is_empty());
            words.into_iter().all(|word| KEPT.iter().any(|kept| word.eq_ignore_ascii_case(kept.as_bytes())))
        }),
        // A page inside an attribute is written in character references, where no tag can be seen.
        _ => all.all(|(name, value)| name != b"srcdoc" && (name != b"src" || is_path(value))),
    }
}

/// Whether an address can only be one on the page's own site, however a browser reads it.
fn is_path(value: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_graphic() && !b"\\&:".contains(b);
    value.iter().all(plain) && !value.starts_with(b"//")
}

enum Read {
    /// The tag is whole: its attributes, names in lower case, in order.
    Whole(Vec<(Vec<u8>, Vec<u8>)>),
    /// Its end has not come.
    Cut,
    /// Bytes that mean different things in different encodings.
    Strange,
}

/// Reads the attributes of a tag after its name, as the standard's tokeniser does.
fn attributes(inside: &[u8]) -> Read {
    let mut found = Vec::new();
    let mut bytes = inside.iter().copied().peekable();
    loop {
        while bytes.next_if(|&b| is_blank(b) || b == b'/').is_some() {}
        match bytes.peek() {
            None => return Read::Cut,
            Some(b'>') => return Read::Whole(found),
            Some(_) => {}
        }
        let mut name = Vec::new();
        // A name may begin with an equals sign.
        name.extend(bytes.next());
        while let Some(b) = bytes.next_if(|&b| !ends_name(b) && b != b'=') {
            name.push(b);
        }
        while bytes.next_if(|&b| is_blank(b)).is_some() {}
        let mut value = Vec::new();
        if bytes.next_if_eq(&b'=').is_some() {
            while bytes.next_if(|&b| is_blank(b)).is_some() {}
            match bytes.next_if(|&b| b == b'"' || b == b'\'') {
                Some(quote) => loop {
                    match bytes.next() {
                        None => return Read::Cut,
                        Some(b) if b == quote => break,
                        Some(b) => value.push(b),
                    }
                },
                None => {
                    while let Some(b) = bytes.next_if(|&b| !is_blank(b) && b != b'>') {
                        value.push(b);
                    }
                }
            }
        }
        if [&name, &value].into_iter().any(|part| part.contains(&0x1b) || part.contains(&0)) || !name.is_ascii() {
            return Read::Strange;
        }
        name.make_ascii_lowercase();
        found.push((name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(page: &[u8], piece: usize) -> Vec<u8> {
        let mut hints = Hints::default();
        let mut out: Vec<u8> = page.chunks(piece).flat_map(|piece| hints.pass(piece)).collect();
        out.extend(hints.end());
        out
    }

    // spec: PROXY-32
    #[test]
    fn tags_that_a_policy_does_not_govern_are_renamed_however_they_are_written() {
        for tag in [
            "<link rel=preconnect href=//h>",
            "<LINK REL='dns-prefetch' href=//h>",
            "<link/rel=preconnect/href=//h>",
            "<link\nrel\n=\n\"preconnect\" href=//h>",
            "<link rel=\"stylesheet preconnect\" href=//h>",
            "<link rel=\"pre&#99;onnect\" href=//h>",
            "<link rel=\"stylesheet&#32;preconnect\" href=//h>",
            "<link rel=preconnect rel=stylesheet href=//h>",
            "<link =rel=stylesheet rel=preconnect href=//h>",
            "<link title='>' rel=preconnect href=//h>",
            "<link title=\"rel=stylesheet\" rel=prerender href=//h>",
            "<link \u{1b}$B rel=stylesheet \u{1b}(B rel=preconnect href=//h>",
            "<link \u{e9} rel=stylesheet href=//h>",
            "<iframe srcdoc='&lt;link rel=preconnect href=//h>'></iframe>",
            "<iframe name=x SRCDOC=x></iframe>",
            "<iframe src=http://h/></iframe>",
            "<iframe src='//h/'></iframe>",
            "<iframe src='\\\\h/'></iframe>",
            "<iframe src='/\t/h/'></iframe>",
            "<iframe src='&#47;/h/'></iframe>",
            "<frameset><frame src=//h/></frameset>",
            "<link rel=preconnect href=//h",
        ] {
            for piece in [1, 2, 5, 1000] {
                let page = format!("<!doctype html><p>{tag}");
                let out = passed(page.as_bytes(), piece);
                assert_eq!(out.len(), page.len(), "{tag}");
                let out = String::from_utf8_lossy(&out).to_lowercase();
                let gone = ["<link", "<iframe", "<frame "];
                assert!(gone.iter().all(|tag| !out.contains(tag)), "{tag} in {piece}: {out}");
            }
        }
    }

    #[test]
    fn everything_else_passes_as_it_came() {
        for page in [
            "<link rel=stylesheet href=/s.css><link rel='shortcut icon' href=i><link href=x><link>",
            "<link-card rel=preconnect></link-card><linkx rel=preconnect>",
            "<iframe src=/inner.html></iframe><iframe src='a/b.html?c#d'></iframe><iframe></iframe>",
            "<frameset><frame src=left.html><frame src=right.html></frameset>",
            "a < b, <b>bold</b>, </link> <",
            "<li><i><ifr><s>",
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(passed(page.as_bytes(), piece), page.as_bytes(), "{page}");
            }
        }
    }

    #[test]
    fn a_tag_without_an_end_is_held_up_to_a_bound() {
        let mut hints = Hints::default();
        let mut out = hints.pass(b"<link title='");
        assert!(out.is_empty());
        for _ in 0..4 * TAG_MAX / 1000 {
            out.extend(hints.pass(&[b'a'; 1000]));
        }
        assert!(hints.held.len() <= 1000 && out.starts_with(b"<meta title"));
    }

    #[test]
    fn scripts_are_noticed() {
        for (page, has) in [("<p>a<SCRIPT src=x></script>", true), ("<p>script", false), ("<scripted>", false)] {
            let mut hints = Hints::default();
            hints.pass(page.as_bytes());
            assert_eq!(hints.has_scripts(), has, "{page}");
        }
    }
}
