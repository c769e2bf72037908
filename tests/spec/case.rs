//! The vectors of `spec/vectors` as cases, and what holds for all of them: each is run, each key is used and documented, and
//! the classes of error are those of page 01.

use crate::pages::{cells, files, pages, tables};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use umbel::crypto::aead::Cipher;
use umbel::crypto::agree::AgreeSecret;

/// One case of a file. A key that the test did not look at makes it fail: what is written down must be compared.
pub(crate) struct Case {
    /// The file, the kind and the name.
    pub(crate) name: String,
    pub(crate) kind: String,
    fields: BTreeMap<String, String>,
    used: RefCell<BTreeSet<String>>,
}

impl Case {
    pub(crate) fn text(&self, key: &str) -> &str {
        self.used.borrow_mut().insert(key.to_owned());
        self.fields.get(key).unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.fields.contains_key(key)
    }

    pub(crate) fn number(&self, key: &str) -> u64 {
        self.text(key).parse().unwrap_or_else(|_| panic!("{}: {key} is no number", self.name))
    }

    pub(crate) fn yes(&self, key: &str) -> bool {
        match self.text(key) {
            "yes" => true,
            "no" => false,
            other => panic!("{}: {key} is {other}, neither yes nor no", self.name),
        }
    }

    /// The numbers of a field, between blanks.
    pub(crate) fn numbers(&self, key: &str) -> Vec<u64> {
        self.text(key).split_whitespace().map(|n| n.parse().expect("a number")).collect()
    }

    pub(crate) fn bytes(&self, key: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for piece in self.text(key).split_whitespace() {
            let byte = |s: &str| u8::from_str_radix(s, 16).expect("hex");
            if let Some((value, times)) = piece.split_once('x') {
                out.resize(out.len() + times.parse::<usize>().expect("a number"), byte(value));
            } else if let Some((first, count)) = piece.split_once('+') {
                let first = usize::from(byte(first));
                out.extend((0..count.parse::<usize>().expect("a number")).map(|i| (first + i) as u8));
            } else {
                out.extend((0..piece.len()).step_by(2).map(|i| byte(&piece[i..i + 2])));
            }
        }
        out
    }

    pub(crate) fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        self.bytes(key).try_into().unwrap_or_else(|b: Vec<u8>| panic!("{}: {key} has {} bytes", self.name, b.len()))
    }

    /// A list of byte strings, each after its length in two bytes.
    pub(crate) fn list(&self, key: &str) -> Vec<Vec<u8>> {
        let (bytes, mut out) = (self.bytes(key), Vec::new());
        let mut rest = &bytes[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let (item, after) = after.split_at(usize::from(u16::from_be_bytes(*length)));
            out.push(item.to_vec());
            rest = after;
        }
        out
    }

    pub(crate) fn cipher(&self) -> Cipher {
        Cipher::from_wire(self.number("cipher") as u8).expect("a cipher")
    }

    pub(crate) fn agree(&self, key: &str) -> AgreeSecret {
        AgreeSecret::from_bytes(self.array(key))
    }

    /// Holds an outcome against `expect`.
    pub(crate) fn expect(&self, outcome: &str) {
        assert_eq!(outcome, self.text("expect"), "{}", self.name);
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let used = self.used.borrow();
            let unused: Vec<_> = self.fields.keys().filter(|k| !used.contains(*k)).collect();
            assert!(unused.is_empty(), "{}: the test does not look at {unused:?}", self.name);
        }
    }
}

fn read(path: &str, text: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let blocks = text.split("\n\n").map(|b| b.lines().filter(|l| !l.starts_with('#')).collect::<Vec<_>>());
    let field = |l: &str| {
        let (key, value) = l.split_once(':').unwrap_or_else(|| panic!("{path}: no colon in {l}"));
        (key.to_owned(), value.trim().to_owned())
    };
    let cases = blocks.filter(|lines| !lines.is_empty()).map(|lines| {
        let mut fields: BTreeMap<_, _> = lines.into_iter().map(field).collect();
        assert!(fields.remove("spec").is_some(), "{path}: a case cites its rule");
        (fields.remove("case").expect("a case has a name"), fields)
    });
    cases.collect()
}

