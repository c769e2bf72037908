//! The filter of `umbel relays --where`: a small language over what is known of a relay.
//!
//! ```text
//! filter = all *( "||" all )
//! all    = one *( "&&" one )
//! one    = "!" one | "(" filter ")" | test
//! test   = "age" compare number unit | "presence" compare number [ "%" ]
//!        | "exit" [ ":" port ] | "store" | "live" | "family" [ ":" start ] | "prefix" ":" start | "id" ":" start
//! compare = "<" | "<=" | ">" | ">=" | "=" | "!="        unit = "s" | "min" | "h" | "d"
//! ```
//!
//! `&&` binds closer than `||`. What is unknown of a relay (its presence before the first sample) passes no comparison. `start` is
//! how a text begins, in letters, digits and `. : / -`.

use super::RelayRow;
use crate::host::error::{Error, ErrorKind};

/// The longest filter, in bytes.
pub(crate) const FILTER_MAX: usize = 1024;
/// How deep parentheses and negations may lie in one another.
const DEPTH_MAX: usize = 32;
/// The port that no exit connects to (spec STREAM-16).
const PORT_REFUSED: u16 = 25;

const FIELDS: &str = "age>7d, presence>=90, exit, exit:443, store, live, family:TEXT, prefix:203.0, id:TEXT; joined by && and ||, \
                      with ! and parentheses";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Less,
    AtMost,
    More,
    AtLeast,
    Equal,
    Other,
}

/// Longer ones first: `<=` begins as `<` does.
const COMPARES: [(&str, Compare); 6] = [
    ("<=", Compare::AtMost),
    (">=", Compare::AtLeast),
    ("!=", Compare::Other),
    ("<", Compare::Less),
    (">", Compare::More),
    ("=", Compare::Equal),
];

impl Compare {
    fn holds(self, left: u64, right: u64) -> bool {
        match self {
            Self::Less => left < right,
            Self::AtMost => left <= right,
            Self::More => left > right,
            Self::AtLeast => left >= right,
            Self::Equal => left == right,
            Self::Other => left != right,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    Any(Vec<Self>),
    All(Vec<Self>),
    Not(Box<Self>),
    Age(Compare, u64),
    Presence(Compare, u64),
    Exit(Option<u16>),
    Store,
    Live,
    Family(Option<String>),
    Prefix(String),
    Id(String),
}

/// Which relays are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(Node);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`ErrorKind::Usage`] with the place and what may stand there.
    // spec: NODE-31
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        if text.len() > FILTER_MAX {
            return Err(parser.wrong("the filter is too long"));
        }
        let node = parser.any()?;
        parser.space();
        if parser.rest().is_empty() { Ok(Self(node)) } else { Err(parser.wrong("&& or || is missing")) }
    }

    /// Whether a relay is wanted.
    pub(crate) fn takes(&self, relay: &RelayRow) -> bool {
        self.0.takes(relay)
    }
}

