//! Resolves the path of a site's URL, in the same way for the local proxy and for `get`.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named<F> {
    /// A file, or the `index.html` of a folder whose path ends in `/`.
    File(F),
    /// A folder that has an `index.html`, without its `/`.
    Slash,
    /// Nothing that can be read.
    Nothing,
}

/// Undoes percent-encoding; `None` where what comes out is not UTF-8 or the encoding is broken.
pub(crate) fn decode(path: &str) -> Option<Cow<'_, str>> {
    // The crate lets a broken `%` stand. Two spellings of one name would then be two names.
    let is_whole = |rest: &str| rest.as_bytes().get(..2).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
    if !path.split('%').skip(1).all(is_whole) {
        return None;
    }
    percent_decode_str(path).decode_utf8().ok()
}

/// Finds what a decoded path, without slashes in front, names in a folder.
pub(crate) fn find<F>(path: &str, file: impl Fn(&str) -> Option<F>) -> Named<F> {
    let index = format!("{path}index.html");
    let name = if path.is_empty() || path.ends_with('/') { &*index } else { path };
    match file(name) {
        Some(found) => Named::File(found),
        None if !name.ends_with('/') && file(&format!("{path}/index.html")).is_some() => Named::Slash,
        None => Named::Nothing,
    }
}

/// A URL's path as a browser asks for it, still encoded: without query and fragment, and without `.` and `..`.
pub(crate) fn asked(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let is = |part: &str, dots: &str| part.to_ascii_lowercase().replace("%2e", ".") == dots;
    let mut kept: Vec<&str> = Vec::new();
    for part in path.split('/').skip(1) {
        match part {
            _ if is(part, ".") => {}
            _ if is(part, "..") => drop(kept.pop()),
            _ => kept.push(part),
        }
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    if is(last, ".") || is(last, "..") {
        kept.push("");
    }
    kept.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_once_and_broken_ones_found_nowhere() {
        assert_eq!(decode("a%20b%2Fc").as_deref(), Some("a b/c"));
        assert_eq!(decode("%2525").as_deref(), Some("%25"));
        assert_eq!(decode("%C3%A4").as_deref(), Some("ä"));
        for bad in ["%", "%2", "%zz", "%+1", "%ff", "%ä"] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_folder_is_its_index() {
        let file = |name: &str| ["a", "d/index.html", "index.html"].contains(&name).then(|| name.to_owned());
        for (path, named) in [
            ("a", Named::File("a".to_owned())),
            ("d/", Named::File("d/index.html".to_owned())),
            ("d", Named::Slash),
            ("", Named::File("index.html".to_owned())),
            ("a/", Named::Nothing),
            ("b", Named::Nothing),
        ] {
            assert_eq!(find(path, file), named, "{path}");
        }
    }

    #[test]
    fn a_path_is_asked_for_as_browsers_do() {
        for (url, path) in [
            ("", ""),
            ("/", ""),
            ("/a/b.html?x=/../y#z", "a/b.html"),
            ("/a#b?c", "a"),
            ("?x", ""),
            ("/a/./b/../c", "a/c"),
            ("/a/%2e%2E/b/.", "b/"),
            ("/../..", ""),
            ("/a/..", ""),
            ("/a/", "a/"),
            ("/...", "..."),
        ] {
            assert_eq!(asked(url), path, "{url}");
        }
    }
}
