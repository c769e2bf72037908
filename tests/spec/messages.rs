//! The tables of the wire are those of the specification: numbers and names of cells, messages and calls, the answers of
//! requests, and where each is legal.

use crate::pages::{cells, pages};
use crate::tables::table;
use umbel::node::proxy::codec::socks;
use umbel::wire::cell::{self, Command};
use umbel::wire::content::store::{self, StoreAnswerKind, StoreRequestKind};
use umbel::wire::directory::{self, DirectoryAnswerKind, DirectoryRequestKind};
use umbel::wire::examples;
use umbel::wire::message::{EndReason, ExtendFailure, Legal, Message, MessageKind, Scope, Side, StreamState};

/// The message of a row about streams.
pub(crate) fn stream_message(row: &str) -> Message<'static> {
    match row {
        "END 0" => Message::End(EndReason::Done),
        "END not 0" => Message::End(EndReason::Reset),
        name => {
            let kind = kind(name).unwrap_or_else(|| panic!("the table has an unknown message {name}"));
            examples::messages().into_iter().find(|(_, m)| m.kind() == kind).expect("an example").1
        }
    }
}

fn kind(name: &str) -> Option<MessageKind> {
    MessageKind::ALL.iter().copied().find(|kind| kind.name() == name)
}

/// The rows of the table under this head, on this page.
fn rows(page: &str, head: &str) -> Vec<Vec<String>> {
    let page = pages().into_iter().find(|p| p.path.ends_with(page)).expect("the page");
    let lines = page.text.lines().skip_while(|l| *l != head).skip(2).take_while(|l| l.starts_with('|'));
    let rows: Vec<_> = lines.map(cells).collect();
    assert!(!rows.is_empty(), "{} has a table {head}", page.path);
    rows
}

/// Number and name of each kind, then what `more` says of it.
macro_rules! lines {
    ($kind:ident, $more:expr) => {
        $kind::ALL
            .iter()
            .map(|k| [vec![k.to_wire().to_string(), k.name().replace("PUT_ROOT", "PUT ROOT")], $more(*k)].concat())
            .collect::<Vec<Vec<String>>>()
    };
}

fn columns(rows: Vec<Vec<String>>, wanted: &[usize]) -> Vec<Vec<String>> {
    rows.into_iter().map(|row| wanted.iter().map(|at| row[*at].clone()).collect()).collect()
}

#[test]
fn numbers_names_and_columns_are_those_of_the_specification() {
    let zero = |is_zero| vec![if is_zero { "0" } else { "not 0" }.to_owned()];
    let in_code = lines!(Command, |k: Command| zero(k.columns().scope == cell::Scope::Link));
    let in_spec = columns(rows("04-cells.md", "| command | name | circuit | body |"), &[0, 1, 2]);
    assert_eq!(in_spec, in_code, "cells");
    let in_code = lines!(MessageKind, |k: MessageKind| zero(k.columns().scope == Scope::Circuit));
    let in_spec = columns(rows("04-cells.md", "| command | name | stream | body |"), &[0, 1, 2]);
    assert_eq!(in_spec, in_code, "messages");
    // What follows a colon explains.
    let answers = |rows: Vec<Vec<String>>| {
        let mut rows = columns(rows, &[0, 1, 3]);
        rows.iter_mut().for_each(|row| row[2] = row[2].split(':').next().unwrap().to_owned());
        rows
    };
    let (request, answer) = ("| kind | request | fields | answer |", "| kind | answer | fields |");
    let in_code = lines!(DirectoryRequestKind, |k: DirectoryRequestKind| vec![k.columns().answer.name().to_owned()]);
    assert_eq!(answers(rows("10-directory.md", request)), in_code, "requests to a directory");
    let in_code = lines!(DirectoryAnswerKind, |_| vec![]);
    assert_eq!(columns(rows("10-directory.md", answer), &[0, 1]), in_code, "answers of a directory");
    let in_code = lines!(StoreRequestKind, |k: StoreRequestKind| vec![k.columns().answer.name().to_owned()]);
    assert_eq!(answers(rows("11-content.md", request)), in_code, "requests to a store");
    let in_code = lines!(StoreAnswerKind, |_| vec![]);
    let mut in_spec = columns(rows("11-content.md", answer), &[0, 1]);
    let refusals = in_spec.split_off(in_code.len() - 1);
    assert_eq!(in_spec, in_code[..in_spec.len()], "answers of a store");
    let numbers: Vec<u8> = refusals.iter().map(|row| row[0].parse().unwrap()).collect();
    assert_eq!(numbers, known(store::Refusal::from_wire), "refusals of a store");
}