impl Node {
    fn takes(&self, r: &RelayRow) -> bool {
        match self {
            Self::Any(nodes) => nodes.iter().any(|n| n.takes(r)),
            Self::All(nodes) => nodes.iter().all(|n| n.takes(r)),
            Self::Not(node) => !node.takes(r),
            Self::Age(how, seconds) => r.age_s.is_some_and(|age| how.holds(age, *seconds)),
            Self::Presence(how, percent) => r.presence.is_some_and(|p| how.holds(p.into(), *percent)),
            Self::Exit(port) => r.exit && *port != Some(PORT_REFUSED),
            Self::Store => r.store,
            Self::Live => r.live,
            Self::Family(None) => r.family.is_some(),
            Self::Family(Some(start)) => r.family.as_ref().is_some_and(|f| f.starts_with(start)),
            Self::Prefix(start) => r.prefixes.iter().any(|p| p.starts_with(start)),
            Self::Id(start) => r.id.starts_with(start),
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        let rest = self.rest().trim_start();
        let before = self.text.get(..self.text.len() - rest.len()).unwrap_or_default();
        let place = match rest {
            "" => "at its end".to_owned(),
            rest => {
                let seen: String = rest.chars().take(12).collect();
                format!("at character {}, {seen:?}", before.chars().count() + 1)
            }
        };
        Error::new(ErrorKind::Usage, format!("the filter is not understood {place}: {what}")).with_hint(FIELDS)
    }

    fn space(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes this, with what space comes before it.
    fn eat(&mut self, what: &str) -> bool {
        self.space();
        let is_there = self.rest().starts_with(what);
        if is_there {
            self.at += what.len();
        }
        is_there
    }

    fn any(&mut self) -> Result<Node, Error> {
        let mut nodes = vec![self.all()?];
        while self.eat("||") {
            nodes.push(self.all()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::Any(nodes) })
    }

    fn all(&mut self) -> Result<Node, Error> {
        let mut nodes = vec![self.one()?];
        while self.eat("&&") {
            nodes.push(self.one()?);
        }
        Ok(if nodes.len() == 1 { nodes.remove(0) } else { Node::All(nodes) })
    }

    fn one(&mut self) -> Result<Node, Error> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.wrong("too many parentheses"));
        }
        let node = if self.eat("!") {
            Node::Not(Box::new(self.one()?))
        } else if self.eat("(") {
            let node = self.any()?;
            if !self.eat(")") {
                return Err(self.wrong("a parenthesis is not closed"));
            }
            node
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(node)
    }

    fn test(&mut self) -> Result<Node, Error> {
        self.space();
        let begin = self.at;
        let field = self.word(|c| c.is_ascii_alphabetic());
        let value = matches!(field, "exit" | "family" | "prefix" | "id") && self.rest().starts_with(':');
        if value {
            self.at += 1;
        }
        Ok(match (field, value) {
            ("age", _) => Node::Age(self.compare()?, self.age()?),
            ("presence", _) => {
                let (how, percent) = (self.compare()?, self.number()?);
                self.eat("%");
                Node::Presence(how, percent)
            }
            ("exit", false) => Node::Exit(None),
            ("exit", true) => {
                let port = self.number()?;
                Node::Exit(Some(u16::try_from(port).map_err(|_| self.wrong("a port is at most 65535"))?))
            }
            ("store", _) => Node::Store,
            ("live", _) => Node::Live,
            ("family", false) => Node::Family(None),
            ("family", true) => Node::Family(Some(self.start()?)),
            ("prefix", true) => Node::Prefix(self.start()?),
            ("id", true) => Node::Id(self.start()?),
            ("prefix" | "id", false) => return Err(self.wrong(format_args!("{field} needs a value, as in {field}:a1"))),
            ("", _) => return Err(self.wrong("a test is missing")),
            _ => {
                self.at = begin;
                return Err(self.wrong(format_args!("there is no test {field:?}")));
            }
        })
    }