/// The cases of a file, to be run by the test of the kinds that it names.
pub(crate) fn cases(file: &str) -> Vec<Case> {
    let all = files("spec/vectors", ".txt");
    let found = all.iter().find(|f| f.path.ends_with(&format!("/{file}.txt"))).expect("the file of vectors");
    let cases = read(&found.path, &found.text).into_iter().map(|(name, fields)| {
        let (kind, _) = name.split_once('/').unwrap_or_else(|| panic!("{file}: {name} has no kind"));
        let kind = kind.to_owned();
        Case { name: format!("{file}: {name}"), kind, fields, used: RefCell::default() }
    });
    let cases: Vec<_> = cases.collect();
    assert!(!cases.is_empty());
    cases
}

/// Panics: no test knows how to run this case.
pub(crate) fn unknown(case: &Case) -> ! {
    panic!("{}: no test runs the kind {}", case.name, case.kind)
}

/// All cases of all files.
fn everything() -> Vec<(String, String, BTreeMap<String, String>)> {
    let mut out = Vec::new();
    for file in files("spec/vectors", ".txt") {
        let short = file.path.trim_start_matches("spec/vectors/").trim_end_matches(".txt").to_owned();
        out.extend(read(&file.path, &file.text).into_iter().map(|(name, fields)| (short.clone(), name, fields)));
    }
    out
}

#[test]
fn every_file_of_vectors_is_run_and_no_name_is_given_twice() {
    let tests = files("tests/spec", ".rs");
    let mut names = BTreeSet::new();
    for (file, name, _) in everything() {
        let call = format!("cases(\"{file}\")");
        assert!(tests.iter().any(|t| t.text.contains(&call)), "spec/vectors/{file}.txt is read by no test");
        assert!(names.insert((file.clone(), name.clone())), "{file}: {name} stands there twice");
    }
}

/// The table of `spec/vectors/README.md`: for each file and kind the keys that each case has, and those that it may have.
fn documented() -> BTreeMap<(String, String), (BTreeSet<String>, BTreeSet<String>)> {
    let page = files("spec/vectors", "README.md").remove(0);
    let words =
        |cell: &str| cell.split([' ', ',']).map(|w| w.trim_matches('`').to_owned()).filter(|w| !w.is_empty()).collect();
    let rows = tables(&page, "kinds").remove(0).into_iter().skip(1);
    rows.map(|row| {
        let [kind, always, maybe, _] = &row[..] else { panic!("a kind has four columns: {row:?}") };
        let (file, kind) = kind.trim_matches('`').split_once('/').expect("file/kind");
        ((file.to_owned(), kind.to_owned()), (words(always), words(maybe)))
    })
    .collect()
}

#[test]
fn the_keys_of_each_kind_of_case_are_documented() {
    let documented = documented();
    let mut met: BTreeMap<_, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    for (file, name, fields) in everything() {
        let kind = name.split('/').next().unwrap().to_owned();
        let keys: BTreeSet<_> = fields.into_keys().filter(|k| k != "expect").collect();
        let (always, ever) = met.entry((file, kind)).or_insert_with(|| (keys.clone(), keys.clone()));
        *always = always.intersection(&keys).cloned().collect();
        ever.extend(keys);
    }
    for (kind, (always, ever)) in &met {
        let maybe: BTreeSet<_> = ever.difference(always).cloned().collect();
        let row = documented.get(kind).unwrap_or_else(|| panic!("spec/vectors/README.md has no row for {kind:?}"));
        assert_eq!(row, &(always.clone(), maybe), "spec/vectors/README.md: the row of {kind:?}");
    }
    assert!(documented.keys().all(|k| met.contains_key(k)), "spec/vectors/README.md documents a kind without a case");
}

#[test]
fn the_classes_of_error_are_those_of_page_01() {
    let page = pages().into_iter().find(|p| p.path.ends_with("01-encoding.md")).expect("the page on encoding");
    let rows = tables(&page, "classes").into_iter().flatten().filter(|row| row[0] != "class");
    let named: BTreeSet<_> = rows.flat_map(|row| cells_of(&row[0])).collect();
    let used: BTreeSet<_> = everything().into_iter().filter_map(|(_, _, f)| f.get("expect").cloned()).collect();
    let used: BTreeSet<_> = used.into_iter().filter(|e| e != "ok").collect();
    assert_eq!(named, used, "the classes of spec/01-encoding.md and those that vectors expect");
}

fn cells_of(cell: &str) -> Vec<String> {
    cells(&format!("| {cell} |"))[0].split(", ").map(|w| w.trim_matches('`').to_owned()).collect()
}