/// The numbers that have a value.
fn known<T>(from_wire: impl Fn(u8) -> Option<T>) -> Vec<u8> {
    (0..=255).filter(|n| from_wire(*n).is_some()).collect()
}

#[test]
fn reasons_have_the_numbers_of_the_specification() {
    let page = pages().into_iter().find(|p| p.path.ends_with("04-cells.md")).expect("the page on cells");
    let mut tables = page.text.split("| reason | name | when |\n|---|---|---|\n").skip(1).map(|table| {
        let rows = table.lines().take_while(|l| l.starts_with('|'));
        rows.map(|l| cells(l)[0].parse().expect("a number")).collect::<Vec<u8>>()
    });
    assert_eq!(tables.next(), Some(known(ExtendFailure::from_wire)), "EXTEND_FAILED");
    assert_eq!(tables.next(), Some(known(EndReason::from_wire)[1..].to_vec()), "END, whose 0 stands before the table");
    assert_eq!(known(directory::Refusal::from_wire), [1, 2], "REFUSED of a directory: 1 malformed, 2 busy");
    assert_eq!(known(socks::Reply::from_wire), (0..=8).collect::<Vec<u8>>(), "RFC 1928");
}

/// What one end of a link alone sends is nothing to that same end, or closes the link.
// spec: LINK-29
#[test]
fn cells_go_the_way_the_specification_says() {
    let table = table("LinkCells");
    for command in Command::ALL {
        let mut of_kind = table.rows.iter().filter(|(row, _)| row.split(' ').next() == Some(command.name())).peekable();
        assert!(of_kind.peek().is_some(), "no row for {command:?}");
        for (end, sender) in [("initiator", cell::Sender::Initiator), ("responder", cell::Sender::Responder)] {
            let at_sender = |cells: &Vec<String>| {
                table
                    .columns
                    .iter()
                    .zip(cells)
                    .filter(|(c, _)| c.starts_with(end))
                    .any(|(_, cell)| matches!(cell.as_str(), "ok" | "close the circuit"))
            };
            let taken = of_kind.clone().any(|(_, cells)| at_sender(cells));
            assert_eq!(taken, command.columns().sender != sender, "{command:?} at the {end}");
        }
    }
}

/// The state that a column of page 07 names.
fn state(column: &str) -> StreamState {
    use StreamState::*;
    match column {
        "none" => Unused,
        "given up" => GivenUp,
        name => [Unsent, Opening, Open, Ended, Finished, Resolving, Aborted, Closed]
            .into_iter()
            .find(|s| format!("{s:?}").eq_ignore_ascii_case(name))
            .unwrap_or_else(|| panic!("no state {name}")),
    }
}

// spec: CIRC-10 STREAM-6 STREAM-8 STREAM-13
#[test]
fn messages_about_a_stream_are_legal_where_the_specification_says() {
    for (name, side) in [("RelayStream", Side::Relay), ("ClientStream", Side::Client)] {
        let table = table(name);
        let mut named = Vec::new();
        for (row, cells) in &table.rows {
            let message = stream_message(row);
            named.push(message.kind().name());
            for (column, cell) in table.columns.iter().zip(cells) {
                let state = state(column);
                let (legal, never) = match message.legal_at(side) {
                    Legal::Never => (false, true),
                    Legal::Circuit => panic!("{row} is about a circuit"),
                    Legal::In(states) => (states.contains(&state), false),
                };
                assert_eq!(legal, cell == "ok", "{name}: {row} in state {column}");
                assert_eq!(never, cell == "WrongDirection", "{name}: {row} in state {column}");
            }
        }
        for kind in MessageKind::ALL.iter().filter(|k| k.columns().scope == Scope::Stream) {
            assert!(named.contains(&kind.name()), "{name} has no row for {kind:?}");
        }
    }
}

// spec: CIRC-10
#[test]
fn messages_about_the_circuit_go_the_way_the_specification_says() {
    for (name, side) in [("RelayTail", Side::Relay), ("ClientExtension", Side::Client)] {
        let rows = table(name).rows;
        for kind in MessageKind::ALL.iter().filter(|k| k.columns().scope == Scope::Circuit) {
            let mut of_kind = rows.iter().filter(|(row, _)| row.split(' ').next() == Some(kind.name())).peekable();
            // ACK is legal at the client as at the relay, and stands in the relay's table alone.
            assert!(of_kind.peek().is_some() || *kind == MessageKind::Ack, "{name} has no row for {kind:?}");
            let never = kind.columns().legal_at(side) == Legal::Never;
            assert!(
                of_kind.all(|(_, cells)| cells.iter().all(|c| (c == "WrongDirection") == never)),
                "{name}: {kind:?}"
            );
        }
    }
}