    fn word(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn compare(&mut self) -> Result<Compare, Error> {
        self.space();
        let found = COMPARES.iter().find(|(sign, _)| self.rest().starts_with(sign));
        let (sign, how) = found.ok_or_else(|| self.wrong("one of < <= > >= = != is missing"))?;
        self.at += sign.len();
        Ok(*how)
    }

    fn number(&mut self) -> Result<u64, Error> {
        self.space();
        let begin = self.at;
        let digits = self.word(|c| c.is_ascii_digit());
        digits.parse().map_err(|_| {
            self.at = begin;
            self.wrong("a whole number is missing")
        })
    }

    fn age(&mut self) -> Result<u64, Error> {
        let number = self.number()?;
        let begin = self.at;
        let seconds = match self.word(|c| c.is_ascii_alphabetic()) {
            "s" => Some(1),
            "min" => Some(60),
            "h" => Some(3_600),
            "d" => Some(86_400),
            _ => None,
        };
        seconds.and_then(|s: u64| number.checked_mul(s)).ok_or_else(|| {
            self.at = begin;
            self.wrong("an age needs a unit: s, min, h or d")
        })
    }

    fn start(&mut self) -> Result<String, Error> {
        let text = self.word(|c| c.is_ascii_alphanumeric() || ".:/-".contains(c));
        if text.is_empty() { Err(self.wrong("a value is missing")) } else { Ok(text.to_ascii_lowercase()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay(age_d: u64, presence: Option<u8>, exit: bool, family: Option<&str>) -> RelayRow {
        RelayRow {
            id: "abcd2".into(),
            age_s: Some(age_d * 86_400),
            presence,
            exit,
            store: !exit,
            live: true,
            family: family.map(str::to_owned),
            prefixes: vec!["203.0.0.0/16".into(), "2001:db8::/32".into()],
            ..RelayRow::default()
        }
    }

    // spec: NODE-31
    #[test]
    fn tests_are_joined_as_they_bind() {
        let takes = |text: &str, r: &RelayRow| Filter::parse(text).unwrap().takes(r);
        let (old, new) = (relay(8, Some(93), true, Some("f1")), relay(1, None, false, None));
        for (text, of_old, of_new) in [
            ("age>7d && exit:443", true, false),
            ("age > 7d&&exit : 443 || store", true, true),
            ("exit:25", false, false),
            ("exit", true, false),
            ("!exit", false, true),
            ("!!exit", true, false),
            ("store || exit && age<1d", false, true),
            ("(store || exit) && age<1d", false, false),
            ("age=8d", true, false),
            ("age!=192h", false, true),
            ("age<=1440min", false, true),
            ("age>=86400s", true, true),
            ("presence>=93%", true, false),
            ("presence<100", true, false),
            ("!(presence<100)", false, true),
            ("family", true, false),
            ("family:F", true, false),
            ("family:f2", false, false),
            ("prefix:203.0", true, true),
            ("prefix:2001:db8", true, true),
            ("id:ABC && live", true, true),
            ("id:b", false, false),
        ] {
            // The port stands right after its colon.
            let text = text.replace("exit : 443", "exit:443");
            assert_eq!((takes(&text, &old), takes(&text, &new)), (of_old, of_new), "{text}");
        }
    }

    // spec: NODE-31
    #[test]
    fn a_mistake_is_named_with_its_place() {
        for (text, place, what) in [
            ("", "at its end", "a test is missing"),
            ("age", "at its end", "< <= >"),
            ("age>7", "at its end", "unit"),
            ("age>7x", "character 6", "unit"),
            ("age>d", "character 5", "whole number"),
            ("age>99999999999999999999d", "character 5", "whole number"),
            ("age>18446744073709551615d", "character 25", "unit"),
            ("exit:99999", "at its end", "65535"),
            ("exit:", "at its end", "whole number"),
            ("exit store", "character 6, \"store\"", "&& or ||"),
            ("exit & store", "character 6", "&& or ||"),
            ("exit &&", "at its end", "a test is missing"),
            ("(exit", "at its end", "not closed"),
            ("exit)", "character 5", "&& or ||"),
            ("speed>5", "character 1, \"speed>5\"", "no test \"speed\""),
            ("ä", "character 1", "a test is missing"),
            ("prefix", "at its end", "needs a value"),
            ("id: x", "character 5", "a value is missing"),
        ] {
            let why = Filter::parse(text).unwrap_err();
            assert_eq!(why.kind(), ErrorKind::Usage);
            assert!(why.to_string().contains(place) && why.to_string().contains(what), "{text}: {why}");
            assert!(why.hint().unwrap().contains("exit:443"));
        }
        assert!(Filter::parse(&"(".repeat(100)).unwrap_err().to_string().contains("too many"));
        assert!(Filter::parse(&"!".repeat(FILTER_MAX + 1)).unwrap_err().to_string().contains("too long"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_filter_or_an_error(text in "[a-z0-9!&|<>=():. ä%]{0,40}") {
            if let Ok(filter) = Filter::parse(&text) {
                let _ = filter.takes(&relay(1, None, true, None));
            }
        }
    }
}
