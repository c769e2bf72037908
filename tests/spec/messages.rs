//! The code's table of messages is that of the specification: numbers and names of page 04, legality of page 07.

use crate::pages::{cells, pages};
use crate::tables::table;
use umbel::wire::message::{EndReason, Legal, MESSAGES, Message, MessageKind, Scope, Side, StreamState};

/// The message of a row about streams.
pub(crate) fn stream_message(row: &str) -> Message<'static> {
    match row {
        "END 0" => Message::End(EndReason::Done),
        "END not 0" => Message::End(EndReason::Reset),
        name => {
            let kind = kind(name).unwrap_or_else(|| panic!("the table has an unknown message {name}"));
            (kind.examples)().swap_remove(0).1
        }
    }
}

fn kind(name: &str) -> Option<&'static MessageKind> {
    MESSAGES.iter().find(|kind| kind.name == name)
}

#[test]
fn numbers_names_and_scopes_are_those_of_the_specification() {
    let page = pages().into_iter().find(|p| p.path.ends_with("04-cells.md")).expect("the page on cells");
    let head = "| command | name | stream | body |";
    let rows = page.text.lines().skip_while(|l| *l != head).skip(2).take_while(|l| l.starts_with('|'));
    let in_spec: Vec<_> = rows.map(|row| cells(row)[..3].to_vec()).collect();
    let stream = |scope| if scope == Scope::Circuit { "0" } else { "not 0" };
    let in_code: Vec<_> =
        MESSAGES.iter().map(|k| vec![k.number.to_string(), k.name.to_owned(), stream(k.scope).to_owned()]).collect();
    assert_eq!(in_spec, in_code, "{} and src/wire/message/mod.rs differ", page.path);
}

// spec: CIRC-10 STREAM-6 STREAM-8 STREAM-13
#[test]
fn messages_about_a_stream_are_legal_where_the_specification_says() {
    for (name, side) in [("RelayStream", Side::Relay), ("ClientStream", Side::Client)] {
        let table = table(name);
        let mut named = Vec::new();
        for (row, cells) in &table.rows {
            let message = stream_message(row);
            named.push(message.kind().name);
            for (column, cell) in table.columns.iter().zip(cells) {
                let state = StreamState::from_name(column).unwrap_or_else(|| panic!("{name}: no state {column}"));
                let (legal, never) = match message.legal_at(side) {
                    Legal::Never => (false, true),
                    Legal::Circuit => panic!("{row} is about a circuit"),
                    Legal::In(states) => (states.contains(&state), false),
                };
                assert_eq!(legal, cell == "ok", "{name}: {row} in state {column}");
                assert_eq!(never, cell == "WrongDirection", "{name}: {row} in state {column}");
            }
        }
        for kind in MESSAGES.iter().filter(|k| k.scope == Scope::Stream) {
            assert!(named.contains(&kind.name), "{name} has no row for {}", kind.name);
        }
    }
}

// spec: CIRC-10
#[test]
fn messages_about_the_circuit_go_the_way_the_specification_says() {
    for (name, side) in [("RelayTail", Side::Relay), ("ClientExtension", Side::Client)] {
        let rows = table(name).rows;
        for kind in MESSAGES.iter().filter(|k| k.scope == Scope::Circuit) {
            let mut of_kind = rows.iter().filter(|(row, _)| row.split(' ').next() == Some(kind.name)).peekable();
            // ACK is legal at the client as at the relay, and stands in the relay's table alone.
            assert!(of_kind.peek().is_some() || kind.name == "ACK", "{name} has no row for {}", kind.name);
            let never = kind.legal_at(side) == Legal::Never;
            assert!(
                of_kind.all(|(_, cells)| cells.iter().all(|c| (c == "WrongDirection") == never)),
                "{name}: {}",
                kind.name
            );
        }
    }
}
